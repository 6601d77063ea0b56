"""Registers to numbers and back, with exact range checks: a number that does not fit is refused, never bent to fit.

Word orders name the bytes of a 32-bit value as they arrive: ABCD big-endian, CDAB words swapped, BADC bytes swapped
in each word, DCBA little-endian; 64-bit values follow the same rule over four words, 16-bit values swap their bytes
under BADC and DCBA.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter
from struct import Struct
from typing import Any, Final

from ctrl.field.read_plan import ReadBlock
from ctrl.field.spec import PointSpec
from ctrl.quality import BAD_SENSOR, GOOD, UNCERTAIN_RANGE

_FORMAT: Final = {
    "bool": "H",
    "u16": "H",
    "i16": "h",
    "u32": "I",
    "i32": "i",
    "f32": "f",
    "u64": "Q",
    "i64": "q",
    "f64": "d",
}
_RANGE: Final = {
    "u16": (0, 2**16 - 1),
    "i16": (-(2**15), 2**15 - 1),
    "u32": (0, 2**32 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "u64": (0, 2**64 - 1),
    "i64": (-(2**63), 2**63 - 1),
}
_MANTISSA: Final = {"f32": 24, "f64": 53}
_NEAR: Final = 0.02  # of the valid span: that far outside it a value is uncertain, further out it is bad
_LARGEST: Final = math.nextafter(math.inf, 0.0)


class CodecError(ValueError):
    """The value has no exact place in the register, or the register holds no value."""


class PointCodec:
    """One point: `encode` a value to words, `decode` words to a value."""

    __slots__ = ("_enum", "_is_bool", "_is_float", "_pack", "_reverse", "_words", "point")

    def __init__(self, point: PointSpec) -> None:
        self.point = point
        self._is_bool = point.type == "bool"
        self._is_float = point.type in ("f32", "f64")
        self._pack = Struct(">" + _FORMAT[point.type])
        self._words = Struct(f"{'<' if point.word_order in ('BADC', 'DCBA') else '>'}{point.words}H")
        self._reverse = point.word_order in ("CDAB", "DCBA") and point.words > 1
        self._enum = frozenset(number for number, _ in point.enum)

    def encode(self, value: float) -> tuple[int, ...]:
        """Words that hold `value` to the nearest step of the register.

        Raises CodecError for a value that is not finite, does not fit, is no word of the enum, or no 0 or 1 for a bool.
        """
        point = self.point
        if not math.isfinite(value):
            raise CodecError(f"{point.name}: {value} is not a finite number")
        if self._is_bool:
            if value not in (0.0, 1.0):
                raise CodecError(f"{point.name}: {value} is neither 0 nor 1")
            return (int(value),)
        number = (value - point.offset_value) / point.scale
        raw: float | int
        if self._is_float:
            raw = number
        else:
            raw = round(number) if math.isfinite(number) else 2**64
            lo, hi = _RANGE[point.type]
            if not lo <= raw <= hi:
                raise CodecError(f"{point.name}: {value} does not fit {point.type} with scale {point.scale}")
            if self._enum and raw not in self._enum:
                raise CodecError(f"{point.name}: {raw} is no word of the enum")
        try:
            packed = self._pack.pack(raw)
        except OverflowError as error:
            raise CodecError(f"{point.name}: {value} does not fit {point.type}") from error
        # the way back counts too: what this codec writes, it must be able to read
        if self._is_float and not (math.isfinite(number) and math.isfinite(number * point.scale + point.offset_value)):
            raise CodecError(f"{point.name}: {value} does not fit {point.type} with scale {point.scale}")
        words: tuple[int, ...] = self._words.unpack(packed)
        return words[::-1] if self._reverse else words

    def decode(self, words: Sequence[int]) -> float:
        """Value in the point's unit. Raises CodecError for a NaN, an infinity or an unknown enum number."""
        point = self.point
        if len(words) != point.words:
            raise CodecError(f"{point.name}: {len(words)} words, wanted {point.words}")
        if self._is_bool:
            return float(words[0] >> (point.bit or 0) & 1)
        ordered = words[::-1] if self._reverse else words
        raw = self._pack.unpack(self._words.pack(*ordered))[0]
        if self._enum and raw not in self._enum:
            raise CodecError(f"{point.name}: {raw} is no word of the enum")
        value: float = raw * point.scale + point.offset_value
        if not math.isfinite(value):
            raise CodecError(f"{point.name}: the register holds {raw}")
        return value

    def step(self, value: float) -> float:
        """Distance between neighbouring values of the register around `value` (1 LSB), in the point's unit."""
        if self._is_bool:
            return 1.0
        if not self._is_float:
            return abs(self.point.scale)
        number = abs((value - self.point.offset_value) / self.point.scale)
        exponent = math.frexp(number)[1] if number else -125
        # the offset is added in float64, so a step is never finer than that sum resolves
        fine = math.ldexp(1.0, max(exponent - _MANTISSA[self.point.type], -149)) * abs(self.point.scale)
        return max(fine, math.ulp(value))


