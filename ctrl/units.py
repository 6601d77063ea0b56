"""Units of measure: parsing, dimensions, conversion.

A unit is a product or quotient of the names in the table below, such as ``kW``, ``kWh/t``, ``kW/(t/h)`` or ``t/h/min``.
It has a dimension (exponents of m, kg, s, K, A, money, ...), a factor to the coherent base unit and an offset.

Two temperatures and two pressures must never be mixed up, so a unit is either a *point* on a scale with its own zero
(``degC``, ``bar_g``) or a plain amount (``K``, ``bar``). Points convert among points and amounts among amounts; a
difference of two points is an amount: 21 degC - 13 degC = 8 K.

Conventions: SI prefixes, IEC 80000; standard atmosphere 1.01325 bar (ISO 2533); a year is 365 d and a month 1/12 of it,
as network tariffs count them. One currency is one dimension: money of different currencies does not convert.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from functools import lru_cache

Dims = tuple[tuple[str, int], ...]


class UnitError(ValueError):
    """Text that is no unit, no quantity, or a conversion that has no meaning.

    kind  "syntax" (not a number with a unit), "unknown" (no such unit), "dimension" (kW where kWh is needed),
          "point" (degC where K is needed, or the other way round), "range"
    hint  what to write instead, or ""
    """

    def __init__(self, message: str, hint: str = "", kind: str = "syntax") -> None:
        super().__init__(message if not hint else f"{message}. {hint}")
        self.message = message
        self.hint = hint
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Unit:
    """One parsed unit: value_in_base = value * factor + offset."""

    text: str
    dims: Dims
    factor: float
    offset: float = 0.0
    point: bool = False

    @property
    def difference(self) -> str:
        """Unit in which a difference of two values in this unit is written: K for degC, bar for bar_g."""
        return _DIFFERENCE.get(self.text, self.text)

    def same_kind(self, other: Unit) -> bool:
        """True when values of the two units convert into each other."""
        return self.dims == other.dims and self.point == other.point


_SECOND: Dims = (("s", 1),)
_POWER: Dims = (("kg", 1), ("m", 2), ("s", -3))
_ENERGY: Dims = (("kg", 1), ("m", 2), ("s", -2))
_PRESSURE: Dims = (("kg", 1), ("m", -1), ("s", -2))
_VOLTAGE: Dims = (("A", -1), ("kg", 1), ("m", 2), ("s", -3))
_OHM: Dims = (("A", -2), ("kg", 1), ("m", 2), ("s", -3))
_SIEMENS: Dims = (("A", 2), ("kg", -1), ("m", -2), ("s", 3))

_HOUR = 3600.0
_DAY = 86400.0
_YEAR = 365 * _DAY
_ATMOSPHERE_PA = 101325.0

# group -> dimension, then name: factor
_TABLE: tuple[tuple[Dims, dict[str, float]], ...] = (
    ((), {"1": 1.0, "%": 0.01, "ppm": 1e-6, "rad": 1.0, "deg": math.pi / 180, "pH": 1.0}),
    (
        _SECOND,
        {
            "us": 1e-6,
            "ms": 1e-3,
            "s": 1.0,
            "min": 60.0,
            "h": _HOUR,
            "d": _DAY,
            "week": 7 * _DAY,
            "month": _YEAR / 12,
            "year": _YEAR,
        },
    ),
    ((("s", -1),), {"Hz": 1.0, "mHz": 1e-3, "kHz": 1e3, "rpm": 1 / 60}),
    ((("K", 1),), {"K": 1.0, "mK": 1e-3}),
    ((("m", 1),), {"um": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3}),
    ((("m", 2),), {"mm2": 1e-6, "cm2": 1e-4, "m2": 1.0, "ha": 1e4}),
    ((("m", 3),), {"ml": 1e-6, "l": 1e-3, "hl": 0.1, "m3": 1.0}),
    ((("Nm3", 1),), {"Nm3": 1.0, "Nl": 1e-3}),
    ((("kg", 1),), {"mg": 1e-6, "g": 1e-3, "kg": 1.0, "t": 1e3, "kt": 1e6}),
    ((("kg", 1), ("m", 1), ("s", -2)), {"N": 1.0, "kN": 1e3}),
    (
        _PRESSURE,
        {"Pa": 1.0, "hPa": 1e2, "kPa": 1e3, "MPa": 1e6, "mbar": 1e2, "bar": 1e5, "psi": 6894.757293168},
    ),
    (
        _POWER,
        {"mW": 1e-3, "W": 1.0, "kW": 1e3, "MW": 1e6, "GW": 1e9, "Wp": 1.0, "kWp": 1e3, "MWp": 1e6},
    ),
    (
        _ENERGY,
        {
            "J": 1.0,
            "kJ": 1e3,
            "MJ": 1e6,
            "GJ": 1e9,
            "Wh": _HOUR,
            "kWh": 1e3 * _HOUR,
            "MWh": 1e6 * _HOUR,
            "GWh": 1e9 * _HOUR,
        },
    ),
    ((("VA", 1),), {"VA": 1.0, "kVA": 1e3, "MVA": 1e6}),
    ((("var", 1),), {"var": 1.0, "kvar": 1e3, "Mvar": 1e6}),
    ((("A", 1),), {"mA": 1e-3, "A": 1.0, "kA": 1e3}),
    (_VOLTAGE, {"mV": 1e-3, "V": 1.0, "kV": 1e3}),
    (_OHM, {"Ohm": 1.0, "kOhm": 1e3}),
    (_SIEMENS, {"uS": 1e-6, "mS": 1e-3, "S": 1.0}),
    ((("lx", 1),), {"lx": 1.0}),
    ((("pcs", 1),), {"pcs": 1.0}),
    ((("EUR", 1),), {"ct": 0.01, "EUR": 1.0, "kEUR": 1e3}),
    *(
        (((code, 1),), {code: 1.0})
        for code in ("USD", "GBP", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "JPY", "CAD", "AUD")
    ),
)

# points of a scale that has its own zero: name -> dims, factor, offset, unit of a difference
_POINTS: dict[str, tuple[Dims, float, float, str]] = {
    "degC": ((("K", 1),), 1.0, 273.15, "K"),
    "bar_g": (_PRESSURE, 1e5, _ATMOSPHERE_PA, "bar"),
    "mbar_g": (_PRESSURE, 1e2, _ATMOSPHERE_PA, "mbar"),
    "kPa_g": (_PRESSURE, 1e3, _ATMOSPHERE_PA, "kPa"),
}
_DIFFERENCE = {name: row[3] for name, row in _POINTS.items()}

UNITS: dict[str, Unit] = {
    **{name: Unit(name, dims, factor) for dims, names in _TABLE for name, factor in names.items()},
    **{name: Unit(name, row[0], row[1], row[2], point=True) for name, row in _POINTS.items()},
}

# what people write -> what the table calls it; only ever used in hints
_ALIASES = {
    "C": "degC",
    "°C": "degC",
    "celsius": "degC",
    "kelvin": "K",
    "hr": "h",
    "hour": "h",
    "hours": "h",
    "sec": "s",
    "second": "s",
    "seconds": "s",
    "minute": "min",
    "minutes": "min",
    "day": "d",
    "days": "d",
    "m": "min",
    "mo": "month",
    "kwh": "kWh",
    "KWh": "kWh",
    "KWH": "kWh",
    "kw": "kW",
    "KW": "kW",
    "mwh": "MWh",
    "barg": "bar_g",
    "bar(g)": "bar_g",
    "€": "EUR",
    "eur": "EUR",
    "euro": "EUR",
    "percent": "%",
    "to": "t",
    "ton": "t",
    "tonne": "t",
    "tonnes": "t",
    "m³": "m3",
    "m^3": "m3",
    "L": "l",
    "kvah": "kVA",
    "y": "year",
    "a": "year",
}

# listed first, so that they win among equally close names
_COMMON = ("kW", "kWh", "degC", "K", "bar", "bar_g", "t", "h", "min", "s", "%", "m3", "EUR", "MWh")

_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z_%°€³][A-Za-z_0-9%³]*|1)|(?P<op>[*/()]))")
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(rf"^({_NUMBER})(?:\s+(\S(?:.*\S)?))?$")
_GLUED = re.compile(rf"^({_NUMBER})([A-Za-z%°€(].*)$")
_COMMA = re.compile(r"^[+-]?\d+,\d+")
_MAX_TEXT = 80
_MAX_DEPTH = 8
_TIME_NAMES = ("ms", "s", "min", "h", "d")


def nearest_unit(name: str) -> str:
    """The table name a misspelt one most likely means, or ""."""
    if name in _ALIASES and _ALIASES[name] in UNITS:
        return _ALIASES[name]
    folded = {known.lower(): known for known in reversed(list(UNITS))}
    if name.lower() in folded:
        return folded[name.lower()]
    score = {known: difflib.SequenceMatcher(None, name, known).ratio() for known in (*_COMMON, *UNITS)}
    best = max(score, key=lambda known: score[known])
    return best if score[best] >= 0.5 else ""


def combine(a: Dims, b: Dims, sign: int = 1) -> Dims:
    """Dimension of a*b (sign 1) or a/b (sign -1)."""
    total = dict(a)
    for base, power in b:
        total[base] = total.get(base, 0) + sign * power
    return tuple(sorted((base, power) for base, power in total.items() if power))


class _Parser:
    """Recursive descent over: unit := atom {("*" | "/") atom}; atom := name | "(" unit ")"."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.at = 0

    def _tokens(self) -> list[str]:
        found: list[str] = []
        position = 0
        while position < len(self.text):
            match = _TOKEN.match(self.text, position)
            if match is None:
                raise UnitError(f"unit '{self.text}' has an unexpected '{self.text[position]}'", kind="unknown")
            found.append(match.group("name") or match.group("op"))
            position = match.end()
        return found

    def _take(self) -> str:
        token = self.tokens[self.at] if self.at < len(self.tokens) else ""
        self.at += 1
        return token

    def product(self, depth: int = 0) -> tuple[Dims, float, bool]:
        """dims, factor and whether anything was combined."""
        if depth > _MAX_DEPTH:
            raise UnitError(f"unit '{self.text}' is nested too deep", kind="unknown")
        dims, factor = self._atom(depth)
        combined = False
        while self.at < len(self.tokens) and self.tokens[self.at] in "*/":
            sign = 1 if self._take() == "*" else -1
            right, right_factor = self._atom(depth)
            dims = combine(dims, right, sign)
            factor = factor * right_factor if sign == 1 else factor / right_factor
            combined = True
        return dims, factor, combined

    def _atom(self, depth: int) -> tuple[Dims, float]:
        name = self._take()
        if name == "(":
            dims, factor, _ = self.product(depth + 1)
            if self._take() != ")":
                raise UnitError(f"unit '{self.text}' lacks a ')'", kind="unknown")
            return dims, factor
        if name in ("", ")", "*", "/"):
            raise UnitError(f"unit '{self.text}' is incomplete", kind="unknown")
        unit = UNITS.get(name)
        if unit is None:
            raise self._unknown(name)
        if unit.point:
            fix = self.text.replace(name, unit.difference)
            raise UnitError(f"'{name}' has its own zero and cannot be part of '{self.text}'", f"Write '{fix}'", "point")
        return unit.dims, unit.factor

    def _unknown(self, token: str) -> UnitError:
        close = nearest_unit(token)
        hint = f"Did you mean '{self.text.replace(token, close)}'?" if close else ""
        return UnitError(f"unit '{self.text}' unknown", hint, "unknown")


