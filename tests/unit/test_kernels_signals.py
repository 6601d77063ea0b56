"""Signal kernels against analytic answers and the tables of their definitions."""

import math

import pytest

import ext
from tests.reference.examples import block

GOOD, BAD, LAST, SUBST, SUBNORMAL, CONFIG = 0x80, 0x00, 0x44, 0x48, 0x58, 0x04
OK, REFUSED, NOT_SELECTED, LOW, HIGH, HELD = 0xC0, 0xCC, 0xD0, 1, 2, 3


def scan(b: ext.SingleBlock, *xs: float | None, dt: float = 1.0, **more: object) -> list[tuple[float, int]]:
    """One scan with good inputs; None = bad, not connected."""
    return b.step([(0.0, 0x08) if x is None else (x, GOOD) for x in xs], dt, **more)


# ---------------------------------------------------------------- filter
@pytest.mark.parametrize("dt", [0.1, 1.0, 7.0])
def test_filter_step_response_is_the_analytic_one(dt: float) -> None:
    tau, b = 5.0, block("filter", tau=5)
    scan(b, 0.0, dt=dt)
    for k in range(1, 60):
        assert scan(b, 1.0, dt=dt)[0][0] == pytest.approx(1 - math.exp(-k * dt / tau), abs=1e-12)


def test_second_order_filter_step_response_is_the_analytic_one() -> None:
    b, r = block("filter", tau=4, kind=1), math.exp(-2 * 0.5 / 4)
    scan(b, 0.0, dt=0.5)
    for k in range(1, 60):
        assert scan(b, 1.0, dt=0.5)[0][0] == pytest.approx(1 - r**k * (1 + k * (1 - r)), abs=1e-12)


def test_filter_holds_then_is_bad_and_restarts_after_a_long_gap() -> None:
    b = block("filter", tau=2, hold=3)
    assert scan(b, None) == [(0.0, 0x08)]
    scan(b, 10.0)
    assert [scan(b, None)[0] for _ in range(4)] == [(10.0, LAST)] * 3 + [(10.0, 0x08)]
    assert scan(b, 20.0)[0][0] == pytest.approx(10 + 10 * (1 - math.exp(-0.5)))
    for _ in range(7):
        scan(b, None)
    assert scan(b, 50.0) == [(50.0, GOOD)], "a gap over 3 tau"
    assert scan(b, 80.0, fresh=1) == [(80.0, GOOD)]


def test_filter_passes_the_consumers_answer() -> None:
    b = block("filter", tau=2)
    scan(b, 1.0, back=[(7.0, OK | HIGH)])
    assert b.backward() == [(7.0, OK | HIGH)]
    scan(b, 1.0, back=[(0.0, 0)])
    assert b.backward() == [(0.0, 0)]


# ---------------------------------------------------------------- select
@pytest.mark.parametrize(
    ("mode", "xs", "out", "q", "index"),
    [
        (0, (None, 5.0, 9.0), 5.0, SUBNORMAL, 1),
        (0, (3.0, None, 9.0), 3.0, GOOD, 0),
        (1, (3.0, 1.0, 9.0), 3.0, GOOD, 0),
        (1, (3.0, None, 9.0), 6.0, SUBNORMAL, -1),
        (2, (3.0, 1.0, 9.0), 1.0, GOOD, 1),
        (3, (3.0, 1.0, 9.0), 9.0, GOOD, 2),
        (3, (3.0, 1.0, None), 3.0, SUBNORMAL, 0),
        (4, (3.0, 1.0, 8.0), 4.0, GOOD, -1),
    ],
)
def test_select_modes(mode: int, xs: tuple, out: float, q: int, index: int) -> None:
    assert scan(block("select", 3, mode=mode), *xs) == [(out, q), (index, GOOD), (0.0, GOOD)]


def test_select_switches_without_a_step_and_fades() -> None:
    b = block("select", 2, switch_time=10)
    scan(b, 100.0, 104.0)
    assert scan(b, None, 104.0)[0][0] == 100.0
    for k in range(1, 30):
        assert scan(b, None, 104.0)[0][0] == pytest.approx(104 - 4 * math.exp(-k / 10), abs=1e-12)


