"""Control loops: everything that runs in a task."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema

from ctrl.config.model_base import Part
from ctrl.config.quantity import (
    AnyQuantity,
    AnyRange,
    ClockRangeField,
    Duration,
    Energy,
    Expr,
    HoursPerDay,
    Mass,
    MassRate,
    Name,
    OperandField,
    Percent,
    Percent200,
    Period,
    PositivePower,
    Ref,
    UnitText,
    fail,
    number,
    read_operand,
    whole,
)
from ctrl.units import Quantity


class Setpoint(Part):
    """Where a setpoint comes from (a tag or a value), its limits, and how fast it may move."""

    from_: Annotated[Ref | None, Field(alias="from")] = None
    value: AnyQuantity | None = None
    limits: AnyRange | None = None
    ramp_up: AnyQuantity | None = None
    ramp_down: AnyQuantity | None = None


def _setpoint(value: Any) -> Any:
    if isinstance(value, dict | Setpoint):
        return value
    operand = read_operand(value)
    return {"from": operand.ref} if operand.ref else {"value": operand.value}


SetpointField = Annotated[Setpoint, BeforeValidator(_setpoint, json_schema_input_type=str | Setpoint)]


def _expressions(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Conditions = Annotated[tuple[Expr, ...], BeforeValidator(_expressions, json_schema_input_type=str | tuple[Expr, ...])]


def _rung(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise fail("E203", f"'{value}' is no fallback", "Write hold, idle or the name of a production_rules loop")


WhenExpired = Annotated[str, PlainValidator(_rung), WithJsonSchema({"type": "string"})]


class Loop(Part):
    """What all loops share."""

    task: Name
    tag: str | None = None
    """ISA-5.1 identifier for screens and lists."""


class Tuning(Part):
    """PID parameters, ideal (ISA) form unless `form` says otherwise."""

    gain: AnyQuantity
    """Output unit over measure unit."""
    integral: Duration | None = None
    derivative: Duration | None = None
    filter_ratio: Annotated[float, number(2, 50)] = 8.0
    setpoint_weight: Annotated[float, number(0, 1)] = 1.0
    derivative_weight: Annotated[float, number(0, 1)] = 0.0
    form: Literal["ideal", "series", "parallel"] = "ideal"


class Feedforward(Part):
    """Adds gain x tag, through a lag, to the output."""

    from_: Annotated[Ref, Field(alias="from")]
    gain: AnyQuantity
    lag: Duration | None = None


class WhenMeasureBad(Part):
    """First hold the output, then put it to a value, with an alarm."""

    hold: Duration
    then_output: AnyQuantity
    alarm: Literal["low", "medium", "high", "critical"]


class Pid(Loop):
    """PID controller."""

    type: Literal["pid"]
    measure: Ref
    output: Ref
    action: Literal["reverse", "direct"]
    setpoint: SetpointField
    tuning: Tuning
    out_low: AnyQuantity
    out_high: AnyQuantity
    pv_filter: Duration | None = None
    feedforward: tuple[Feedforward, ...] = ()
    when_measure_bad: WhenMeasureBad | None = None
    requires: Conditions = ()


class Soak(Part):
    """Stay within a difference of the setpoint for a time."""

    within: AnyQuantity
    for_: Annotated[Duration, Field(alias="for")]


class SetpointProgram(Loop):
    """A setpoint for each named state."""

    type: Literal["setpoint_program"]
    states: dict[Name, AnyQuantity]
    follow: Annotated[tuple[Ref, ...], Field(min_length=1)]
    """Boolean tags; the first that is valid: true -> last state, false -> first state."""
    measure: Ref
    soak_before_release: Soak | None = None


class Window(Part):
    """Billing window of the meter."""

    length: Period
    sync: Ref | None = None


class BatteryAction(Part):
    """Ask a battery loop for power, down to a reserve."""

    battery: Name
    reserve: Percent


class ReduceAction(Part):
    """Lower the limit pin of a loop by an amount."""

    reduce: Ref
    by: AnyQuantity
    at_most_for: Period
    min_off: Duration


class ShedAction(Part):
    """Block one unit of a staging loop."""

    shed: Ref
    min_off: Duration


ACTION_KEYS = ("battery", "reduce", "shed")


def action_kind(value: Any) -> str | None:
    """The key that says which action this is."""
    if isinstance(value, dict):
        return next((key for key in ACTION_KEYS if key in value), None)
    return next((key for key in ACTION_KEYS if hasattr(value, key)), None)


Action = Annotated[
    Annotated[BatteryAction, Tag("battery")]
    | Annotated[ReduceAction, Tag("reduce")]
    | Annotated[ShedAction, Tag("shed")],
    Discriminator(
        action_kind,
        custom_error_type="E203",
        custom_error_message="an action is one of: battery, reduce, shed",
    ),
]


class PeakLimiter(Loop):
    """Keeps the mean power of each billing window below a limit."""

    type: Literal["peak_limiter"]
    meter: Ref
    window: Window
    limit: OperandField
    limit_fallback: PositivePower
    """The limit while the plan gives none."""
    margin: Percent = Quantity(1.5, "%")
    near_end_cap: Percent200 = Quantity(110.0, "%")
    power_filter: Duration = Quantity(10.0, "s")
    actions: Annotated[tuple[Action, ...], Field(min_length=1)]
    """In this order; released in reverse."""


class Soc(Part):
    """State of charge: where it is read, what is allowed, how much the battery holds."""

    measure: Ref
    min: Percent
    max: Percent
    capacity: Energy


class PowerFollow(Loop):
    """Battery follows a power setpoint within ramp and charge limits."""

    type: Literal["power_follow"]
    measure: Ref
    output: Ref
    setpoint: SetpointField
    soc: Soc
    ramp: AnyQuantity
    derate_band: Percent = Quantity(5.0, "%")
    when_setpoint_expires: WhenExpired
    """idle, hold, or the name of a production_rules loop."""


class Trim(Part):
    """The unit with variable speed."""

    name: Name
    command: Ref
    capacity: AnyQuantity
    min: Percent


class UnitPower(Part):
    """Electric power of a unit, loaded and unloaded."""

    loaded: PositivePower
    unloaded: PositivePower


class UnitLimits(Part):
    """How often a unit may be switched."""

    min_on: Duration
    min_off: Duration
    starts_per_hour: Annotated[int, whole(1, 60)]


class StagingUnit(Part):
    """A unit that is on or off."""

    command: Ref
    running: Ref
    capacity: AnyQuantity
    power: UnitPower
    limits: UnitLimits


class StageUp(Part):
    """One more unit when the demand is above a share of the capacity for a time."""

    above_capacity: Percent
    for_: Annotated[Duration, Field(alias="for")]


class StageDown(Part):
    """One unit less when the rest could do this share of the demand for a time."""

    spare_over_next: Percent200
    for_: Annotated[Duration, Field(alias="for")]


class Staging(Loop):
    """Serves a demand with a variable unit and several fixed ones."""

    type: Literal["staging"]
    demand_unit: UnitText
    trim: Trim
    units: Annotated[dict[Name, StagingUnit], Field(min_length=1)]
    rotate_by: Literal["run_hours", "fixed", "starts"]
    stage_up: StageUp
    stage_down: StageDown


class RateControl(Loop):
    """Production rate and run command of a line."""

    type: Literal["rate_control"]
    setpoint: SetpointField
    output: Ref
    run_output: Ref | None = None
    ramp: AnyQuantity
    allow_when: Conditions = ()
    when_setpoint_expires: WhenExpired


class WhenStockStale(Part):
    """The stock is carried on with this rate while its feed is stale."""

    integrate: Ref


class BatteryRules(Part):
    """Price thresholds of the battery."""

    loop: Name
    charge_below: AnyQuantity
    discharge_above: AnyQuantity


class ProductionRules(Loop):
    """Rate, on/off and battery from stock and price, without any plan."""

    type: Literal["production_rules"]
    stock: Ref
    when_stock_stale: WhenStockStale | None = None
    sales: Ref | None = None
    price: Ref | None = None
    reorder_below: Mass
    fill_to: Mass
    rate: MassRate
    cheapest_hours: HoursPerDay
    avoid_hours: tuple[ClockRangeField, ...] = ()
    battery: BatteryRules | None = None
    gives: dict[Name, str]


AnyLoop = Annotated[
    PeakLimiter | PowerFollow | Pid | SetpointProgram | Staging | RateControl | ProductionRules,
    Field(discriminator="type"),
]