@lru_cache(maxsize=4096)
def parse_unit(text: str) -> Unit:
    """The unit that `text` names; UnitError (kind "unknown" or "point") when there is none."""
    if not text or text != text.strip() or len(text) > _MAX_TEXT:
        raise UnitError(f"'{text[:_MAX_TEXT]}' is not a unit", kind="unknown")
    simple = UNITS.get(text)
    if simple is not None:
        return simple
    parser = _Parser(text)
    dims, factor, _ = parser.product()
    if parser.at != len(parser.tokens):
        close = nearest_unit(text)
        raise UnitError(f"unit '{text}' unknown", f"Did you mean '{close}'?" if close else "", "unknown")
    return Unit(text, dims, factor)


def convert(value: float, source: str, target: str) -> float:
    """`value` of unit `source` in unit `target`; UnitError (kind "dimension" or "point") when they do not match."""
    if source == target:
        return value
    a, b = parse_unit(source), parse_unit(target)
    if a.dims != b.dims:
        raise UnitError(f"'{source}' does not convert to '{target}'", kind="dimension")
    if a.point != b.point:
        raise UnitError(f"'{source}' and '{target}' differ: one has its own zero, one is a difference", kind="point")
    return (value * a.factor + a.offset - b.offset) / b.factor


@dataclass(frozen=True, slots=True)
class Quantity:
    """A finite number and its unit (text that parse_unit takes)."""

    value: float
    unit: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise UnitError(f"{self.value} is not a finite number")

    def to(self, unit: str) -> float:
        """The number in `unit`."""
        return convert(self.value, self.unit, unit)

    def __str__(self) -> str:
        number = f"{self.value:.12g}"
        return number if self.unit == "1" else f"{number} {self.unit}"


