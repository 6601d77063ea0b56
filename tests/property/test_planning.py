"""Plans over random plants: what the optimiser promises, plain arithmetic confirms."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ctrl.planning.dispatch import Dispatch
from ctrl.planning.forecasts import same_hour_last_week, weekday_profile
from ctrl.planning.grid import interval_means
from ctrl.planning.plan import Plan, PlanStep
from ctrl.planning.replay import check
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

T0 = 1_520_290_800.0  # Tuesday 2018-03-06 00:00 in Berlin
HOURS = 6
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def real(lo: float, hi: float) -> st.SearchStrategy[float]:
    return st.floats(lo, hi).map(lambda x: round(x, 3))


@st.composite
def specs(draw: st.DrawFn, steps: tuple[tuple[int, int], ...] = ((900, 7200), (3600, HOURS * 3600))) -> DispatchSpec:
    low = draw(real(0.2, 0.8))
    return DispatchSpec(
        name="plan",
        timezone="Europe/Berlin",
        lat=50.0,
        lon=8.0,
        grid=GridSpec(draw(real(150, 800)), draw(real(0, 300))),
        battery=BatterySpec(
            draw(real(0, 200)),
            draw(real(50, 400)),
            draw(real(0.7, 1.0)),
            draw(real(0, 0.05)),
            8.0,
            95.0,
            draw(real(0, 30)),
        ),
        line=LineSpec(
            low,
            low + draw(real(0.0, 1.0)),
            draw(real(0, 50)),
            draw(real(0, 150)),
            draw(real(0, 50)),
            draw(st.sampled_from([0.0, 1.0, 2.0, 3.0])),
            draw(st.sampled_from([0.0, 1.0, 2.0])),
            draw(real(0, 40)),
            draw(st.sampled_from([float("inf"), 1.0])),
        ),
        production=ProductionSpec(2.0, 20.0, 5.0, 0.02),
        prices=PriceSpec(
            1.0, draw(real(0, 0.1)), draw(real(0, 0.9)), 0.0, 0.075, draw(real(0, 15)), 900, draw(real(0, 300))
        ),
        end=EndSpec(0.0, 0.0),
        solver=SolverSpec(0.0, 5000, 60.0),
        steps=steps,
        commit_every_s=3600,
        valid_s=2700.0,
    )


@st.composite
def states(draw: st.DrawFn, offset: float = 0.0) -> PlanState:
    on = draw(st.booleans())
    return PlanState(
        utc=T0 + offset,
        soc=draw(real(0, 100)),
        stock=draw(real(0, 25)),
        backlog=draw(st.sampled_from([0.0, 0.0, 1.5])),
        line_on=on,
        line_minutes=draw(st.sampled_from([0.0, 30.0, 90.0, 600.0])),
        rate=draw(real(0.2, 0.8)) if on else 0.0,
        month_peak=draw(real(0, 400)),
        window_energy=draw(real(0, 40)) if offset % 900 else 0.0,
        window_elapsed=offset % 900,
        battery_available=draw(st.sampled_from([True, True, False])),
    )


@st.composite
def expectations(draw: st.DrawFn) -> PlanInputs:
    def curve(lo: float, hi: float, source: str) -> Curve:
        values = draw(st.lists(real(lo, hi), min_size=HOURS + 2, max_size=HOURS + 2))
        return Curve(tuple((T0 + 3600.0 * i, v) for i, v in enumerate(values)), T0 + 3600.0 * len(values), source)

    orders = draw(st.lists(st.tuples(real(-1, HOURS + 1), real(0, 3)), max_size=3))
    return PlanInputs(
        curve(-0.3, 0.4, "price"),
        curve(0, 600, "co2"),
        curve(0, 150, "pv"),
        curve(20, 300, "base"),
        curve(0, 12, "sales"),
        tuple(Order(f"o{i}", T0 + 3600 * due, mass) for i, (due, mass) in enumerate(orders)),
    )


@few
@given(specs(), st.data(), expectations(), st.sampled_from([0.0, 900.0, 2000.0]))
def test_every_plan_replays(spec: DispatchSpec, data: st.DataObject, given_: PlanInputs, offset: float) -> None:
    start = data.draw(states(offset))
    dispatch = Dispatch(spec, clock=False)
    plan = dispatch.plan(start, given_, commit=True)
    assert plan.status in {"optimal", "relaxed"}, plan.message
    assert check(plan, spec, start, given_) == []
    lowest = min(spec.battery.floor, start.soc) if spec.battery else 0.0
    assert min(s.soc for s in plan.steps) >= lowest - 1e-3
    assert (plan.status == "relaxed") == bool(plan.relaxed)
    step = plan.steps[0]
    after = replace(
        start,
        utc=step.utc + step.hours * 3600,
        soc=min(max(step.soc, 0.0), 100.0),
        stock=max(step.stock, 0.0),
        backlog=max(-step.stock, 0.0),
        line_on=step.line_on,
        line_minutes=(start.line_minutes if step.line_on == start.line_on else 0.0) + 60 * step.hours,
        rate=step.rate,
        month_peak=max(start.month_peak, step.grid),
        window_energy=0.0,
        window_elapsed=0.0,
    )
    left = replace(given_, orders=tuple(o for o in given_.orders if o.due > after.utc))
    later = dispatch.plan(after, left, commit=False)
    assert later.status in {"optimal", "relaxed"}, later.message
    assert check(later, spec, after, left) == []


def by_hand(
    like: Plan, spec: DispatchSpec, start: PlanState, given_: PlanInputs, *, on: list[bool], bat: list[float]
) -> Plan | None:
    """A plan someone made by hand, hourly, with the frame of `like`; None when the battery cannot do it."""
    battery, line = spec.battery, spec.line
    assert battery is not None
    assert line is not None
    steps, energy, stock = [], start.soc / 100 * battery.capacity, start.stock
    for hour, running in enumerate(on):
        power = bat[hour]
        energy -= power / battery.efficiency if power > 0 else power * battery.efficiency
        if not 0.0 <= energy <= battery.capacity:
            return None
        utc = T0 + 3600.0 * hour
        rate = line.rate_max if running else 0.0
        sold = sum(o.mass for o in given_.orders if utc < o.due <= utc + 3600)
        stock += rate - sold
        pv, base = given_.pv.at(utc), given_.base_load.at(utc)
        load = base - pv + (line.fixed + line.per_rate * rate if running else line.holding)
        steps.append(
            PlanStep(
                utc=utc,
                hours=1.0,
                bat_power=power,
                rate=rate,
                line_on=running,
                peak_target=0.0,
                soc=100 * energy / battery.capacity,
                stock=stock,
                grid=load - power,
                buy=0.0,
                pv=pv,
                base_load=base,
                due=sold,
                reason="",
            )
        )
    peak = max(spec.prices.expected_peak, start.month_peak, *(s.grid for s in steps))
    return replace(like, steps=tuple(replace(s, peak_target=peak) for s in steps), relaxed=())


def cost_by_hand(plan: Plan, spec: DispatchSpec, start: PlanState, given_: PlanInputs) -> float:
    prices, battery, line, made = spec.prices, spec.battery, spec.line, spec.production
    assert battery is not None
    assert line is not None
    assert made is not None
    total, on = 0.0, start.line_on
    for i, s in enumerate(plan.steps):
        market = given_.price.at(s.utc)
        buy = prices.buy_times * market + prices.buy_add + prices.co2 * given_.co2.at(s.utc) / 1000
        sell = min(prices.sell_times * market + prices.sell_add, buy)
        total += max(s.grid, 0.0) * buy - max(-s.grid, 0.0) * sell + max(s.bat_power, 0.0) * battery.wear
        total += line.start_cost * (s.line_on and not on) + made.holding * s.stock
        on = s.line_on
        assert i < HOURS
    peak = max(s.peak_target for s in plan.steps)
    return total + prices.demand * (peak - max(prices.expected_peak, start.month_peak))


@few
@given(
    specs(((3600, HOURS * 3600),)), states(), expectations(), st.lists(real(-80, 80), min_size=HOURS, max_size=HOURS)
)
def test_no_feasible_plan_by_hand_is_cheaper(
    spec: DispatchSpec, start: PlanState, given_: PlanInputs, wish: list[float]
) -> None:
    start = replace(start, backlog=0.0, battery_available=True, soc=max(start.soc, 40.0), stock=10.0)
    calm = Curve(((T0, 0.0),), T0 + 86400, "sales")
    given_ = replace(given_, sales=calm, orders=tuple(replace(o, due=T0 + 3600 * HOURS) for o in given_.orders))
    plan = Dispatch(spec, clock=False).plan(start, given_, commit=True)
    assume(plan.status == "optimal")
    best = cost_by_hand(plan, spec, start, given_)
    tried = 0
    for on in product((False, True), repeat=HOURS):
        if sum(on) in {0, 2, 4, 6}:
            hand = by_hand(plan, spec, start, given_, on=list(on), bat=wish if sum(on) != 4 else [0.0] * HOURS)
            if hand is not None and not check(hand, spec, start, given_):
                tried += 1
                assert best <= cost_by_hand(hand, spec, start, given_) + 0.02
        if tried >= 4:
            break


@few
@given(st.lists(st.tuples(real(1, 5000), real(-100, 100)), min_size=1, max_size=8), real(0, 9000), real(1, 9000))
def test_means_are_those_of_a_fine_sum(pieces: list[tuple[float, float]], start: float, length: float) -> None:
    times = np.cumsum([0.0] + [p for p, _ in pieces[:-1]])
    curve = Curve(tuple(zip(times.tolist(), [v for _, v in pieces], strict=True)), float(times[-1]) + 1, "feed")
    fine = start + length * (np.arange(2000) + 0.5) / 2000
    want = np.mean([curve.at(t) for t in fine])
    got = interval_means(curve, np.array([start]), np.array([start + length]))[0]
    assert abs(got - want) <= 200 * len(pieces) / 2000 + 1e-9


@few
@given(st.integers(0, 365 * 24), st.integers(1, 40), st.integers(0, 30))
def test_forecasts_cover_what_is_asked_on_any_day_of_the_year(hour: int, ahead: int, known: int) -> None:
    now = T0 + 3600.0 * hour
    times = now + 3600.0 * np.arange(-8 * 24, 0)
    history = (times, np.sin(times / 7000.0))
    given_ = Curve(((now - 1800.0, 5.0),), now + 3600.0 * known + 60.0, "market") if known else None
    curve = same_hour_last_week(given_, history, now, now + 3600.0 * ahead, "Europe/Berlin")
    assert curve.steps[0][0] <= now
    assert curve.end >= now + 3600.0 * ahead
    assert curve.substituted == (not known or known * 3600 + 60 < ahead * 3600)
    profile = weekday_profile(history, now, now + 3600.0 * ahead, "Europe/Berlin")
    assert profile.steps[0][0] <= now
    assert profile.substituted_from == profile.steps[0][0], "eight days are no four weeks"
    assert profile.end >= now + 3600.0 * ahead
