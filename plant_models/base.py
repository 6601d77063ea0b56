"""What a plant is: inputs, outputs and options with units, and how options become the parameters of a compiled block.

A plant model is the YAML face of one compiled kind. It is stateless: the state lives in the block. Options come as
plain numbers in the unit of their declaration, as text such as "400 kWh" in that unit, or as objects with `to(unit)`.
"""

from __future__ import annotations

import csv
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable
from zoneinfo import ZoneInfo

from ext import kinds

Feed = Callable[[float, Mapping[str, float]], Any]
"""(utc s, outputs of the plant by name) -> JSON-able body of a source at that time."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class PlantError(ValueError):
    """An option of a plant, its data file or the wiring of plants is wrong; the message says which."""


@runtime_checkable
class _Convertible(Protocol):
    def to(self, unit: str) -> float: ...


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a plant in YAML. unit: of a number, else "file" (csv), "state" (of `start`), "plant" or "path"."""

    unit: str
    doc: str
    default: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Samples at a fixed step. t0_utc: s since 1970 of the first; step_s: s > 0; hold: steps, else straight lines."""

    t0_utc: float
    step_s: float
    values: tuple[float, ...]
    hold: bool

    def __post_init__(self) -> None:
        if not self.values or not self.step_s > 0.0 or not all(math.isfinite(v) for v in self.values):
            raise PlantError("a series has at least one sample, a step > 0 and finite values")

    @property
    def end_utc(self) -> float:
        """UTC s where the last sample's step ends."""
        return self.t0_utc + self.step_s * len(self.values)

    def value_at(self, utc: float) -> float:
        """Value at `utc`; outside the samples the nearest one."""
        at = (utc - self.t0_utc) / self.step_s
        k = min(max(math.floor(at), 0), len(self.values) - 1)
        y = self.values[k]
        if not self.hold and at >= 0.0 and k + 1 < len(self.values):
            y += (self.values[k + 1] - y) * (at - k)
        return y

    def mean(self, start: float, end: float) -> float:
        """Mean of the samples whose step starts in [start, end); the nearest value where there is none."""
        first = max(0, math.ceil((start - self.t0_utc) / self.step_s - 1e-9))
        last = min(len(self.values), math.ceil((end - self.t0_utc) / self.step_s - 1e-9))
        part = self.values[first:last]
        return math.fsum(part) / len(part) if part else self.value_at(start)


@dataclass(frozen=True, slots=True)
class Context:
    """Where and when a plant runs.

    start_utc: s since 1970, start of the run; days: its length; history_s: s of data wanted before the start.
    seed: of the run. timezone: IANA name. data_dir: folder that file options are relative to (the site file's).
    latitude, longitude: degrees, of the site. plant: name of this plant; peers: options of every plant by its name.
    """

    start_utc: float
    days: float
    seed: int
    timezone: str
    data_dir: Path
    history_s: float = 0.0
    latitude: float = 50.11
    longitude: float = 8.68
    plant: str = ""
    peers: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: _NOTHING)

    @property
    def end_utc(self) -> float:
        """UTC s of the end of the run."""
        return self.start_utc + 86_400.0 * self.days

    def local(self, utc: float) -> datetime:
        """Local date and time of the site, with its UTC offset."""
        return datetime.fromtimestamp(utc, ZoneInfo(self.timezone))

    def midnight(self, utc: float, days: int = 0) -> float:
        """UTC s of the local midnight that starts the day of `utc`, or a day `days` later."""
        day = self.local(utc).date() + timedelta(days=days)
        return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.timezone)).timestamp()

    def iso(self, utc: float) -> str:
        """Local time as ISO 8601 with the UTC offset, e.g. 2018-03-05T06:00:00+01:00."""
        return self.local(utc).isoformat(timespec="seconds")


