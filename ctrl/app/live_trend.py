"""Trends of a live site: the recent past in memory, the rest from the historian."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctrl.hmi.live import Trend
from ctrl.quality import UNCERTAIN
from ctrl.records.history import HistoryReader

FINE_ROWS: Final = 900  # every row
COARSE_S: Final = 10.0  # one row in so many seconds ...
COARSE_ROWS: Final = 2160  # ... for six hours
MOST: Final = 2000  # points of an answer
GAP: Final = 5.0  # steps without a row that are drawn as a gap

Floats = NDArray[np.float64]


class _Ring:
    """The last `rows` rows [rows, tags] and their times."""

    def __init__(self, rows: int, tags: int) -> None:
        self._t = np.empty(rows)
        self._v = np.empty((rows, tags))
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self._n = 0

    def append(self, utc: float, row: Floats) -> None:
        """One row more; the oldest goes when it is full."""
        at = self._n % len(self._t)
        self._t[at], self._v[at] = utc, row
        self._n += 1

    @property
    def first(self) -> float:
        """Time of the oldest row; infinite when there is none."""
        if self._n == 0:
            return np.inf
        return float(self._t[self._n % len(self._t)] if self._n > len(self._t) else self._t[0])

    @property
    def last(self) -> float:
        """Time of the newest row; minus infinite when there is none."""
        return float(self._t[(self._n - 1) % len(self._t)]) if self._n else -np.inf

    def since(self, utc: float, columns: Sequence[int]) -> tuple[Floats, Floats]:
        """(times [n], values [n, columns]) of the rows from `utc` on, oldest first."""
        count = min(self._n, len(self._t))
        order = np.arange(self._n - count, self._n) % len(self._t)
        order = order[self._t[order] >= utc]
        return self._t[order], self._v[order][:, list(columns)]


class TrendStore:
    """Recent rows of the recorded tags. `row` and `trend` may be called from different threads.

    tags: of a row, in its order. history: file of the historian for what is older, or None.
    """

    def __init__(self, tags: Sequence[str], history: Path | None) -> None:
        self._columns = {tag: i for i, tag in enumerate(tags)}
        self._fine, self._coarse = _Ring(FINE_ROWS, len(tags)), _Ring(COARSE_ROWS, len(tags))
        self._history = history
        self._reader: HistoryReader | None = None
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def row(self, utc: float, values: Sequence[float], statuses: bytes) -> None:
        """One row of the record."""
        row = np.array(values, dtype=np.float64)
        row[np.frombuffer(statuses, dtype=np.uint8) < UNCERTAIN] = np.nan
        with self._lock:
            if utc <= self._fine.last:  # the clock was set back: what was there is of another time
                self._fine.clear()
                self._coarse.clear()
            self._fine.append(utc, row)
            if utc >= self._coarse.last + COARSE_S:
                self._coarse.append(utc, row)

    def trend(self, tags: Sequence[str], seconds: float) -> Trend:
        """The last `seconds` s of the tags, at most about MOST points; None where bad or absent. Raises KeyError."""
        columns = [self._columns[tag] for tag in tags]
        with self._lock:
            since = self._fine.last - seconds
            # until the fine one is full, it holds every row of the run
            fine = self._fine.first <= max(since, self._coarse.first)
            ring = self._fine if fine else self._coarse
            first, (times, values) = ring.first, ring.since(since, columns)
        if first > since and self._history is not None and self._history.is_file():
            old_times, old_values = self._older(tags, since, first)
            times, values = np.concatenate((old_times, times)), np.concatenate((old_values, values))
        return _as_trend(tags, times, values)

    def _older(self, tags: Sequence[str], since: float, until: float) -> tuple[Floats, Floats]:
        with self._reading:
            if self._reader is None and self._history is not None:
                self._reader = HistoryReader(self._history)
            if self._reader is None:
                return np.empty(0), np.empty((0, len(tags)))
            until = float(np.nextafter(until, -np.inf))
            columns: list[Floats] = []
            times = np.empty(0)
            for tag in tags:
                t, value, status = self._reader.series(tag, since, until)
                # rows may be added between two tags: keep those that all have
                times = t if not columns else times[: min(len(times), len(t))]
                columns.append(np.where(status >= UNCERTAIN, value, np.nan))
        n = len(times)
        return times, np.column_stack([column[:n] for column in columns]) if columns else np.empty((n, 0))

    def close(self) -> None:
        """Close the historian's file."""
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None


def _as_trend(tags: Sequence[str], times: Floats, values: Floats) -> Trend:
    stride = max(1, -(-len(times) // MOST))
    keep = np.arange(len(times))[::-1][::stride][::-1]  # the newest stays
    times, values = times[keep], values[keep]
    if len(times) > 2:
        step = np.diff(times)
        gaps = np.flatnonzero(step > GAP * np.median(step))
        # a row without values in every gap, so that no line crosses it
        times = np.insert(times, gaps + 1, times[gaps] + 0.5 * step[gaps])
        values = np.insert(values, gaps + 1, np.nan, axis=0)
    return {
        "utc": times.tolist(),
        "tags": {tag: [None if np.isnan(v) else v for v in values[:, i].tolist()] for i, tag in enumerate(tags)},
    }
