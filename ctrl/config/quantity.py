"""The literals of the site file as pydantic types: quantities, ranges, durations, addresses, names, references.

Every validator raises PydanticCustomError whose type is the problem code and whose context holds text and hint, so that
the loader can print them beside file, line and column.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from ctrl.units import Quantity, Range, Unit, UnitError, parse_quantity, parse_range, parse_unit

for _literal in (Quantity, Range):
    # the sections of the site file take their descriptions from docstrings; for a dataclass pydantic would read and
    # parse its whole module at every use, a third of a second at the start of each verb
    setattr(_literal, "__pydantic_config__", {"use_attribute_docstrings": False})  # noqa: B010 - no field of theirs

_CODE_OF_KIND = {"syntax": "E210", "range": "E210", "unknown": "E221", "dimension": "E212", "point": "E214"}
_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")
_TAG = re.compile(r"[a-z][a-z0-9_]{0,39}(\.[a-z][a-z0-9_]{0,39}){0,2}")
_ADDRESS = re.compile(r"(ir|hr|di|co) (\d{1,6})")
_TIME_UNITS = ("ms", "s", "min", "h", "d")

# description of quantities whose dimension depends on what they meet
ANY_UNIT = "number and unit"

Table = Literal["ir", "hr", "di", "co"]


def fail(code: str, text: str, hint: str = "") -> PydanticCustomError:
    """A validation error that carries a problem code, a message and a hint."""
    return PydanticCustomError(code, "{text}", {"text": text, "hint": hint})


def unit_failure(error: UnitError) -> PydanticCustomError:
    """The problem that a UnitError stands for."""
    return fail(_CODE_OF_KIND[error.kind], error.message, error.hint)


def _text(value: Any, what: str, example: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fail("E203", f"{what} expected", f"For example '{example}'")
    return f"{value:.12g}"


def check_like(quantity: Quantity, like: str) -> Quantity:
    """The quantity, when it has the dimension of `like` and the same zero; a validation error else."""
    have, want = parse_unit(quantity.unit), parse_unit(like)
    if quantity.unit == "1" and not want.dims and want.text != "1":
        raise fail("E213", f"'{quantity}' lacks a unit", f"Write '{quantity} {like}'")
    if have.same_kind(want):
        return quantity
    if quantity.unit == "1":
        raise fail("E213", f"'{quantity}' lacks a unit", f"Write '{quantity} {like}'")
    if have.dims == want.dims:
        raise _wrong_zero(quantity, have, like)
    raise fail("E212", f"'{quantity}' is not in {like} or a unit that converts to it", f"Use a unit such as '{like}'")


def _wrong_zero(quantity: Quantity, have: Unit, like: str) -> PydanticCustomError:
    if have.point:
        what = "an absolute temperature" if quantity.unit == "degC" else "measured from its own zero"
        return fail(
            "E214",
            f"'{quantity}' is {what}; a difference is written '{quantity.value:.12g} {have.difference}'",
            f"Use '{quantity.value:.12g} {have.difference}'",
        )
    return fail(
        "E214",
        f"'{quantity}' is a difference; a value on the scale is written '{quantity.value:.12g} {like}'",
        f"Use '{quantity.value:.12g} {like}'",
    )


def read_quantity(value: Any, like: str | None = None) -> Quantity:
    """Quantity from YAML text or a bare number; `like` demands a dimension."""
    if isinstance(value, Quantity):
        quantity = value
    else:
        text = _text(value, "a number with a unit", f"8 {like or 'kW'}")
        try:
            quantity = parse_quantity(text)
        except UnitError as error:
            raise unit_failure(error) from None
    return quantity if like is None else check_like(quantity, like)


def read_range(value: Any, like: str | None = None) -> Range:
    """Range from YAML text; `like` demands a dimension."""
    if isinstance(value, Range):
        found = value
    else:
        try:
            found = parse_range(_text(value, "a range", f"0 {like or 'kW'} .. 320 {like or 'kW'}"))
        except UnitError as error:
            raise unit_failure(error) from None
    if like is not None:
        check_like(found.lo, like)
        check_like(found.hi, like)
    if found.lo.to(found.hi.unit) >= found.hi.value:
        raise fail(
            "E206", f"the lower end of '{found}' is not below the upper end", f"Write '{found.hi} .. {found.lo}'"
        )
    return found


def _schema(description: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": description, "examples": list(examples)})


def _duration(lowest_s: float) -> Callable[[Any], Quantity]:
    def read(value: Any) -> Quantity:
        quantity = read_quantity(value, "s")
        if quantity.unit not in _TIME_UNITS:
            raise fail("E212", f"'{quantity}' is not a duration", "A duration is written in ms, s, min, h or d")
        if quantity.to("s") < lowest_s or (lowest_s > 0 and quantity.value <= 0):
            raise fail("E208", f"'{quantity}' is too short", "A period or time limit must be positive")
        return quantity

    return read


def _of(
    like: str, lo: float | None = None, hi: float | None = None, above: float | None = None
) -> Callable[[Any], Quantity]:
    """A validator for quantities of one dimension, with bounds in the unit `like`."""

    def read(value: Any) -> Quantity:
        quantity = read_quantity(value, like)
        number = quantity.to(like)
        if lo is not None and number < lo:
            raise fail("E208", f"'{quantity}' is below {lo:g} {like}")
        if hi is not None and number > hi:
            raise fail("E208", f"'{quantity}' is above {hi:g} {like}")
        if above is not None and number <= above:
            raise fail("E208", f"'{quantity}' must be above {above:g} {like}")
        return quantity

    return read


def _number(lo: float | None, hi: float | None, above: float | None, whole: bool) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise fail("E203", "a whole number expected" if whole else "a plain number expected", "No unit, no quotes")
        if (lo is not None and value < lo) or (hi is not None and value > hi) or (above is not None and value <= above):
            low = f"above {above:g}" if above is not None else f"from {lo:g}" if lo is not None else ""
            high = f"to {hi:g}" if hi is not None else ""
            raise fail("E208", f"{value} is out of range", f"Allowed is {low} {high}".replace("  ", " ").strip())
        return value

    return read


def number(lo: float | None = None, hi: float | None = None, above: float | None = None) -> Any:
    """Validator and JSON Schema of a dimensionless number with bounds."""
    return PlainValidator(_number(lo, hi, above, whole=False), Annotated[float, Field(ge=lo, le=hi, gt=above)])


def whole(lo: float | None = None, hi: float | None = None) -> Any:
    """Validator and JSON Schema of a whole number with bounds."""
    return PlainValidator(_number(lo, hi, None, whole=True), Annotated[int, Field(ge=lo, le=hi)])


AnyQuantity = Annotated[Quantity, PlainValidator(read_quantity), _schema(ANY_UNIT, "870 degC")]
AnyRange = Annotated[Range, PlainValidator(read_range), _schema("low .. high with units", "0 kW .. 320 kW")]
Duration = Annotated[Quantity, PlainValidator(_duration(0.0)), _schema("duration", "90 s")]
Period = Annotated[Quantity, PlainValidator(_duration(1e-3)), _schema("duration above zero", "1 s")]
Percent = Annotated[Quantity, PlainValidator(_of("%", 0, 100)), _schema("0 % to 100 %", "12 %")]
Efficiency = Annotated[Quantity, PlainValidator(_of("%", hi=100, above=0)), _schema("above 0 % to 100 %", "95 %")]
Percent200 = Annotated[Quantity, PlainValidator(_of("%", 0, 200)), _schema("0 % to 200 %", "110 %")]
Power = Annotated[Quantity, PlainValidator(_of("kW")), _schema("power", "320 kW")]
PositivePower = Annotated[Quantity, PlainValidator(_of("kW", 0)), _schema("power from 0", "320 kW")]
Energy = Annotated[Quantity, PlainValidator(_of("kWh", above=0)), _schema("energy above 0", "400 kWh")]
Mass = Annotated[Quantity, PlainValidator(_of("t", 0)), _schema("mass from 0", "8 t")]
MassRange = Annotated[Range, PlainValidator(lambda v: read_range(v, "t")), _schema("masses", "4 t .. 40 t")]
MassRate = Annotated[Quantity, PlainValidator(_of("t/h", 0)), _schema("mass a time from 0", "0.95 t/h")]
MassRateRange = Annotated[Range, PlainValidator(lambda v: read_range(v, "t/h")), _schema("rates", "0.5 t/h .. 1 t/h")]
HoursPerDay = Annotated[Quantity, PlainValidator(_of("h/d", 0, 24)), _schema("0 h/d to 24 h/d", "16 h/d")]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a point lives in the device: table and offset, counted from 0 as on the wire."""

    table: Table
    offset: int

    def __str__(self) -> str:
        return f"{self.table} {self.offset}"


