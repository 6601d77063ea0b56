"""What an economic dispatch is asked to optimise, in plain numbers.

Units everywhere: kW, kWh, t, t/h, EUR, h; state of charge in % of capacity; spans of time in s where the name says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

Relax = Literal["relax_stock", "relax_orders", "last_plan", "fallbacks"]
RELAX_STEPS: Final[tuple[Relax, ...]] = ("relax_stock", "relax_orders", "last_plan", "fallbacks")


@dataclass(frozen=True, slots=True)
class GridSpec:
    """The connection: most that may be imported and exported, kW."""

    import_max: float
    export_max: float


@dataclass(frozen=True, slots=True)
class BatterySpec:
    """One battery. `power` kW at the meter in both directions, `capacity` kWh, `efficiency` of each way (0, 1].

    wear: EUR per kWh delivered. soc_min, soc_max: % the battery may use. reserve: % of capacity that plans leave
    above soc_min, for the peak limiter.
    """

    power: float
    capacity: float
    efficiency: float
    wear: float
    soc_min: float
    soc_max: float
    reserve: float

    @property
    def floor(self) -> float:
        """Lowest state of charge a plan may ask for, %."""
        return min(self.soc_min + self.reserve, self.soc_max)


@dataclass(frozen=True, slots=True)
class LineSpec:
    """One production line: off, or between rate_min and rate_max t/h.

    Power kW: fixed + per_rate * rate when on, holding when off. min_run, min_stop h; start_cost EUR;
    ramp: largest change of rate, t/h per h.
    """

    rate_min: float
    rate_max: float
    fixed: float
    per_rate: float
    holding: float
    min_run: float
    min_stop: float
    start_cost: float
    ramp: float = math.inf


@dataclass(frozen=True, slots=True)
class ProductionSpec:
    """Stock limits t (soft, priced), lateness EUR per t and h, holding EUR per t and h."""

    stock_min: float
    stock_max: float
    lateness: float
    holding: float


@dataclass(frozen=True, slots=True)
class PriceSpec:
    """Prices made of one market curve in EUR/kWh: buy = market * buy_times + buy_add, sell likewise.

    co2: EUR per kg, on imports. demand: EUR per kW of new peak in a billing month, averaged over window_s;
    expected_peak: kW that the month is expected to reach anyway, so that only what exceeds it is charged.
    peak_margin: share of the target that the peak limiter keeps free and plans leave alone, [0, 1).
    """

    buy_times: float
    buy_add: float
    sell_times: float
    sell_add: float
    co2: float
    demand: float
    window_s: int
    expected_peak: float
    peak_margin: float = 0.0


@dataclass(frozen=True, slots=True)
class EndSpec:
    """What should be left at the end of the horizon: battery %, stock t (soft, priced)."""

    battery_min: float
    stock_min: float


@dataclass(frozen=True, slots=True)
class SolverSpec:
    """Where the solver stops: relative gap, nodes and iterations. The clock (`time_limit` s) only aborts."""

    gap: float
    nodes: int
    time_limit: float
    seed: int = 7
    iterations: int = 50_000


@dataclass(frozen=True, slots=True)
class DispatchSpec:
    """One economic dispatch. Raises ValueError for what cannot be planned, naming the field.

    steps: (step s, until s from the start) ascending, the grid of time. commit_every_s: how long on/off decisions
    stay; it is also the length of the blocks in which the line is on or off. valid_s: how long a plan may be followed.
    latency_s: when an offer takes effect after the plan was asked for. handover_s: how long the later steps of an offer
    wait for the next plan, which is asked for shortly after the edge of a step; at least latency_s.
    """

    name: str
    timezone: str
    lat: float
    lon: float
    grid: GridSpec
    battery: BatterySpec | None
    line: LineSpec | None
    production: ProductionSpec | None
    prices: PriceSpec
    end: EndSpec
    solver: SolverSpec
    steps: tuple[tuple[int, int], ...]
    commit_every_s: int
    valid_s: float
    latency_s: float = 5.0
    handover_s: float = 10.0
    when_infeasible: tuple[Relax, ...] = RELAX_STEPS

    def __post_init__(self) -> None:
        self._check_steps()
        self._check_assets()
        unknown = [step for step in self.when_infeasible if step not in RELAX_STEPS]
        if unknown:
            raise ValueError(f"when_infeasible: {unknown[0]} is none of {', '.join(RELAX_STEPS)}")

    @property
    def horizon_s(self) -> int:
        """Length of the grid of time, s."""
        return self.steps[-1][1]

    def _check_steps(self) -> None:
        window, block, done = self.prices.window_s, self.commit_every_s, 0
        if not self.steps:
            raise ValueError("grid: at least one step")
        for step, until in self.steps:
            if step <= 0 or until <= done or (until - done) % step or done % step:
                raise ValueError(f"grid: steps of {step} s do not fill the time from {done} s until {until} s")
            if window % step and step % window:
                raise ValueError(f"grid: a step of {step} s does not fit the billing window of {window} s")
            if block % step and step % block:
                raise ValueError(f"grid: a step of {step} s does not fit commitments of {block} s")
            if step < block and done % block:
                raise ValueError(f"grid: steps of {step} s do not start on a commitment of {block} s")
            done = until

    def _check_assets(self) -> None:
        battery, line = self.battery, self.line
        if battery is not None and not (0 < battery.efficiency <= 1 and battery.capacity > 0 and battery.power >= 0):
            raise ValueError("battery: efficiency in (0, 1], capacity > 0 and power >= 0")
        if battery is not None and not 0 <= battery.soc_min <= battery.soc_max <= 100:
            raise ValueError("battery: 0 % <= soc_min <= soc_max <= 100 %")
        if line is not None and not 0 <= line.rate_min <= line.rate_max:
            raise ValueError("line: 0 <= rate_min <= rate_max")
        if not 0 <= self.prices.peak_margin < 1:
            raise ValueError("prices: 0 <= peak_margin < 1")
        if not 0 <= self.latency_s <= self.handover_s:
            raise ValueError("0 <= latency_s <= handover_s")
        if line is not None and line.ramp <= 0:
            raise ValueError("line: ramp > 0")
