"""Window average, alarm and expression kernels against analytic answers and the tables of their definitions."""

import itertools
import math

import pytest

import ext
from ext.opcodes import MAX_STACK, OPCODES, check
from tests.reference.examples import block, code

GOOD, BAD, LAST, SUBST, INITIAL = 0x80, 0x00, 0x44, 0x48, 0x4C


# ---------------------------------------------------------------- window_average
class Meter:
    """A 900 s window over a power signal, scanned each second from second `at` of a window."""

    def __init__(self, at: float = 0.0, *, left: bool = False, counter: bool = False, **params: float) -> None:
        self.block = block("window_average", **params)
        self.t, self.left, self.counter = 1_759_999_500.0 + at - 1.0, left, counter
        assert (self.t + 1.0 - at) % 900 == 0

    def scan(
        self, x: float | None, left: float = 0.0, counter: float = 0.0, dt: float = 1.0
    ) -> list[tuple[float, int]]:
        self.t += dt
        pins = [
            (x or 0.0, BAD if x is None else GOOD),
            (left, GOOD) if self.left else None,
            (counter, GOOD) if self.counter else None,
        ]
        return self.block.step(pins, dt, utc=self.t)

    def run(self, n: int, x: float | None) -> list[tuple[float, int]]:
        for _ in range(n):
            out = self.scan(x)
        return out


def test_window_constant_power() -> None:
    m = Meter()
    m.run(1, 360.0)
    for k in range(1, 900):
        average, forecast, elapsed, energy = m.scan(360.0)
        assert average == (pytest.approx(360.0, abs=1e-9), GOOD)
        assert forecast == (pytest.approx(360.0, abs=1e-9), GOOD)
        assert elapsed == (k, GOOD)
        assert energy == (pytest.approx(0.1 * k, abs=1e-9), GOOD)
    average, forecast, elapsed, energy = m.scan(500.0)
    pf = 500 - 140 * math.exp(-1 / 60)
    assert elapsed == (0.0, GOOD), "a new window begins"
    assert energy == (0.0, GOOD)
    assert average == forecast == (pytest.approx(pf), GOOD), "the filtered power is all there is"


def test_window_forecast_of_a_step() -> None:
    m = Meter(filter=60)
    m.run(301, 100.0)
    for k in range(1, 200):
        average, forecast, elapsed, energy = m.scan(400.0)
        e, pf = 100.0 * 300 + 400.0 * k, 400 - 300 * math.exp(-k / 60)
        assert average[0] == pytest.approx(e / (300 + k), abs=1e-9)
        assert energy[0] == pytest.approx(e / 3600, abs=1e-9)
        assert forecast[0] == pytest.approx((e + pf * (600 - k)) / 900, abs=1e-9)
        assert elapsed[0] == 300 + k


def test_window_started_in_the_middle_is_uncertain_until_the_first_whole_one() -> None:
    m = Meter(at=600)
    m.run(1, 100.0)
    assert m.run(200, 100.0) == [
        (pytest.approx(100.0), INITIAL),
        (pytest.approx(100.0), INITIAL),
        (200.0, INITIAL),
        (pytest.approx(100 * 200 / 3600), INITIAL),
    ]
    assert m.run(100, 100.0)[0][1] == GOOD, "the window ended at second 300"
    assert m.scan(100.0)[2] == (1.0, GOOD)


def test_window_splits_a_scan_over_its_end() -> None:
    m = Meter()
    m.scan(60.0)
    for _ in range(128):
        m.scan(60.0, dt=7.0)
    average, _, elapsed, energy = m.scan(180.0, dt=7.0)
    assert elapsed[0] == pytest.approx(3.0)
    assert average[0] == pytest.approx(180.0)
    assert energy[0] == pytest.approx(180 * 3 / 3600)


def test_window_follows_the_meter_when_more_than_the_tolerance_off() -> None:
    m = Meter(left=True)
    m.scan(100.0, left=900)
    for k in range(1, 300):
        out = m.scan(100.0, left=900 - k + (k % 3 - 1))
    assert out[2] == (299.0, GOOD), "within 2 s: own count"
    average, _, elapsed, energy = m.scan(100.0, left=750)
    assert elapsed == (150.0, INITIAL)
    assert average == (pytest.approx(100.0), INITIAL)
    assert energy[0] == pytest.approx(100 * 150 / 3600), "the mean of the part that still counts"
    out = m.scan(100.0, left=500)
    assert out[2] == (151.0, INITIAL), "the window began earlier than seen: nothing is invented"
    assert m.block.state[2] == 400.0, "position in the window"


