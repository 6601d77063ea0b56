"""The only place that talks to HiGHS: one LP kept hot, one MILP a commitment.

One thread, a fixed seed, stops on gap, nodes and iterations; the clock only aborts, and the answer says so.
Huangfu and Hall, "Parallelizing the dual revised simplex method", Math. Prog. Comp. 10 (2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ctrl.planning.grid import Floats, Ints
from ctrl.planning.problem import Problem
from ctrl.planning.spec import SolverSpec

WHOLE: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the solver said. x is None without a usable solution; stopped_by: why it ended, in one or two words."""

    x: Floats | None
    objective: float
    nodes: int
    iterations: int
    gap: float
    stopped_by: str

    @property
    def infeasible(self) -> bool:
        """True when it is proved that there is no solution."""
        return self.stopped_by == "infeasible"


class HotLp:
    """A linear program whose numbers change and whose basis stays. wall_limit s a solve, or None: no clock at all."""

    def __init__(self, spec: SolverSpec, wall_limit: float | None) -> None:
        self._highs = _highs(spec, wall_limit)
        self._limit = wall_limit
        self._highs.setOptionValue("presolve", "off")  # it would throw the basis away
        self._loaded: Problem | None = None

    def solve(self, problem: Problem) -> Answer:
        """Solves the linear relaxation of `problem` from the basis of the last one."""
        old = self._loaded
        if old is None or not _same_pattern(old, problem):
            self._highs.passModel(_lp(problem, integer=False))
        else:
            self._update(old, problem)
        self._loaded = problem
        answer = self._run()
        if answer.stopped_by not in ("optimal", "infeasible", "iterations", "time limit"):
            # numerical trouble in a kept basis: once more from nothing
            self._highs.clearSolver()
            answer = self._run()
        return answer

    def _run(self) -> Answer:
        if self._limit is not None:
            # HiGHS holds its limit against the run time of all solves of the object together
            self._highs.setOptionValue("time_limit", self._highs.getRunTime() + self._limit)
        self._highs.run()
        return _answer(self._highs, mip=False)

    def _update(self, old: Problem, new: Problem) -> None:
        h = self._highs
        matrix = new.matrix
        for entry in np.flatnonzero(old.matrix.value != matrix.value):
            row = int(np.searchsorted(matrix.start, entry, side="right")) - 1
            h.changeCoeff(row, int(matrix.index[entry]), float(matrix.value[entry]))
        moved = np.flatnonzero((old.lo != new.lo) | (old.hi != new.hi)).astype(np.int32)
        if moved.size:
            h.changeColsBounds(moved.size, moved, new.lo[moved], new.hi[moved])
        dearer = np.flatnonzero(old.cost != new.cost).astype(np.int32)
        if dearer.size:
            h.changeColsCost(dearer.size, dearer, new.cost[dearer])
        if old.offset != new.offset:
            h.changeObjectiveOffset(new.offset)
        sides = np.flatnonzero((old.row_lo != new.row_lo) | (old.row_hi != new.row_hi)).astype(np.int32)
        if sides.size:
            h.changeRowsBounds(sides.size, sides, new.row_lo[sides], new.row_hi[sides])


def solve_milp(problem: Problem, spec: SolverSpec, start: Floats | None, wall_limit: float | None) -> Answer:
    """Solves with whole numbers where the problem asks for them. start: values of the integer columns to begin with."""
    h = _highs(spec, wall_limit)
    h.setOptionValue("mip_rel_gap", spec.gap)
    h.setOptionValue("mip_max_nodes", spec.nodes)
    h.passModel(_lp(problem, integer=True))
    if start is not None:
        columns = problem.integer[: start.size].astype(np.int32)
        h.setSolution(columns.size, columns, np.round(start))
    h.run()
    return _answer(h, mip=True)


def _highs(spec: SolverSpec, wall_limit: float | None) -> Any:
    import highspy  # noqa: PLC0415  (30 ms and 15 MB: only for those who plan)

    h: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    h.silent()
    for name, value in (
        ("threads", 1),
        ("random_seed", spec.seed),
        ("solver", "simplex"),
        ("simplex_iteration_limit", spec.iterations),
        ("time_limit", float("inf") if wall_limit is None else wall_limit),
        ("primal_feasibility_tolerance", 1e-9),
        ("dual_feasibility_tolerance", 1e-9),
    ):
        h.setOptionValue(name, value)
    return h


def _lp(problem: Problem, *, integer: bool) -> Any:
    import highspy  # noqa: PLC0415

    lp, matrix = highspy.HighsLp(), problem.matrix
    lp.offset_ = problem.offset
    lp.num_col_, lp.num_row_ = problem.cost.size, problem.row_lo.size
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = problem.cost, problem.lo, problem.hi
    lp.row_lower_, lp.row_upper_ = problem.row_lo, problem.row_hi
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.start, matrix.index, matrix.value
    if integer:
        kinds = [highspy.HighsVarType.kContinuous] * problem.cost.size
        for column in problem.integer:
            kinds[int(column)] = highspy.HighsVarType.kInteger
        lp.integrality_ = kinds
    return lp


def _answer(h: Any, *, mip: bool) -> Answer:
    info = h.getInfo()
    status = h.modelStatusToString(h.getModelStatus()).lower()
    usable = info.primal_solution_status == 2 and (mip or status == "optimal")
    x: Floats | None = np.array(h.getSolution().col_value, dtype=np.float64) if usable else None
    words = {
        "primal infeasible or unbounded": "infeasible",
        "solution limit reached": "nodes",
        "iteration limit reached": "iterations",
        "time limit reached": "time limit",
    }
    nodes = max(int(info.mip_node_count), 0) if mip else 0
    gap = float(info.mip_gap) if mip else 0.0
    return Answer(
        x,
        float(info.objective_function_value),
        nodes,
        int(info.simplex_iteration_count),
        gap if np.isfinite(gap) else 1.0,
        words.get(status, status),
    )


def _same_pattern(a: Problem, b: Problem) -> bool:
    return (
        a.cost.size == b.cost.size
        and np.array_equal(a.matrix.start, b.matrix.start)
        and np.array_equal(a.matrix.index, b.matrix.index)
    )


def whole(values: Floats) -> Ints:
    """On/off values as 0 and 1."""
    return (values > WHOLE).astype(np.int64)