@dataclass(frozen=True, slots=True)
class Range:
    """Two quantities of one kind of unit, lo .. hi. The loader checks the order, to report it with a line."""

    lo: Quantity
    hi: Quantity

    def to(self, unit: str) -> tuple[float, float]:
        """(lo, hi) in `unit`."""
        return self.lo.to(unit), self.hi.to(unit)

    def __str__(self) -> str:
        return f"{self.lo} .. {self.hi}"


def parse_quantity(text: str) -> Quantity:
    """ "8 K" -> Quantity(8.0, "K"). A bare number is dimensionless (unit "1")."""
    match = _QUANTITY.match(text)
    if match is None:
        raise UnitError(f"'{text[:_MAX_TEXT]}' is not a number with a unit", _syntax_hint(text))
    number, unit = float(match.group(1)), match.group(2) or "1"
    if not math.isfinite(number):
        raise UnitError(f"'{match.group(1)}' is too large")
    parse_unit(unit)
    return Quantity(number, unit)


def _syntax_hint(text: str) -> str:
    if _COMMA.match(text):
        return "Use a decimal point, not a comma"
    glued = _GLUED.match(text)
    if glued:
        return f"Put a space before the unit: '{glued.group(1)} {glued.group(2)}'"
    return "Write a number, a space and a unit, for example '8 K'"