def test_window_keeps_its_own_count_while_the_meter_is_silent() -> None:
    m = Meter(left=True)
    m.scan(100.0, left=900)
    for left in (899.0, -5.0, 1e6, math.nan):
        out = m.scan(100.0, left=left)
    assert out[2] == (4.0, GOOD)


def test_window_bad_power_counts_as_the_last_filtered_one() -> None:
    m = Meter()
    m.run(101, 50.0)
    assert m.scan(None)[0] == (pytest.approx(50.0), LAST)
    assert m.run(9, None)[3] == (pytest.approx(50 * 110 / 3600), LAST)
    assert m.scan(50.0)[0] == (pytest.approx(50.0), SUBST), "this window holds energy that was not measured"
    assert m.run(790, 50.0)[0][1] == GOOD


def test_window_counter_replaces_what_was_assumed() -> None:
    m = Meter(counter=True)
    for k in range(101):
        m.scan(36.0, counter=1000 + 0.01 * k)
    for _ in range(20):
        m.scan(None)
    average, _, elapsed, energy = m.scan(36.0, counter=1001 + 0.01 + 0.8)
    assert elapsed == (121.0, GOOD)
    assert energy == (pytest.approx(1.0 + 0.81), GOOD)
    assert average[0] == pytest.approx(1.81 * 3600 / 121)
    for _ in range(3):
        m.scan(None)
    assert m.scan(36.0, counter=0.0)[0][1] == SUBST, "a counter that was reset proves nothing"


def test_window_needs_a_length_and_a_value() -> None:
    with pytest.raises(ValueError, match="length 0 s"):
        block("window_average", length=0).step([(1.0, GOOD), None, None], 1.0)
    assert block("window_average").step([(1.0, 0x14), None, None], 1.0) == [(0.0, 0x14)] * 4


# ---------------------------------------------------------------- alarm
def runs(b: ext.SingleBlock, rows: list[tuple[float | None, ...]], wired: tuple[int, ...] = (0,)) -> list[tuple]:
    """(active, trip) for each row of the wired pins; None = bad."""
    result = []
    for row in rows:
        pins: list[tuple[float, int] | None] = [None] * 4
        for i, x in zip(wired, row, strict=True):
            pins[i] = (x or 0.0, BAD if x is None else GOOD)
        result.append(tuple(int(v) for v, _ in b.step(pins, 1.0)))
    return result


def active(b: ext.SingleBlock, rows: list[tuple[float | None, ...]], wired: tuple[int, ...] = (0,)) -> list[int]:
    return [a for a, _ in runs(b, rows, wired)]


def test_alarm_delays() -> None:
    b = block("alarm", on_delay=2, off_delay=3)
    whens = (0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0)
    assert active(b, [(x,) for x in whens]) == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert active(block("alarm"), [(0,), (1,), (0,)]) == [0, 1, 0], "no delay: at once"


def test_alarm_with_bad_condition_neither_comes_nor_goes() -> None:
    b = block("alarm", on_delay=2)
    assert active(b, [(1,), (1,), (None,), (None,), (1,)]) == [0, 0, 0, 0, 1], "the timer stands still"
    assert b.step([(0.0, 0x14), None, None, None], 1.0) == [(1.0, LAST), (1.0, LAST)]
    assert b.step([(0.0, 0x54), None, None, None], 1.0) == [(0.0, 0x54), (0.0, 0x54)]


def test_alarm_with_an_off_condition_has_hysteresis() -> None:
    rows = [(1, 0), (0, 0), (0, 0), (0, None), (1, 1), (0, 1), (0, 0)]
    assert active(block("alarm"), rows, (0, 2)) == [1, 1, 1, 1, 1, 0, 0]


def test_alarm_suppressed_by_design() -> None:
    rows = [(1, 1), (1, 1), (1, 0), (1, 0), (1, 1), (1, None), (1, None)]
    assert active(block("alarm", on_delay=1), rows, (0, 1)) == [0, 0, 0, 1, 0, 0, 1]


