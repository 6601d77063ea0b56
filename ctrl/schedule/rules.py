"""When a job is due: every so many seconds, or by a cron expression in UTC or in local time.

All times are seconds UTC of the plant's clock. A rule is a pure function of time, so a live run, a sped-up one and a
simulated one have the same dates. Periods lie on one grid (multiples of the period since 1970), whenever the process
was started.

Local cron rules and the two nights a year on which the clocks change (crontab(5), "Daylight Saving Time"):
- an expression whose hours are all allowed (`*/15 * * * *`) follows real time: 92, 96 or 100 quarter hours a day;
- one with fixed hours (`30 2 * * *`) is a list of local dates, each of which happens exactly once: in the doubled hour
  at its first occurrence, in the hour that is left out as much later as the clocks jumped (02:30 runs at 03:30).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Protocol

from apscheduler.triggers.cron import CronTrigger

from ctrl.clock import zone

_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_GAP: Final = timedelta(hours=25)  # a whole day was once left out in Samoa
_COUNT_AT_MOST: Final = 100  # after a long gap the exact number tells nobody anything


class RuleError(ValueError):
    """The rule cannot be kept, with the reason in plain words."""


class Rule(Protocol):
    """Dates of a job."""

    def after(self, utc: float) -> float:
        """First date strictly after `utc`, both in s since 1970."""

    def last_due(self, due: float, now: float) -> tuple[float, int]:
        """Of the dates from `due` on: the last one that is not after `now`, and how many came before it."""


@dataclass(frozen=True, slots=True)
class Every:
    """Each whole multiple of `seconds` since 1970, plus `offset` s (0 <= offset < seconds)."""

    seconds: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0.0):
            raise RuleError(f"a period must be above 0 s, not {self.seconds}")
        if not 0.0 <= self.offset < self.seconds:
            raise RuleError(f"the offset {self.offset} s is not within the period of {self.seconds} s")

    def after(self, utc: float) -> float:
        """First grid point strictly after `utc`."""
        k = math.floor((utc - self.offset) / self.seconds) + 1
        while (due := k * self.seconds + self.offset) <= utc:
            k += 1
        return due

    def last_due(self, due: float, now: float) -> tuple[float, int]:
        """Last grid point up to `now`, by arithmetic: a long gap costs nothing."""
        skipped = max(0, math.floor((now - due) / self.seconds))
        return due + skipped * self.seconds, skipped


@dataclass(frozen=True)
class Cron:
    """`minute hour day month weekday`, as in crontab(5): weekday 0 and 7 are Sunday, 1 is Monday; names work too.

    tz: IANA zone in which the fields are read; "UTC" for rules that must not care about clock changes.
    Day of month and weekday together are refused: crontab(5) would run on either, which few people expect.
    Raises RuleError for a malformed expression or one that never comes (31 February).
    """

    expression: str
    tz: str = "UTC"

    def __post_init__(self) -> None:
        if self._trigger.get_next_fire_time(None, datetime(2024, 1, 1, tzinfo=UTC)) is None:
            raise RuleError(f"'{self.expression}' never comes")

    @cached_property
    def _by_dates(self) -> bool:
        """Fixed hours: local dates, one by one. False: real time."""
        hours = self.expression.split()[1]
        return hours not in ("*", "*/1", "0-23") and self.tz != "UTC"

    @cached_property
    def _trigger(self) -> CronTrigger:
        fields = self.expression.split()
        if len(fields) != 5:
            raise RuleError(f"'{self.expression}' has {len(fields)} fields; a cron expression has 5")
        if fields[2] != "*" and fields[4] != "*":
            raise RuleError(f"'{self.expression}' gives both a day of the month and a weekday; give one")
        # local dates are walked as if they were UTC, where every one of them exists once
        read_in = UTC if self._by_dates else zone(self.tz)
        try:
            return CronTrigger(
                minute=fields[0],
                hour=fields[1],
                day=fields[2],
                month=fields[3],
                day_of_week=_weekdays(fields[4]),
                timezone=read_in,
            )
        except ValueError as error:
            raise RuleError(f"'{self.expression}': {error}") from error

    def after(self, utc: float) -> float:
        """First date strictly after `utc`."""
        if not self._by_dates:
            return self._next(datetime.fromtimestamp(utc, UTC)).timestamp()
        tz = zone(self.tz)
        local = datetime.fromtimestamp(utc, tz)
        earlier = (datetime.fromtimestamp(utc, UTC) - _LONGEST_GAP).astimezone(tz)
        gap = (local.utcoffset() or timedelta()) - (earlier.utcoffset() or timedelta())
        # a date inside an hour that was left out is still to come while its clock time is past
        shown = (local - max(gap, timedelta())).replace(tzinfo=UTC, fold=0)
        while True:
            shown = self._next(shown)
            due = shown.replace(tzinfo=tz, fold=0).timestamp()
            if due > utc:
                return due

    def _next(self, moment: datetime) -> datetime:
        following: datetime | None = self._trigger.get_next_fire_time(None, moment + timedelta(microseconds=1))
        if following is None:
            raise RuleError(f"'{self.expression}' does not come after {moment:%Y-%m-%d}")
        return following

    def last_due(self, due: float, now: float) -> tuple[float, int]:
        """Last date up to `now`; counts at most 100 dates before it."""
        for skipped in range(_COUNT_AT_MOST):
            following = self.after(due)
            if following > now:
                return due, skipped
            due = following
        return due, _COUNT_AT_MOST


@dataclass(frozen=True, slots=True)
class Delayed:
    """Every date of another rule, `seconds` > 0 later: a plan that waits for the polls of its quarter hour."""

    rule: Rule
    seconds: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0.0):
            raise RuleError(f"a delay must be above 0 s, not {self.seconds}")

    def after(self, utc: float) -> float:
        """First delayed date strictly after `utc`."""
        return self.rule.after(utc - self.seconds) + self.seconds

    def last_due(self, due: float, now: float) -> tuple[float, int]:
        """Last delayed date up to `now`, and how many came before it."""
        last, skipped = self.rule.last_due(due - self.seconds, now - self.seconds)
        return last + self.seconds, skipped


def _weekdays(field: str) -> str:
    """Weekday field of crontab as names, since APScheduler counts from Monday = 0 and crontab from Sunday = 0."""
    if field == "*":
        return field
    chosen: list[int] = []
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            first, dash, last = "0", "-", "6"
        low = _weekday(first)
        high = _weekday(last) if dash else (6 if step else low)
        if high < low:
            high += 7  # sat-mon, 5-0
        if step and not (step.isdigit() and int(step) > 0):
            raise RuleError(f"'{step}' is not a step of weekdays")
        chosen += [day % 7 for day in range(low, high + 1, int(step or 1))]
    return ",".join(_DAYS[day] for day in sorted(set(chosen)))


def _weekday(text: str) -> int:
    if text in _DAYS:
        return _DAYS.index(text)
    if text.isdigit() and int(text) <= 7:
        return int(text)
    raise RuleError(f"'{text}' is not a weekday: 0 to 7 (0 and 7 are Sunday) or sun to sat")
