"""Plain-Python twins of window_average, series, alarm and expr (see tests.reference.signals); table of all twins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ext.opcodes import OPCODES
from tests.reference import signals, signals_io
from tests.reference.signals import Pin, Sample, Twin, bad_status, number, status, usable, worst

Node = tuple[Any, ...]


class WindowAverage(Twin):
    n_out = 4

    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.position: float | None = None
        self.pf: float | None = None
        self.energy = self.seen = self.assumed = 0.0
        self.partial = False
        self.gap = self.gap_seen = self.gap_energy = 0.0
        self.counter: float | None = None

    def reference(self) -> float | None:
        length, left = self.p["length"], self.pins[1]
        if left is None:
            return self.utc - length * math.floor(self.utc / length)
        if not usable(left) or not 0 <= number(left) <= length:
            return None
        return length - number(left) if number(left) > 0 else 0.0

    def open(self) -> None:
        self.energy = self.seen = self.assumed = self.gap_seen = self.gap_energy = 0.0
        self.partial = False

    def add(self, x: float, seconds: float, measured: bool) -> None:
        self.seen += seconds
        if not math.isfinite(self.energy + x * seconds):
            self.assumed += seconds
            return
        self.energy += x * seconds
        if not measured and seconds > 0:
            self.assumed += seconds
            self.gap_seen += seconds
            self.gap_energy += x * seconds

    def advance(self, x: float, measured: bool) -> None:
        assert self.position is not None
        length = self.p["length"]
        self.position += self.dt
        part = self.dt
        if self.position >= length - 1e-6:
            self.position = part = max(0.0, self.position - length * math.floor((self.position + 1e-6) / length))
            self.open()
        self.add(x, part, measured)

    def align(self) -> None:
        assert self.position is not None
        at, length = self.reference(), self.p["length"]
        if at is None:
            return
        off = at - self.position
        off -= length * math.floor(off / length + 0.5)
        if abs(off) <= self.p["resync_tol"]:
            return
        self.position, self.partial = at, True
        if self.seen > at:
            self.energy *= at / self.seen
            self.seen, self.gap_energy, self.gap_seen = at, 0.0, 0.0

    def replace_gap(self, x: float, counter: float) -> None:
        assert self.counter is not None
        assert self.position is not None
        inside, assumed = min(self.dt, self.position), self.gap_seen
        self.gap += self.dt
        self.gap_seen += inside
        self.gap_energy += x * inside
        counted = counter - self.counter
        energy = self.energy - self.gap_energy + counted * 3600 * (self.gap_seen / self.gap)
        if counted >= 0 and math.isfinite(energy):
            self.energy = energy
            self.assumed -= assumed
            if self.assumed < 1e-9:
                self.assumed = 0.0

    def smooth(self, x: float) -> None:
        if self.pf is None or self.p["filter"] <= 0 or self.fresh or not math.isfinite(x - self.pf):
            self.pf = x
        else:
            self.pf += (1 - math.exp(-self.dt / self.p["filter"])) * (x - self.pf)

    def count(self, x: float | None, counter: float | None) -> None:
        assert self.pf is not None
        if self.position is None:
            at = self.reference()
            length = self.p["length"]
            self.open()
            self.position = self.utc - length * math.floor(self.utc / length) if at is None else at
            self.partial = self.position > self.dt
        else:
            if x is None:
                self.gap += self.dt
            self.advance(self.pf if x is None else x, x is not None)
            if x is not None and self.gap > 0 and self.counter is not None and counter is not None:
                self.replace_gap(x, counter)
            if self.fresh:
                self.assumed += self.dt
            self.align()
        if x is not None:
            self.gap = self.gap_seen = self.gap_energy = 0.0
            self.counter = counter

    def forward(self) -> list[Sample]:
        pin, _, meter = self.pins
        x = number(pin) if usable(pin) else None
        if x is None and self.pf is None:
            return [(0.0, bad_status(pin))] * 4
        if x is not None:
            self.smooth(x)
        assert self.pf is not None
        self.count(x, number(meter) if usable(meter) else None)
        q = 0x44 if x is None else worst(status(pin), 0x80)
        q = worst(q, 0x4C if self.partial else q, 0x48 if self.assumed > 0 else q)
        length = self.p["length"]
        average = self.energy / self.seen if self.seen > 0 else self.pf
        forecast = self.energy / length + self.pf * (1 - self.seen / length)
        outs = (average, forecast, self.seen, self.energy / 3600)
        return [(v, q) if math.isfinite(v) else (0.0, 0) for v in outs]


class Series(Twin):
    def forward(self) -> list[Sample]:
        y, n = self.var, len(self.var)
        at = (self.utc - self.p["t0"]) / self.p["step"]
        repeat = self.p["repeat"] > 0.5
        if repeat:
            at -= n * math.floor(at / n)
            at = at if 0 <= at < n else 0.0
        if at < 0 or at >= n:
            return [(y[0] if at < 0 else y[-1], 0x14)]
        k = math.floor(at)
        if self.p["hold"] > 0.5:
            return [(y[k], 0x80)]
        following = y[k + 1] if k + 1 < n else y[0] if repeat else y[k]
        return [((1 - (at - k)) * y[k] + (at - k) * following, 0x80)]


class Alarm(Twin):
    n_out = 2

    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.active = self.trip = False
        self.timer: float | None = None
        self.reset_was = math.inf

    def due(self, running: bool, delay: float) -> bool:
        self.timer = (0.0 if self.timer is None else self.timer + self.dt) if running else None
        if self.timer is None or self.timer < delay - 1e-9:
            return False
        self.timer = None
        return True

    def forward(self) -> list[Sample]:
        when, unless, off, reset = self.pins

        def true(pin: Pin) -> bool:
            return usable(pin) and number(pin) > 0.5

        suppressed = true(unless)
        condition = true(when) and not suppressed
        edge = usable(reset) and number(reset) > self.reset_was + 0.5
        self.reset_was = number(reset) if usable(reset) else math.inf
        if suppressed:
            self.active, self.timer = False, None
        elif usable(when) and not self.active:
            if self.due(condition, self.p["on_delay"]):
                self.active = True
                self.trip = self.trip or self.p["latch_trip"] > 0.5
        elif usable(when):
            self.active = not self.due(not condition and (off is None or true(off)), self.p["off_delay"])
        if edge and not self.active and not condition and (suppressed or usable(when)):
            self.trip = False
        q = worst(status(when), 0x80) if usable(when) else 0x44
        return [(float(self.active), q), (float(self.trip if self.p["latch_trip"] > 0.5 else self.active), q)]


class Expression(Twin):
    """Evaluates a tree, not a stack: the postfix code is first folded into nested tuples."""

    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.y = 0.0
        self.tree = fold(self.var)

    def forward(self) -> list[Sample]:
        x, q = self.value(self.tree)
        if q < 0x40 or not math.isfinite(x):
            return [(self.y, q if q < 0x40 else 0x00)]
        self.y = x
        return [(x, 0x80 if q == 0xFC else q)]

    def value(self, node: Node) -> Sample:
        name, *args = node
        if name == "const":
            return args[0], 0xFC
        if name == "input":
            pin = self.pins[int(args[0])]
            return (number(pin), status(pin) & 0xFC) if usable(pin) else (0.0, bad_status(pin) & 0xFC)
        if name == "if":
            x, q = self.value(args[0])
            y, qy = self.value(args[1 if x > 0.5 else 2])
            return (y, worst(q, qy)) if q >= 0x40 else (0.0, q)
        cells = [self.value(a) for a in args]
        q = worst(*(c[1] for c in cells))
        if name in ("and", "or"):
            return kleene(name == "or", cells, q)
        return calculate(name, [c[0] for c in cells], q)


def calculate(name: str, xs: list[float], q: int) -> Sample:
    if q < 0x40:
        return 0.0, q
    if (name == "div" and abs(xs[1]) < 1e-12) or (name == "sqrt" and xs[0] < 0):
        return 0.0, 0x00
    y = float(FUNCTIONS[name](*xs))
    return (y, q) if math.isfinite(y) else (0.0, 0x00)


def kleene(decider: bool, cells: list[Sample], q: int) -> Sample:
    known = [((x > 0.5), s) for x, s in cells if s >= 0x40]
    if len(known) < 2:
        for truth, s in known:
            if truth == decider:
                return float(truth), s
        return 0.0, q
    truths = [truth for truth, _ in known]
    return float(any(truths) if decider else all(truths)), q


FUNCTIONS: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "abs": abs,
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "not": lambda a: not a > 0.5,
}


def fold(code: Sequence[float]) -> Node:
    """Postfix code as nested tuples (name, operand, ...)."""
    names = {number: name for name, number in OPCODES.items()}
    stack: list[Node] = []
    items = iter(code)
    for item in items:
        name = names[int(item)]
        if name in ("const", "input"):
            stack.append((name, next(items)))
            continue
        takes = 1 if name in ("neg", "abs", "sqrt", "not") else 3 if name == "if" else 2
        stack[-takes:] = [(name, *stack[-takes:])]
    (tree,) = stack
    return tree


TWINS: dict[str, type[Twin]] = {
    "ai": signals_io.AnalogIn,
    "di": signals_io.DiscreteIn,
    "ao": signals_io.AnalogOut,
    "do": signals_io.DiscreteOut,
    "select": signals.Select,
    "source": signals.Source,
    "filter": signals.Filter,
    "linear_sum": signals.LinearSum,
    "ratio": signals.Ratio,
    "scale": signals.Scale,
    "ramp": signals.Ramp,
    "window_average": WindowAverage,
    "series": Series,
    "alarm": Alarm,
    "expr": Expression,
}
