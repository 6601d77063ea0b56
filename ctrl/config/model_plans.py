"""Plans: scheduled jobs that make offers to loops."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ctrl.config.model_base import Part
from ctrl.config.quantity import (
    AnyQuantity,
    Duration,
    Efficiency,
    Mass,
    MassRange,
    MassRateRange,
    Name,
    Percent,
    Period,
    PositivePower,
    Power,
    Ref,
    number,
    whole,
)
from ctrl.units import Quantity


class Run(Part):
    """When the plan is made, local time, and the deadline for an offer."""

    cron: str
    finish_in: Period


class Commit(Part):
    """When on/off decisions may change; between them only rates and battery move."""

    every: Period
    on: tuple[Literal["orders", "price", "capacity_limit", "stock"], ...] = ()


class GridStep(Part):
    """Step length of the plan up to a time ahead."""

    step: Period
    until: Period


class Solver(Part):
    """The node limit decides; the time limit only aborts."""

    gap: Percent = Quantity(0.5, "%")
    nodes: Annotated[int, whole(1, 1_000_000)] = 200
    time_limit: Period = Quantity(30.0, "s")


class ScaledPrice(Part):
    """A price tag times a factor."""

    of: Ref
    times: Annotated[float, number()] = 1.0


def _price(value: Any) -> Any:
    return {"of": value} if isinstance(value, str) else value


PriceField = Annotated[ScaledPrice, BeforeValidator(_price, json_schema_input_type=str | ScaledPrice)]


class DemandCharge(Part):
    """Price of the highest window average of the month."""

    price: AnyQuantity
    measured: Ref
    expected_peak: PositivePower


class Co2Price(Part):
    """Price of emissions and the intensity of the grid."""

    price: AnyQuantity
    intensity: Ref


class Prices(Part):
    """What the plan minimises."""

    buy: PriceField
    sell: PriceField | None = None
    demand_charge: DemandCharge | None = None
    co2: Co2Price | None = None


class Forecast(Part):
    """Where a curve comes from: a feed with a substitute when stale, or a signal with a model of its own past."""

    from_: Annotated[Ref, Field(alias="from")]
    when_stale: Literal["clear_sky_p30", "same_hour_last_week", "last_value"] | None = None
    model: Literal["weekday_profile"] | None = None
    weeks: Annotated[int, whole(1, 52)] = 4


class Forecasts(Part):
    """The uncertain curves of the plan."""

    pv: Forecast | None = None
    base_load: Forecast
    price: Forecast


class GridAsset(Part):
    """Connection to the public grid."""

    import_max: PositivePower
    export_max: PositivePower


class BatteryAsset(Part):
    """What the plan may do with a battery loop."""

    loop: Name
    power: PositivePower
    efficiency_each_way: Efficiency
    wear: AnyQuantity = Quantity(0.0, "EUR/MWh")
    keep_for_peaks: Percent = Quantity(0.0, "%")


class LinePower(Part):
    """Power of the line: fixed + per_rate x rate when running, holding when not."""

    fixed: Power
    per_rate: AnyQuantity
    holding: Power


class LineAsset(Part):
    """The production line."""

    rate: MassRateRange
    power: LinePower
    min_run: Duration
    min_stop: Duration
    start_cost: AnyQuantity


class Assets(Part):
    """What the plan can move."""

    grid: GridAsset
    battery: BatteryAsset | None = None
    line: LineAsset | None = None


class Production(Part):
    """Stock, orders and what they cost."""

    stock: Ref
    orders: Ref | None = None
    forecast: Ref | None = None
    stock_limits: MassRange
    lateness: AnyQuantity
    holding: AnyQuantity = Quantity(0.0, "EUR/t/d")


class EndOfHorizon(Part):
    """What must be left when the plan ends."""

    battery_min: Percent | None = None
    stock_min: Mass | None = None


class EconomicDispatch(Part):
    """Least-cost schedule of production, battery and grid by mixed-integer linear programming."""

    type: Literal["economic_dispatch"]
    run: Run
    commit: Commit
    horizon: Period
    grid: Annotated[tuple[GridStep, ...], Field(min_length=1, max_length=8)]
    solver: Solver = Solver()
    plan_valid_for: Period
    prices: Prices
    forecasts: Forecasts
    assets: Assets
    production: Production | None = None
    end_of_horizon: EndOfHorizon = EndOfHorizon()
    when_infeasible: tuple[Literal["relax_stock", "relax_orders", "last_plan", "fallbacks"], ...]
    gives: dict[Name, str]
    """Name of the output -> unit, or bool."""


Plan = EconomicDispatch
