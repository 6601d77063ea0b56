"""Units: golden conversions, dimension algebra, and what is refused."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrl.units import (
    UNITS,
    Quantity,
    Range,
    UnitError,
    combine,
    convert,
    nearest_unit,
    parse_duration,
    parse_quantity,
    parse_range,
    parse_unit,
)

GOLDEN = [
    (1.0, "kWh", "MJ", 3.6),
    (1.0, "MWh", "kWh", 1000.0),
    (100.0, "EUR/MWh", "EUR/kWh", 0.1),
    (100.0, "EUR/MWh", "ct/kWh", 10.0),
    (0.0, "degC", "degC", 0.0),
    (6.3, "bar_g", "mbar_g", 6300.0),
    (1.0, "bar_g", "kPa_g", 100.0),
    (4.0, "K/min", "K/s", 4.0 / 60.0),
    (15.0, "kW/K", "MW/K", 0.015),
    (146.0, "kW/(t/h)", "kWh/t", 146.0),
    (0.1, "t/h/min", "t/h/s", 0.1 / 60.0),
    (13.0, "EUR/kW/month", "EUR/kW/year", 156.0),
    (20.0, "m3/min/bar", "l/s/bar", 20e3 / 60.0),
    (400.0, "g/kWh", "kg/MWh", 400.0),
    (16.0, "h/d", "1", 16.0 / 24.0),
    (24.0, "t/d", "t/h", 1.0),
    (150.0, "kWp", "kW", 150.0),
    (95.0, "%", "1", 0.95),
    (3000.0, "rpm", "Hz", 50.0),
    (1.0, "d", "h", 24.0),
    (1.0, "Wh", "J", 3600.0),
]


@pytest.mark.parametrize(("value", "source", "target", "expected"), GOLDEN)
def test_golden_conversion(value: float, source: str, target: str, expected: float) -> None:
    assert convert(value, source, target) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert Quantity(value, source).to(target) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_the_price_of_emissions_per_energy() -> None:
    # 75 EUR/t x 400 g/kWh = 0.03 EUR/kWh
    product = parse_unit("EUR/t*g/kWh")
    assert product.dims == parse_unit("EUR/kWh").dims
    assert 75 * 400 * product.factor / parse_unit("EUR/kWh").factor == pytest.approx(0.03)


def test_points_and_differences_do_not_mix() -> None:
    assert parse_unit("degC").difference == "K"
    assert parse_unit("bar_g").difference == "bar"
    for source, target in (("degC", "K"), ("K", "degC"), ("bar_g", "bar")):
        with pytest.raises(UnitError) as error:
            convert(8.0, source, target)
        assert error.value.kind == "point"
    with pytest.raises(UnitError) as error:
        parse_unit("degC/min")
    assert error.value.kind == "point"
    assert "K/min" in error.value.hint


def test_power_is_not_energy_and_currencies_are_different_money() -> None:
    for source, target in (("kW", "kWh"), ("EUR", "USD"), ("kW", "kVA"), ("m3", "Nm3"), ("t", "m3")):
        with pytest.raises(UnitError) as error:
            convert(1.0, source, target)
        assert error.value.kind == "dimension"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("kw", "kW"),
        ("kwh", "kWh"),
        ("barg", "bar_g"),
        ("kQ/K", "kW/K"),
        ("hours", "h"),
        ("°C", "degC"),
        ("EUR/Mwh", "EUR/MWh"),
        ("m^3", ""),
        ("kW/", ""),
        ("(kW", ""),
        ("kW)", ""),
        ("", ""),
        ("k W", ""),
    ],
)
def test_unknown_units_are_refused_with_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(UnitError) as error:
        parse_unit(text)
    assert error.value.kind == "unknown"
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("8K", "8 K"),
        ("1,5 kW", "decimal point"),
        ("kW", "number"),
        ("nan kW", "number"),
        ("inf kW", "number"),
        ("1_000 kW", ""),
        ("0x10 kW", ""),
        ("1e999 kW", ""),
        ("", ""),
        ("8 8 K", ""),
    ],
)
def test_what_is_no_quantity(text: str, hint: str) -> None:
    with pytest.raises(UnitError) as error:
        parse_quantity(text)
    assert hint in str(error.value)


def test_quantities_ranges_durations() -> None:
    assert parse_quantity("-5 kW") == Quantity(-5.0, "kW")
    assert parse_quantity("1e3 kWh") == Quantity(1000.0, "kWh")
    assert parse_quantity("0.6") == Quantity(0.6, "1")
    assert parse_range("0 kW .. 320 kW") == Range(Quantity(0, "kW"), Quantity(320, "kW"))
    assert parse_range("500 kW .. 1 MW").to("kW") == pytest.approx((500.0, 1000.0))
    assert parse_range("-20 degC .. 300 degC").to("degC") == (-20.0, 300.0)
    assert parse_duration("400 ms").to("s") == pytest.approx(0.4)
    assert str(Quantity(12.0, "%")) == "12 %"
    assert str(parse_range("0 kW .. 2.5 kW")) == "0 kW .. 2.5 kW"
    for text in ("0 .. 320 kW", "0 kW ... 320 kW", "0 kW - 320 kW", "0 kW .. 320 kWh", "0 K .. 320 degC"):
        with pytest.raises(UnitError):
            parse_range(text)
    for text in ("90", "3 kW", "2 week", "1 month"):
        with pytest.raises(UnitError):
            parse_duration(text)
    with pytest.raises(UnitError):
        Quantity(math.nan, "kW")


def test_the_table_is_consistent() -> None:
    assert len(UNITS) >= 90
    for name, unit in UNITS.items():
        assert unit.text == name
        assert unit.factor > 0
        assert parse_unit(name) is unit
        assert parse_unit(unit.difference).dims == unit.dims
        assert not parse_unit(unit.difference).point
    assert nearest_unit("kW") == "kW"


names = st.sampled_from(sorted(name for name, unit in UNITS.items() if not unit.point))
values = st.floats(-1e9, 1e9, allow_subnormal=False)


@given(values, st.sampled_from(sorted(UNITS)), st.data())
def test_there_and_back(value: float, source: str, data: st.DataObject) -> None:
    kin = sorted(name for name, unit in UNITS.items() if unit.same_kind(UNITS[source]))
    target = data.draw(st.sampled_from(kin))
    scale = abs(UNITS[source].offset / UNITS[source].factor) + abs(value) + 1e-200
    assert convert(convert(value, source, target), target, source) == pytest.approx(value, rel=1e-9, abs=1e-9 * scale)


@given(names, names, names)
def test_dimensions_are_a_group(a: str, b: str, c: str) -> None:
    da, db, dc = (parse_unit(name).dims for name in (a, b, c))
    assert combine(da, db) == combine(db, da) == parse_unit(f"{a}*{b}").dims
    assert combine(combine(da, db), dc) == combine(da, combine(db, dc))
    assert combine(da, da, -1) == ()
    assert parse_unit(f"{a}/{b}/{c}").dims == parse_unit(f"{a}/({b}*{c})").dims
    assert parse_unit(f"{a}/({b}/{c})").factor == pytest.approx(parse_unit(f"{a}*{c}/{b}").factor)


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused_by_a_unit_error(text: str) -> None:
    for parse in (parse_unit, parse_quantity, parse_range, parse_duration):
        with contextlib.suppress(UnitError):
            parse(text)
