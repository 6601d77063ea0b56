"""The grid of time a plan is made on: steps in UTC, aligned to billing windows and commitments.

Everything is counted in UTC, so days of 23 and 25 hours need no care; local time only names days and months.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from ctrl.planning.spec import DispatchSpec
from ctrl.planning.state import Curve, Order

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SHORTEST_S: Final = 1.0  # what is left of a step and shorter than this is over


@dataclass(frozen=True, slots=True, eq=False)
class TimeGrid:
    """n steps from a whole commitment on. Steps before `first` are over; step `first` has begun.

    edges (n+1) utc s; hours (n) length of each step, left (n) what is still to come of it, h. block (n): which on/off
    decision a step belongs to; block_start utc s. window (n): which billing window, or the step itself where it is
    longer; window_end utc s; window_month: 0 in the local month of now, 1 in the next.
    """

    now: float
    edges: Floats
    hours: Floats
    left: Floats
    first: int
    block: Ints
    block_start: Floats
    window: Ints
    window_end: Floats
    window_month: Ints

    @property
    def n(self) -> int:
        """Number of steps."""
        return len(self.hours)


def make_grid(now: float, spec: DispatchSpec) -> TimeGrid:
    """Grid for a plan asked for at `now` utc s: it starts at the last whole step of the longest kind.

    That start moves once an hour (for hourly steps), so the plans between have the same steps and the solver
    keeps its basis.
    """
    longest = max(spec.commit_every_s, *(step for step, _ in spec.steps))
    start = now // longest * longest
    offsets, done = [0.0], 0
    for step, until in spec.steps:
        offsets += [float(s) for s in range(done + step, until + step, step)]
        done = until
    edges = start + np.array(offsets)
    hours = np.diff(edges) / 3600.0
    left = (edges[1:] - np.maximum(edges[:-1], now)) / 3600.0
    left[left * 3600.0 < SHORTEST_S] = 0.0
    block, block_start = _groups(edges[:-1], spec.commit_every_s)
    window, window_start = _groups(edges[:-1], spec.prices.window_s)
    window_end = np.array([edges[np.flatnonzero(window == w)[-1] + 1] for w in range(len(window_start))])
    zone = ZoneInfo(spec.timezone)
    this = _month(now, zone)
    month = np.array([0 if _month(max(s, now), zone) == this else 1 for s in window_start], dtype=np.int64)
    first = int(np.flatnonzero(left > 0)[0])
    return TimeGrid(now, edges, hours, left, first, block, block_start, window, window_end, month)


def _groups(starts: Floats, length: int) -> tuple[Ints, Floats]:
    keys = np.floor_divide(starts, length)
    index = np.concatenate(([0], np.cumsum(np.diff(keys) > 0))).astype(np.int64)
    firsts = np.flatnonzero(np.concatenate(([True], np.diff(index) > 0)))
    return index, starts[firsts]


def _month(utc: float, zone: ZoneInfo) -> tuple[int, int]:
    local = datetime.fromtimestamp(utc, zone)
    return local.year, local.month


def mean_on(curve: Curve, grid: TimeGrid) -> Floats:
    """Time-weighted mean of the curve over what is left of each step (whole steps where they are over)."""
    starts = np.where(grid.left > 0, np.maximum(grid.edges[:-1], grid.now), grid.edges[:-1])
    return interval_means(curve, starts, grid.edges[1:])


def interval_means(curve: Curve, starts: Floats, ends: Floats) -> Floats:
    """Time-weighted mean of a step-wise curve over each interval [starts, ends), ends > starts."""
    times = np.array([t for t, _ in curve.steps])
    values = np.array([v for _, v in curve.steps])
    area = np.concatenate(([0.0], np.cumsum(values[:-1] * np.diff(times))))

    def integral(t: Floats) -> Floats:
        at = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 1)
        return np.asarray(area[at] + values[at] * (t - times[at]))

    return np.asarray((integral(ends) - integral(starts)) / (ends - starts))


def lowest_on(curve: Curve, grid: TimeGrid) -> Floats:
    """Smallest value of the curve within what is left of each step."""
    times = [t for t, _ in curve.steps]
    lows = []
    for a, b in zip(grid.edges[:-1], grid.edges[1:], strict=True):
        start = min(max(a, grid.now), b)
        inside = [curve.at(t) for t in times if start < t < b]
        lows.append(min([curve.at(start), *inside]))
    return np.array(lows)


def local_days(start: float, end: float, timezone: str) -> tuple[float, ...]:
    """Local midnights in utc s that cover [start, end]: 23, 24 or 25 h apart."""
    zone = ZoneInfo(timezone)
    day = datetime.fromtimestamp(start, zone).date()
    midnights: list[float] = []
    while not midnights or midnights[-1] < end:
        midnights.append(datetime.combine(day, time(), zone).astimezone(UTC).timestamp())
        day += timedelta(days=1)
    return tuple(midnights)


def book_orders(orders: tuple[Order, ...], grid: TimeGrid) -> Floats:
    """Mass due (n), t, booked at the end of the last step that is over when the order is due.

    An order due inside a step is booked a step early, so that it is on time however the step is run; what is due
    within the running step, or was due before, is booked at the end of the running step. Orders due after the grid
    count nothing.
    """
    due = np.zeros(grid.n)
    for order in orders:
        if order.due >= grid.edges[-1] + 1e-6:
            continue
        step = int(np.searchsorted(grid.edges, order.due, side="right")) - 2
        due[max(step, grid.first)] += order.mass
    return due


def expected_sales(sales: Curve, orders: tuple[Order, ...], grid: TimeGrid, timezone: str) -> Floats:
    """Sales (n), t, expected beyond the firm orders: of each local day, what its orders do not already consume."""
    mass = mean_on(sales, grid) / 24.0 * grid.left
    days = local_days(grid.now, float(grid.edges[-1]), timezone)
    middle = (np.maximum(grid.edges[:-1], grid.now) + grid.edges[1:]) / 2
    for start, end in pairwise(days):
        inside = (middle >= start) & (middle < end)
        firm = sum(order.mass for order in orders if max(start, grid.now) <= order.due < end)
        expected = float(mass[inside].sum())
        if expected > 0:
            mass[inside] *= max(0.0, expected - firm) / expected
    return mass