def parse_range(text: str) -> Range:
    """ "0 kW .. 320 kW" -> Range. Both ends carry their unit and have the same dimension."""
    parts = text.split("..")
    if len(parts) != 2:
        raise UnitError(
            f"'{text[:_MAX_TEXT]}' is not a range", "Write 'low .. high', for example '0 kW .. 320 kW'", "range"
        )
    lo, hi = (parse_quantity(part.strip()) for part in parts)
    if lo.unit == "1" != hi.unit:
        raise UnitError(f"'{text}' lacks the unit of its lower end", f"Write '{lo} {hi.unit} .. {hi}'", "range")
    if not parse_unit(lo.unit).same_kind(parse_unit(hi.unit)):
        raise UnitError(f"the ends of '{text}' have different dimensions", kind="dimension")
    return Range(lo, hi)


def parse_duration(text: str) -> Quantity:
    """ "90 s" -> Quantity of ms, s, min, h or d."""
    quantity = parse_quantity(text)
    if quantity.unit not in _TIME_NAMES:
        if quantity.unit == "1":
            raise UnitError(f"'{text}' lacks a unit of time", f"Write '{text} s', or ms, min, h, d", "dimension")
        raise UnitError(f"'{text}' is not a duration", "A duration is written in ms, s, min, h or d", "dimension")
    return quantity
