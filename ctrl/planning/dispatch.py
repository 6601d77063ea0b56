"""Economic dispatch: on/off decisions by MILP when a commitment is due, all the rest by an LP kept hot in between.

Quality of a plan: optimal -> relaxed (naming what, by how much) -> last plan shifted -> failed. Nothing a solver does
raises; a plan that its own replay refutes is not offered. A search for on/off decisions that was cut short leaves its
mark on every plan that follows them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ctrl.planning.extract import costs_of, relaxed_of, steps_of
from ctrl.planning.grid import Floats, Ints
from ctrl.planning.model import Case, build, read_case
from ctrl.planning.plan import NO_COSTS, Plan, PlanStep, Solved
from ctrl.planning.problem import Problem, fixed_on, with_directions
from ctrl.planning.reasons import reasons_of
from ctrl.planning.replay import check
from ctrl.planning.solver import Answer, HotLp, solve_milp, whole
from ctrl.planning.spec import DispatchSpec
from ctrl.planning.state import PlanInputs, PlanState

DIRECTION_ROUNDS: Final = 8
BOTH_WAYS_KW: Final = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """A solved plan: x of the LP, the work done, on/off per block."""

    x: Floats
    on: Ints
    solved: Solved


class Dispatch:
    """One plan that is made again and again.

    clock: let spec.solver.time_limit abort a solve (live); without, nodes and iterations alone stop it (simulation).
    """

    def __init__(self, spec: DispatchSpec, *, clock: bool = True) -> None:
        self.spec = spec
        self._limit = spec.solver.time_limit if clock else None
        self._lp = HotLp(spec.solver, self._limit)
        self._committed: tuple[tuple[float, int], ...] = ()
        self._committed_at: float | None = None
        self._cut_short = ""  # what the decisions in force lack, in plain words
        self._last: Plan | None = None
        self._count = 0

    def commit_due(self, utc: float) -> bool:
        """True when on/off decisions are to be taken anew at `utc` s, events apart."""
        every = self.spec.commit_every_s
        return self._committed_at is None or utc // every > self._committed_at // every

    def plan(self, state: PlanState, inputs: PlanInputs, commit: bool) -> Plan:
        """A plan from `state` on. commit: decide on/off anew, else keep the last decisions while they are possible."""
        self._count += 1
        ident = f"{self.spec.name}-{int(state.utc)}-{self._count}"
        case = read_case(self.spec, state, inputs)
        outcome, why = self._solve(case, commit)
        if outcome is None:
            return self._shifted(ident, state, inputs, why)
        cut = self._lacks(outcome.solved) if outcome.solved.committed else self._cut_short
        plan = self._describe(ident, case, outcome, inputs, cut)
        wrong = check(plan, self.spec, state, inputs)
        if wrong:
            return self._shifted(ident, state, inputs, replace(why, stopped_by=f"refuted: {wrong[0]}"))
        if outcome.solved.committed:
            self._committed_at, self._cut_short = state.utc, cut
        self._committed = tuple(zip(case.grid.block_start.tolist(), outcome.on.tolist(), strict=True))
        self._last = plan
        return plan

    def _solve(self, case: Case, commit: bool) -> tuple[_Outcome | None, Solved]:
        kept = self._kept(case)
        base = build(case, np.full(case.forced.size, 0.5) if kept is None else kept.astype(float))
        why = Solved(False, 0, 0, 0.0, "no solution", 0.0)
        tries = [(True, stage) for stage in _stages(case)]
        if not commit and kept is not None and _possible(kept, case):
            tries.insert(0, (False, _stages(case)[0]))
        for anew, problem in tries:
            outcome, why = self._attempt(case, problem(base), kept, anew)
            if outcome is not None or why.stopped_by != "infeasible":
                return outcome, why
        return None, why

    def _attempt(self, case: Case, problem: Problem, kept: Ints | None, anew: bool) -> tuple[_Outcome | None, Solved]:
        milp = Answer(None, 0.0, 0, 0, 0.0, "optimal")
        on, decided = kept, False
        if anew:
            milp = solve_milp(_milp_of(case, problem), self.spec.solver, _start(case, kept), self._limit)
            if milp.infeasible or (milp.x is None and milp.stopped_by == "time limit"):
                return None, _solved(milp, milp, committed=True)
            if milp.x is not None:
                on, decided = whole(milp.x[problem.layout.of("on")]), True
        if on is None or not _possible(on, case):
            return None, _solved(milp, milp, committed=anew)
        lp = self._solve_lp(fixed_on(problem, on, case.state.line_on), case)
        # a search that found nothing has decided nothing: what was kept is no new commitment
        solved = replace(_solved(milp, lp, committed=decided), owed=anew and not decided)
        return (None if lp.x is None else _Outcome(lp.x, on, solved)), solved

    def _solve_lp(self, problem: Problem, case: Case) -> Answer:
        """LP with on/off fixed. Where energy is worth less than nothing it may charge and discharge at once: then the
        smaller of the two is forbidden there and the LP solved again."""
        lay, hi = problem.layout, problem.hi.copy()
        answer = self._lp.solve(problem)
        iterations = answer.iterations
        for _ in range(DIRECTION_ROUNDS):
            if answer.x is None:
                break
            chg, dis = answer.x[lay.of("chg")], answer.x[lay.of("dis")]
            both = np.flatnonzero((np.minimum(chg, dis) > BOTH_WAYS_KW) & (case.grid.left > 0))
            if not both.size:
                break
            for k in both:
                hi[lay.cols("dis" if chg[k] >= dis[k] else "chg")[k]] = 0.0
            answer = self._lp.solve(problem.bounded(problem.lo, hi.copy()))
            iterations += answer.iterations
        return replace(answer, iterations=iterations)

    def _kept(self, case: Case) -> Ints | None:
        """Decisions of the last commitment on the blocks of this plan; the last one goes on to the end."""
        if not self._committed:
            return None
        starts = np.array([start for start, _ in self._committed])
        values = np.array([on for _, on in self._committed], dtype=np.int64)
        at = np.searchsorted(starts, case.grid.block_start, side="right") - 1
        return np.asarray(values[np.maximum(at, 0)])

    def _lacks(self, solved: Solved) -> str:
        """What a new commitment lacks, in plain words: its search ended before the gap asked for. Empty: nothing."""
        asked = self.spec.solver.gap
        if solved.stopped_by == "optimal" or solved.gap <= asked:
            return ""
        # without any bound on the cost the gap is no number, and counts as 1
        gap = f"{100 * solved.gap:.2f} %" if solved.gap < 1.0 else "100 % or more"
        return (
            f"on/off decisions: search stopped by {solved.stopped_by} at a gap of {gap}, {100 * asked:.2f} % asked for"
        )

    def _describe(self, ident: str, case: Case, outcome: _Outcome, inputs: PlanInputs, cut: str) -> Plan:
        state, relaxed = case.state, relaxed_of(case, outcome.x, inputs)
        doubts = [cut] if cut else []
        if outcome.solved.owed:
            doubts.append(
                f"on/off decisions: search stopped by {outcome.solved.stopped_by} without any, the last ones are kept"
            )
        # what breaks the connection's limit first: it is what people must act on
        told = sorted(relaxed, key=lambda r: not r.what.startswith("import"))
        words = "; ".join(f"{r.what} by {r.amount:.2f} {r.unit}" for r in told[:5])
        words += f"; and {len(told) - 5} more" if len(told) > 5 else ""
        return Plan(
            id=ident,
            utc=state.utc,
            valid_until=state.utc + self.spec.valid_s,
            status="relaxed" if relaxed else "optimal",
            steps=steps_of(case, outcome.x, reasons_of(case, outcome.x, inputs)),
            costs=costs_of(case, outcome.x),
            relaxed=relaxed,
            substitutes=(*inputs.substitutes(-np.inf, state.utc + self.spec.valid_s), *inputs.notes, *doubts),
            outlook=inputs.substitutes(state.utc + self.spec.valid_s, np.inf),
            solved=outcome.solved,
            message="; ".join((f"relaxed: {words}" if relaxed else "optimal", *inputs.remarks)),
        )

    def _shifted(self, ident: str, state: PlanState, inputs: PlanInputs, why: Solved) -> Plan:
        """The rest of the last plan while it is valid; after that nothing, and the loops go to their local rules."""
        last = self._last
        steps: tuple[PlanStep, ...] = ()
        valid = state.utc
        if last is not None and "last_plan" in self.spec.when_infeasible and state.utc < last.valid_until:
            steps, valid = _rest(last.steps, state.utc), last.valid_until
        word = f"{why.stopped_by}, no plan was found"
        message = f"last plan shifted: {word}" if steps else f"failed: {word}"
        return Plan(
            id=ident,
            utc=state.utc,
            valid_until=valid,
            status="shifted" if steps else "failed",
            steps=steps,
            costs=NO_COSTS,
            relaxed=last.relaxed if last is not None and steps else (),
            substitutes=(*inputs.substitutes(-np.inf, state.utc + self.spec.valid_s), *inputs.notes),
            outlook=inputs.substitutes(state.utc + self.spec.valid_s, np.inf),
            solved=why,
            message=message,
        )


class _Stage:
    """Which bounds give way: none, those of firm orders, those of the connection."""

    def __init__(self, case: Case, names: tuple[str, ...]) -> None:
        self._case, self._names = case, names

    def __call__(self, problem: Problem) -> Problem:
        if not self._names:
            return problem
        hi = problem.hi.copy()
        for name in self._names:
            hi[problem.layout.of(name)] = np.where(self._case.grid.left > 0, np.inf, 0.0)
        return problem.bounded(problem.lo, hi)


def _stages(case: Case) -> list[_Stage]:
    """Stock limits are priced from the start. Orders give way before the connection does; the connection last,
    because a plan that says by how much it is exceeded is better than none."""
    stages = [_Stage(case, ())]
    orders: tuple[str, ...] = ()
    if case.spec.production is not None and "relax_orders" in case.spec.when_infeasible:
        orders = ("late",)
        stages.append(_Stage(case, orders))
    stages.append(_Stage(case, (*orders, "over", "spill")))
    return stages


def _milp_of(case: Case, problem: Problem) -> Problem:
    power = case.spec.battery.power if case.spec.battery and case.state.battery_available else 0.0
    negative = np.flatnonzero((np.minimum(case.buy_all, case.sell) < 0) & (case.grid.left > 0))
    return with_directions(problem, negative, power)


def _start(case: Case, kept: Ints | None) -> Floats | None:
    """Decisions to begin the search with: the last plan's, as far as they are possible."""
    if kept is None or not _possible(kept, case):
        return None
    return kept.astype(float)


