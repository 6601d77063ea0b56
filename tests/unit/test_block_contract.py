"""What every compiled block promises, whatever it does: finite outputs, and state that can be put back."""

import math
import random
import re
import subprocess
import sys

import pytest

import ext
from tests.reference.examples import arrange, example

STATUSES = (0x80, 0x80, 0x80, 0x80, 0xC0, 0x81, 0x82, 0x44, 0x48, 0x58, 0x00, 0x08, 0x10, 0x14, 0x1C)
ANSWERS = (0x00, 0x00, 0xC0, 0xC0, 0xC1, 0xC2, 0xC3, 0xCC, 0xC8, 0xD0, 0xD8, 0xDC, 0x08)
ODD = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 3.4e38, -3.4e38, 1e-300, 0.5)


def block_kinds() -> list[str]:
    """Kinds that ext alone registers: asked of a clean interpreter, other test files may have imported plants."""
    code = "import ext; print(*sorted(ext.kinds()))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


KINDS = block_kinds()


class Weather:
    """Random inputs and consumer answers for one block, the same for the same seed."""

    def __init__(self, seed: int, n_in: int, n_out: int, wired: list[bool], calm: bool = False) -> None:
        self.random = random.Random(seed)  # noqa: S311 - test data that repeats
        self.level = [self.random.uniform(-50.0, 100.0) for _ in range(n_in)]
        self.n_out, self.wired, self.calm = n_out, wired, calm

    def scan(self) -> dict:
        r = self.random
        pins: list[tuple[float, int] | None] = []
        for i, wired in enumerate(self.wired):
            self.level[i] += r.gauss(0.0, 3.0)
            odd = not self.calm and r.random() < 0.15
            value = r.choice(ODD) if odd else self.level[i]
            pins.append((value, 0x80 if self.calm else r.choice(STATUSES)) if wired else None)
        back = []
        for _ in range(self.n_out):
            q = 0 if self.calm else r.choice(ANSWERS)
            back.append((r.choice(ODD) if not self.calm and r.random() < 0.1 else r.uniform(-100.0, 100.0), q))
        fresh = int(not self.calm and r.random() < 0.02)
        return {"inputs": pins, "back": back, "fresh": fresh}


def build(kind: str, wired: list[bool]) -> ext.SingleBlock:
    e = example(kind)
    return ext.SingleBlock(kind, arrange(kind, e.params, e.var), len(wired), wired)


def wirings(kind: str) -> list[list[bool]]:
    """All inputs wired; optional ones open."""
    fixed = ext.kinds()[kind].inputs
    n_in = example(kind).n_in or len(fixed)
    extra = [True] * (n_in - len(fixed))
    return [[True] * n_in, [not pin.endswith("?") for pin in fixed] + extra]


def clock(k: int) -> dict:
    return {"dt": 0.5, "now": (k + 1) * 500_000_000, "utc": 1_760_000_000.0 + 0.5 * k, "local": 43_200.0 + 0.5 * k}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("open_optional", [0, 1], ids=["wired", "open"])
def test_outputs_answers_and_state_stay_finite(kind: str, open_optional: int) -> None:
    wired = wirings(kind)[open_optional]
    for seed in (1, 2, 3):
        block = build(kind, wired)
        weather = Weather(seed, len(wired), len(ext.kinds()[kind].outputs), wired)
        for k in range(300):
            scan = weather.scan()
            outputs = block.step(**scan, **clock(k))
            assert all(math.isfinite(v) for v, _ in outputs), (seed, k, scan, outputs)
            assert block.program.not_finite == 0, f"the kernel gave a number that is not finite: {seed=} {k=} {scan}"
            answers = block.backward()
            assert all(math.isfinite(v) for v, _ in answers), (seed, k, scan, answers)
            assert all(math.isfinite(x) for x in block.state), (seed, k, scan, block.state)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_state_goes_on_bit_for_bit(kind: str) -> None:
    wired = wirings(kind)[0]
    n_out = len(ext.kinds()[kind].outputs)
    for calm in (False, True):
        first, second = build(kind, wired), build(kind, wired)
        weather = Weather(7, len(wired), n_out, wired, calm)
        for k in range(150):
            scan = weather.scan()
            before = first.step(**scan, **clock(k))
        assert len(before) == n_out
        second.program.restore(first.program.state())
        for k in range(150, 400):
            scan = weather.scan()
            assert first.step(**scan, **clock(k)) == second.step(**scan, **clock(k)), (calm, k, scan)
            assert first.backward() == second.backward(), (calm, k, scan)


@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_are_the_same(kind: str) -> None:
    wired = wirings(kind)[0]
    runs = []
    for _ in range(2):
        block, weather = build(kind, wired), Weather(5, len(wired), len(ext.kinds()[kind].outputs), wired)
        runs.append([block.step(**weather.scan(), **clock(k)) for k in range(100)])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_description_is_complete(kind: str) -> None:
    k = ext.kinds()[kind]
    pins = [*k.inputs, *k.outputs]
    assert len(set(pins)) == len(pins)
    assert len({name for name, _ in k.params}) == len(k.params)
    assert re.search(r"\bsources?:", k.doc, re.IGNORECASE), "the doc of a kind names where its definition comes from"


def test_an_unknown_kind_names_the_table_to_extend() -> None:
    with pytest.raises(AssertionError, match=r"no example parameters: add it to EXAMPLES in .*examples\.py"):
        example("warp_drive")
