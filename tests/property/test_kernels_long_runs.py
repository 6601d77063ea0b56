"""Kernels against their twins over long random walks: outages, counters and flags last as long as in a plant."""

import math
import random

import pytest

import ext
from ext.opcodes import OPCODES
from tests.property.test_kernels_signals import LOGIC_PINS, close
from tests.reference.examples import arrange, example
from tests.reference.signals_time import TWINS

# parameters tried beside the example ones, drawn at random
VARIANTS: dict[str, dict[str, tuple[float, ...]]] = {
    "ai": {"max_rate": (0, 3), "freeze_eps": (0, 2), "freeze_time": (3,)},
    "di": {"invert": (0, 1), "debounce": (0, 2, 4)},
    "ao": {"rate": (0, 5), "deadband": (0, 3), "quantum": (0, 0.1), "fail_is_value": (0, 1), "lo": (-20, 0)},
    "do": {"fail_is_value": (0, 1)},
    "select": {"mode": (0, 1, 2, 3, 4), "min_good": (1, 2), "switch_time": (0, 5), "max_difference": (0, 20)},
    "source": {"return_after": (1, 2, 5), "fallback_is_value": (0, 1)},
    "filter": {"tau": (0, 1, 4), "kind": (0, 1), "hold": (0, 2)},
    "ramp": {"up": (0, 2), "down": (0, 1)},
    "window_average": {"length": (20, 60), "filter": (0, 4)},
    "alarm": {"on_delay": (0, 2), "off_delay": (0, 2), "latch_trip": (0, 1)},
    "series": {"hold": (0, 1), "repeat": (0, 1), "t0": (990, 1100)},
}
COUNTERS = {"window_average": 2}


class Walk:
    """One input: a value that wanders and a status that lasts."""

    def __init__(self, r: random.Random, flag: bool, counter: bool) -> None:
        self.r, self.flag, self.counter = r, flag, counter
        self.x = 0.0 if counter else r.uniform(-20.0, 60.0)
        self.q = 0x80

    def step(self) -> tuple[float, int]:
        r = self.r
        if r.random() < (0.3 if self.q < 0x40 else 0.08):
            self.q = r.choice((0x80, 0x80, 0x81, 0x44, 0x08, 0x14, 0xCC, 0xD8))
        if self.counter:
            self.x = 0.0 if r.random() < 0.01 else self.x + 0.01 * r.random()
        elif self.flag:
            self.x = r.choice((0.0, 1.0, 2.0)) if r.random() < 0.2 else self.x
        elif r.random() < 0.8:
            self.x += r.gauss(0.0, 2.0) + (r.choice((-40.0, 40.0)) if r.random() < 0.05 else 0.0)
        return (math.nan if r.random() < 0.02 else self.x), self.q


@pytest.mark.parametrize("kind", sorted(TWINS))
def test_kernel_equals_its_twin_on_long_runs(kind: str) -> None:
    spec, e = ext.kinds()[kind], example(kind)
    fixed = len(spec.inputs)
    for seed in range(25):
        r = random.Random(f"{kind} {seed}")  # noqa: S311 - test data that repeats
        p = dict(e.params) | {name: float(r.choice(xs)) for name, xs in VARIANTS.get(kind, {}).items()}
        p = {name: p.get(name, default) for name, default in spec.params}
        n_in = e.n_in or fixed
        wired = [i >= fixed or not spec.inputs[i].endswith("?") or r.random() < 0.6 for i in range(n_in)]
        block = ext.SingleBlock(kind, arrange(kind, p, e.var), n_in, wired)
        twin = TWINS[kind](p, e.var, n_in)
        walks = [Walk(r, i in LOGIC_PINS.get(kind, ()), COUNTERS.get(kind) == i) for i in range(n_in)]
        back, dt, t = [(0.0, 0)] * len(spec.outputs), r.choice((0.5, 1.0)), 1000.0
        for k in range(250):
            t += dt
            if r.random() < 0.1:
                back = [(r.uniform(-50.0, 90.0), r.choice((0, 0xC0, 0xC2, 0xCC, 0xD0, 0x08))) for _ in spec.outputs]
            pins = [walk.step() if w else None for walk, w in zip(walks, wired, strict=True)]
            if kind == "window_average" and pins[1]:
                pins[1] = (p["length"] - t % p["length"] + (5.0 if k > 100 else 0.0), pins[1][1])
            scan = {"inputs": pins, "dt": dt, "now": int(t * 1e9), "utc": t, "fresh": r.random() < 0.01, "back": back}
            ours, theirs = block.step(**scan), twin.step(**scan)
            assert all(map(close, ours, theirs)), (seed, p, wired, k, scan, ours, theirs)
            ours, theirs = block.backward(), twin.backward()
            assert all(map(close, ours, theirs)), (seed, p, wired, k, scan, ours, theirs)


def test_long_expressions_equal_their_twins() -> None:
    r = random.Random(4)  # noqa: S311 - test data that repeats
    binary = ("add", "sub", "mul", "div", "min", "max", "lt", "ge", "eq", "and", "or")
    for _ in range(60):
        code: list[float] = [OPCODES["input"], 0]
        for _ in range(40):
            code += [OPCODES["const"], r.uniform(-2, 2)] if r.random() < 0.3 else [OPCODES["input"], r.randrange(3)]
            code += [OPCODES[r.choice(binary)]]
            if r.random() < 0.3:
                code += [OPCODES[r.choice(("neg", "abs", "not", "sqrt"))]]
        block, twin = ext.SingleBlock("expr", code, 3), TWINS["expr"]({}, code, 3)
        walks = [Walk(r, flag=False, counter=False) for _ in range(3)]
        for k in range(30):
            pins = [walk.step() for walk in walks]
            assert close(block.step(pins, 1.0)[0], twin.step(pins, 1.0)[0]), (code, k, pins)