def _possible(on: Ints, case: Case) -> bool:
    """True when the decisions keep the minimum times, from the state of the line now."""
    line, starts = case.spec.line, case.grid.block_start
    if np.any((case.forced >= 0) & (on != case.forced)):
        return False
    if line is None:
        return not on.any()
    state, since = int(case.state.line_on), -np.inf
    now = case.grid.now
    for start, value in zip(starts.tolist(), on.tolist(), strict=True):
        if value != state:
            if start - since < 3600 * (line.min_run if state else line.min_stop):
                return False
            state, since = value, max(start, now)
    return True


def _solved(milp: Answer, lp: Answer, *, committed: bool) -> Solved:
    stopped = lp.stopped_by if milp.stopped_by == "optimal" or lp.x is None else milp.stopped_by
    return Solved(committed, milp.nodes, milp.iterations + lp.iterations, milp.gap, stopped, lp.objective)


def _rest(steps: tuple[PlanStep, ...], now: float) -> tuple[PlanStep, ...]:
    """Steps from `now` on, the running one cut to what is left of it."""
    rest = []
    for step in steps:
        end = step.utc + step.hours * 3600
        if end > now:
            start = max(step.utc, now)
            rest.append(replace(step, utc=start, hours=(end - start) / 3600))
    return tuple(rest)
