"""The typed store beside the process image: what IT and plans say over time, turned into tags once a cycle.

A profile crosses as one message; `latch` posts the value that holds now, its status, its age and, for a price, its rank
among the hours of the local day. A profile arrives with the age that its stamp tells; from then on ages are measured on
CLOCK_BOOTTIME, so a step of the wall clock makes no value old or young. A profile tells which value holds by UTC.

Status of a feed:    good while its age is at most twice its period, then 0x44 "last usable" until `stale_after`,
                     then bad.
Status of an offer:  good until `valid_until`, then 0x44 for the grace period, then bad; an issuer that was lost is used
                     again after `recover` good offers in a row.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from ctrl import clock, quality
from ctrl.messages import Profile

_NEVER_NS: Final = 1 << 62
_NS: Final = 1_000_000_000
_HISTORY_S: Final = 26 * 3600.0  # longest local day and an hour: what a rank needs of the past


class StoreError(ValueError):
    """The profile was refused, with the reason in plain words; the one in force stays in force."""


class Poster(Protocol):
    """What the store needs of the image."""

    def post(self, slot: int, value: float, status: int, t_ns: int, /) -> None:
        """Put value, status and source time (ns CLOCK_BOOTTIME) into the next image."""


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """A feed of IT as declared. Times in s, bounds in `unit`; None = no bound. rank: post `<tag>.rank` too."""

    tag: str
    unit: str
    every_s: float
    stale_after_s: float
    horizon_s: float | None
    valid_lo: float | None
    valid_hi: float | None
    rank: bool


@dataclass(frozen=True, slots=True)
class OfferSpec:
    """An output of a plan. grace_s: how long after expiry the last value may still be used, as uncertain.

    recover: good offers in a row before an issuer that was lost is followed again; at least 1.
    """

    tag: str
    unit: str
    grace_s: float
    recover: int


class _Entry:
    """One tag: its profile, merged with what it replaced as far as that still matters, and the cached answer."""

    __slots__ = (
        "age_slot", "arrival_ns", "good", "hi", "lo", "lost", "next_age_ns", "next_ns", "profile", "rank_slot", "slot",
        "spec", "status", "times", "until", "value", "values",
    )  # fmt: skip

    def __init__(self, spec: FeedSpec | OfferSpec, tags: Mapping[str, int]) -> None:
        self.spec = spec
        self.slot = tags.get(spec.tag, -1)
        self.age_slot = tags.get(f"{spec.tag}.age", -1)
        self.rank_slot = tags.get(f"{spec.tag}.rank", -1) if isinstance(spec, FeedSpec) and spec.rank else -1
        self.profile: Profile | None = None
        self.times: list[float] = []
        self.values: list[float] = []  # NaN marks a gap between the old profile and the new one
        self.until = -math.inf
        self.arrival_ns = 0
        self.lost = False
        self.good = 0
        self.value = 0.0
        self.status = quality.BAD_NO_COMMS
        self.next_ns = -1  # boot time of the next change by age; -1 = refresh now
        self.next_age_ns = _NEVER_NS
        self.lo = math.inf  # the answer holds for lo <= utc < hi
        self.hi = -math.inf

    def merge(self, profile: Profile, now_ns: int, utc: float) -> None:
        """Put the profile in force; steps of the old one that begin before it stay, for the time until then."""
        start = profile.steps[0][0] if profile.steps else -math.inf
        oldest = utc - _HISTORY_S if self.rank_slot >= 0 else utc
        first = max(0, bisect_right(self.times, oldest) - 1)
        kept = [(t, v) for t, v in zip(self.times[first:], self.values[first:], strict=True) if t < start]
        if kept and self.until < start:
            kept = [step for step in kept if step[0] < self.until]
            kept.append((self.until, math.nan))
        merged = [*kept, *profile.steps] if profile.steps else []
        self.times = [t for t, _ in merged]
        self.values = [v for _, v in merged]
        # an offer that ends when the one before does is the rest of that one: its age goes on
        if isinstance(self.spec, FeedSpec) or not profile.steps or profile.valid_until != self.until:
            # what comes late, or again after a restart of control, is as old as its stamp says
            self.arrival_ns = now_ns - round(max(0.0, utc - profile.issued_at) * _NS)
        self.until = profile.valid_until
        self.profile = profile
        self.next_ns = -1
        self.next_age_ns = -1 if self.age_slot >= 0 else _NEVER_NS


class Store:
    """Profiles by tag, and their latch into the image.

    tags: tag -> slot; a companion (`<tag>.age` in s, `<tag>.rank` 0..1) is posted when it has a slot.
    tz: IANA name of the site's zone, for the day of a rank.
    """

    def __init__(self, tags: Mapping[str, int], specs: Iterable[FeedSpec | OfferSpec], tz: str) -> None:
        self._entries: dict[str, _Entry] = {}
        for spec in specs:
            if spec.tag in self._entries:
                raise StoreError(f"{spec.tag} is declared twice")
            if isinstance(spec, OfferSpec) and spec.recover < 1:
                raise StoreError(f"{spec.tag}: recover must be at least 1")
            self._entries[spec.tag] = _Entry(spec, tags)
        self._tz = tz
        self._suspect = False
        self._next_ns = -1
        self._lo = math.inf
        self._hi = -math.inf

    def put(self, profile: Profile, now_ns: int, utc: float) -> bool:
        """Take a profile. True: it is in force. False: nothing new in it, or a lost issuer is still recovering.

        A feed that repeats the stamp it had does not become younger. An offer without steps takes the offer back.
        Raises StoreError for a tag nobody declared, another unit, numbers that are not finite or out of bounds,
        times that do not ascend, a profile that is over, or one older than the one in force.
        """
        entry = self._entries.get(profile.tag)
        if entry is None:
            raise StoreError(f"{profile.tag} is not a declared feed or offer")
        self._check(entry, profile, utc)
        before = entry.profile
        if before is not None:
            # a stamp of the future must not lock out the true ones after the wall clock went back
            if profile.issued_at < min(before.issued_at, utc):
                raise StoreError(f"{profile.tag}: issued before the one in force ({profile.id} after {before.id})")
            if profile.issued_at == before.issued_at and profile.issuer == before.issuer:
                return False
        if isinstance(entry.spec, OfferSpec) and not self._recovered(entry, profile, utc):
            return False
        entry.merge(profile, now_ns, utc)
        self._next_ns = -1
        return True

    def profile(self, tag: str) -> Profile | None:
        """The profile in force, or None. Raises KeyError for a tag that was not declared."""
        return self._entries[tag].profile

    @property
    def suspect(self) -> bool:
        """True while nobody knows which hour it is (see mark_clock)."""
        return self._suspect

    def mark_clock(self, suspect: bool) -> None:
        """After a step of the wall clock nobody knows which hour it is: what depends on it is at best uncertain."""
        if suspect != self._suspect:
            self._suspect = suspect
            for entry in self._entries.values():
                entry.next_ns = -1
            self._next_ns = -1

    def latch(self, image: Poster, now_ns: int, utc: float) -> None:
        """Post what has changed since the last call. now_ns: CLOCK_BOOTTIME of the cycle; utc: s since 1970."""
        if now_ns < self._next_ns and self._lo <= utc < self._hi:
            return
        lo, hi, next_ns = -math.inf, math.inf, _NEVER_NS
        for entry in self._entries.values():
            if now_ns >= entry.next_ns or not entry.lo <= utc < entry.hi:
                self._refresh(entry, image, now_ns, utc)
            if now_ns >= entry.next_age_ns:
                # whole seconds: an age is no measurement, and every post is a line of the input log
                seconds = (now_ns - entry.arrival_ns) // _NS
                image.post(entry.age_slot, float(seconds), quality.GOOD, now_ns)
                entry.next_age_ns = entry.arrival_ns + (seconds + 1) * _NS
            lo = max(lo, entry.lo)
            hi = min(hi, entry.hi)
            next_ns = min(next_ns, entry.next_ns, entry.next_age_ns)
        self._lo, self._hi, self._next_ns = lo, hi, next_ns

    def quiet_ns(self, now_ns: int, utc: float) -> int:
        """How long after a latch() at this instant the next one has nothing to post, if no profile comes meanwhile."""
        until = math.inf if self._hi == math.inf else round((self._hi - utc) * _NS)
        return int(min(self._next_ns - now_ns, until))

    @staticmethod
    def _check(entry: _Entry, profile: Profile, utc: float) -> None:
        spec = entry.spec
        if profile.unit != spec.unit:
            raise StoreError(f"{spec.tag} is in {spec.unit}, the profile in {profile.unit}")
        if not (math.isfinite(profile.valid_until) and math.isfinite(profile.issued_at)):
            raise StoreError(f"{spec.tag}: times must be finite")
        last = -math.inf
        for t, v in profile.steps:
            if not (math.isfinite(t) and math.isfinite(v)):
                raise StoreError(f"{spec.tag}: a step is not finite")
            if t <= last:
                raise StoreError(f"{spec.tag}: times do not ascend at {clock.iso(t)}")
            last = t
        if not profile.steps:
            if isinstance(spec, FeedSpec):
                raise StoreError(f"{spec.tag}: the profile is empty")
            return
        if profile.valid_until <= max(utc, profile.steps[0][0]):
            raise StoreError(f"{spec.tag}: the profile is over since {clock.iso(profile.valid_until)}")
        if isinstance(spec, FeedSpec):
            lo = -math.inf if spec.valid_lo is None else spec.valid_lo
            hi = math.inf if spec.valid_hi is None else spec.valid_hi
            for t, v in profile.steps:
                if not lo <= v <= hi:
                    raise StoreError(f"{spec.tag}: {v:g} {spec.unit} at {clock.iso(t)} is outside {lo:g} .. {hi:g}")

    @staticmethod
    def _recovered(entry: _Entry, profile: Profile, utc: float) -> bool:
        spec = entry.spec
        if not isinstance(spec, OfferSpec) or not profile.steps:
            return True
        # one that was taken back is not lost
        if entry.times and utc >= entry.until + spec.grace_s and not entry.lost:
            entry.lost, entry.good = True, 0
        if not entry.lost:
            return True
        entry.good = entry.good + 1 if quality.is_usable(profile.status) else 0
        if entry.good < spec.recover:
            return False
        entry.lost = False
        return True

    def _refresh(self, entry: _Entry, image: Poster, now_ns: int, utc: float) -> None:
        at = bisect_right(entry.times, utc) - 1
        entry.lo = entry.times[at] if at >= 0 else -math.inf
        entry.hi = entry.times[at + 1] if at + 1 < len(entry.times) else math.inf
        entry.next_ns = _NEVER_NS
        known = at >= 0 and not math.isnan(entry.values[at])
        if known:
            entry.value = entry.values[at]
        if entry.profile is None:
            entry.status = quality.BAD_NO_COMMS
        elif not known:
            entry.status = quality.BAD_NO_COMMS_LAST
        elif isinstance(entry.spec, FeedSpec):
            entry.status = _feed_status(entry, entry.spec, now_ns, utc)
        else:
            entry.status = _offer_status(entry, entry.spec, utc)
        if self._suspect and quality.is_good(entry.status):
            entry.status = quality.UNCERTAIN
        t_ns = entry.arrival_ns if entry.profile is not None else now_ns
        if entry.slot >= 0:
            image.post(entry.slot, entry.value, entry.status, t_ns)
        if entry.rank_slot >= 0:
            image.post(entry.rank_slot, *self._rank(entry, utc), t_ns)

    def _rank(self, entry: _Entry, utc: float) -> tuple[float, int]:
        """Share of the local day that is cheaper than now, and its status: bad when a part of the day is unknown."""
        begin, end = clock.local_day(utc, self._tz)
        entry.lo = max(entry.lo, begin)
        entry.hi = min(entry.hi, end)
        covered = bool(entry.times) and entry.times[0] <= begin and entry.until >= end
        if not covered or not quality.is_usable(entry.status):
            return 0.0, quality.BAD
        cheaper = 0.0
        first = bisect_right(entry.times, begin) - 1
        for i in range(first, len(entry.times)):
            start = max(entry.times[i], begin)
            if start >= end:
                break
            if math.isnan(entry.values[i]):
                return 0.0, quality.BAD
            if entry.values[i] < entry.value:
                stop = entry.times[i + 1] if i + 1 < len(entry.times) else end
                cheaper += min(stop, end) - start
        return cheaper / (end - begin), entry.status


def _feed_status(entry: _Entry, spec: FeedSpec, now_ns: int, utc: float) -> int:
    if utc >= entry.until:
        entry.lo = max(entry.lo, entry.until)
        return quality.BAD_NO_COMMS_LAST
    entry.hi = min(entry.hi, entry.until)
    stale_ns = entry.arrival_ns + round(spec.stale_after_s * _NS)
    old_ns = min(entry.arrival_ns + round(2.0 * spec.every_s * _NS), stale_ns)
    status = entry.profile.status if entry.profile is not None else quality.BAD
    if now_ns > stale_ns:
        return quality.BAD_NO_COMMS_LAST
    if now_ns > old_ns:
        entry.next_ns = stale_ns + 1
        return min(status, quality.UNCERTAIN_LAST)
    entry.next_ns = old_ns + 1
    return status


def _offer_status(entry: _Entry, spec: OfferSpec, utc: float) -> int:
    status = entry.profile.status if entry.profile is not None else quality.BAD
    if utc < entry.until:
        entry.hi = min(entry.hi, entry.until)
        return status
    over = entry.until + spec.grace_s
    if utc < over:
        entry.lo, entry.hi = max(entry.lo, entry.until), min(entry.hi, over)
        return min(status, quality.UNCERTAIN_LAST)
    entry.lo = max(entry.lo, over)
    return quality.BAD_NO_COMMS_LAST
