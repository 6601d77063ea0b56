"""The dispatch problem as a mixed-integer linear program: min c x, row_lo <= A x <= row_hi, lo <= x <= hi.

The pattern of A depends on the grid of time alone; a new plan changes numbers, so that a simplex basis can be kept.
On/off decisions with start and stop variables and their minimum times after Rajan and Takriti, "Minimum up/down
polytopes of the unit commitment problem with start-up costs" (IBM RC23628, 2005).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ctrl.planning.grid import Floats, Ints, TimeGrid
from ctrl.planning.spec import DispatchSpec

PER_STEP = ("imp", "over", "exp", "spill", "chg", "dis", "soc", "rate", "net", "late", "low", "high")
PER_BLOCK = ("on", "start", "stop")
Term = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]  # row, column, value
SINGLE = ("peak0", "peak1", "end_soc", "end_stock")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each variable stands: n steps, then blocks, then single ones.

    imp, over: import kW within and beyond the limit. exp, spill: export within and beyond. chg, dis: battery kW at the
    meter. soc kWh and net t (stock less backlog) at the end of the step; late, low, high: t short of firm orders,
    below and above the stock limits. on, start, stop of the line. peak0, peak1: billed peak of this and the next month.
    end_soc kWh, end_stock t: short of what should be left.
    """

    n: int
    blocks: int

    def of(self, name: str) -> slice:
        """Columns of a variable."""
        if name in PER_STEP:
            start = PER_STEP.index(name) * self.n
            return slice(start, start + self.n)
        base = len(PER_STEP) * self.n
        if name in PER_BLOCK:
            start = base + PER_BLOCK.index(name) * self.blocks
            return slice(start, start + self.blocks)
        start = base + len(PER_BLOCK) * self.blocks + SINGLE.index(name)
        return slice(start, start + 1)

    def cols(self, name: str) -> Ints:
        """Column numbers of a variable."""
        where = self.of(name)
        return np.arange(where.start, where.stop)

    @property
    def size(self) -> int:
        """Number of columns."""
        return len(PER_STEP) * self.n + len(PER_BLOCK) * self.blocks + len(SINGLE)


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A by rows (CSR): start (rows + 1), index, value; `rows` names the first row and length of each kind of row."""

    start: npt.NDArray[np.int32]
    index: npt.NDArray[np.int32]
    value: Floats
    rows: dict[str, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One instance. integer: columns that must be whole; offset: EUR, added to c x."""

    layout: Layout
    matrix: Matrix
    cost: Floats
    lo: Floats
    hi: Floats
    row_lo: Floats
    row_hi: Floats
    integer: Ints
    offset: float

    def bounded(self, lo: Floats, hi: Floats) -> Problem:
        """The same with other column bounds."""
        return replace(self, lo=lo, hi=hi)


class _Rows:
    """Collects rows of one kind after the other; every entry is kept, zeros too, so that the pattern never changes."""

    def __init__(self) -> None:
        self.count = 0
        self.names: dict[str, slice] = {}
        self._row: list[Ints] = []
        self._col: list[Ints] = []
        self._val: list[Floats] = []

    def add(self, name: str, count: int, *terms: Term) -> None:
        """Rows `name`; each term is (row within the kind, column, value)."""
        for row, col, value in terms:
            r, c, v = np.broadcast_arrays(np.asarray(row), np.asarray(col), np.asarray(value, dtype=float))
            self._row.append(r.astype(np.int64) + self.count)
            self._col.append(c.astype(np.int64))
            self._val.append(v)
        self.names[name] = slice(self.count, self.count + count)
        self.count += count

    def matrix(self) -> Matrix:
        """All of it by rows."""
        row, col, val = (np.concatenate(parts) for parts in (self._row, self._col, self._val))
        order = np.lexsort((col, row))
        start = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=self.count))))
        return Matrix(
            start.astype(np.int32), col[order].astype(np.int32), np.asarray(val[order], dtype=np.float64), self.names
        )


def step_hours(grid: TimeGrid) -> Floats:
    """Hours a step counts in the equations: what is left of it; its whole length where it is over (all is 0 there)."""
    return np.where(grid.left > 0, grid.left, grid.hours)


