"""Curves: rows of (time, value) become a Profile that has no gap, no overlap and no invented value.

A missing value is a hole, never zero: free energy would be a costly invention. The stretch around the present is kept,
the rest is cut off, and the reason of the profile says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from ctrl import clock, quality
from ctrl.messages import Profile
from ctrl.signals.base import Feed, FeedError
from ctrl.signals.values import in_unit

_DAY: Final = 86_400.0
_HOUR: Final = 3_600.0

Point = tuple[float, float | None]


def make_profile(feed: Feed, points: Sequence[Point], now_utc: float) -> Profile:
    """Profile from (s since 1970, value in feed.body_unit or None for a missing one). Raises FeedError.

    The length of the last step is that of the most common one. Values are converted to feed.unit and checked against
    the declared range; what lies more than one step beyond the horizon is cut off.
    """
    if not points:
        raise FeedError("the list is empty")
    _check_order(points)
    step = _common_step(points)
    _check_grid(feed, points, step)
    ends = [_end(feed, points, i, step) for i in range(len(points))]
    first, last = _stretch(points, ends, now_utc)
    steps = [(points[i][0], _checked(feed, points[i])) for i in range(first, last + 1)]
    until = ends[last]
    if feed.horizon_s is not None and until > (edge := now_utc + feed.horizon_s + step):
        steps = [item for item in steps if item[0] < edge]
        until = min(until, edge)
    holes = sum(value is None for _, value in points)
    cut = len(points) - holes - (last - first + 1)
    reason = f"{holes} value(s) missing, {cut} not used beyond a hole" if holes or cut else ""
    return Profile(
        tag=feed.tag,
        unit=feed.unit,
        steps=tuple(steps),
        valid_until=until,
        status=quality.GOOD,
        issuer=feed.source,
        id=f"{feed.name} {clock.iso(now_utc)}",
        reason=reason,
        issued_at=now_utc,
    )


def _check_order(points: Sequence[Point]) -> None:
    for (before, _), (after, _) in pairwise(points):
        if after == before:
            raise FeedError(f"the interval at {clock.iso(after)} comes twice")
        if after < before:
            raise FeedError(f"times go back at {clock.iso(after)}")


def _common_step(points: Sequence[Point]) -> float:
    if len(points) == 1:
        return _HOUR
    lengths = Counter(round(b[0] - a[0]) for a, b in pairwise(points))
    most = max(lengths.values())
    return float(max(1, min(length for length, n in lengths.items() if n == most)))


def _check_grid(feed: Feed, points: Sequence[Point], step: float) -> None:
    """Steps may be longer by a hole of whole steps, never shorter: that would be two intervals on top of each other."""
    for (before, _), (after, _) in pairwise(points):
        length = after - before
        if _is_days(step):
            if not _whole_days(feed, before, after):
                raise FeedError(f"the day from {clock.iso(before)} lasts {length / _HOUR:g} h")
        elif length < step - 0.5:
            raise FeedError(f"intervals overlap at {clock.iso(after)}: {length:g} s where {step:g} s are usual")
        elif abs(length / step - round(length / step)) * step > 0.5:
            raise FeedError(f"the interval at {clock.iso(after)} is off the grid of {step:g} s")


def _is_days(step: float) -> bool:
    return _DAY - _HOUR <= step <= _DAY + _HOUR


def _whole_days(feed: Feed, before: float, after: float) -> bool:
    tz = clock.zone(feed.tz)
    a, b = datetime.fromtimestamp(before, tz), datetime.fromtimestamp(after, tz)
    return a.time() == b.time() or round(after - before) % round(_DAY) == 0


def _end(feed: Feed, points: Sequence[Point], i: int, step: float) -> float:
    """End of interval i: the next one if it follows on, else one step later."""
    start = points[i][0]
    due = clock.local_day(start, feed.tz)[1] if _is_days(step) and clock.local_seconds(start, feed.tz) == 0.0 else None
    end = start + step if due is None else due
    if i + 1 < len(points) and abs(points[i + 1][0] - end) <= 0.5:
        return points[i + 1][0]
    return end


def _stretch(points: Sequence[Point], ends: Sequence[float], now_utc: float) -> tuple[int, int]:
    """First and last index of the unbroken stretch that holds the present, else of the next one to come."""
    first: int | None = None
    for i, (_, value) in enumerate(points):
        if value is None:
            first = None
            continue
        first = i if first is None else first
        more = i + 1 < len(points) and points[i + 1][1] is not None and points[i + 1][0] <= ends[i]
        if more:
            continue
        if ends[i] > now_utc:
            if points[first][0] > now_utc and points[0][0] <= now_utc:
                raise FeedError(f"the value of now is missing; the next one is for {clock.iso(points[first][0])}")
            return first, i
        first = None
    if all(value is None for _, value in points):
        raise FeedError("all values are missing")
    raise FeedError(f"the curve ended at {clock.iso(ends[-1])}")


def _checked(feed: Feed, point: Point) -> float:
    at, raw = point
    what = f"the value at {clock.iso(at)}"
    if raw is None:
        raise FeedError(f"{what} is missing")
    value = in_unit(raw, feed.body_unit, feed.unit, what)
    check_range(feed, value, what)
    return value


def check_range(feed: Feed, value: float, what: str) -> None:
    """Raise FeedError (suspect) for a value in feed.unit outside the declared range."""
    if feed.valid_lo is not None and value < feed.valid_lo:
        raise FeedError(f"{what} is {value:g} {feed.unit}, below {feed.valid_lo:g}", suspect=True, persistent=True)
    if feed.valid_hi is not None and value > feed.valid_hi:
        raise FeedError(f"{what} is {value:g} {feed.unit}, above {feed.valid_hi:g}", suspect=True, persistent=True)