def test_select_reports_disagreement_and_too_few() -> None:
    b = block("select", 3, mode=1, max_difference=2, min_good=2)
    assert scan(b, 10.0, 11.0, 11.5) == [(11.0, GOOD), (1.0, GOOD), (0.0, GOOD)]
    assert scan(b, 10.0, 11.0, 12.5) == [(11.0, SUBNORMAL), (1.0, GOOD), (1.0, GOOD)]
    assert scan(b, 10.0, None, None) == [(11.0, BAD), (-1.0, BAD), (0.0, SUBNORMAL)]
    assert scan(b, 5.0, 5.0, None)[0] == (5.0, SUBNORMAL), "no offset from the value before the outage"


def test_select_answers_the_selected_and_the_losers() -> None:
    b = block("select", 3, mode=2)
    scan(b, 5.0, 4.0, 6.0, back=[(3.5, OK | LOW), (0, 0), (0, 0)])
    assert b.backward() == [(3.5, NOT_SELECTED), (3.5, OK | LOW), (3.5, NOT_SELECTED)]


def test_select_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="1 to 32 inputs, not 33"):
        scan(block("select", 33), *[1.0] * 33)
    with pytest.raises(ValueError, match="mode 5"):
        scan(block("select", 1, mode=5), 1.0)


# ---------------------------------------------------------------- source
def test_source_goes_down_at_once_and_up_after_n() -> None:
    b = block("source", 3, return_after=2, fallback_is_value=1, fallback_value=9)
    assert scan(b, 1.0, 2.0, 3.0) == [(1.0, GOOD), (0.0, GOOD)]
    assert scan(b, None, 2.0, 3.0) == [(2.0, SUBST), (1.0, GOOD)]
    assert scan(b, 1.0, None, 3.0) == [(3.0, SUBST), (2.0, GOOD)], "one good scan of the first is not enough"
    assert scan(b, 1.0, 2.0, 3.0) == [(1.0, GOOD), (0.0, GOOD)]
    assert scan(b, None, None, None) == [(9.0, SUBST), (3.0, GOOD)]
    assert scan(b, 1.0, None, None) == [(9.0, SUBST), (3.0, GOOD)]
    assert scan(b, 1.0, None, None) == [(1.0, GOOD), (0.0, GOOD)]


def test_source_holds_its_last_value_flagged() -> None:
    b = block("source", 1, fallback_is_value=0)
    assert scan(b, None) == [(0.0, BAD), (2.0, GOOD)], "there never was a value"
    scan(b, 4.0)
    assert scan(b, 4.0)[0] == (4.0, GOOD)
    assert scan(b, math.nan) == [(4.0, LAST), (2.0, GOOD)]


def test_source_answers_every_rung() -> None:
    b = block("source", 2, fallback_is_value=0)
    scan(b, None, 2.0, back=[(1.5, REFUSED), (0, 0)])
    assert b.backward() == [(1.5, NOT_SELECTED), (1.5, REFUSED)]


# ---------------------------------------------------------------- linear_sum, ratio, scale
def test_linear_sum() -> None:
    b = block("linear_sum", 3, (1.0, -2.0, 0.0), bias=10)
    assert scan(b, 5.0, 2.0, None) == [(11.0, GOOD)], "a coefficient of 0 is not used"
    assert b.step([(5.0, LAST), (2.0, SUBST), (0.0, GOOD)], 1.0) == [(11.0, LAST)]
    assert scan(b, 5.0, None, 1.0) == [(11.0, 0x08)]
    assert block("linear_sum", 1, (-1.0,)).step([(5.0, GOOD | HIGH)], 1.0) == [(-5.0, GOOD | LOW)]
    with pytest.raises(ValueError, match="one coefficient for each of its 2 inputs, not 1"):
        scan(block("linear_sum", 2, (1.0,)), 1.0, 1.0)


def test_ratio_without_a_ratio_holds() -> None:
    b = block("ratio", eps=0.2)
    assert scan(b, 100.0, 0.1, 1.0) == [(0.0, BAD)]
    assert scan(b, 100.0, 0.5, 1.0) == [(200.0, GOOD)]
    assert scan(b, 100.0, 0.1, 1.0) == [(200.0, LAST)]
    assert scan(b, 100.0, 0.5, 0.0) == [(200.0, LAST)]
    assert scan(b, 100.0, 0.5, None) == [(200.0, LAST)]
    assert scan(b, 100.0, None, 1.0) == [(200.0, 0x08)]


