"""A site as the engine sees it: the typed, frozen form of one YAML file. Attributes are the keys of the file."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import Field, PlainValidator, PrivateAttr, WithJsonSchema

from ctrl.config.model_base import Part
from ctrl.config.model_field import AnySource, Auth, Contract, CsvSource, Device, Feed, HeaderAuth, HttpSource, Point
from ctrl.config.model_loops import (
    AnyLoop,
    BatteryAction,
    BatteryRules,
    Feedforward,
    PeakLimiter,
    Pid,
    PowerFollow,
    ProductionRules,
    RateControl,
    ReduceAction,
    Setpoint,
    SetpointProgram,
    ShedAction,
    Soak,
    Soc,
    Staging,
    StagingUnit,
    Trim,
    Tuning,
    WhenMeasureBad,
    Window,
)
from ctrl.config.model_plans import EconomicDispatch, Forecast, GridStep, ScaledPrice
from ctrl.config.model_records import Alarm, Connection, Failsafe, Records, Scenario, SimPlant, Simulate
from ctrl.config.model_signals import RatioSignal, SelectSignal, Signal, SumSignal, WindowAverageSignal
from ctrl.config.quantity import Address, ClockRange, Name, Operand, Period, fail, number

__all__ = [
    "Address",
    "Alarm",
    "AnyLoop",
    "AnySource",
    "Auth",
    "BatteryAction",
    "BatteryRules",
    "ClockOverride",
    "ClockRange",
    "Connection",
    "Contract",
    "CsvSource",
    "Device",
    "EconomicDispatch",
    "Failsafe",
    "Feed",
    "Feedforward",
    "Forecast",
    "GridStep",
    "HeaderAuth",
    "HttpSource",
    "Operand",
    "PeakLimiter",
    "Pid",
    "Point",
    "PowerFollow",
    "ProductionRules",
    "RateControl",
    "RatioSignal",
    "Records",
    "ReduceAction",
    "ScaledPrice",
    "Scenario",
    "SelectSignal",
    "Setpoint",
    "SetpointProgram",
    "ShedAction",
    "Signal",
    "SimPlant",
    "Simulate",
    "Site",
    "SiteInfo",
    "Soak",
    "Soc",
    "Staging",
    "StagingUnit",
    "SumSignal",
    "Task",
    "Template",
    "Trim",
    "Tuning",
    "WhenMeasureBad",
    "Window",
    "WindowAverageSignal",
]


def _timezone(value: Any) -> str:
    if isinstance(value, str) and value in available_timezones():
        return value
    raise fail("E204", f"'{value}' is not a time zone", "Use a name such as Europe/Berlin")


class Location(Part):
    """Degrees; for sun and weather."""

    lat: Annotated[float, number(-90, 90)]
    lon: Annotated[float, number(-180, 180)]


class SiteInfo(Part):
    """Name, place and money of the site."""

    name: str
    timezone: Annotated[str, PlainValidator(_timezone), WithJsonSchema({"type": "string"})]
    """Every clock time of the file is local time here."""
    location: Location | None = None
    currency: Literal["EUR", "USD", "GBP", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "JPY", "CAD", "AUD"]


class Task(Part):
    """A cyclic task."""

    every: Period


class Template(Part):
    """A reusable piece: `params` and one body under the name of what it makes."""

    params: tuple[str, ...]
    unit: dict[str, Any] | None = None
    loop: dict[str, Any] | None = None
    device: dict[str, Any] | None = None
    point: dict[str, Any] | None = None
    signal: dict[str, Any] | None = None
    alarm: dict[str, Any] | None = None
    source: dict[str, Any] | None = None


class ClockOverride(Part):
    """Plant clock that an override file hands over: plant time = start + (CLOCK_BOOTTIME - origin) x speed.

    All processes of a run on one machine, until it is started anew, make the same ctrl.clock.PlantClock of it.
    """

    start: Annotated[float, number()]
    """Plant time at the origin, s since 1970."""
    origin: Annotated[float, number()]
    """CLOCK_BOOTTIME of the machine at which the plant began, s; a clock takes it as round(origin x 1e9) ns."""
    speed: Annotated[float, number(above=0)]
    """Seconds of plant time in one second."""


class Site(Part):
    """One site. Made by ctrl.config.load, never by hand."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    site: SiteInfo
    tasks: Annotated[dict[Name, Task], Field(min_length=1)]
    devices: Annotated[dict[Name, Device], Field(min_length=1)]
    sources: dict[Name, AnySource] = Field(default_factory=dict)
    templates: dict[Name, Template] = Field(default_factory=dict)
    signals: dict[Name, Signal] = Field(default_factory=dict)
    loops: dict[Name, AnyLoop] = Field(default_factory=dict)
    plans: dict[Name, EconomicDispatch] = Field(default_factory=dict)
    alarms: dict[Name, Alarm] = Field(default_factory=dict)
    failsafe: Failsafe
    records: Records
    simulate: Simulate | None = None

    _source_path: str = PrivateAttr(default="")
    _config_hash: str = PrivateAttr(default="")
    _clock: ClockOverride | None = PrivateAttr(default=None)
    _overridden: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def source_path(self) -> str:
        """Absolute path of the file; data files are relative to its folder."""
        return self._source_path

    @property
    def config_hash(self) -> str:
        """SHA-256 of the canonical form, without secrets, comments, order of keys and overrides."""
        return self._config_hash

    @property
    def clock(self) -> ClockOverride | None:
        """The plant clock of the override file, or None."""
        return self._clock

    @property
    def overridden(self) -> frozenset[str]:
        """Names of devices and sources whose address the override file replaced; such sources need no secret."""
        return self._overridden
