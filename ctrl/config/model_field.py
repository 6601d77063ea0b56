"""Devices and their points (OT), sources and their feeds (IT)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from ctrl.config.model_base import Part
from ctrl.config.quantity import (
    AnyQuantity,
    AnyRange,
    At,
    Duration,
    Name,
    Period,
    UnitText,
    number,
    read_quantity,
    read_unit,
    whole,
)
from ctrl.units import Quantity

PointType = Literal["bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"]


def _fallback(value: Any) -> Quantity | bool | str:
    if isinstance(value, bool) or value == "hold":
        return value  # type: ignore[no-any-return]
    return read_quantity(value)


Fallback = Annotated[
    Quantity | bool | str,
    PlainValidator(_fallback),
    WithJsonSchema(
        {"anyOf": [{"type": "boolean"}, {"type": "string"}], "description": "hold, true, false or a quantity"}
    ),
]


class Contract(Part):
    """What the program in the PLC promises when the engine is gone."""

    kind: Literal["heartbeat", "block", "revert_timer", "none"]
    """heartbeat: echoed counter; block: commands with sequence; revert_timer: device reverts; none: advisory."""
    write: At | None = None
    """Register the engine writes: heartbeat counter, sequence of the block, or the timer."""
    echo: At | None = None
    """Register in which the device returns the counter."""
    dead_after: Period | None = None
    """The device applies its fallbacks when nothing valid came for so long."""


class Point(Part):
    """One value in a device."""

    at: At
    type: PointType
    scale: Annotated[float, number(), Field(json_schema_extra={"not": {"const": 0}})] = 1.0
    """Engineering value = raw x scale + offset."""
    offset: Annotated[float, number()] = 0.0
    unit: UnitText = "1"
    valid: AnyRange | None = None
    """Outside this range the sensor counts as failed."""
    enum: dict[int, str] | None = None
    """Words for the numbers of a state."""
    counter: bool = False
    """Counts up for ever and may wrap: differences are taken, never the value."""
    write: bool = False
    limits: AnyRange | None = None
    rate: AnyQuantity | None = None
    """Fastest change of the command, in unit of the point a time."""
    expires_after: Period | None = None
    """The device drops this command when it is not refreshed for so long."""
    refresh: Period | None = None
    """The command is repeated at least so often; a third of expires_after when not given."""
    max_writes_per_day: Annotated[int, whole(1)] | None = None
    """Wear budget of a register in flash or EEPROM; the gate refuses more. A day is one of UTC."""
    fallback: Fallback | None = None
    """What the device does when the command expires."""


class Device(Part):
    """A PLC or meter."""

    type: Literal["modbus_tcp"]
    host: str
    port: Annotated[int, whole(1, 65535)] = 502
    device_id: Annotated[int, whole(0, 255)] = 1
    timeout: Period
    task: Name
    word_order: Literal["big", "little"] = "big"
    """Order of the 16-bit words of a 32 or 64-bit value."""
    contract: Contract
    points: dict[Name, Point]


class HeaderAuth(Part):
    """A key sent in a header of its own."""

    name: str
    value: str


class Auth(Part):
    """How a source is asked; exactly one of the two."""

    bearer: str | None = None
    header: HeaderAuth | None = None


def _feed_unit(value: Any) -> str | dict[str, str]:
    if isinstance(value, dict):
        return {str(key): read_unit(unit) for key, unit in value.items()}
    return read_unit(value)


FeedUnit = Annotated[
    str | dict[str, str],
    PlainValidator(_feed_unit),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]}),
]


class Feed(Part):
    """One value, curve or list of a source."""

    path: str
    every: Period
    list_: Annotated[str | None, Field(alias="list")] = None
    """Dotted path to the array inside the answer; without it the answer itself, or its only array."""
    time: str | None = None
    """Name of the time field of a row."""
    value: str | None = None
    """Name of the value field of a row."""
    fields: dict[str, str] | None = None
    """For lists of records: our name -> name in the answer."""
    unit: FeedUnit
    """Unit of the value, or of each field that has one."""
    horizon: Period | None = None
    """How far ahead the curve reaches; without it the feed is one value."""
    stale_after: Duration


class CsvSource(Part):
    """Files of a folder, dropped there by IT: a header line, then ISO 8601 times and numbers."""

    type: Literal["csv"]
    folder: str
    """Relative to the site file; the path of a feed is relative to it."""
    feeds: dict[Name, Feed]


class HttpSource(Part):
    """A JSON service."""

    type: Literal["http_json"]
    url: str
    auth: Auth | None = None
    feeds: dict[Name, Feed]


AnySource = Annotated[HttpSource | CsvSource, Field(discriminator="type")]
