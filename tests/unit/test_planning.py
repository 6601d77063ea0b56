"""Economic dispatch on cases small enough to solve by hand, and everything around it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ctrl.config import load
from ctrl.config.model import Site
from ctrl.config.model_loops import PowerFollow
from ctrl.config.model_plans import ScaledPrice
from ctrl.messages import Profile
from ctrl.planning import forecasts
from ctrl.planning.dispatch import Dispatch, _possible
from ctrl.planning.from_config import spec_from_config, tags_from_config
from ctrl.planning.grid import book_orders, expected_sales, local_days, make_grid, mean_on
from ctrl.planning.model import build, read_case
from ctrl.planning.offers import offers
from ctrl.planning.plan import Plan
from ctrl.planning.planner import SLOT_S, Planner
from ctrl.planning.problem import Problem, fixed_on
from ctrl.planning.replay import check
from ctrl.planning.solver import Answer, HotLp, solve_milp
from ctrl.planning.spec import (
    BatterySpec,
    DispatchSpec,
    EndSpec,
    GridSpec,
    LineSpec,
    PriceSpec,
    ProductionSpec,
    SolverSpec,
)
from ctrl.planning.state import Curve, Order, PlanInputs, PlanState
from ctrl.quality import BAD, BAD_NO_COMMS_LAST, GOOD, UNCERTAIN_INITIAL, UNCERTAIN_SUBSTITUTED
from ctrl.service.site_side import AFTER_POLLS_S
from ctrl.signals.base import Order as FeedOrder
from ctrl.signals.base import Orders
from ctrl.units import Quantity

BERLIN = ZoneInfo("Europe/Berlin")
T0 = datetime(2018, 3, 6, tzinfo=BERLIN).timestamp()  # a Tuesday, midnight

FLAT = PriceSpec(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3600, 0.0)
CELL = BatterySpec(power=10.0, capacity=20.0, efficiency=0.9, wear=0.01, soc_min=0.0, soc_max=100.0, reserve=0.0)
PRESS = LineSpec(
    rate_min=0.5, rate_max=1.0, fixed=10.0, per_rate=100.0, holding=0.0, min_run=1, min_stop=1, start_cost=0
)
STORE = ProductionSpec(stock_min=0.0, stock_max=50.0, lateness=5.0, holding=0.0)


def small(hours: int, **changes: object) -> DispatchSpec:
    base = DispatchSpec(
        name="plan",
        timezone="Europe/Berlin",
        lat=50.11,
        lon=8.68,
        grid=GridSpec(500.0, 500.0),
        battery=None,
        line=None,
        production=None,
        prices=FLAT,
        end=EndSpec(0.0, 0.0),
        solver=SolverSpec(0.0, 1000, 30.0),
        steps=((3600, hours * 3600),),
        commit_every_s=3600,
        valid_s=2700.0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def flagship() -> DispatchSpec:
    return small(
        48,
        name="energy_plan",
        grid=GridSpec(800.0, 300.0),
        battery=BatterySpec(200.0, 400.0, 0.95, 0.015, 8.0, 95.0, 12.0),
        line=LineSpec(0.55, 1.1, 28.0, 146.0, 28.0, 2.0, 2.0, 25.0),
        production=ProductionSpec(4.0, 40.0, 160 / 24, 0.5 / 24),
        prices=PriceSpec(1.0, 0.055, 0.9, 0.0, 0.075, 13.0, 900, 300.0),
        end=EndSpec(50.0, 8.0),
        solver=SolverSpec(0.005, 200, 30.0),
        steps=((900, 43200), (3600, 172800)),
    )


def hourly(*values: float, start: float = T0, source: str = "feed") -> Curve:
    return Curve(tuple((start + 3600.0 * i, v) for i, v in enumerate(values)), start + 3600.0 * len(values), source)


def inputs(price: Curve, base: Curve, **changes: object) -> PlanInputs:
    zero = hourly(0.0, start=price.steps[0][0])
    return replace(PlanInputs(price, zero, zero, base, zero), **changes)  # type: ignore[arg-type]


def state(**changes: object) -> PlanState:
    return replace(PlanState(T0, 0.0, 0.0, 0.0, False, 600.0, 0.0, 0.0), **changes)  # type: ignore[arg-type]


def flagship_inputs(now: float = T0, seed: int = 1) -> PlanInputs:
    rng = np.random.default_rng(seed)
    hours = np.arange(50)
    start = now // 3600 * 3600
    price = 0.04 + 0.02 * np.sin(2 * np.pi * (hours - 10) / 24) + 0.005 * rng.standard_normal(50)
    pv = np.maximum(0.0, 120 * np.sin(np.pi * (hours % 24 - 6) / 12))
    return PlanInputs(
        hourly(*price.tolist(), start=start),
        hourly(400.0, start=start),
        hourly(*pv.tolist(), start=start),
        hourly(*(110 + 40 * ((hours % 24 > 6) & (hours % 24 < 18))).tolist(), start=start),
        hourly(12.0, start=start),
        (Order("4711", now + 18 * 3600, 12.0), Order("4712", now + 42 * 3600, 14.0)),
    )


def flagship_state(**changes: object) -> PlanState:
    return replace(state(soc=50.0, stock=15.0, line_on=True, rate=0.8), **changes)


def solved(spec: DispatchSpec, start: PlanState, given: PlanInputs) -> Plan:
    plan = Dispatch(spec).plan(start, given, commit=True)
    assert check(plan, spec, start, given) == []
    return plan


# ---------------------------------------------------------------- by hand


def test_battery_buys_cheap_and_uses_dear_exactly() -> None:
    # 10 kWh bought at 0.10 give 9 stored and 8.1 delivered at 0.30, worn at 0.01:
    # 20 kWh * 0.10 + 10 * 0.10 + (20 - 8.1) * 0.30 + 8.1 * 0.01 = 6.651
    plan = solved(small(2, battery=CELL), state(), inputs(hourly(0.10, 0.30), hourly(20.0, 20.0)))
    assert plan.status == "optimal"
    assert [s.bat_power for s in plan.steps] == pytest.approx([-10.0, 8.1], abs=1e-6)
    assert [s.soc for s in plan.steps] == pytest.approx([45.0, 0.0], abs=1e-6)
    assert plan.costs.total == pytest.approx(6.651, abs=1e-6)
    assert plan.costs.wear == pytest.approx(0.081, abs=1e-6)
    assert plan.steps[0].reason == "battery charges: price 100 EUR/MWh, used 01:00 at 300"
    assert plan.steps[1].reason == "battery discharges: price 300 EUR/MWh, charged 00:00 at 100"


def test_battery_rests_when_the_spread_does_not_pay_for_losses_and_wear() -> None:
    # a kWh bought at 0.10 delivers 0.81 kWh, worth 0.12 each after wear
    plan = solved(small(2, battery=CELL), state(), inputs(hourly(0.10, 0.13), hourly(20.0, 20.0)))
    assert [s.bat_power for s in plan.steps] == [0.0, 0.0]
    assert plan.steps[0].reason == "battery rests"


def test_order_makes_the_line_run_in_the_cheapest_hours_before_it() -> None:
    spec = small(6, line=PRESS, production=STORE)
    given = inputs(
        hourly(0.30, 0.10, 0.20, 0.10, 0.05, 0.05), hourly(*[0.0] * 6), orders=(Order("4711", T0 + 4 * 3600, 2.0),)
    )
    plan = solved(spec, state(), given)
    assert [s.rate for s in plan.steps] == pytest.approx([0, 1, 0, 1, 0, 0], abs=1e-6)
    assert plan.costs.total == pytest.approx(22.0, abs=1e-6)  # 2 h at 110 kW and 0.10
    assert plan.steps[1].reason == "line runs: cheapest of 4 hours before order 4711 due 04:00"
    assert plan.steps[0].reason.startswith("line off: stock 0.0 t, starts again 01:00 in time for order 4711")


def test_minimum_run_and_stop_shape_the_plan() -> None:
    spec = small(6, line=replace(PRESS, min_run=3.0, min_stop=2.0), production=STORE)
    given = inputs(hourly(0.1, 0.3, 0.1, 0.3, 0.1, 0.3), hourly(*[0.0] * 6), orders=(Order("1", T0 + 6 * 3600, 1.5),))
    plan = solved(spec, state(line_on=True, line_minutes=60.0, rate=0.5), given)
    # two hours are still owed, and they make 1.0 t; the rest costs least as more of the same run
    assert [s.line_on for s in plan.steps] == [True, True, False, False, False, False] or [
        s.line_on for s in plan.steps
    ] == [True, True, True, False, False, False]
    assert plan.steps[0].reason == "line runs: shortest run of 3 h"
    assert sum(s.rate for s in plan.steps) == pytest.approx(1.5, abs=1e-6)


def test_line_waits_out_its_minimum_stop() -> None:
    spec = small(4, line=replace(PRESS, min_stop=2.0), production=STORE)
    given = inputs(hourly(0.1, 0.1, 0.3, 0.3), hourly(*[0.0] * 4), orders=(Order("1", T0 + 4 * 3600, 2.0),))
    plan = solved(spec, state(line_minutes=0.0), given)
    assert [s.line_on for s in plan.steps] == [False, False, True, True]


def test_peak_costs_only_what_exceeds_the_floor() -> None:
    spec = small(2, prices=replace(FLAT, demand=10.0, expected_peak=60.0))
    plan = solved(spec, state(month_peak=70.0), inputs(hourly(0.1, 0.1), hourly(50.0, 100.0)))
    assert plan.costs.peak == pytest.approx(300.0)
    assert {s.peak_target for s in plan.steps} == {100.0}
    quiet = solved(spec, state(month_peak=70.0), inputs(hourly(0.1, 0.1), hourly(50.0, 65.0)))
    assert quiet.costs.peak == 0.0
    assert {s.peak_target for s in quiet.steps} == {70.0}


def test_battery_shaves_the_peak_down_to_the_floor_and_no_further() -> None:
    spec = small(2, battery=CELL, prices=replace(FLAT, demand=10.0, expected_peak=60.0))
    plan = solved(spec, state(soc=50.0), inputs(hourly(0.1, 0.1), hourly(50.0, 66.0)))
    assert plan.steps[1].grid <= 60.0 + 1e-6
    assert plan.costs.peak == 0.0


def test_margin_of_the_peak_limiter_and_of_the_forecast_stays_free() -> None:
    dear = replace(CELL, wear=0.5)  # so that only the peak pays for a discharge
    spec = small(2, battery=dear, prices=replace(FLAT, demand=10.0, expected_peak=60.0, peak_margin=0.05))
    given = inputs(hourly(0.1, 0.1), hourly(50.0, 60.0), load_margin=hourly(2.0))
    plan = solved(spec, state(soc=100.0), given)
    assert plan.steps[1].grid <= 60.0 * 0.95 - 2.0 + 1e-6
    assert plan.steps[1].peak_target == 60.0
    assert plan.steps[1].reason == "battery discharges: keeps the import at the peak target of 60 kW"


def test_energy_of_the_running_window_counts() -> None:
    # 30 kWh in the first half of the window: 100 kW over the rest makes 80 kWh in the hour
    spec = small(2, prices=replace(FLAT, demand=10.0), steps=((1800, 7200),), commit_every_s=3600)
    start = state(utc=T0 + 1800, window_energy=30.0, window_elapsed=1800.0)
    plan = solved(spec, start, inputs(hourly(0.1, 0.1), hourly(100.0, 20.0)))
    assert plan.steps[0].peak_target == pytest.approx(80.0)
    assert len(plan.steps) == 3


def test_negative_price_never_charges_and_discharges_at_once() -> None:
    spec = small(3, battery=CELL, prices=replace(FLAT, sell_times=0.9))
    given = inputs(hourly(-0.2, -0.2, 0.1), hourly(20.0, 20.0, 20.0))
    dispatch = Dispatch(spec)
    plan = dispatch.plan(state(soc=80.0), given, commit=True)
    assert check(plan, spec, state(soc=80.0), given) == []
    # room for 4 kWh, more when it empties first: discharge then charge would lose energy that is paid for
    again = dispatch.plan(state(soc=80.0), given, commit=False)
    assert check(again, spec, state(soc=80.0), given) == []
    assert again.costs.total == pytest.approx(plan.costs.total, abs=1e-4)
    assert plan.steps[1].soc == pytest.approx(100.0, abs=1e-3)


def test_rate_follows_its_ramp() -> None:
    spec = small(4, line=replace(PRESS, ramp=0.1), production=STORE)
    given = inputs(hourly(0.1, 0.1, 0.1, 0.1), hourly(*[0.0] * 4), orders=(Order("1", T0 + 4 * 3600, 3.0),))
    plan = solved(spec, state(line_on=True, rate=0.5), given)
    assert [s.rate for s in plan.steps] == pytest.approx([0.6, 0.7, 0.8, 0.9], abs=1e-6)


# ---------------------------------------------------------------- quality of a plan


def test_impossible_order_is_named_with_its_lateness() -> None:
    spec = small(6, line=PRESS, production=STORE)
    given = inputs(hourly(*[0.1] * 6), hourly(*[0.0] * 6), orders=(Order("A12", T0 + 2 * 3600, 3.0),))
    plan = solved(spec, state(), given)
    assert plan.status == "relaxed"
    late = next(r for r in plan.relaxed if r.what.startswith("order"))
    assert late.what == "order A12 late"
    assert late.amount == pytest.approx(1.0, abs=1e-4)
    assert late.unit == "h"
    assert "order A12 late by 1.00 h" in plan.message


def test_one_late_order_does_not_make_others_late() -> None:
    spec = small(8, line=replace(PRESS, start_cost=50.0), production=STORE)
    orders = (Order("A", T0 + 3600, 2.0), Order("B", T0 + 6 * 3600, 2.0))
    plan = solved(spec, state(), inputs(hourly(*[0.1] * 4, *[0.9] * 4), hourly(*[0.0] * 8), orders=orders))
    assert [r.what for r in plan.relaxed if r.what.startswith("order")] == ["order A late"]


def test_stock_limits_give_way_before_orders() -> None:
    spec = small(2, line=PRESS, production=replace(STORE, stock_min=5.0))
    given = inputs(hourly(0.1, 0.1), hourly(0.0, 0.0), orders=(Order("A", T0 + 3600, 2.0),))
    plan = solved(spec, state(stock=5.0), given)
    assert plan.status == "relaxed"
    assert [r.what for r in plan.relaxed] == ["stock below 5 t"]
    assert plan.relaxed[0].amount == pytest.approx(1.0, abs=1e-4)


def test_import_beyond_the_connection_is_the_last_resort_and_named() -> None:
    spec = small(2, grid=GridSpec(50.0, 0.0))
    plan = solved(spec, state(), inputs(hourly(0.1, 0.1), hourly(40.0, 60.0)))
    assert [(r.what, r.amount) for r in plan.relaxed] == [("import limit", pytest.approx(10.0))]


def test_capacity_limit_of_the_grid_operator_holds() -> None:
    spec = small(2, battery=CELL)
    given = inputs(hourly(0.1, 0.1), hourly(20.0, 20.0), import_cap=hourly(500.0, 15.0))
    plan = solved(spec, state(soc=10.0), given)
    assert plan.steps[1].grid <= 15.0 + 1e-6
    assert plan.status == "optimal"


def test_reserve_for_peaks_is_never_planned_away() -> None:
    spec = flagship()
    plan = solved(spec, flagship_state(soc=50.0), flagship_inputs())
    assert min(s.soc for s in plan.steps) >= 20.0 - 1e-6
    low = solved(spec, flagship_state(soc=10.0), flagship_inputs())
    assert min(s.soc for s in low.steps) >= 10.0 - 1e-6
    assert low.steps[8].soc >= 20.0 - 1e-6
    assert any("kept for peaks" in r.what for r in low.relaxed)


def test_asset_that_refuses_is_planned_without() -> None:
    spec = flagship()
    start = flagship_state(battery_available=False, line_available=False, line_on=False, rate=0.0)
    plan = solved(spec, start, replace(flagship_inputs(), orders=()))
    assert all(s.bat_power == 0.0 and not s.line_on for s in plan.steps)
    assert "not available" in plan.steps[0].reason


def test_solver_failure_shifts_the_last_plan_then_fails_and_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = flagship()
    dispatch = Dispatch(spec)
    first = dispatch.plan(flagship_state(), flagship_inputs(), commit=True)
    monkeypatch.setattr(HotLp, "solve", lambda *_: Answer(None, 0.0, 0, 0, 0.0, "iterations"))
    later = flagship_state(utc=T0 + 900)
    shifted = dispatch.plan(later, flagship_inputs(), commit=True)
    assert shifted.status == "shifted"
    assert shifted.steps[0].utc == T0 + 900
    assert shifted.steps[0].bat_power == first.steps[1].bat_power
    assert shifted.valid_until == first.valid_until
    assert "iterations" in shifted.message
    assert {o.status for o in offers(shifted, spec)} == {UNCERTAIN_SUBSTITUTED}
    failed = dispatch.plan(flagship_state(utc=T0 + 2700), flagship_inputs(), commit=True)
    assert failed.status == "failed"
    assert offers(failed, spec) == ()


def test_iteration_limit_of_zero_is_a_failure_not_an_exception() -> None:
    spec = replace(flagship(), solver=SolverSpec(0.005, 0, 30.0, iterations=0))
    plan = Dispatch(spec).plan(flagship_state(), flagship_inputs(), commit=True)
    assert plan.status == "failed"
    assert plan.solved.stopped_by in {"iterations", "nodes"}


def test_plan_that_its_replay_refutes_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch = Dispatch(flagship())
    monkeypatch.setattr("ctrl.planning.dispatch.check", lambda *_: ["grid 1 kW replays as 2 kW"])
    plan = dispatch.plan(flagship_state(), flagship_inputs(), commit=True)
    assert plan.status == "failed"
    assert plan.solved.stopped_by == "refuted: grid 1 kW replays as 2 kW"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"soc": 90.0}, "state of charge"),
        ({"bat_power": 300.0}, "battery at"),
        ({"rate": 2.0}, "rate"),
        ({"grid": 900.0}, "grid"),
        ({"stock": 99.0}, "stock"),
        ({"peak_target": 10.0}, "peak target"),
        ({"line_on": False}, "line"),
        ({"hours": 0.5}, "steps do not meet"),
        ({"soc": math.nan}, "not finite"),
    ],
)
def test_replay_finds_every_kind_of_lie(change: dict[str, float], word: str) -> None:
    spec, start, given = flagship(), flagship_state(line_minutes=10.0), flagship_inputs()
    plan = solved(spec, start, given)
    broken = replace(plan, steps=(replace(plan.steps[0], **change), *plan.steps[1:]))  # type: ignore[arg-type]
    assert any(word in line for line in check(broken, spec, start, given))


# ---------------------------------------------------------------- commitment and hot LP


def test_between_commitments_the_line_keeps_its_decisions() -> None:
    spec = flagship()
    dispatch = Dispatch(spec)
    assert dispatch.commit_due(T0)
    first = dispatch.plan(flagship_state(), flagship_inputs(), commit=True)
    assert first.solved.committed
    assert not dispatch.commit_due(T0 + 900)
    assert dispatch.commit_due(T0 + 3600)
    step = first.steps[0]
    after = flagship_state(utc=T0 + 900, soc=step.soc, stock=step.stock, rate=step.rate)
    second = dispatch.plan(after, flagship_inputs(seed=2), commit=False)
    assert not second.solved.committed
    on = {s.utc: s.line_on for s in first.steps}
    assert all(s.line_on == on[s.utc] for s in second.steps)


def test_commitment_that_became_impossible_is_taken_anew() -> None:
    spec = flagship()
    dispatch = Dispatch(spec)
    dispatch.plan(flagship_state(), replace(flagship_inputs(), orders=()), commit=True)
    tripped = flagship_state(utc=T0 + 900, line_on=False, line_minutes=0.0, rate=0.0, stock=4.5)
    plan = dispatch.plan(tripped, flagship_inputs(), commit=False)
    assert plan.solved.committed
    assert not any(s.line_on for s in plan.steps[:4])


def stopped(monkeypatch: pytest.MonkeyPatch, *, gap: float | None, by: str = "nodes") -> None:
    """Searches end early from now on: with their true result at that gap, or with none."""

    def search(problem: Problem, spec: SolverSpec, start: np.ndarray | None, wall_limit: float | None) -> Answer:
        if gap is None:
            return Answer(None, math.inf, spec.nodes, 900, 1.0, by)
        return replace(solve_milp(problem, spec, start, wall_limit), gap=gap, stopped_by=by)

    monkeypatch.setattr("ctrl.planning.dispatch.solve_milp", search)


def test_search_without_any_decision_keeps_the_last_ones_says_so_and_still_owes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = flagship()
    dispatch = Dispatch(spec)
    first = dispatch.plan(flagship_state(), flagship_inputs(), commit=True)
    on = {s.utc: s.line_on for s in first.steps}
    with monkeypatch.context() as broken:
        stopped(broken, gap=None)
        step = first.steps[3]
        after = flagship_state(utc=T0 + 3600, soc=step.soc, stock=step.stock, rate=step.rate, line_on=step.line_on)
        kept = dispatch.plan(after, flagship_inputs(seed=2), commit=True)
        assert kept.status in {"optimal", "relaxed"}
        assert (kept.solved.committed, kept.solved.owed, kept.solved.stopped_by) == (False, True, "nodes")
        assert all(s.line_on == on[s.utc] for s in kept.steps if s.utc in on)
        assert kept.substitutes == ("on/off decisions: search stopped by nodes without any, the last ones are kept",)
        assert {o.status for o in offers(kept, spec)} == {UNCERTAIN_SUBSTITUTED}
        assert dispatch.commit_due(T0 + 4500), "the commitment of this hour is still due"
    anew = dispatch.plan(replace(after, utc=T0 + 4500), flagship_inputs(seed=2), commit=True)
    assert (anew.solved.committed, anew.solved.owed, anew.substitutes) == (True, False, ())
    assert not dispatch.commit_due(T0 + 5400)


def test_search_without_any_decision_fails_where_none_is_kept_or_the_kept_ones_are_impossible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dispatch = Dispatch(flagship())
    with monkeypatch.context() as broken:
        stopped(broken, gap=None)
        plan = dispatch.plan(flagship_state(), flagship_inputs(), commit=True)
    assert (plan.status, plan.solved.stopped_by) == ("failed", "nodes")
    assert dispatch.commit_due(T0)
    dispatch.plan(flagship_state(), replace(flagship_inputs(), orders=()), commit=True)
    stopped(monkeypatch, gap=None)
    tripped = flagship_state(utc=T0 + 900, line_on=False, line_minutes=0.0, rate=0.0, stock=4.5)
    assert dispatch.plan(tripped, flagship_inputs(), commit=False).status == "shifted"


def test_gap_above_the_one_asked_for_is_told_while_its_decisions_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = flagship()
    dispatch = Dispatch(spec)
    with monkeypatch.context() as short:
        stopped(short, gap=0.012)
        cut = dispatch.plan(flagship_state(), flagship_inputs(), commit=True)
    note = "on/off decisions: search stopped by nodes at a gap of 1.20 %, 0.50 % asked for"
    assert (cut.status, cut.solved.committed, cut.substitutes) == ("optimal", True, (note,))
    assert {o.status for o in offers(cut, spec)} == {UNCERTAIN_SUBSTITUTED}
    step = cut.steps[0]
    after = flagship_state(utc=T0 + 900, soc=step.soc, stock=step.stock, rate=step.rate)
    followed = dispatch.plan(after, flagship_inputs(), commit=False)
    assert (followed.solved.committed, followed.substitutes) == (False, (note,)), "the decisions are still those"
    with monkeypatch.context() as none:
        stopped(none, gap=None, by="iterations")
        assert note in dispatch.plan(after, flagship_inputs(), commit=True).substitutes
    with monkeypatch.context() as close:
        stopped(close, gap=0.005)
        near = dispatch.plan(after, flagship_inputs(), commit=True)
    assert (near.solved.committed, near.substitutes) == (True, ()), "within the gap it does not matter what ended it"


def test_node_limit_of_a_hard_search_is_told() -> None:
    line = LineSpec(0.8, 1.1, 10.0, 146.0, 28.0, 2.0, 2.0, 1.0)  # nearly one rate: on/off decides everything
    spec, cut = replace(flagship(), solver=SolverSpec(0.0, 1, 30.0), line=line), 0
    for seed in range(8):
        noisy = 0.1 + 0.08 * np.random.default_rng(seed).standard_normal(49)
        plan = solved(spec, flagship_state(), replace(flagship_inputs(), price=hourly(*noisy.tolist())))
        words = f"search stopped by nodes at a gap of {100 * plan.solved.gap:.2f} %, 0.00 % asked for"
        short = plan.solved.stopped_by == "nodes"
        assert plan.substitutes == ((f"on/off decisions: {words}",) if short else ())
        cut += short
    assert cut > 0, "one node is not enough for all of them"


def test_search_without_a_bound_names_no_number_it_does_not_have() -> None:
    dispatch = Dispatch(flagship())
    dispatch.plan(flagship_state(), flagship_inputs(), commit=True)
    dispatch.spec = replace(flagship(), solver=SolverSpec(0.005, 0, 30.0))
    plan = dispatch.plan(flagship_state(utc=T0 + 900), flagship_inputs(seed=2), commit=True)
    assert plan.status == "optimal"
    assert plan.substitutes == (
        "on/off decisions: search stopped by nodes at a gap of 100 % or more, 0.50 % asked for",
    )


def test_clock_of_the_kept_lp_starts_anew_with_every_solve() -> None:
    spec, cases = flagship(), []
    for quarter in range(6):
        now = T0 + 900.0 * quarter
        case = read_case(spec, flagship_state(utc=now, soc=30.0 + 4 * quarter), flagship_inputs(now, seed=quarter))
        on = np.ones(case.forced.size, dtype=np.int64)
        cases.append(fixed_on(build(case, on.astype(float)), on, was_on=True))
    cold = HotLp(spec.solver, None)
    assert cold.solve(cases[0]).stopped_by == "optimal"
    limit = max(0.2, 20 * cold._highs.getRunTime())  # far more than one solve takes
    hot = HotLp(spec.solver, limit)
    for problem in itertools.cycle(cases):
        assert hot.solve(problem).stopped_by == "optimal", f"after {hot._highs.getRunTime():.2f} s of all solves"
        if hot._highs.getRunTime() > 1.5 * limit:
            break
    assert HotLp(spec.solver, 0.0).solve(cases[0]).stopped_by == "time limit", "and one that is too long is aborted"


def test_kept_basis_gives_the_objective_of_a_cold_start() -> None:
    spec = flagship()
    hot = HotLp(spec.solver, None)
    for quarter in range(12):
        now = T0 + 900.0 * quarter
        given = flagship_inputs(now, seed=quarter)
        case = read_case(spec, flagship_state(utc=now, soc=30.0 + 4 * quarter), given)
        on = np.ones(case.forced.size, dtype=np.int64)
        assert _possible(on, case)
        problem = fixed_on(build(case, on.astype(float)), on, was_on=True)
        warm, cold = hot.solve(problem), HotLp(spec.solver, None).solve(problem)
        assert warm.x is not None
        assert warm.objective == pytest.approx(cold.objective, rel=1e-9)


def test_same_inputs_give_the_same_plan() -> None:
    plans = []
    for _ in range(2):
        dispatch = Dispatch(flagship(), clock=False)
        run = [
            dispatch.plan(flagship_state(utc=T0 + 900 * i), flagship_inputs(T0 + 900 * i), i % 4 == 0) for i in range(5)
        ]
        plans.append(repr(run).encode())
    assert plans[0] == plans[1]


def test_no_clock_in_simulation_and_a_clock_that_aborts_says_so() -> None:
    spec = replace(flagship(), solver=SolverSpec(0.0, 100_000, 0.0))
    plan = Dispatch(spec).plan(flagship_state(), flagship_inputs(), commit=True)
    assert plan.status == "failed"
    assert plan.solved.stopped_by == "time limit"
    free = replace(flagship(), solver=SolverSpec(0.005, 200, 0.0))
    assert Dispatch(free, clock=False).plan(flagship_state(), flagship_inputs(), commit=True).steps


# ---------------------------------------------------------------- offers


def test_offers_begin_after_the_latency_and_expire_with_the_plan() -> None:
    spec = flagship()
    plan = solved(spec, flagship_state(), flagship_inputs())
    made = offers(plan, spec)
    assert [o.tag for o in made] == [f"energy_plan.{n}" for n in ("bat_power", "rate", "line_on", "peak_target")]
    assert {o.status for o in made} == {GOOD}
    assert {o.valid_until for o in made} == {T0 + 2700}
    assert {o.steps[0][0] for o in made} == {T0 + 5.0}
    assert made[0].value_at(T0 + 1000) == plan.steps[1].bat_power
    assert AFTER_POLLS_S + spec.latency_s <= spec.handover_s
    assert [t - T0 for t, _ in made[0].steps] == [5.0, 910.0, 1810.0], "the next plan is there before a step begins"
    assert {o.id for o in made} == {plan.id}


def test_substituted_price_marks_plan_and_offers() -> None:
    spec, given = flagship(), flagship_inputs()
    price = replace(given.price, substituted_from=T0 + 1800, note="market.day_ahead unknown from Tue 00:30")
    plan = solved(spec, flagship_state(), replace(given, price=price))
    assert plan.substitutes == ("price: market.day_ahead unknown from Tue 00:30",)
    assert {o.status for o in offers(plan, spec)} == {UNCERTAIN_SUBSTITUTED}
    # prices of the day after tomorrow are nobody's yet: no reason to doubt what is offered for the next 45 min
    later = replace(given, price=replace(price, substituted_from=T0 + 86400), notes=())
    plan = solved(spec, flagship_state(), later)
    assert plan.substitutes == ()
    assert len(plan.outlook) == 1
    assert {o.status for o in offers(plan, spec)} == {GOOD}
    no_list = solved(spec, flagship_state(), replace(given, notes=("orders: list not known",)))
    assert {o.status for o in offers(no_list, spec)} == {UNCERTAIN_SUBSTITUTED}


# ---------------------------------------------------------------- time


def test_grid_is_aligned_and_keeps_its_steps_within_the_hour() -> None:
    spec = flagship()
    full, later = make_grid(T0, spec), make_grid(T0 + 2000, spec)
    assert full.n == later.n == 84
    assert np.array_equal(full.edges, later.edges)
    assert later.first == 2
    assert later.left[2] == pytest.approx(700 / 3600)
    assert all(edge % 900 == 0 for edge in full.edges[:49])
    assert full.edges[-1] - full.edges[0] == 172800


def test_month_end_gives_the_next_month_its_own_peak() -> None:
    new_year = datetime(2018, 3, 31, 22, tzinfo=BERLIN).timestamp()
    spec = small(4, prices=replace(FLAT, demand=10.0, expected_peak=20.0))
    start = state(utc=new_year, month_peak=90.0)
    plan = solved(spec, start, inputs(hourly(*[0.1] * 4, start=new_year), hourly(80, 80, 50, 50, start=new_year)))
    assert [s.peak_target for s in plan.steps] == [90.0, 90.0, 50.0, 50.0]
    assert plan.costs.peak == pytest.approx(300.0)


@pytest.mark.parametrize(("day", "quarters"), [((2018, 3, 25), 92), ((2018, 10, 28), 100), ((2018, 3, 6), 96)])
def test_days_of_the_change_of_time_have_92_and_100_quarter_hours(day: tuple[int, int, int], quarters: int) -> None:
    midnight = datetime(*day, tzinfo=BERLIN).timestamp()
    days = local_days(midnight, midnight + 20 * 3600, "Europe/Berlin")
    assert (days[1] - days[0]) / 900 == quarters
    spec = small(30, steps=((900, 30 * 3600),), prices=replace(FLAT, window_s=900))
    plan = solved(
        spec,
        state(utc=midnight),
        inputs(hourly(*[0.1] * 30, start=midnight), hourly(*[50.0] * 30, start=midnight)),
    )
    assert sum(datetime.fromtimestamp(s.utc, BERLIN).day == day[2] for s in plan.steps) == quarters


def test_curves_are_averaged_by_time() -> None:
    spec = small(2)
    curve = Curve(((T0 - 10, 5.0), (T0 + 900, 1.0), (T0 + 3600, 9.0)), T0 + 7200, "feed")
    assert mean_on(curve, make_grid(T0, spec)) == pytest.approx([2.0, 9.0])
    assert mean_on(curve, make_grid(T0 + 1800, spec)) == pytest.approx([1.0, 9.0])


def test_orders_are_booked_no_later_than_due() -> None:
    spec = small(4)
    grid = make_grid(T0, spec)
    orders = tuple(
        Order(str(i), T0 + due, 1.0) for i, due in enumerate((-5.0, 100.0, 3600.0, 7200.0, 9000.0, 14400.0, 20000.0))
    )
    assert book_orders(orders, grid).tolist() == [3.0, 2.0, 0.0, 1.0]


def test_orders_consume_the_sales_forecast_of_their_day() -> None:
    spec = small(48)
    grid = make_grid(T0, spec)
    sales = expected_sales(hourly(12.0), (Order("1", T0 + 5 * 3600, 9.0),), grid, "Europe/Berlin")
    assert sales[:24].sum() == pytest.approx(3.0)
    assert sales[24:].sum() == pytest.approx(12.0)


# ---------------------------------------------------------------- forecasts


def two_weeks(level: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    times = T0 + 3600.0 * np.arange(-14 * 24, 0)
    return times, 50 + 10 * np.sin(times / 3600 * 2 * np.pi / 24) + level * (times >= T0 - 7 * 86400)


def test_unknown_prices_repeat_last_week_with_its_shift_in_level() -> None:
    times, values = two_weeks(level=6.0)
    known = Curve(((T0, 56.0),), T0 + 3600, "market.day_ahead")
    curve = forecasts.same_hour_last_week(known, (times, values), T0, T0 + 86400, "Europe/Berlin")
    assert curve.substituted_from == T0 + 3600
    assert "same hour last week" in curve.note
    assert curve.at(T0) == 56.0
    for hour in (3, 10, 20):
        past = values[np.flatnonzero(times == T0 + hour * 3600 - 7 * 86400)[0]]
        assert curve.at(T0 + hour * 3600) == pytest.approx(past + 6.0, abs=1.0)
    assert curve.end == T0 + 86400


def test_known_prices_are_no_substitute_and_none_at_all_is_an_error() -> None:
    known = hourly(*[40.0] * 30, source="market.day_ahead")
    curve = forecasts.same_hour_last_week(known, two_weeks(), T0, T0 + 86400, "Europe/Berlin")
    assert not curve.substituted
    assert curve.steps[0] == (T0, 40.0)
    empty = (np.array([]), np.array([]))
    with pytest.raises(ValueError, match="no price"):
        forecasts.same_hour_last_week(None, empty, T0, T0 + 86400, "Europe/Berlin")
    all_past = forecasts.same_hour_last_week(None, two_weeks(), T0, T0 + 86400, "Europe/Berlin")
    assert all_past.substituted_from == T0
    assert all_past.at(T0 + 3600) == pytest.approx(two_weeks()[1][-(7 * 24) + 1], abs=1e-6)


def test_same_hour_last_week_means_local_time_over_the_change_of_time() -> None:
    sunday = datetime(2018, 3, 25, tzinfo=BERLIN).timestamp()
    times = sunday + 3600.0 * np.arange(-9 * 24, 0)
    values = np.array([float(datetime.fromtimestamp(t, BERLIN).hour) for t in times])
    curve = forecasts.same_hour_last_week(None, (times, values), sunday, sunday + 23 * 3600, "Europe/Berlin")
    noon = datetime(2018, 3, 25, 12, tzinfo=BERLIN).timestamp()
    assert curve.at(noon) == pytest.approx(12.0, abs=1e-9)


def test_clear_sky_of_haurwitz() -> None:
    # at the equator near the equinox the sun stands overhead at noon: 1098 exp(-0.057)
    noon = datetime(2018, 3, 20, 12, 7, tzinfo=ZoneInfo("UTC")).timestamp()
    assert forecasts.clear_sky(np.array([noon]), 0.0, 0.0)[0] == pytest.approx(1098 * math.exp(-0.057), rel=1e-3)
    assert forecasts.clear_sky(np.array([noon + 43200]), 0.0, 0.0)[0] == 0.0
    # highest sun of the year at 50.11 N: 90 - 50.11 + 23.44 = 63.33 degrees
    june = datetime(2018, 6, 21, tzinfo=ZoneInfo("UTC")).timestamp() + 60.0 * np.arange(1440)
    top = math.sin(math.radians(63.33))
    assert forecasts.clear_sky(june, 50.11, 8.68).max() == pytest.approx(1098 * top * math.exp(-0.057 / top), rel=2e-3)


def test_stale_pv_takes_the_30th_percentile_of_the_clear_sky() -> None:
    times = T0 + 900.0 * np.arange(-7 * 96, 0)
    sky = forecasts.clear_sky(times, 50.11, 8.68)
    share = np.where((times // 900) % 2 == 0, 0.02, 0.1)
    curve = forecasts.clear_sky_p30((times, sky * share), T0, T0 + 86400, 50.11, 8.68)
    noon = T0 + 12.5 * 3600
    assert curve.substituted
    assert curve.at(noon) == pytest.approx(0.02 * forecasts.clear_sky(np.array([noon]), 50.11, 8.68)[0], rel=0.02)
    dark = forecasts.clear_sky_p30((np.array([]), np.array([])), T0, T0 + 86400, 50.11, 8.68)
    assert max(v for _, v in dark.steps) == 0.0
    assert "no history" in dark.note


def test_weekday_profile_is_a_trimmed_mean_of_local_time() -> None:
    times = T0 + 900.0 * np.arange(-28 * 96, 0)
    local = [datetime.fromtimestamp(t, BERLIN) for t in times]
    values = np.array([100.0 + 50.0 * (6 <= d.hour < 18 and d.weekday() < 5) for d in local])
    values[(times >= T0 - 7 * 86400) & (times < T0 - 7 * 86400 + 900)] = 9999.0  # one outlier, a Tuesday at 00:00
    curve = forecasts.weekday_profile((times, values), T0, T0 + 7 * 86400, "Europe/Berlin")
    assert curve.at(T0) == pytest.approx(100.0)
    assert curve.at(T0 + 10 * 3600) == pytest.approx(150.0)
    assert curve.at(T0 + 5 * 86400 + 10 * 3600) == pytest.approx(100.0)  # Sunday
    assert not curve.substituted
    summer = datetime(2018, 3, 26, 6, tzinfo=BERLIN).timestamp()  # after the change, work still begins at six
    later = forecasts.weekday_profile((times, values), summer - 900, summer + 900, "Europe/Berlin")
    assert (later.at(summer - 1), later.at(summer)) == (100.0, 150.0)


def test_load_margin_is_a_quantile_of_what_exceeds_the_profile() -> None:
    times = T0 + 900.0 * np.arange(-28 * 96, 0)
    noise = np.random.default_rng(3).normal(0.0, 10.0, times.size)
    curve = forecasts.load_margin((times, 100.0 + noise), T0, T0 + 86400, "Europe/Berlin")
    assert 3.0 < curve.at(T0) < 8.0  # 0.52 sigma, a little less as the profile has seen the same days
    calm = forecasts.load_margin((times, times * 0 + 5.0), T0, T0 + 86400, "Europe/Berlin")
    assert calm.at(T0) == 0.0
    with pytest.raises(ValueError, match="no history"):
        forecasts.load_margin((np.array([]), np.array([])), T0, T0 + 86400, "Europe/Berlin")


def test_profile_without_that_weekday_takes_the_next_best() -> None:
    times = T0 + 900.0 * np.arange(-96, 0)  # one Monday
    curve = forecasts.weekday_profile((times, times * 0 + 7.0), T0, T0 + 3600, "Europe/Berlin")
    assert curve.at(T0) == 7.0
    assert curve.substituted_from == T0
    with pytest.raises(ValueError, match="no history"):
        forecasts.weekday_profile((np.array([]), np.array([])), T0, T0 + 3600, "Europe/Berlin")


def test_profile_of_a_short_history_is_a_substitute_and_a_whole_one_is_none() -> None:
    def profile(days: float, now: float = T0) -> Curve:
        times = T0 - 86400 * days + 900.0 * np.arange(int(days * 96))
        return forecasts.weekday_profile((times, times * 0 + 7.0), now, now + 2 * 86400, "Europe/Berlin")

    assert profile(28.0).substituted_from is None
    assert profile(28.0, now=T0 + 10.0).substituted_from is None, "ten seconds later it is still whole"
    assert profile(40.0).note == ""
    for days in (27.9, 10.0, 1.0, 1 / 96):
        short = profile(days)
        assert short.substituted_from == T0, days
        assert short.note == f"{days:.1f} d of history, 28 d are wanted"


def test_profile_says_from_where_a_weekday_is_missing() -> None:
    times = T0 + 900.0 * np.arange(-29 * 96, 0)
    weekday = np.array([datetime.fromtimestamp(t, BERLIN).weekday() for t in times])
    values = np.where(weekday >= 5, 50.0, 7.0)
    seen = weekday != 2  # no Wednesday at all, and T0 is a Tuesday
    curve = forecasts.weekday_profile((times[seen], values[seen]), T0, T0 + 3 * 86400, "Europe/Berlin")
    assert curve.substituted_from == T0 + 86400
    assert curve.note == "no past of Wed 00:00, mean of that time on workdays or weekends from then on"
    assert curve.at(T0 + 86400) == 7.0, "of the other workdays, not of the weekend"
    given = replace(flagship_inputs(), base_load=curve)
    assert given.substitutes(-math.inf, T0 + 2700) == (), "today is known"
    assert given.substitutes(T0 + 2700, math.inf) == (f"base_load: {curve.note}",)


def test_profiles_of_feeds_become_curves_in_the_unit_of_the_plan() -> None:
    profile = Profile("market.day_ahead", "EUR/MWh", ((T0, 40.0),), T0 + 3600, GOOD, "market", "1", "", T0)
    curve = forecasts.from_profile(profile, "EUR/kWh", T0)
    assert curve is not None
    assert curve.at(T0) == pytest.approx(0.04)
    assert forecasts.from_profile(profile, "EUR/kWh", T0 + 3600) is None
    longer = forecasts.last_value(curve, T0, T0 + 7200)
    assert longer.substituted_from == T0 + 3600
    assert longer.end == T0 + 7200
    fixed = forecasts.constant(3.0, T0, T0 + 1, "table", substitute="feed absent")
    assert fixed.substituted


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": ()}, "at least one"),
        ({"steps": ((3600, 5000),)}, "do not fill"),
        ({"steps": ((2400, 7200),)}, "billing window"),
        ({"battery": replace(CELL, efficiency=1.2)}, "efficiency"),
        ({"battery": replace(CELL, soc_min=99.0, soc_max=1.0)}, "soc_min"),
        ({"line": replace(PRESS, rate_min=2.0)}, "rate_min"),
        ({"line": replace(PRESS, ramp=0.0)}, "ramp"),
        ({"when_infeasible": ("pray",)}, "pray"),
    ],
)
def test_spec_refuses_what_cannot_be_planned(change: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        small(2, **change)


def test_inputs_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Curve(((T0, math.nan),), T0 + 1, "feed")
    with pytest.raises(ValueError, match="ascending"):
        Curve(((T0, 1.0), (T0, 2.0)), T0 + 1, "feed")
    with pytest.raises(ValueError, match="no values"):
        Curve((), T0, "feed")
    with pytest.raises(ValueError, match="order 7"):
        Order("7", T0, -1.0)
    with pytest.raises(ValueError, match="soc"):
        state(soc=math.inf)


# ---------------------------------------------------------------- from the site file


@pytest.fixture(scope="module")
def site() -> Site:
    return load(Path(__file__).parents[2] / "configs" / "heat_treatment" / "site.yaml")


def test_site_file_becomes_plain_numbers(site: Site) -> None:
    spec, tags = spec_from_config(site), tags_from_config(site)
    assert spec.name == "energy_plan"
    loop = site.loops["bat_dispatch"]
    assert isinstance(loop, PowerFollow)
    soc = loop.soc
    assert spec.battery == BatterySpec(200.0, 400.0, 0.95, pytest.approx(0.015), soc.min.to("%"), soc.max.to("%"), 12.0)
    assert spec.line is not None
    assert (spec.line.rate_min, spec.line.rate_max, spec.line.per_rate) == (0.55, 1.1, 146.0)
    assert spec.line.ramp == pytest.approx(6.0)
    assert spec.production is not None
    assert spec.production.lateness == pytest.approx(160 / 24)
    assert spec.prices.buy_add == pytest.approx(0.055)
    assert spec.prices.sell_times == 0.9
    assert spec.prices.peak_margin == pytest.approx(0.015)
    assert spec.prices.co2 == pytest.approx(0.075)
    assert spec.steps == ((900, 43200), (3600, 172800))
    assert tags.price == "market.day_ahead"
    assert tags.soc == "plc_energy.bat_soc"


# ---------------------------------------------------------------- the planner: what it reads of the plant


class Plant:
    """Tags of the example site, and a planner that reads them. Before `begin` only the base load has a past."""

    def __init__(self, site: Site, *, history_d: float = 28.0, begin: float = T0) -> None:
        self.tags = {
            "plc_energy.bat_soc": 50.0,
            "plc_energy.pv_power": 0.0,
            "erp.stock": 15.0,
            "local_rules.stock_est": 15.0,
            "line_rate_ctl.run": 1.0,
            "line_rate_ctl.out": 0.8,
            "grid_15min": 250.0,
            "grid_15min.elapsed": 0.0,
            "site_base_load": 120.0,
        }
        self.status: dict[str, int] = {}
        self.planner = Planner(site, "energy_plan", self.read, clock_limits=False)
        slots = begin + SLOT_S * np.arange(-int(history_d * 96), 0)
        self.planner.past["site_base_load"].seed(slots.tolist(), (slots * 0 + 120.0).tolist())
        prices = tuple((begin + 3600.0 * i, 40.0 + 10.0 * (i % 24 > 16)) for i in range(60))
        end = begin + 60 * 3600.0
        for tag, unit, steps in (
            ("market.day_ahead", "EUR/MWh", prices),
            ("market.co2", "g/kWh", ((begin, 400.0),)),
            ("weather.pv_forecast", "kW", ((begin, 0.0),)),
            ("erp.sales", "t/d", ((begin, 12.0),)),
        ):
            self.planner.take(Profile(tag, unit, steps, end, GOOD, tag, "1", "", begin))
        self.planner.take(Orders("erp.orders", "erp", (), begin))

    def read(self, tag: str) -> tuple[float, int]:
        return self.tags[tag], self.status.get(tag, GOOD)

    def plan(self, utc: float) -> Plan:
        self.planner.observe(utc)
        return self.planner.run(utc)[0]

    def windows(self, start: float, end: float) -> None:
        """Billing windows pass, each seen shortly before it is over."""
        for window in np.arange(start, end, 900.0).tolist():
            self.tags["grid_15min.elapsed"] = 840.0
            self.planner.observe(window + 840.0)
        self.tags["grid_15min.elapsed"] = 0.0


@pytest.fixture
def plant(site: Site) -> Plant:
    return Plant(site)


def test_plan_of_a_whole_plant_is_good(plant: Plant) -> None:
    plan = plant.plan(T0 + 5.0)
    assert (plan.status, plan.substitutes) == ("optimal", ())
    assert {o.status for o in offers(plan, plant.planner.spec)} == {GOOD}


@pytest.mark.parametrize("tag", ["line_rate_ctl.run", "line_rate_ctl.out", "plc_energy.bat_soc"])
@pytest.mark.parametrize("status", [BAD, BAD_NO_COMMS_LAST])
def test_no_plan_without_knowing_what_the_line_and_the_battery_do(plant: Plant, tag: str, status: int) -> None:
    plant.plan(T0 + 5.0)
    plant.planner.take(Orders("erp.orders", "erp", (FeedOrder("1", T0 + 86400.0, 5.0),), T0 + 60.0))
    plant.status[tag] = status
    with pytest.raises(ValueError, match=f"{tag} is bad: no plan without it"):
        plant.plan(T0 + 905.0)
    plant.status[tag] = UNCERTAIN_INITIAL
    plan = plant.plan(T0 + 1805.0)
    assert plan.status == "optimal"
    assert plan.solved.committed, "the news that came meanwhile is not lost"


def test_rate_of_a_line_that_stands_is_not_needed(plant: Plant) -> None:
    plant.tags["line_rate_ctl.run"] = 0.0
    plant.status["line_rate_ctl.out"] = BAD
    assert plant.plan(T0 + 5.0).steps[0].rate == 0.0


def test_bad_run_command_is_not_a_line_that_stopped(plant: Plant) -> None:
    plant.planner.observe(T0)
    plant.tags["line_rate_ctl.run"], plant.status["line_rate_ctl.run"] = 0.0, BAD
    plant.planner.observe(T0 + 60.0)
    plant.tags["line_rate_ctl.run"], plant.status["line_rate_ctl.run"] = 1.0, GOOD
    plant.planner.observe(T0 + 120.0)
    start = plant.planner.state(T0 + 3600.0)
    assert (start.line_on, start.line_minutes) == (True, 60.0)


@pytest.mark.parametrize("run", [0.0, 1.0])
def test_time_in_state_counts_from_the_first_look(plant: Plant, run: float) -> None:
    plant.tags["line_rate_ctl.run"] = run
    plan = plant.plan(T0 + 5.0)
    first = [s.line_on for s in plan.steps if s.utc < T0 + 7200.0]
    assert len(first) == 8
    assert first == [run > 0.5] * 8, "the shortest run and stop are 2 h"
    word = "run" if run else "stop"
    assert plan.steps[0].reason.startswith(f"line {'runs' if run else 'off'}: shortest {word} of 2 h")
    assert plant.planner.state(T0 + 605.0).line_minutes == pytest.approx(10.0)


def test_line_that_no_loop_of_the_plan_moves_is_not_known(site: Site) -> None:
    loops = {name: loop for name, loop in site.loops.items() if name != "line_rate_ctl"}
    plant = Plant(site.model_copy(update={"loops": loops}))
    with pytest.raises(ValueError, match=r"no rate_control loop follows energy_plan\.rate"):
        plant.plan(T0 + 5.0)


@pytest.mark.parametrize("tag", ["grid_15min", "grid_15min.elapsed"])
def test_running_window_without_its_meter_is_as_full_as_it_may_be(plant: Plant, tag: str) -> None:
    begin = T0 + 900.0
    plant.tags |= {"grid_15min": 250.0, "grid_15min.elapsed": 600.0}
    plant.planner.observe(begin + 600.0)
    assert plant.planner.state(begin + 600.0).window_energy == pytest.approx(250.0 / 6)
    plant.tags |= {"grid_15min": 0.0, "grid_15min.elapsed": 0.0}
    plant.status[tag] = BAD
    start = plant.planner.state(begin + 600.0)
    assert start.window_elapsed == 600.0
    assert start.window_energy == pytest.approx(300.0 * 0.985 / 6), "the expected peak less the margin, for 10 minutes"
    plan = plant.plan(begin + 600.0)
    assert plan.substitutes == ("running billing window: grid_15min is bad, taken as 296 kW so far",)
    assert {o.status for o in offers(plan, plant.planner.spec)} == {UNCERTAIN_SUBSTITUTED}
    assert plan.steps[0].peak_target == pytest.approx(300.0), "no new peak is bought for what is not known"
    assert plan.steps[0].grid <= 300.0 * 0.985 + 0.01


def test_last_scan_of_the_window_before_is_no_energy_of_this_one(plant: Plant) -> None:
    plant.tags |= {"grid_15min": 290.0, "grid_15min.elapsed": 899.0}
    start = plant.planner.state(T0 + 900.5)
    assert (start.window_energy, start.window_elapsed) == (0.0, 0.0)


def test_peak_of_windows_that_nobody_saw_is_named(plant: Plant) -> None:
    month = datetime(2018, 3, 1, tzinfo=BERLIN).timestamp()
    before = int((T0 - month) / 900)
    told = f"optimal; peak of the month taken as 300 kW, {before} of its windows were not seen"
    plan = plant.plan(T0 + 5.0)
    assert plan.message == told
    assert plan.substitutes == (), "too low a peak is on the safe side"
    plant.tags["grid_15min"] = 320.0
    plant.windows(T0, T0 + 2700.0)
    assert plant.plan(T0 + 2705.0).message == told.replace("300", "320"), "what was seen is not missing"
    plant.status["grid_15min.elapsed"] = BAD
    plant.windows(T0 + 2700.0, T0 + 3600.0)
    del plant.status["grid_15min.elapsed"]
    assert f"{before + 1} of its windows" in plant.plan(T0 + 3605.0).message


def test_peak_of_a_month_seen_from_its_beginning_needs_no_word(site: Site) -> None:
    april = datetime(2018, 4, 1, tzinfo=BERLIN).timestamp()
    plant = Plant(site, begin=april - 1800.0)
    plant.windows(april - 1800.0, april)
    plant.tags["grid_15min"] = 280.0
    plant.windows(april, april + 1800.0)
    assert plant.plan(april + 1805.0).message == "optimal"
    assert plant.planner.state(april + 1805.0).month_peak == 280.0


def test_forecast_of_a_plant_without_much_past_is_not_offered_as_good(site: Site) -> None:
    young = Plant(site, history_d=0.5)
    plan = young.plan(T0 + 5.0)
    assert plan.substitutes == ("base_load: 0.5 d of history, 28 d are wanted",)
    assert {o.status for o in offers(plan, young.planner.spec)} == {UNCERTAIN_SUBSTITUTED}


def test_past_is_kept_for_as_long_as_the_forecast_looks_back(site: Site) -> None:
    plan = site.plans["energy_plan"]
    load = plan.forecasts.base_load.model_copy(update={"weeks": 12})
    longer = plan.model_copy(update={"forecasts": plan.forecasts.model_copy(update={"base_load": load})})
    old = Plant(site.model_copy(update={"plans": {"energy_plan": longer}}), history_d=100.0)
    assert not old.planner.inputs(T0 + 5.0).base_load.substituted


def test_commitment_that_found_nothing_is_made_again_with_the_next_plan(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.plan(T0 + 5.0)
    plant.planner.take(Orders("erp.orders", "erp", (FeedOrder("1", T0 + 86400.0, 5.0),), T0 + 60.0))
    with monkeypatch.context() as broken:
        stopped(broken, gap=None)
        kept = plant.plan(T0 + 905.0)
        assert kept.solved.owed
        assert plant.planner.commits == 1
    assert not plant.planner._dispatch.commit_due(T0 + 1805.0), "the hour is not over: the news asks for it"
    anew = plant.plan(T0 + 1805.0)
    assert (anew.solved.committed, anew.substitutes, plant.planner.commits) == (True, (), 2)
    assert not plant.plan(T0 + 2705.0).solved.committed


def test_site_file_that_cannot_be_planned_names_the_key(site: Site) -> None:
    plan = site.plans["energy_plan"]
    with pytest.raises(ValueError, match="there is no other"):
        spec_from_config(site, "other")
    cases = (
        (plan.model_copy(update={"horizon": Quantity(24.0, "h")}), "horizon"),
        (plan.model_copy(update={"prices": plan.prices.model_copy(update={"buy": ScaledPrice(of="sec")})}), "sec"),
        (
            plan.model_copy(
                update={"prices": plan.prices.model_copy(update={"buy": ScaledPrice(of="site_base_load")})}
            ),
            "sum of one tag",
        ),
    )
    for broken, word in cases:
        with pytest.raises(ValueError, match=word):
            spec_from_config(site.model_copy(update={"plans": {"energy_plan": broken}}))
