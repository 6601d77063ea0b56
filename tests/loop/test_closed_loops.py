"""Closed loops of the compiled kernels around small plants: windup, golden rows, cascade, staging, a day of peaks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from ext import BlockSpec, Image, Program, SingleBlock, Slot, Task, pack
from tests.reference import kernels as K  # noqa: N812

GOOD, OK = 0x80, 0xC0


class Loop:
    """A PID alone, answered as an output block does: its own output and, at an end, the limit bit."""

    def __init__(self, start: float = 0.0, h: float = 1.0, **params: float) -> None:
        self.block = SingleBlock("pid", list(K.parameters("pid", {"safe_output": 0.0} | params).values()))
        self.h, self.u, self.lo, self.hi = h, start, params["lo"], params["hi"]

    def __call__(self, sp: float, pv: float) -> float:
        pins = [(pv, GOOD), (sp, GOOD), *[None] * 6]
        bits = 2 if self.u >= self.hi else 1 if self.u <= self.lo else 0
        self.u = self.block.step(pins, self.h, back=[(self.u, OK | bits), *[(0.0, 0)] * 5])[0][0]
        return self.u


def fopdt(
    loop: Loop, n: int, sp: Callable[[float], float], tau: float, theta: float, *, load: float = 0.0, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """k = 1 process, exact for the held input; load enters with the input. Returns (pv, out), n each."""
    rng = np.random.default_rng(1)
    pipe, x, a = [0.0] * (round(theta / loop.h) + 1), 0.0, math.exp(-loop.h / tau)
    pv, out = np.zeros(n), np.zeros(n)
    for i in range(n):
        pv[i] = x + noise * rng.standard_normal()
        out[i] = loop(sp(i * loop.h), pv[i])
        pipe = [out[i], *pipe[:-1]]
        x = a * x + (1 - a) * (pipe[-1] + load)
    return pv, out


def test_unreachable_setpoint_leaves_no_windup() -> None:
    pv, out = fopdt(
        Loop(kp=2.0, ki=0.1, lo=0.0, hi=60.0), 500, lambda t: 0 if t <= 10 else 80 if t < 250 else 30, 20, 5
    )
    assert out[200:250].min() == 60.0
    assert out[250] < 59.0, "leaves the limit in the scan of the setpoint change"
    assert np.abs(pv[250:] - 30.0).sum() <= 400.0


def test_noise_does_not_pull_the_output_off_its_limit() -> None:
    _, out = fopdt(Loop(kp=2.0, ki=0.1, lo=0.0, hi=60.0), 2000, lambda _: 62.0, 20, 5, noise=0.5)
    assert out[500:].mean() == pytest.approx(60.0, abs=0.01)


@pytest.mark.parametrize(
    ("tau", "kp", "ti", "iae"),
    [(1.0, 0.5, 1.0, 2.04), (5.0, 2.5, 5.0, 2.00), (10.0, 5.0, 8.0, 1.60), (50.0, 25.0, 8.0, 0.32)],
)
def test_simc_load_step(tau: float, kp: float, ti: float, iae: float) -> None:
    # theta = 1, k = 1; without overshoot IAE = Ti / K
    h = 0.02
    loop = Loop(h=h, kp=kp, ki=kp / ti, lo=-1e6, hi=1e6)
    pv, _ = fopdt(loop, round(80.0 / h), lambda _: 0.0, tau, 1.0, load=1.0)
    assert np.abs(pv).sum() * h == pytest.approx(iae, rel=0.02)
    if tau >= 5.0:
        assert np.abs(pv).sum() * h == pytest.approx(ti / kp, rel=0.02)


def cascade(with_path: bool, lo: float, hi: float) -> tuple[float, int]:
    """Temperature (300 s, 20 s dead) over flow (3 s) over a valve that stops at 70 %. Returns (IAE, s until it reacts).

    75 is out of reach for 1450 s, then the setpoint drops to 40. Without the path the master hears nothing back.
    lo, hi: the master's own limits.
    """
    slots = {
        name: i
        for i, name in enumerate(
            ["r", "t", "f", "valve", "valve_ach"]
            + [f"{b}.{p}" for b in ("pri", "sec") for p in ("out", "error", "mode", "why", "setpoint", "out_high")]
            + ["cut"]
        )
    }
    limits = {"lo": lo, "hi": hi}

    def pid(name: str, pv: str, sp: str, **params: float) -> BlockSpec:
        ins = (slots[pv], slots[sp], *[-1] * 6)
        outs = tuple(slots[f"{name}.{p}"] for p in ("out", "error", "mode", "why", "setpoint", "out_high"))
        return BlockSpec(name, "pid", 0, ins, outs, tuple(K.parameters("pid", params | {"safe_output": 20.0}).values()))

    ao = tuple(K.parameters("ao", {"lo": 0.0, "hi": 70.0, "fail_is_value": 0.0}).values())
    blocks = [
        pid("pri", "t", "r", kp=4.0, ki=4.0 / 300.0, **limits),
        pid("sec", "f", "pri.out" if with_path else "cut", kp=0.6, ki=0.15, lo=0.0, hi=100.0),
        BlockSpec("valve", "ao", 0, (slots["sec.out"], -1, -1, -1), (slots["valve"], slots["valve_ach"]), ao),
    ]
    image = Image(len(slots))
    program = Program(pack(1.0, [Slot(s, "") for s in slots], [Task("t", 1)], blocks), image)
    t = f = pos = 20.0
    pipe, iae, reacted = [20.0] * 21, 0.0, -1
    for i in range(4000):
        r = 20.0 if i < 50 else 75.0 if i < 1500 else 40.0
        for name, x in (("r", r), ("t", t), ("f", f)):
            image.post(slots[name], x, GOOD, i)
        image.post(slots["cut"], image.value(slots["pri.out"]), GOOD, i)
        image.latch(i)
        program.run(0, 1.0, i, float(i), 0.0, int(i == 0))
        image.publish()
        pos += max(-0.3, min(0.3, image.value(slots["valve"]) - pos))
        f += (pos - f) / 3.0
        pipe = [f, *pipe[:-1]]
        t += (pipe[-1] - t) / 300.0
        if i >= 1500:
            iae += abs(t - 40.0)
            reacted = i - 1500 if reacted < 0 and f < 69.0 else reacted
    return iae, reacted


@pytest.mark.parametrize(("lo", "hi"), [(0.0, 100.0), (-1e4, 1e4)])
def test_cascade_recovers_from_saturation_with_the_backward_path(lo: float, hi: float) -> None:
    iae, reacted = cascade(True, lo, hi)
    assert reacted <= 10
    assert iae < 6600.0


def test_cascade_without_the_backward_path_is_clearly_worse() -> None:
    # own limits far away: nothing but the path can tell the master that the valve has stopped
    lost, dead = cascade(False, -1e4, 1e4)
    assert dead > 100
    assert lost > 3.0 * cascade(True, -1e4, 1e4)[0]


def test_air_pressure_with_staged_compressors() -> None:
    """Receiver and net as two volumes; demand 12 -> 18 -> 13 m3/min; compressors take 4 s to deliver."""
    pid = K.kernel("pid", {"kp": 20.0, "ki": 20 / 120, "lo": 0.0, "hi": 36.0, "safe_output": 16.0})
    units = [x for u in K.AIR_UNITS for x in u]
    stage = K.kernel("staging", K.AIR, units, n_in=6)
    receiver, net, speed, runs = 7.5, 7.3, 0.3, [4.0, 0.0]
    answer, trim, pressure, changes, on_before = (16.0, OK), 30.0, [], 0, [1.0, 0.0]
    for i in range(3000):
        use = 12.0 if i < 600 else 18.0 if i < 1800 else 13.0
        demand = pid.step([(net - 1.0, GOOD), (6.3, GOOD), *[None] * 6], 1.0, back=[answer, *[(0.0, 0)] * 5])[0]
        feedback = [pin for r in runs for pin in ((float(r >= 4.0), GOOD), None)]
        out = stage.step([demand, None, *feedback], 1.0, fresh=int(i == 0), back=[(trim, OK), *[(0.0, 0)] * 12])
        answer, trim = stage.backward()[0], out[0][0]
        on = [out[5][0], out[6][0]]
        changes += sum(a != b for a, b in zip(on, on_before, strict=True))
        on_before = on
        runs = [min(r + 1.0, 4.0) if c else 0.0 for r, c in zip(runs, on, strict=True)]
        for _ in range(10):
            speed += 0.1 * (trim / 100.0 - speed) / 2.0
            through = 54.0 * math.copysign(math.sqrt(abs(receiver - net) + 1e-4), receiver - net)
            made = 16.0 * speed + 10.4 * sum(r >= 4.0 for r in runs)
            receiver += 0.1 * (made - through) / 60.0 / 6.0
            net += 0.1 * (through - 0.35 * net - use) / 60.0 / 4.0
        pressure.append(net - 1.0)
    p = np.array(pressure[100:])
    assert p.min() > 5.9
    assert p.max() < 6.8
    assert np.abs(np.array(pressure[-300:]) - 6.3).max() < 0.03
    assert changes <= 6


def day_of_load(seed: int, n: int = 86400) -> np.ndarray:
    """Site load in kW at 1 s: a slow wave, a random walk that returns, batch starts of 20 .. 60 kW for minutes."""
    rng = np.random.default_rng(seed)
    wander, level = np.zeros(n), 0.0
    for i, kick in enumerate(1.5 * rng.standard_normal(n)):
        level = 0.999 * level + kick
        wander[i] = level
    load = 255.0 + 25.0 * np.sin(2 * np.pi * np.arange(n) / 7200.0) + wander
    for start in rng.integers(0, n - 600, size=n // 900):
        load[start : start + rng.integers(120, 600)] += rng.uniform(20, 60)
    return np.maximum(load, 50.0)


@pytest.mark.parametrize("seed", range(3))
def test_peak_guard_keeps_a_day_of_windows_inside_the_limit(seed: int) -> None:
    """60 kW, 25 kWh battery through power_follow, 60 kW furnace reduction, one 65 kW load. Limit 320 kW."""
    load = day_of_load(seed)
    assert np.sum(load.reshape(-1, 900).mean(axis=1) > 320.0) >= 3, "without control the limit breaks"
    guard = K.kernel("peak_limiter", K.PEAK | {"limit_fallback": 320.0})
    small = {"ramp": 30.0, "p_max": 60.0, "soc_min": 5.0, "soc_max": 95.0, "capacity": 25.0, "reserve": 0.0}
    battery = K.kernel("power_follow", small)
    soc, power, asked, sheds = 60.0, 0.0, (0.0, 0), 0
    excess = reduce = shed = 0.0
    grid = np.zeros(len(load))
    for i, x in enumerate(load):
        grid[i] = x - power - reduce - 65.0 * shed
        out = guard.step(
            [(grid[i], GOOD), (900.0 - i % 900, GOOD), None, None, None], 1.0, utc=float(i), fresh=int(i == 0),
            back=[*[(0.0, 0)] * 4, asked, *[(0.0, 0)] * 5],
        )  # fmt: skip
        excess, reduce = out[3][0], out[5][0]
        sheds += out[6][0] != shed
        shed = out[6][0]
        refill = max(-30.0, min(0.0, 0.5 * excess)) if out[4][0] == 0.0 and soc < 90.0 else 0.0
        pins = [(power, GOOD), (refill, GOOD), (soc, GOOD), out[4], None]
        power = battery.step(pins, 1.0, fresh=int(i == 0), back=[(power, OK), *[(0.0, 0)] * 3])[0][0]
        asked = battery.backward()[3]
        soc -= power / 3600.0 / 25.0 * 100.0
    windows = grid.reshape(-1, 900).mean(axis=1)
    assert np.sum(windows > 320.0) == 0
    assert windows.max() > 290.0, "the limit is used"
    assert sheds <= 40
    assert 4.9 <= soc <= 95.1
