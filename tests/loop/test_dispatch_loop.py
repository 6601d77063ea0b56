"""Receding horizon: plan, follow for a quarter of an hour, plan again, over a change to summer time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ctrl.planning.dispatch import Dispatch
from ctrl.planning.forecasts import same_hour_last_week, weekday_profile
from ctrl.planning.offers import offers
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

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2018, 3, 24, 12, tzinfo=BERLIN).timestamp()  # clocks change in the night
QUARTERS = 112
SPEC = DispatchSpec(
    name="energy_plan",
    timezone="Europe/Berlin",
    lat=50.11,
    lon=8.68,
    grid=GridSpec(800.0, 300.0),
    battery=BatterySpec(200.0, 400.0, 0.95, 0.015, 8.0, 95.0, 12.0),
    line=LineSpec(0.55, 1.1, 28.0, 146.0, 28.0, 2.0, 2.0, 25.0),
    production=ProductionSpec(4.0, 40.0, 160 / 24, 0.5 / 24),
    prices=PriceSpec(1.0, 0.055, 0.9, 0.0, 0.075, 13.0, 900, 300.0, peak_margin=0.015),
    end=EndSpec(50.0, 8.0),
    solver=SolverSpec(0.005, 200, 30.0),
    steps=((900, 43200), (3600, 172800)),
    commit_every_s=3600,
    valid_s=2700.0,
)
ORDERS = tuple(Order(str(4710 + i), START + 3600 * (5 + 24 * i), 11.0) for i in range(5))


def price(utc: float) -> float:
    """EUR/kWh: two peaks a day, a sunny and partly negative noon."""
    hour = datetime.fromtimestamp(utc, BERLIN).hour
    noise = 0.004 * np.sin(utc // 3600 * 12.9898)
    return (
        float(0.035 + 0.02 * np.exp(-((hour - 8) ** 2) / 4) + 0.035 * np.exp(-((hour - 19) ** 2) / 5))
        + noise
        - (0.06 if 11 <= hour < 15 else 0.0)
    )


def base(utc: float) -> float:
    local = datetime.fromtimestamp(utc, BERLIN)
    return 90.0 + 40.0 * (6 <= local.hour < 18) + 8.0 * float(np.sin(utc / 700.0))


def pv(utc: float) -> float:
    local = datetime.fromtimestamp(utc, BERLIN)
    return max(0.0, 110.0 * float(np.sin(np.pi * (local.hour + local.minute / 60 - 6) / 12)))


@dataclass
class Plant:
    """What the plan acts on, by plain arithmetic, with the loads as they really are."""

    soc: float = 50.0
    stock: float = 14.0
    on: bool = False
    minutes: float = 600.0
    rate: float = 0.0
    peak: float = 0.0
    cost: float = 0.0
    late: int = 0
    socs: list[float] = field(default_factory=list)

    def quarter(self, utc: float, *, bat: float, rate: float, on: bool, limit: float = 1e9) -> None:
        """Follow the setpoints; what would exceed `limit` kW of import comes from the battery, as by a peak limiter."""
        energy = self.soc * 4.0
        load = base(utc) - pv(utc) + 28.0 + 146.0 * rate * on
        bat = min(max(bat, load - limit), 200.0)
        bat = min(bat, max(0.0, (energy - 32.0) * 0.95 / 0.25)) if bat > 0 else max(bat, (energy - 380.0) / 0.95 / 0.25)
        self.soc -= 0.25 * (bat / 0.95 if bat > 0 else bat * 0.95) / 4.0
        self.cost += 25.0 * (on and not self.on)
        self.minutes = self.minutes + 15.0 if on == self.on else 15.0
        self.on, self.rate = on, rate if on else 0.0
        self.stock += 0.25 * self.rate
        for order in ORDERS:
            if utc < order.due <= utc + 900:
                self.stock -= order.mass
                self.late += self.stock < -1e-6
        grid = base(utc) - pv(utc) + 28.0 + 146.0 * self.rate - bat
        buy = price(utc) + 0.055 + 0.075 * 0.4
        self.cost += 0.25 * (max(grid, 0.0) * buy - max(-grid, 0.0) * 0.9 * price(utc) + max(bat, 0.0) * 0.015)
        self.peak = max(self.peak, grid)
        self.socs.append(self.soc)

    def total(self) -> float:
        """EUR, with what is left valued: a tonne at 17 EUR (146 kWh at a mean price), a kWh at 0.10 EUR."""
        return self.cost + 13.0 * max(0.0, self.peak - 300.0) - 17.0 * self.stock - 0.4 * self.soc


def expectations(now: float) -> PlanInputs:
    """Prices known until the end of tomorrow from 13:00 on; base load from its own past."""
    past = now + 3600.0 * np.arange(-8 * 24, 0)
    end = now + SPEC.horizon_s + 3600
    hour = datetime.fromtimestamp(now, BERLIN).hour
    known_h = 24 - hour + (24 if hour >= 13 else 0)
    whole = now // 3600 * 3600
    known = Curve(
        tuple((whole + 3600.0 * i, price(whole + 3600.0 * i)) for i in range(known_h)),
        whole + 3600.0 * known_h,
        "market",
    )
    quarters = now + 900.0 * np.arange(49 * 4)
    flat = Curve(((now, 400.0),), end, "co2")
    quarter_past = now + 900.0 * np.arange(-8 * 96, 0)
    return PlanInputs(
        same_hour_last_week(known, (past, np.array([price(t) for t in past])), now, end, "Europe/Berlin"),
        flat,
        Curve(tuple((t, pv(t)) for t in quarters.tolist()), end, "pv"),
        weekday_profile((quarter_past, np.array([base(t) for t in quarter_past])), now, end, "Europe/Berlin"),
        Curve(((now, 11.0),), end, "sales"),
        tuple(o for o in ORDERS if o.due > now),
    )


def state(plant: Plant, now: float) -> PlanState:
    return PlanState(now, plant.soc, plant.stock, 0.0, plant.on, plant.minutes, plant.rate, plant.peak)


@pytest.fixture(scope="module")
def run() -> tuple[Plant, list[str], int, list[bool]]:
    plant, dispatch = Plant(), Dispatch(SPEC, clock=False)
    qualities, commits, on = [], 0, []
    for i in range(QUARTERS):
        now = START + 900.0 * i
        given = expectations(now)
        plan = dispatch.plan(state(plant, now), given, dispatch.commit_due(now))
        assert check(plan, SPEC, state(plant, now), given) == []
        made = {offer.tag.partition(".")[2]: offer for offer in offers(plan, SPEC)}
        first = {name: offer.steps[0][1] for name, offer in made.items()}
        plant.quarter(
            now, bat=first["bat_power"], rate=first["rate"], on=first["line_on"] > 0.5, limit=first["peak_target"]
        )
        qualities.append(plan.status)
        commits += plan.solved.committed
        on.append(plant.on)
    return plant, qualities, commits, on


def test_every_plan_is_optimal_and_no_order_is_late(run: tuple[Plant, list[str], int, list[bool]]) -> None:
    plant, qualities, commits, _ = run
    assert set(qualities) == {"optimal"}
    assert plant.late == 0
    assert QUARTERS / 4 <= commits <= QUARTERS / 4 + 4


def test_reserve_and_peak_hold(run: tuple[Plant, list[str], int, list[bool]]) -> None:
    plant = run[0]
    assert min(plant.socs) >= 20.0 - 4.0  # the reserve is there for the peak limiter to use
    assert plant.peak <= 300.0 + 1e-6  # no ratchet: what the load does beyond its forecast never becomes the new target


def test_line_keeps_its_minimum_times(run: tuple[Plant, list[str], int, list[bool]]) -> None:
    on = run[3]
    changes = [i for i in range(1, len(on)) if on[i] != on[i - 1]]
    assert all(b - a >= 8 for a, b in pairwise(changes))


def test_plan_beats_a_fixed_shift_without_battery(run: tuple[Plant, list[str], int, list[bool]]) -> None:
    shift = Plant()
    for i in range(QUARTERS):
        now = START + 900.0 * i
        works = 6 <= datetime.fromtimestamp(now, BERLIN).hour < 19
        shift.quarter(now, bat=0.0, rate=0.9, on=works)
    assert shift.late == 0
    assert run[0].total() < shift.total() - 30.0


def test_dead_price_feed_goes_on_with_last_week() -> None:
    plant, dispatch = Plant(), Dispatch(SPEC, clock=False)
    now = START - 6 * 3600
    past = now + 3600.0 * np.arange(-8 * 24, 0)
    history = (past, np.array([price(t) for t in past]))
    given = replace(
        expectations(now), price=same_hour_last_week(None, history, now, now + SPEC.horizon_s + 3600, "Europe/Berlin")
    )
    plan = dispatch.plan(state(plant, now), given, commit=True)
    assert plan.status == "optimal"
    assert "same hour last week" in plan.substitutes[0]
