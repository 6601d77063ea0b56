"""Golden vectors, exact ranges and block decoding."""

import math
from dataclasses import replace

import pytest

from ctrl.field.codec import BlockCodec, CodecError, PointCodec
from ctrl.field.read_plan import ReadBlock
from ctrl.field.spec import PointSpec
from ctrl.quality import BAD_SENSOR, GOOD, UNCERTAIN_RANGE


def point(type_: str = "u16", **more: object) -> PointSpec:
    return PointSpec(**{"name": "p", "tag": "d.p", "table": "ir", "offset": 0, "type": type_, "unit": "1", **more})


# 0x12345678 = 305419896; the bytes A B C D are 12 34 56 78
ORDERS = {
    "ABCD": (0x1234, 0x5678),
    "CDAB": (0x5678, 0x1234),
    "BADC": (0x3412, 0x7856),
    "DCBA": (0x7856, 0x3412),
}
LONG = {
    "ABCD": (0x0102, 0x0304, 0x0506, 0x0708),
    "CDAB": (0x0708, 0x0506, 0x0304, 0x0102),
    "BADC": (0x0201, 0x0403, 0x0605, 0x0807),
    "DCBA": (0x0807, 0x0605, 0x0403, 0x0201),
}


@pytest.mark.parametrize(("order", "words"), ORDERS.items())
def test_word_orders_of_32_bits(order, words):
    for type_, value in (("u32", 0x12345678), ("i32", 0x12345678), ("f32", 5.690456613903524e-28)):
        codec = PointCodec(point(type_, word_order=order))
        assert codec.encode(float(value)) == words
        assert codec.decode(words) == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize(("order", "words"), LONG.items())
def test_word_orders_of_64_bits(order, words):
    codec = PointCodec(point("u64", word_order=order))
    assert codec.decode(words) == float(0x0102030405060708)
    assert PointCodec(point("u64", word_order=order)).encode(2.0**56) == tuple(
        {0x0102: 0x0100, 0x0201: 0x0001}.get(w, 0) for w in words
    )


def test_ieee_754_goldens():
    assert PointCodec(point("f32")).encode(1.0) == (0x3F80, 0x0000)
    assert PointCodec(point("f32")).encode(-123.456) == (0xC2F6, 0xE979)
    assert PointCodec(point("f64")).encode(math.pi) == (0x4009, 0x21FB, 0x5444, 0x2D18)
    assert PointCodec(point("i16", scale=0.01)).encode(-1.5) == (0xFF6A,)
    assert PointCodec(point("u16", word_order="BADC")).encode(0x1234) == (0x3412,)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("u16", 65536.0), ("u16", -1.0), ("i16", 32768.0), ("i16", -32769.0), ("u32", 2.0**32), ("i32", -(2.0**31) - 1),
        ("u64", 2.0**64), ("i64", 2.0**63), ("f32", 1e39), ("f32", math.nan), ("f64", math.inf), ("u16", math.nan),
        ("i16", -math.inf), ("u16", 1e300),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(type_, value):
    with pytest.raises(CodecError):
        PointCodec(point(type_)).encode(value)


def test_scale_that_overflows_is_refused():
    with pytest.raises(CodecError):
        PointCodec(point("f64", scale=1e-300)).encode(1e300)


def test_enum_and_bool():
    state = PointCodec(point("u16", enum=((0, "off"), (3, "run"))))
    assert state.encode(3.0) == (3,)
    assert state.decode((3,)) == 3.0
    for bad in (lambda: state.encode(1.0), lambda: state.decode((1,))):
        with pytest.raises(CodecError):
            bad()
    flag = PointCodec(point("bool", bit=5))
    assert flag.decode((0x0020,)) == 1.0
    assert flag.decode((0xFFDF,)) == 0.0
    with pytest.raises(CodecError):
        PointCodec(point("bool", table="co", write=True)).encode(0.5)