def _address(value: Any) -> Address:
    if isinstance(value, Address):
        return value
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        hint = "Write table and offset: ir, hr, di or co and a number from 0, for example 'hr 10'"
        if isinstance(value, int) and not isinstance(value, bool):
            hint = _traditional(value) or hint
        raise fail("E209", f"'{value}' is not a register address", hint)
    offset = int(match.group(2))
    if offset > 65535:
        raise fail("E209", f"'{value}' is beyond the last offset 65535", _traditional(offset))
    return Address(match.group(1), offset)  # type: ignore[arg-type]


def _traditional(value: int) -> str:
    """Offset of an address in the old 4xxxx notation, which counts from 1."""
    for width in (10_000, 100_000):
        digit, rest = divmod(value, width)
        table = {0: "co", 1: "di", 3: "ir", 4: "hr"}.get(digit)
        if table and rest > 0 and value >= width:
            return f"Offsets count from 0: {value} is '{table} {rest - 1}'"
    return ""


At = Annotated[Address, PlainValidator(_address), WithJsonSchema({"type": "string", "pattern": r"^(ir|hr|di|co) \d+$"})]


def _name(value: Any) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise fail("E205", f"'{value}' is not a name", "Names are 2 to 40 of a-z, 0-9 and _, beginning with a letter")