def test_trip_latches_until_reset_with_the_condition_gone() -> None:
    rows = [(0, 1), (1, 1), (1, 0), (1, 1), (0, 1), (0, 0), (0, 1), (1, 1), (0, 0), (0, None), (0, 1), (0, 0), (0, 1)]
    trips = [trip for _, trip in runs(block("alarm", latch_trip=1), rows, (0, 3))]
    assert trips == [0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0]
    unlatched = [trip for _, trip in runs(block("alarm"), rows, (0, 3))]
    assert unlatched == [0, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_trip_is_not_reset_while_the_alarm_still_counts_its_off_delay() -> None:
    rows = [(1, 0), (0, 1), (0, 0), (0, 0), (0, 1)]
    assert runs(block("alarm", latch_trip=1, off_delay=3), rows, (0, 3)) == [(1, 1)] * 4 + [(0, 0)]


# ---------------------------------------------------------------- expr
def value(words: tuple[str | float, ...], *pins: tuple[float, int]) -> tuple[float, int]:
    return ext.SingleBlock("expr", code(*words), len(pins)).step(pins, 1.0)[0]


@pytest.mark.parametrize(
    ("name", "xs", "expected"),
    [
        ("add", (3, 2), 5),
        ("sub", (3, 2), 1),
        ("mul", (3, 2), 6),
        ("div", (3, 2), 1.5),
        ("neg", (3,), -3),
        ("abs", (-3,), 3),
        ("min", (3, 2), 2),
        ("max", (3, 2), 3),
        ("sqrt", (9,), 3),
        ("lt", (2, 2), 0),
        ("le", (2, 2), 1),
        ("gt", (3, 2), 1),
        ("ge", (1, 2), 0),
        ("eq", (2, 2), 1),
        ("ne", (2, 2), 0),
        ("and", (1, 0), 0),
        ("or", (1, 0), 1),
        ("not", (1,), 0),
        ("if", (1, 7, 8), 7),
        ("if", (0, 7, 8), 8),
    ],
)
def test_each_operation(name: str, xs: tuple[float, ...], expected: float) -> None:
    words = [w for x in xs for w in ("const", x)]
    assert value((*words, name)) == (expected, GOOD)


def test_every_operation_is_tested() -> None:
    marks = test_each_operation.pytestmark[0].args[1]
    assert {name for name, *_ in marks} | {"const", "input"} == set(OPCODES)


@pytest.mark.parametrize(("a", "b"), list(itertools.product((0.0, 1.0, None), repeat=2)))
def test_three_valued_logic(a: float | None, b: float | None) -> None:
    pins = [(0.0, 0x14) if x is None else (x, GOOD) for x in (a, b)]
    both = 0.0 if 0.0 in (a, b) else None if None in (a, b) else 1.0
    either = 1.0 if 1.0 in (a, b) else None if None in (a, b) else 0.0
    for name, expected in (("and", both), ("or", either)):
        v, q = value(("input", 0, "input", 1, name), *pins)
        assert (v if q >= 0x40 else None) == expected
        assert q == (GOOD if expected is not None else 0x14)


def test_status_is_the_worst_of_what_was_used() -> None:
    words = ("input", 0, "input", 1, "input", 2, "if")
    pins = [(1.0, GOOD), (5.0, LAST), (6.0, 0x08)]
    assert value(words, *pins) == (5.0, LAST), "the branch not taken does not matter"
    assert value(words, (0.0, GOOD), *pins[1:]) == (0.0, 0x08)
    assert value(words, (1.0, 0x14), *pins[1:]) == (0.0, 0x14)


@pytest.mark.parametrize(
    "words",
    [
        ("const", 1, "input", 0, "div"),
        ("input", 0, "const", 1, "sub", "sqrt"),
        ("const", 1e308, "const", 10, "mul", "input", 0, "add"),
    ],
)
def test_what_is_no_number_is_bad_and_keeps_the_last_value(words: tuple[str | float, ...]) -> None:
    assert value(words, (1e-13, GOOD)) == (0.0, BAD)
    b = ext.SingleBlock("expr", code("const", 1, "input", 0, "div"), 1)
    assert [b.step([(x, GOOD)], 1.0)[0] for x in (4.0, 0.0, math.nan)] == [(0.25, GOOD), (0.25, BAD), (0.25, BAD)]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ((), "leaves 0 results"),
        (("const", 1, "const", 2), "leaves 2 results"),
        (("const", 1, "add"), "add at 2 needs 2 operands, there are 1"),
        (("input", 1), r"input 1\.0 at 1 does not exist, there are 1"),
        (("input", 0.5), "does not exist"),
        (("input", math.nan), "does not exist"),
        (("const", math.inf), "not finite"),
        ((2,), "input at the end has no operand"),
        ((99,), r"99\.0 at 0 is not an operation"),
        (("const", 0) * (MAX_STACK + 1) + ("add",) * MAX_STACK, "more than 32 values"),
    ],
)
def test_a_broken_code_is_refused_with_its_place(bad: tuple[str | float, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check(code(*bad), 1)


def test_the_deepest_allowed_code_runs() -> None:
    words = ("const", 1) * MAX_STACK + ("add",) * (MAX_STACK - 1)
    assert value(words) == (MAX_STACK, GOOD)