class PlantModel(ABC):
    """One model of the library. Subclasses set the class variables; instances hold nothing.

    inputs, outputs: name -> unit, "bool" for on/off, "1" for states. Inputs that series() gives are not free.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    doc: ClassVar[str]
    inputs: ClassVar[Mapping[str, str]]
    outputs: ClassVar[Mapping[str, str]]
    options: ClassVar[Mapping[str, Option]] = _NOTHING

    @abstractmethod
    def params(self, options: Mapping[str, object], context: Context) -> list[float]:
        """All parameters of the kind, in its order. Raises PlantError for an option that is wrong."""

    def series(self, options: Mapping[str, object], context: Context) -> Mapping[str, Series]:
        """Inputs that data drive, history included. The default is none."""
        del options, context
        return {}

    def start(self, options: Mapping[str, object], context: Context) -> Mapping[str, float]:
        """State words to set before the run: an operating point. The default leaves the kind's own start."""
        del options, context
        return {}

    def feeds(self, options: Mapping[str, object], context: Context) -> Mapping[str, Feed]:
        """What the plant serves over HTTP, by path. The default is nothing."""
        del options, context
        return {}

    def past_load(self, driven: Mapping[str, Series], start: float, end: float) -> float:
        """Mean power, kW, that its data alone made it draw in [start, end) utc s, before a run. Default: none."""
        del driven, start, end
        return 0.0

    def check(self, options: Mapping[str, object]) -> None:
        """Raise PlantError, naming the known ones, for an option that this model does not have."""
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise PlantError(
                f"{self.name} has no option {', '.join(unknown)}; it has {', '.join(sorted(self.options))}"
            )

    def number(self, options: Mapping[str, object], key: str) -> float:
        """An option as a number in the unit of its declaration, or its default."""
        option = self.options[key]
        if key not in options:
            if option.default is None:
                raise PlantError(f"{self.name}: option {key} is required")
            return option.default
        return quantity(options[key], option.unit, f"{self.name}: {key}")

    def fill(self, given: Mapping[str, float], more: tuple[float, ...] = ()) -> list[float]:
        """Parameters of the kind in its order: `given` by name, else the kind's defaults, then the repeated ones."""
        spec = kinds()[self.kind]
        unknown = sorted(set(given) - {name for name, _ in spec.params})
        if unknown:
            raise PlantError(f"{self.kind} has no parameter {', '.join(unknown)}")
        values = []
        for name, default in spec.params:
            value = given.get(name, default)
            if value is None:
                raise PlantError(f"{self.kind}: parameter {name} is required")
            values.append(float(value))
        return [*values, *more]

    def words(self, given: Mapping[str, float]) -> dict[str, float]:
        """State words for start(), with the mark that the block has been started."""
        return {**given, "started": 1.0}


def quantity(value: object, unit: str, what: str) -> float:
    """A number in `unit`: a plain number, text "<number> <unit>", or an object with to(unit).

    Raises PlantError, naming `what`, for anything else or a number that is not finite.
    """
    number: float | None = None
    if isinstance(value, _Convertible):
        number = float(value.to(unit))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str):
        text, _, found = value.strip().partition(" ")
        if found.strip() == unit:
            try:
                number = float(text)
            except ValueError:
                number = None
    if number is None or not math.isfinite(number):
        raise PlantError(f"{what} must be a number in {unit or 'no unit'}, not {value!r}")
    return number


def read_series(context: Context, file: object, *, hold: bool, what: str) -> Series:
    """A series from a csv file: a header, then lines of ISO 8601 UTC time and value, at a constant step.

    file: path relative to context.data_dir. hold: see Series. Raises PlantError, naming the file and line.
    """
    if not isinstance(file, str | Path):
        raise PlantError(f"{what} must be the name of a csv file, not {file!r}")
    return _read(Path(context.data_dir) / file, hold)


@lru_cache(maxsize=32)
def _read(path: Path, hold: bool) -> Series:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))[1:]
    except OSError as error:
        raise PlantError(f"{path}: {error.strerror}") from error
    times, values = [], []
    for line, row in enumerate(rows, start=2):
        try:
            times.append(datetime.fromisoformat(row[0]).astimezone(UTC).timestamp())
            values.append(float(row[1]))
        except (ValueError, IndexError) as error:
            raise PlantError(f"{path}:{line}: not a time and a number: {row}") from error
    if len(times) < 2:
        raise PlantError(f"{path}: fewer than two samples")
    step = times[1] - times[0]
    for line, (a, b) in enumerate(pairwise(times), start=3):
        if b - a != step:
            raise PlantError(f"{path}:{line}: the step is {b - a:g} s, before it was {step:g} s")
    return Series(times[0], step, tuple(values), hold)