def _tag(value: Any) -> str:
    if isinstance(value, str) and _TAG.fullmatch(value):
        return value
    raise fail("E203", f"'{value}' is not a reference", "Write name or owner.name, for example plc_furnace.temp")


def _expression(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise fail("E203", "an expression expected", "For example 'furnace_temp > 900 degC'")


def read_unit(value: Any) -> str:
    """A unit from YAML text."""
    try:
        return parse_unit(value if isinstance(value, str) else f"{value}").text
    except UnitError as error:
        raise unit_failure(error) from None


Name = Annotated[str, PlainValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"})]
Ref = Annotated[str, PlainValidator(_tag), WithJsonSchema({"type": "string", "pattern": f"^{_TAG.pattern}$"})]
Expr = Annotated[str, PlainValidator(_expression), _schema("expression", "furnace_temp > 900 degC")]
UnitText = Annotated[str, PlainValidator(read_unit), _schema("unit", "kW", "t/h", "EUR/MWh")]


@dataclass(frozen=True, slots=True)
class Operand:
    """A tag or a fixed value; negative when written with a leading minus."""

    ref: str | None = None
    value: Quantity | None = None
    negative: bool = False


def read_operand(value: Any) -> Operand:
    """Operand from YAML: 'plc.point', '-plc.point' or a quantity."""
    if isinstance(value, Operand):
        return value
    if isinstance(value, str):
        bare = value[1:].lstrip() if value.startswith("-") else value
        if _TAG.fullmatch(bare):
            return Operand(ref=bare, negative=value.startswith("-"))
    return Operand(value=read_quantity(value))


OperandField = Annotated[Operand, PlainValidator(read_operand), _schema("a tag or a quantity", "buy_price", "340 kW")]


@dataclass(frozen=True, slots=True)
class ClockRange:
    """Two local clock times in seconds after midnight; end <= start runs past midnight."""

    start: float
    end: float


_CLOCK_RANGE = re.compile(r"([01]\d|2[0-3]):([0-5]\d) \.\. (?:([01]\d|2[0-3]):([0-5]\d)|(24:00))")


def _clock_range(value: Any) -> ClockRange:
    if isinstance(value, ClockRange):
        return value
    match = _CLOCK_RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise fail(
            "E210", f"'{value}' is not a range of clock times", "Write two times of day, for example '17:00 .. 20:00'"
        )
    start = int(match.group(1)) * 3600.0 + int(match.group(2)) * 60.0
    end = 86400.0 if match.group(5) else int(match.group(3)) * 3600.0 + int(match.group(4)) * 60.0
    if start == end:
        raise fail("E206", f"'{value}' is empty")
    return ClockRange(start, end)


ClockRangeField = Annotated[
    ClockRange, PlainValidator(_clock_range), _schema("local clock times", "17:00 .. 20:00", "22:00 .. 06:00")
]