def matrix_of(spec: DispatchSpec, grid: TimeGrid) -> Matrix:
    """All equations of the plan on this grid."""
    lay = Layout(grid.n, len(grid.block_start))
    rows = _Rows()
    _add_energy(rows, spec, grid, lay)
    _add_line(rows, spec, grid, lay)
    _add_stock(rows, grid, lay)
    _add_peaks(rows, spec, grid, lay)
    rows.add("end_soc", 1, (0, lay.cols("soc")[-1:], 1.0), (0, lay.cols("end_soc"), 1.0))
    rows.add("end_stock", 1, (0, lay.cols("net")[-1:], 1.0), (0, lay.cols("end_stock"), 1.0))
    return rows.matrix()


def _add_energy(rows: _Rows, spec: DispatchSpec, grid: TimeGrid, lay: Layout) -> None:
    k, dt = np.arange(grid.n), step_hours(grid)
    line, battery = spec.line, spec.battery
    switched = line.fixed - line.holding if line else 0.0
    eff = battery.efficiency if battery else 1.0
    rows.add(
        "balance",
        grid.n,
        (k, lay.cols("imp"), 1.0),
        (k, lay.cols("over"), 1.0),
        (k, lay.cols("exp"), -1.0),
        (k, lay.cols("spill"), -1.0),
        (k, lay.cols("dis"), 1.0),
        (k, lay.cols("chg"), -1.0),
        (k, lay.cols("rate"), -(line.per_rate if line else 0.0)),
        (k, lay.cols("on")[grid.block], -switched),
    )
    rows.add(
        "soc",
        grid.n,
        (k, lay.cols("soc"), 1.0),
        (k[1:], lay.cols("soc")[:-1], -1.0),
        (k, lay.cols("chg"), -eff * dt),
        (k, lay.cols("dis"), dt / eff),
    )


def _add_line(rows: _Rows, spec: DispatchSpec, grid: TimeGrid, lay: Layout) -> None:
    line = spec.line
    k, b = np.arange(grid.n), np.arange(lay.blocks)
    low, high = (line.rate_min, line.rate_max) if line else (0.0, 0.0)
    on = lay.cols("on")
    rows.add("rate_max", grid.n, (k, lay.cols("rate"), 1.0), (k, on[grid.block], -high))
    rows.add("rate_min", grid.n, (k, lay.cols("rate"), 1.0), (k, on[grid.block], -low))
    rows.add(
        "switch",
        lay.blocks,
        (b, on, 1.0),
        (b[1:], on[:-1], -1.0),
        (b, lay.cols("start"), -1.0),
        (b, lay.cols("stop"), 1.0),
    )
    for name, column, sign, hours in (
        ("min_run", "start", -1.0, line.min_run if line else 0.0),
        ("min_stop", "stop", 1.0, line.min_stop if line else 0.0),
    ):
        # a block that has begun counts from now; the pattern has room for that at any time of the hour
        age = (grid.block_start[:, None] - grid.block_start[None, :]) / 3600.0
        since = (grid.block_start[:, None] - np.maximum(grid.block_start, grid.now)[None, :]) / 3600.0
        late, early = np.nonzero((age >= 0) & (age < hours + spec.commit_every_s / 3600.0))
        counts = ((since < hours) | (age == 0))[late, early].astype(float)
        rows.add(name, lay.blocks, (late, lay.cols(column)[early], counts), (b, on, sign))
    if line is not None and ramp_binds(spec):
        _add_ramp(rows, line.rate_min, grid, lay)


def _add_ramp(rows: _Rows, rate_min: float, grid: TimeGrid, lay: Layout) -> None:
    """What the rate is above its lowest value changes with the ramp; so a start and a stop may jump to that value."""
    k, rate, on = np.arange(grid.n), lay.cols("rate"), lay.cols("on")[grid.block]
    planned = (grid.left[:-1] > 0).astype(float)
    terms: list[Term] = [(k, rate, 1.0), (k[1:], rate[:-1], -planned), (k, on, -rate_min)]
    rows.add("ramp", grid.n, *_merged(terms, k[1:], on[:-1], rate_min * planned))