class BlockCodec:
    """All points of one read block, compiled once: `decode` costs a few microseconds for ten points."""

    __slots__ = ("_bits", "_checks", "_enums", "_order", "_pack", "_pick", "_scales", "_unpack", "all_good", "count")

    def __init__(self, block: ReadBlock) -> None:
        points = block.points
        self.count = block.count
        self.all_good: tuple[int, ...] = (GOOD,) * len(points)
        self._pick: Any = None
        self._order: Any = None
        self._bits = tuple((i, p.bit) for i, p in enumerate(points) if p.bit is not None)
        self._scales = tuple((p.scale, p.offset_value) for p in points)
        self._checks = tuple((i, *_valid(p)) for i, p in enumerate(points) if _is_checked(p))
        self._enums = tuple((i, frozenset(float(n) for n, _ in p.enum)) for i, p in enumerate(points) if p.enum)
        self._pack = Struct(f">{block.count}H")
        self._unpack = self._pack
        if block.table in ("di", "co"):
            self._pick = _getter([p.offset - block.start for p in points])
        else:
            self._plan_bytes(block)

    def _plan_bytes(self, block: ReadBlock) -> None:
        """Unpack in place with padding where bytes are in order and apart; else gather them in order first."""
        formats, order, position, in_place = ">", list[int](), 0, True
        padded = ">"
        for point in block.points:
            first = 2 * (point.offset - block.start)
            in_place = in_place and point.word_order == "ABCD" and first >= position
            padded += f"{max(first - position, 0)}x{_FORMAT[point.type]}"
            position = first + 2 * point.words
            formats += _FORMAT[point.type]
            order += [first + byte for byte in _byte_order(point)]
        if in_place:
            self._unpack = Struct(f"{padded}{2 * block.count - position}x")
        else:
            self._unpack = Struct(formats)
            self._order = _getter(order)

    def decode(self, words: Sequence[int]) -> tuple[list[float], Sequence[int]]:
        """Values and statuses of the block's points, in their order.

        A value outside its valid range is uncertain up to 2 % of the span, then bad; an unknown enum number and a
        number that is not finite are bad. The caller must not use a value whose status is bad.
        Raises CodecError when the number of words is not that of the block.
        """
        if len(words) != self.count:
            raise CodecError(f"{len(words)} words, wanted {self.count}")
        if self._pick is not None:
            return [1.0 if bit else 0.0 for bit in self._pick(words)], self.all_good
        data = self._pack.pack(*words)
        if self._order is not None:
            data = bytes(self._order(data))
        raw = self._unpack.unpack(data)
        if self._bits:
            edited = list(raw)
            for i, bit in self._bits:
                edited[i] = edited[i] >> bit & 1
            raw = tuple(edited)
        values = [number * scale + offset for number, (scale, offset) in zip(raw, self._scales, strict=True)]
        for i, lo, hi in self._checks:
            if not lo <= values[i] <= hi:
                return values, self._statuses(values)
        for i, known in self._enums:
            if values[i] not in known:
                return values, self._statuses(values)
        return values, self.all_good

    def _statuses(self, values: list[float]) -> list[int]:
        statuses = list(self.all_good)
        for i, lo, hi in self._checks:
            if not lo <= values[i] <= hi:
                near = _NEAR * (hi - lo) if hi - lo < _LARGEST else 0.0
                statuses[i] = UNCERTAIN_RANGE if lo - near <= values[i] <= hi + near else BAD_SENSOR
        for i, known in self._enums:
            if values[i] not in known:
                statuses[i] = BAD_SENSOR
        return statuses


def _getter(places: list[int]) -> Any:
    if len(places) == 1:
        only = places[0]
        return lambda row: (row[only],)
    return itemgetter(*places)


def _byte_order(point: PointSpec) -> list[int]:
    """Where the bytes of the big-endian value are, counted from the point's first byte."""
    words = list(range(point.words))
    if point.word_order in ("CDAB", "DCBA"):
        words.reverse()
    swap = point.word_order in ("BADC", "DCBA")
    return [byte for w in words for byte in ((2 * w + 1, 2 * w) if swap else (2 * w, 2 * w + 1))]


def _is_checked(point: PointSpec) -> bool:
    return point.type in ("f32", "f64") or point.valid_lo is not None or point.valid_hi is not None


def _valid(point: PointSpec) -> tuple[float, float]:
    # finite bounds, so that the one comparison also catches NaN and the infinities
    lo = -_LARGEST if point.valid_lo is None else point.valid_lo
    hi = _LARGEST if point.valid_hi is None else point.valid_hi
    return lo, hi
