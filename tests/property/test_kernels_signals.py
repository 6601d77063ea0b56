"""The compiled signal and I/O kernels against their plain-Python twins, and bounds that hold for any input."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ext
from ext.opcodes import OPCODES, TAKES, check
from tests.reference.examples import arrange
from tests.reference.signals_time import TWINS

STATUSES = st.sampled_from(
    [0x80, 0x80, 0x80, 0x81, 0x82, 0xC0, 0x44, 0x48, 0x54, 0x58, 0x00, 0x08, 0x11, 0x14, 0xCC, 0xD8]
)
ANSWERS = st.sampled_from([0, 0xC0, 0xC1, 0xC2, 0xC3, 0xCC, 0xC8, 0xD0, 0xD8, 0xDC, 0x08, 0x80])
NUMBERS = st.one_of(
    st.floats(-100.0, 100.0),
    st.integers(-3, 3).map(float),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-13]),
)
FLAGS = st.sampled_from([0.0, 1.0, 2.0, 0.4, math.nan])


def numbers(*choices: float) -> st.SearchStrategy[float]:
    return st.sampled_from([float(x) for x in choices])


PARAMS: dict[str, dict[str, st.SearchStrategy[float]]] = {
    "ai": {
        "valid_lo": numbers(-1e308, -50, 0),
        "valid_hi": numbers(1e308, 60),
        "edge": numbers(0, 0.02, 0.5),
        "max_rate": numbers(0, 1, 30),
        "freeze_eps": numbers(0, 2),
        "freeze_time": numbers(1, 2),
    },
    "di": {"invert": numbers(0, 1), "debounce": numbers(0, 1, 2, 3)},
    "ao": {
        "lo": numbers(-20, 0),
        "hi": numbers(0.3, 80, 81.234),
        "rate": numbers(0, 0.5, 40),
        "deadband": numbers(0, 2),
        "quantum": numbers(0, 0.1, 7),
        "fail_is_value": numbers(0, 1),
        "fail_value": numbers(-300, 0, 33),
        "fault_time": numbers(0, 1, 3),
    },
    "do": {"fail_is_value": numbers(0, 1), "fail_value": numbers(0, 1), "fault_time": numbers(0, 1, 3)},
    "select": {
        "mode": numbers(0, 1, 2, 3, 4),
        "min_good": numbers(1, 2, 3),
        "max_difference": numbers(0, 1, 50),
        "switch_time": numbers(0, 3),
    },
    "source": {
        "return_after": numbers(0, 1, 2, 4),
        "fallback_is_value": numbers(0, 1),
        "fallback_value": numbers(12),
    },
    "filter": {"tau": numbers(0, 0.3, 2), "kind": numbers(0, 1), "hold": numbers(0, 1, 5)},
    "linear_sum": {"bias": numbers(0, -2.5)},
    "ratio": {"eps": numbers(0, 1e-9, 2), "gain": numbers(1, -60, 1e10)},
    "scale": {"a": numbers(0, 1, -2.5, 1e5), "b": numbers(0, 7)},
    "ramp": {
        "up": numbers(0, 1, 50),
        "down": numbers(0, 2),
        "lo": numbers(-1e308, -40),
        "hi": numbers(1e308, 60),
    },
    "window_average": {"length": numbers(3, 10, 900), "filter": numbers(0, 4), "resync_tol": numbers(0.7, 2)},
    "expr": {},
    "alarm": {"on_delay": numbers(0, 1, 2), "off_delay": numbers(0, 1.5), "latch_trip": numbers(0, 1)},
    "series": {"t0": numbers(1000, 1003.3), "step": numbers(0.7, 3), "hold": numbers(0, 1), "repeat": numbers(0, 1)},
}
LOGIC_PINS = {"ao": (2, 3), "do": (0, 1, 2, 3), "di": (0,), "alarm": (0, 1, 2, 3), "ratio": (2,)}


@st.composite
def expressions(draw: st.DrawFn, n_in: int) -> tuple[float, ...]:
    """Any valid postfix code."""
    names = sorted(OPCODES)
    code: list[float] = []
    depth = 0
    for _ in range(draw(st.integers(1, 14))):
        name = draw(st.sampled_from([n for n in names if TAKES[n] <= depth]))
        code.append(OPCODES[name])
        if name == "const":
            code.append(draw(st.floats(-5, 5)))
        elif name == "input":
            code.append(draw(st.integers(0, n_in - 1)))
        depth += 1 - TAKES[name]
    while depth > 1:
        name = draw(st.sampled_from([n for n in names if 2 <= TAKES[n] <= depth]))
        code.append(OPCODES[name])
        depth += 1 - TAKES[name]
    return tuple(float(x) for x in code)


@st.composite
def cases(draw: st.DrawFn, kind: str) -> tuple:
    """(parameters by name, repeated parameters, wiring, scans)."""
    spec = ext.kinds()[kind]
    p = {name: draw(strategy) for name, strategy in PARAMS[kind].items()}
    extra = draw(st.integers(1, 4)) if spec.var_input else 0
    var: tuple[float, ...] = ()
    if kind == "expr":
        var = draw(expressions(extra))
    elif kind == "linear_sum":
        var = tuple(draw(st.lists(numbers(0, 1, -1, 2.5), min_size=extra, max_size=extra)))
    elif kind == "series":
        var = tuple(draw(st.lists(st.floats(-9, 9), min_size=1, max_size=4)))
    wired = [draw(st.booleans()) if pin.endswith("?") else True for pin in spec.inputs] + [True] * extra
    pins = [
        st.tuples(FLAGS if i in LOGIC_PINS.get(kind, ()) else NUMBERS, STATUSES) if w else st.none()
        for i, w in enumerate(wired)
    ]
    back = st.lists(st.tuples(NUMBERS, ANSWERS), min_size=len(spec.outputs), max_size=len(spec.outputs))
    scan = st.tuples(
        st.tuples(*pins), back, st.sampled_from([0.5, 0.5, 0.5, 1.3]), st.integers(0, 20).map(lambda k: int(k == 20))
    )
    return p, var, wired, draw(st.lists(scan, min_size=1, max_size=25))


def close(a: tuple[float, int], b: tuple[float, int]) -> bool:
    return a[1] == b[1] and abs(a[0] - b[0]) <= 1e-12 * max(1.0, abs(a[0]), abs(b[0]))


@pytest.mark.parametrize("kind", sorted(PARAMS))
def test_kernel_equals_its_twin(kind: str) -> None:
    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(cases(kind), st.booleans())
    def run(case: tuple, timed: bool) -> None:
        p, var, wired, scans = case
        block = ext.SingleBlock(kind, arrange(kind, p, var), len(wired), wired)
        twin = TWINS[kind](p, var, len(wired))
        t = 999.0
        for k, (pins, back, dt, fresh) in enumerate(scans):
            t += dt
            # sometimes the same sample is seen in two scans: polled slower than scanned
            now = int((t - dt * (k % 3 == 1)) * 1e9) if timed else 0
            scan = {"inputs": pins, "dt": dt, "now": now, "utc": t, "fresh": fresh, "back": back}
            ours, theirs = block.step(**scan), twin.step(**scan)
            assert all(map(close, ours, theirs)), (p, var, k, scan, ours, theirs)
            ours, theirs = block.backward(), twin.backward()
            assert all(map(close, ours, theirs)), (p, var, k, scan, ours, theirs)
            assert block.program.not_finite == 0
            assert all(map(math.isfinite, block.state))

    run()


def test_every_kind_of_these_families_has_a_twin() -> None:
    assert sorted(PARAMS) == sorted(TWINS)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cases("ao"))
def test_ao_stays_inside_its_limits_and_slope(case: tuple) -> None:
    p, _, wired, scans = case
    block = ext.SingleBlock("ao", arrange("ao", p), 4, wired)
    last = None
    for pins, back, dt, fresh in scans:
        (out, q), (achieved, _) = block.step(pins, dt, back=back, fresh=fresh)
        assert p["lo"] <= out <= p["hi"]
        assert math.isfinite(achieved)
        write = q >= 0x40
        starts = fresh or not write or last is None
        if not starts and p["rate"] > 0 and pins[2] is None:
            # without a gate pin the level never changes, so no scan but the first starts at the readback
            assert abs(out - last) <= p["rate"] * dt + p["deadband"] + p["quantum"] + 1e-9
        last = out if write else None


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=10),
    numbers(0, 0.1, 5),
    numbers(0, 1),
)
def test_ao_is_bumpless_when_armed(scans: list[tuple[float, float]], quantum: float, rate: float) -> None:
    p = {"lo": 0.0, "hi": 100.0, "rate": rate, "deadband": 1.0, "quantum": quantum, "fail_is_value": 0.0}
    block = ext.SingleBlock("ao", arrange("ao", p), 4, [True, True, True, False])
    for cmd, readback in scans[:-1]:
        (out, q), achieved = block.step([(cmd, 0x80), (readback, 0x80), (0.0, 0x80), None], 1.0)
        assert q == 0x1C
        assert abs(out - readback) <= quantum
        assert achieved == (readback, 0x80)
        assert block.backward()[0] == (readback, 0xCC)
    cmd, readback = scans[-1]
    out, q = block.step([(cmd, 0x80), (readback, 0x80), (2.0, 0x80), None], 1.0)[0]
    assert q == 0x80
    assert abs(out - readback) <= quantum


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.lists(st.booleans(), min_size=1, max_size=40))
def test_the_ladder_climbs_back_only_after_n_scans(n: int, good: list[bool]) -> None:
    block = ext.SingleBlock("source", [float(n), 0.0, 0.0], 2)
    block.step([(1.0, 0x08), (2.0, 0x80)], 1.0)
    streak, rung = 0, 1
    for is_good in good:
        streak = streak + 1 if is_good else 0
        rung = 0 if is_good and (rung == 0 or streak >= n) else 1
        out = block.step([(1.0, 0x80 if is_good else 0x08), (2.0, 0x80)], 1.0)
        assert out[1][0] == rung
        assert out[0] == ((1.0, 0x80) if rung == 0 else (2.0, 0x48))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.integers(0, 22).map(float), st.floats(allow_nan=True)), max_size=40), st.integers(0, 3))
def test_a_code_that_passes_the_check_runs(code: list[float], n_in: int) -> None:
    try:
        check(code, n_in)
    except ValueError:
        with pytest.raises(ValueError, match=r"expression: |not finite"):
            ext.SingleBlock("expr", code, n_in).step([(1.0, 0x80)] * n_in, 1.0)
        return
    (v, q), *_ = ext.SingleBlock("expr", code, n_in).step([(1.0, 0x80)] * n_in, 1.0)
    assert math.isfinite(v)
    assert q != 0x04