def test_scale_and_its_inverse() -> None:
    b = block("scale", a=-2, b=100)
    assert b.step([(10.0, GOOD | LOW)], 1.0, back=[(60.0, OK | HIGH)]) == [(80.0, GOOD | HIGH)]
    assert b.backward() == [(20.0, OK | LOW)]
    assert scan(b, 1e308) == [(80.0, BAD)]
    flat = block("scale", a=0, b=3)
    assert flat.step([(10.0, GOOD)], 1.0, back=[(3.0, OK)]) == [(3.0, GOOD)]
    assert flat.backward() == [(10.0, REFUSED)]


# ---------------------------------------------------------------- ramp
def test_ramp_moves_at_its_rates_from_the_start() -> None:
    b = block("ramp", up=2, down=1, lo=0, hi=30)
    outs = [b.step([(27.0, GOOD), (20.0, GOOD)], 1.0) for _ in range(6)]
    assert [o[0] for o in outs] == [
        (20.0, GOOD),
        (22.0, GOOD | HIGH),
        (24.0, GOOD | HIGH),
        (26.0, GOOD | HIGH),
        (27.0, GOOD),
        (27.0, GOOD),
    ]
    assert [o[1][0] for o in outs] == [0, 1, 1, 1, 0, 0]
    assert [scan(b, -5.0, 0.0)[0] for _ in range(2)] == [(26.0, GOOD | LOW), (25.0, GOOD | LOW)]
    assert b.backward()[0] == (25.0, OK | LOW)
    assert scan(b, None, 0.0) == [(25.0, LAST), (0.0, GOOD)]
    assert b.backward()[0] == (25.0, OK | HELD)


def test_ramp_follows_a_consumer_that_refuses_and_goes_on_from_there() -> None:
    b = ext.SingleBlock("ramp", [1.0, 1.0, -1e308, 1e308], 2, [True, False])
    assert b.step([(50.0, GOOD), None], 1.0)[0] == (50.0, GOOD)
    for achieved in (30.0, 31.0):
        assert b.step([(50.0, GOOD), None], 1.0, back=[(achieved, REFUSED), (0, 0)])[0] == (achieved, GOOD)
        assert b.backward()[0] == (achieved, REFUSED)
    assert b.step([(50.0, GOOD), None], 1.0, back=[(31.0, OK), (0, 0)])[0] == (32.0, GOOD | HIGH)
    pv = block("ramp", up=1)
    assert scan(pv, 50.0, 12.0, back=[(30.0, REFUSED), (0, 0)])[0] == (12.0, GOOD), "the measured value when wired"


def test_ramp_that_never_had_a_value_is_bad() -> None:
    assert scan(block("ramp", up=1), None, None) == [(0.0, 0x08), (0.0, GOOD)]


# ---------------------------------------------------------------- series
@pytest.mark.parametrize(
    ("hold", "repeat", "utc", "expected"),
    [
        (1, 0, 100.0, (1.0, GOOD)),
        (1, 0, 119.9, (3.0, GOOD)),
        (1, 0, 120.0, (3.0, 0x14)),
        (1, 0, 99.0, (1.0, 0x14)),
        (0, 0, 105.0, (2.0, GOOD)),
        (0, 0, 115.0, (3.0, GOOD)),
        (0, 1, 115.0, (2.0, GOOD)),
        (1, 1, 131.0, (3.0, GOOD)),
        (1, 1, 85.0, (1.0, GOOD)),
    ],
)
def test_series(hold: int, repeat: int, utc: float, expected: tuple[float, int]) -> None:
    assert block("series", 0, (1.0, 3.0), t0=100, step=10, hold=hold, repeat=repeat).step([], 1.0, utc=utc) == [
        expected
    ]


def test_series_needs_values_and_a_step() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        block("series", 0, (), t0=0, step=1).step([], 1.0)
    with pytest.raises(ValueError, match="step 0 s"):
        block("series", 0, (1.0,), t0=0, step=0).step([], 1.0)
