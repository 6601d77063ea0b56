"""Alarms, fail actions, records and the simulation of the site."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from ctrl.config.model_base import Part
from ctrl.config.quantity import (
    AnyQuantity,
    Duration,
    Energy,
    Expr,
    Mass,
    Name,
    Period,
    PositivePower,
    Ref,
    fail,
    number,
    read_quantity,
    whole,
)
from ctrl.units import Quantity

Priority = Literal["low", "medium", "high", "critical"]


class Alarm(Part):
    """An alarm in the sense of ISA-18.2: a condition that needs an action of the operator."""

    when: Expr
    for_: Annotated[Duration, Field(alias="for")] = Quantity(0.0, "s")
    off_below: AnyQuantity | None = None
    off_above: AnyQuantity | None = None
    off_after: Duration | None = None
    priority: Priority
    text: str | None = None
    response: str | None = None
    """What to do; must be given from high on."""
    unless: Expr | None = None
    trip: Name | None = None
    """Loop that goes to its low output limit until the alarm is reset."""


class PlcLost(Part):
    """The engine stops hearing a device."""

    after: Period
    loops: Literal["manual_tracking"]
    outputs: Literal["plc_fallback"]


class EngineStop(Part):
    """The engine ends in order."""

    outputs: Literal["write_fallbacks_once", "leave"]
    heartbeat: Literal["stop"]


class ItLost(Part):
    """Plans and feeds stay away."""

    plan: Literal["until_expiry"]
    then: Name


class Failsafe(Part):
    """What happens when a part is gone. No defaults: these are the site's decisions."""

    plc_lost: PlcLost
    engine_stop: EngineStop
    it_lost: ItLost | None = None


def _history_points(value: Any) -> str | tuple[str, ...]:
    if value == "all":
        return "all"
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return value
    raise fail("E203", "'all' or a list of tags expected")


HistoryPoints = Annotated[
    str | tuple[str, ...],
    PlainValidator(_history_points),
    WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "array", "items": {"type": "string"}}]}),
]


class History(Part):
    """Values kept."""

    every: Period
    keep: Period
    points: HistoryPoints = "all"


class Audit(Part):
    """Tamper-evident log of changes."""

    chain: Literal["sha256"] = "sha256"
    record: tuple[Literal["setpoint", "mode", "tuning", "config", "alarm", "plan"], ...]


class Records(Part):
    """What is written down."""

    history: History
    audit: Audit = Audit(record=("setpoint", "mode", "tuning", "config", "alarm", "plan"))
    kpis: tuple[Ref, ...] = ()


def _start_value(value: Any) -> Quantity | str:
    if isinstance(value, str) and value.replace("_", "").isalpha():
        return value
    return read_quantity(value)


StartValue = Annotated[
    Quantity | str,
    PlainValidator(_start_value),
    WithJsonSchema({"type": ["string", "number"], "examples": ["870 degC"]}),
]


class SimPlant(Part):
    """A plant model that stands behind a device or source while the site is simulated."""

    model: str
    """Built-in name, "python:package.module:Class" or "fmu:file.fmu"."""
    serves: Name
    map: dict[Name, Name] = Field(default_factory=dict)
    """Point of the device -> pin of the plant, where the names differ."""
    start: dict[Name, StartValue] = Field(default_factory=dict)
    demand: str | None = None
    battery: Energy | None = None
    pv: PositivePower | None = None
    base_load: str | None = None
    opening_stock: Mass | None = None
    day_ahead: str | None = None
    co2: str | None = None
    pv_of: Name | None = None
    params: dict[Name, StartValue] = Field(default_factory=dict)
    """Further options of the model; parameters of python: and fmu: models."""


class Connection(Part):
    """Physics between plants: an output drives an input."""

    from_: Annotated[Ref, Field(alias="from")]
    to: Ref


def _start_time(value: Any) -> str:
    if isinstance(value, str) and _is_local_time(value):
        return value
    raise fail("E210", f"'{value}' is not a local date and time", "Write 2018-03-05T00:00")


def _is_local_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None and "T" in text
    except ValueError:
        return False


class Scenario(Part):
    """What is simulated: local start time, length, history before it and the seed of all randomness."""

    start: Annotated[str, PlainValidator(_start_time), WithJsonSchema({"type": "string", "format": "date-time"})]
    days: Annotated[float, number(above=0, hi=3660)]
    history: Duration = Quantity(0.0, "s")
    seed: Annotated[int, whole(0, 2**63 - 1)] = 0


class Simulate(Part):
    """Simulation of the site."""

    plants: Annotated[dict[Name, SimPlant], Field(min_length=1)]
    connections: tuple[Connection, ...] = ()
    scenario: Scenario
