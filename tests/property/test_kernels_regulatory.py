"""Kernels equal their plain-Python twins on random sequences; invariants of staging, battery and production rules."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import kernels as K  # noqa: N812
from tests.reference.regulatory import Pin

STATUSES = (0x80, 0x80, 0x80, 0xC0, 0x44, 0x48, 0x08, 0x18)
ANSWERS = (0xC0, 0xC0, 0xC0, 0xC1, 0xC2, 0xC3, 0xCC, 0xD0, 0x10, 0)

# kind, parameters, repeated things, ranges of the inputs ("bool" = 0 or 1), ranges of the answers to the outputs, steps
CASES: dict[str, tuple[dict[str, float], dict[str, Any], list[Any], list[Any], tuple[float, ...]]] = {
    "pid": (
        K.FURNACE | {"kd": 40.0, "pv_filter": 3.0},
        {},
        [(700, 900), (800, 900), (0, 90), (0, 100), (150, 320), "bool", "rare", (-60, 60)],
        [(0, 320)],
        (1.0, 2.0),
    ),
    "setpoint_program": (
        K.PROFILE | {"soak_for": 20.0},
        {},
        [(840, 900), "bool", "bool", "bool"],
        [(800, 900)],
        (10.0,),
    ),
    "staging": (
        K.AIR | {"up_for": 3.0, "down_for": 5.0, "n_units": 3.0},
        {"units": [(10.4, 8.0, 6.0, 60.0, 1.0), (8.0, 5.0, 4.0, 0.0, 3.0), (12.0, 9.0, 2.0, 200.0, 2.0)]},
        [(0, 50), "rare", "bool", "rare", "often", "rare", "often", "rare"],
        [(0, 100), *[(0, 0)] * 4, "bool", "bool", "bool", *[(0, 0)] * 5],
        (1.0, 2.0),
    ),
    "rate_control": (K.RATE, {}, [(0, 1.3), (-0.3, 0.3), "often", "often"], [(0, 1.1), "bool"], (10.0, 20.0)),
    "peak_limiter": (
        K.PEAK | {"length": 60.0, "reduce_for": 15.0, "reduce_min_off": 8.0, "shed_min_off": 6.0},
        {},
        [(100, 500), (0, 60), (280, 360), (0, 120), (1000, 1000.1)],
        [*[(0, 0)] * 4, (0, 80), *[(0, 0)] * 5],
        (1.0, 3.0),
    ),
    "power_follow": (
        K.BATTERY,
        {},
        [(-200, 200), (-260, 260), (5, 99), (-20, 150), "often"],
        [(-200, 200)],
        (0.5, 1.0),
    ),
    "production_rules": (
        K.RULES | {"min_run": 40.0, "min_stop": 30.0},
        {"avoid": [(600.0, 900.0), (3000.0, 200.0)]},
        [(2, 30), (0.2, 0.9), (60, 140), (0, 1), (10, 99), (0, 1), "bool"],
        [(0, 1), "bool", *[(0, 0)] * 4],
        (10.0, 20.0),
    ),
}


def draw(rng: random.Random, what: Any) -> float:
    if isinstance(what, str):
        return float(rng.random() < {"bool": 0.5, "rare": 0.04, "often": 0.9}[what])
    return rng.uniform(*what)


def sequence(rng: random.Random, kind: str, steps: int) -> list[tuple[list[Pin], dict[str, Any]]]:
    """Scans with values that persist for a while, so that clocks and limits are reached."""
    _, _, ins, outs, dts = CASES[kind]
    wired = [i < 2 or rng.random() < 0.8 for i in range(len(ins))]
    if kind == "power_follow":
        wired[2] = True
    if kind == "setpoint_program":
        wired[1:] = [rng.random() < 0.8, True, wired[3]]
    pins: list[Pin] = [(draw(rng, w), 0x80) if on else None for w, on in zip(ins, wired, strict=True)]
    back = [(0.0, 0)] * len(outs)
    scans, utc, dt = [], 6000.0, dts[0]
    for k in range(steps):
        for i, what in enumerate(ins):
            if wired[i] and rng.random() < (0.5 if i == 0 else 0.1):
                q = rng.choice(STATUSES) if rng.random() < 0.3 else 0x80
                pins[i] = (math.nan if rng.random() < 0.01 else draw(rng, what), q)
        for i, what in enumerate(outs):
            if rng.random() < 0.15:
                back[i] = (draw(rng, what), rng.choice(ANSWERS) if rng.random() < 0.5 else 0xC0)
        dt = rng.choice(dts) if rng.random() < 0.05 else dt
        utc += dt
        moment = {"utc": utc, "local": utc % 3600.0, "fresh": int(k == 0 or rng.random() < 0.01), "back": list(back)}
        scans.append((list(pins), {"dt": dt, **moment}))
    return scans


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("seed", range(8))
def test_kernel_equals_its_twin(kind: str, seed: int) -> None:
    changes, lists, ins, _, _ = CASES[kind]
    if kind == "staging":
        changes = changes | {"rotate": float(seed % 3)}
    rng = random.Random(f"{kind}{seed}")  # noqa: S311
    block, twin = K.both(kind, changes, len(ins), **lists)
    for k, (pins, moment) in enumerate(sequence(rng, kind, 300)):
        got, want = block.step(pins, **moment), twin.step(pins, **moment)
        for name, (x, q), (y, r) in zip(block.kind.outputs, got, want, strict=True):
            assert math.isfinite(x)
            assert q == r, (k, name, hex(q), hex(r))
            assert x == pytest.approx(y, rel=1e-12, abs=1e-12), (k, name)


@pytest.mark.parametrize("kind", CASES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_never_a_number_from_nonsense(kind: str, data: st.DataObject) -> None:
    changes, lists, ins, outs, _ = CASES[kind]
    block, _ = K.both(kind, changes, len(ins), **lists)
    number = st.floats(allow_nan=True, allow_infinity=True)
    pins = st.lists(st.tuples(number, st.integers(0, 255)), min_size=len(ins), max_size=len(ins))
    back = st.lists(st.tuples(number, st.integers(0, 255)), min_size=len(outs), max_size=len(outs))
    for _ in range(6):
        inputs, answers = data.draw(pins), data.draw(back)
        for x, _ in block.step(inputs, 1.0, utc=data.draw(st.floats(0, 4e9)), back=answers):
            assert math.isfinite(x)
        assert all(math.isfinite(x) for x, _ in block.backward())
    assert block.program.not_finite == 0


def test_snapshot_continues_bit_for_bit() -> None:
    for kind, (changes, lists, ins, _, _) in CASES.items():
        scans = sequence(random.Random(kind), kind, 60)  # noqa: S311
        a, _ = K.both(kind, changes, len(ins), **lists)
        for pins, moment in scans[:30]:
            a.step(pins, **moment)
        b, _ = K.both(kind, changes, len(ins), **lists)
        b.step(scans[0][0], **scans[0][1])
        b.state = a.state
        for pins, moment in scans[30:]:
            assert a.step(pins, **moment) == b.step(pins, **moment)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 45), st.integers(1, 60)), min_size=5, max_size=40),
    st.booleans(),
    st.sampled_from([0.0, 12.0]),
)
def test_staging_minimum_times_and_starts_hold(demands: list[tuple[float, int]], rotate: bool, starts: float) -> None:
    min_on, min_off = 45.0, 30.0
    units = [x for order in (1.0, 2.0, 3.0) for x in (10.4, min_on, min_off, starts, order)]
    block = K.kernel("staging", K.AIR | {"rotate": float(rotate), "n_units": 3.0}, units, n_in=8)
    since, last = [-1.0] * 3, [0.0] * 3  # the first scan is time 0
    began: list[list[int]] = [[], [], []]
    t = 0
    feedback: list[Pin] = [(0.0, 0x80), None] * 3
    for demand, scans in demands:
        for _ in range(scans):
            t += 1
            out = block.step([(demand, 0x80), None, *feedback], 1.0, back=[(100.0, 0xC0)] + [(0.0, 0)] * 12)
            on = [x for x, _ in out[5:8]]
            assert sum(a != b for a, b in zip(on, last, strict=True)) <= 2
            for i in range(3):
                since[i] += 1.0
                if on[i] != last[i]:
                    assert since[i] >= (min_on if last[i] else min_off)
                    since[i] = 0.0
                    began[i] += [t] if on[i] else []
            last = on
            feedback = [pin for x in on for pin in ((x, 0x80), None)]
            assert 25.0 <= out[0][0] <= 100.0
    if starts:
        # a full bucket and what one hour refills
        assert all(len(times) <= starts + starts * t / 3600.0 for times in began)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-400, 400), st.floats(0, 100), st.floats(0, 300)), min_size=2, max_size=30))
def test_battery_never_leaves_power_charge_and_ramp(steps: list[tuple[float, float, float]]) -> None:
    block = K.kernel("power_follow", K.BATTERY)
    last = None
    soc = 50.0
    for sp, aim, request in steps:
        soc += max(-1.0, min(1.0, aim - soc))
        pins: list[Pin] = [(0.0, 0x80), (sp, 0x80), (soc, 0x80), (request, 0x80), None]
        out = block.step(pins, 1.0, back=[(0.0 if last is None else last, 0xC0), *[(0.0, 0)] * 3])[0][0]
        most, least = 200.0 * min(max((soc - 8.0) / 5.0, 0.0), 1.0), 200.0 * min(max((95.0 - soc) / 5.0, 0.0), 1.0)
        assert -least - 1e-9 <= out <= most + 1e-9
        if last is not None and abs(out) > 1e-9 and most == least == 200.0:
            assert abs(out - last) <= 100.0 + 1e-9
        last = out


def rules(stock: float, rank: float, hour: float = 12.0, price: float = 100.0, soc: float = 50.0) -> dict[str, float]:
    block = K.kernel("production_rules", K.RULES | {"min_run": 0.0, "min_stop": 0.0}, list(K.AVOID[0]))
    good: Callable[[float], Pin] = lambda x: (x, 0x80)  # noqa: E731
    pins = [good(stock), good(0.6), good(price), good(rank), good(soc), good(0.0), good(0.0)]
    out = block.step(pins, 10.0, local=hour * 3600.0)
    return dict(zip(block.kind.outputs, (x for x, _ in out), strict=True))


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 40), st.floats(0, 40), st.floats(0, 1), st.floats(0, 1), st.floats(0, 23.99))
def test_rules_more_stock_or_a_dearer_hour_never_runs_more(
    s1: float, s2: float, r1: float, r2: float, h: float
) -> None:
    less, more = sorted((s1, s2))
    cheap, dear = sorted((r1, r2))
    assert rules(less, cheap, h)["rate"] >= rules(more, cheap, h)["rate"]
    assert rules(less, cheap, h)["line_on"] >= rules(less, dear, h)["line_on"]
    assert 0.0 <= rules(less, dear, h)["rate"] <= K.RULES["rate"]


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 200), st.floats(0, 200), st.floats(0, 100))
def test_rules_battery_delivers_no_less_at_a_higher_price(p1: float, p2: float, soc: float) -> None:
    low, high = sorted((p1, p2))
    assert rules(20.0, 0.5, price=low, soc=soc)["bat_power"] <= rules(20.0, 0.5, price=high, soc=soc)["bat_power"]