def _merged(terms: list[Term], row: Ints, col: Ints, value: Floats) -> list[Term]:
    """Adds a term; an entry that is already there (two steps of one block share a column) is summed, not repeated."""
    *others, (rows, cols, first) = terms
    r, c = np.asarray(rows), np.asarray(cols)
    v = np.broadcast_to(np.asarray(first, dtype=float), r.shape).copy()
    where = {(int(i), int(j)): n for n, (i, j) in enumerate(zip(r, c, strict=True))}
    hit = np.array([where.get((int(i), int(j)), -1) for i, j in zip(row, col, strict=True)], dtype=np.int64)
    v[hit[hit >= 0]] += value[hit >= 0]
    return [*others, (r, c, v), (row[hit < 0], col[hit < 0], value[hit < 0])]


def ramp_binds(spec: DispatchSpec) -> bool:
    """True when the line cannot cross its whole range within the shortest step."""
    line = spec.line
    return line is not None and line.ramp * min(s for s, _ in spec.steps) / 3600.0 < line.rate_max - line.rate_min


def _add_stock(rows: _Rows, grid: TimeGrid, lay: Layout) -> None:
    k, net = np.arange(grid.n), lay.cols("net")
    rows.add("stock", grid.n, (k, net, 1.0), (k[1:], net[:-1], -1.0), (k, lay.cols("rate"), -step_hours(grid)))
    rows.add("limits", grid.n, (k, net, 1.0), (k, lay.cols("low"), 1.0), (k, lay.cols("high"), -1.0))
    rows.add("firm", grid.n, (k, net, 1.0), (k, lay.cols("late"), 1.0))


def _add_peaks(rows: _Rows, spec: DispatchSpec, grid: TimeGrid, lay: Layout) -> None:
    k, windows = np.arange(grid.n), len(grid.window_end)
    w = np.arange(windows)
    free = 1.0 - spec.prices.peak_margin
    share = np.where(grid.hours * 3600 > spec.prices.window_s, 1.0, step_hours(grid) * 3600 / spec.prices.window_s)
    rows.add(
        "peak",
        windows,
        (w, lay.cols("peak0"), free * (grid.window_month == 0)),
        (w, lay.cols("peak1"), free * (grid.window_month == 1)),
        (grid.window[k], lay.cols("imp"), -share),
        (grid.window[k], lay.cols("over"), -share),
    )


def with_directions(problem: Problem, steps: Ints, power: float) -> Problem:
    """Adds a binary per given step that lets the battery either charge or discharge.

    Wanted only where energy has a negative price: everywhere else losses alone forbid doing both.
    """
    if not steps.size or power <= 0:
        return problem
    lay, m, count = problem.layout, problem.matrix, steps.size
    z = problem.cost.size + np.arange(count)
    chg, dis = lay.cols("chg")[steps], lay.cols("dis")[steps]
    # chg + power z <= power, dis - power z <= 0
    index = np.concatenate([m.index, np.column_stack([chg, z, dis, z]).ravel()]).astype(np.int32)
    value = np.concatenate([m.value, np.tile([1.0, power, 1.0, -power], count)])
    more = m.start[-1] + 2 * np.arange(1, 2 * count + 1)
    rows = {**m.rows, "direction": slice(m.start.size - 1, m.start.size - 1 + 2 * count)}
    matrix = Matrix(np.concatenate([m.start, more]).astype(np.int32), index, value, rows)
    return Problem(
        lay,
        matrix,
        np.concatenate([problem.cost, np.zeros(count)]),
        np.concatenate([problem.lo, np.zeros(count)]),
        np.concatenate([problem.hi, np.ones(count)]),
        np.concatenate([problem.row_lo, np.full(2 * count, -np.inf)]),
        np.concatenate([problem.row_hi, np.tile([power, 0.0], count)]),
        np.concatenate([problem.integer, z]),
        problem.offset,
    )


def fixed_on(problem: Problem, on: Ints, was_on: bool) -> Problem:
    """The LP that is left when the line's on/off decisions are taken."""
    lay, lo, hi = problem.layout, problem.lo.copy(), problem.hi.copy()
    change = np.diff(on, prepend=int(was_on))
    for name, values in (("on", on), ("start", change > 0), ("stop", change < 0)):
        lo[lay.of(name)] = hi[lay.of(name)] = np.asarray(values, dtype=float)
    return problem.bounded(lo, hi)