def test_wrong_number_of_words():
    with pytest.raises(CodecError):
        PointCodec(point("f32")).decode((1,))
    with pytest.raises(CodecError):
        BlockCodec(ReadBlock("ir", 0, 2, (point("f32"),))).decode([1])


def test_block_with_gaps_orders_overlaps_and_bits():
    points = (
        point("f32", name="a", offset=10),
        point("f32", name="b", offset=13, word_order="DCBA"),
        point("bool", name="c", offset=15, bit=0),
        point("bool", name="d", offset=15, bit=9),
        point("u16", name="e", offset=15),
        point("i16", name="f", offset=17, scale=0.1, offset_value=-5.0),
        point("u64", name="g", offset=18, word_order="CDAB"),
    )
    block = ReadBlock("ir", 10, 12, points)
    words = [0x3F80, 0, 0xDEAD, 0x0000, 0x803F, 0x0201, 0xBEEF, 0xFFFF, 0x0708, 0x0506, 0x0304, 0x0102]
    values, statuses = BlockCodec(block).decode(words)
    assert values == [1.0, 1.0, 1.0, 1.0, 513.0, -0.1 - 5.0, float(0x0102030405060708)]
    assert list(statuses) == [GOOD] * 7


def test_block_decodes_as_its_points_do():
    points = tuple(
        point(t, name=f"{t}{o}", offset=8 * i + 4 * j, word_order=o, scale=s)
        for i, (t, s) in enumerate((("u32", 0.5), ("i32", 2.0), ("f32", 1.0), ("i64", 1.0), ("f64", 0.1)))
        for j, o in enumerate(("CDAB", "BADC"))
    )
    words = [(0x3F00 + 37 * k) & 0x7F7F for k in range(40)]
    values, _ = BlockCodec(ReadBlock("hr", 0, 40, points)).decode(words)
    assert values == [PointCodec(p).decode(words[p.offset : p.end]) for p in points]


def test_bits():
    points = tuple(point("bool", table="di", name=str(i), offset=i) for i in (3, 5))
    assert BlockCodec(ReadBlock("di", 3, 3, points)).decode([1, 1, 0])[0] == [1.0, 0.0]
    assert BlockCodec(ReadBlock("di", 3, 1, points[:1])).decode([True])[0] == [1.0]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (0.0, GOOD),
        (100.0, GOOD),
        (101.9, UNCERTAIN_RANGE),
        (-2.0, UNCERTAIN_RANGE),
        (102.1, BAD_SENSOR),
        (-3.0, BAD_SENSOR),
    ],
)
def test_valid_range(value, status):
    p = point("f32", valid_lo=0.0, valid_hi=100.0)
    values, statuses = BlockCodec(ReadBlock("ir", 0, 2, (p,))).decode(PointCodec(p).encode(value))
    assert (values[0], statuses[0]) == (pytest.approx(value), status)


@pytest.mark.parametrize("words", [(0x7FC0, 0), (0x7F80, 0), (0xFF80, 0)])
def test_nan_and_infinity_in_a_register_are_bad_with_and_without_a_range(words):
    for p in (point("f32"), point("f32", valid_lo=0.0), point("f32", valid_lo=0.0, valid_hi=1.0)):
        assert BlockCodec(ReadBlock("ir", 0, 2, (p,))).decode(words)[1][0] == BAD_SENSOR
    with pytest.raises(CodecError):
        PointCodec(point("f32")).decode(words)


def test_unknown_enum_number_is_bad():
    p = point("u16", enum=((0, "off"), (1, "on")))
    q = replace(p, name="q", offset=1, enum=())
    values, statuses = BlockCodec(ReadBlock("ir", 0, 2, (p, q))).decode([7, 7])
    assert list(statuses) == [BAD_SENSOR, GOOD]
    assert values == [7.0, 7.0]


def test_overlapping_points_in_plain_order():
    points = (point("u32", name="a"), point("u16", name="b", offset=1), point("bool", name="c", offset=1, bit=0))
    assert BlockCodec(ReadBlock("ir", 0, 2, points)).decode([1, 3])[0] == [65539.0, 3.0, 1.0]
