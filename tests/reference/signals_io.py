"""Plain-Python twins of the input and output kernels (see tests.reference.signals)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.reference.signals import NO_ANSWER, Pin, Sample, Twin, bad_status, clip, number, status, usable, worst

DISARMED, SHADOW, ARMED, LINK_LOST = 0, 1, 2, -1


class AnalogIn(Twin):
    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.last: float | None = None
        self.last_t = 0
        self.held_t: int | None = None  # sample time of the jump that is held back
        self.anchor = self.still = 0.0

    def range_status(self, x: float) -> int:
        lo, hi = self.p["valid_lo"], self.p["valid_hi"]
        if lo <= x <= hi:
            return 0x80
        margin = self.p["edge"] * (hi - lo) if abs(lo) < 1e300 and abs(hi) < 1e300 else 0.0
        return 0x54 if lo - margin <= x <= hi + margin else 0x10

    def jumps(self, x: float) -> bool:
        held, self.held_t = self.held_t, None
        if self.p["max_rate"] <= 0 or self.last is None or self.fresh:
            return False
        if held is not None:
            if self.now > 0 and self.now == held:
                self.held_t = held
            return self.held_t is not None
        span = max(self.dt, (self.now - self.last_t) * 1e-9 if self.now > 0 else 0.0)
        if abs(x - self.last) > self.p["max_rate"] * span:
            self.held_t = self.now
            return True
        return False

    def frozen(self, x: float) -> bool:
        if self.p["freeze_eps"] <= 0:
            return False
        if self.last is None or self.fresh or abs(x - self.anchor) >= self.p["freeze_eps"]:
            self.anchor, self.still = x, 0.0
            return False
        self.still += self.dt
        return self.still >= self.p["freeze_time"] - 1e-9

    def forward(self) -> list[Sample]:
        (pin,) = self.pins
        kept = 0.0 if self.last is None else self.last
        if not usable(pin):
            self.held_t = None
            return [(kept, bad_status(pin, 0x10))]
        x = number(pin)
        own = self.range_status(x)
        if own == 0x10:
            self.held_t = None
            return [(kept, 0x10)]
        if self.jumps(x):
            return [(kept, worst(status(pin), 0x44))]
        if self.frozen(x):
            own = worst(own, 0x50)
        self.last, self.last_t = x, self.now
        return [(x, own if own < 0x80 and own < status(pin) & 0xFC else status(pin))]


class DiscreteIn(Twin):
    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.last: bool | None = None
        self.count = 0

    def forward(self) -> list[Sample]:
        (pin,) = self.pins
        if not usable(pin):
            self.count = 0
            return [(float(bool(self.last)), bad_status(pin, 0x10))]
        x = (number(pin) > 0.5) != (self.p["invert"] > 0.5)
        self.count = 0 if self.last is None or self.fresh or x == self.last else self.count + 1
        if self.last is None or self.fresh or self.count >= max(1, self.p["debounce"]):
            self.last, self.count = x, 0
        return [(float(self.last), status(pin))]


class Output(Twin):
    """What ao and do share: gate level, tracking, hold and fail action. `x`: where the output is, None = unknown."""

    n_out = 2

    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.x: float | None = None
        self.y = 0.0
        self.level, self.bad_for, self.since = DISARMED, 0.0, 0
        self.answer = NO_ANSWER

    def take(self, x: float) -> None:
        """Be at x from now on."""
        raise NotImplementedError

    def command(self, x: float) -> int:
        """Move towards a command; returns the limit bits."""
        raise NotImplementedError

    def idle(self) -> float:
        """Shown while nothing is known."""
        raise NotImplementedError

    def seen(self, x: float) -> float:
        raise NotImplementedError

    def gate(self) -> int:
        _, _, state, link = self.pins
        level = ARMED
        if state is not None:
            level = DISARMED
            if usable(state):
                level = ARMED if number(state) >= 1.5 else SHADOW if number(state) >= 0.5 else DISARMED
        if level and link is not None and not (usable(link) and number(link) > 0.5):
            return LINK_LOST
        return level

    def give(self, q: int, answer: int, virtual: bool = False) -> list[Sample]:
        readback = self.pins[1]
        achieved: Sample = (self.y, q)
        if usable(readback) and not virtual:
            achieved = (self.seen(number(readback)), status(readback))
        self.answer = (achieved[0], answer)
        return [(self.y, q), achieved]

    def track(self, q: int, answer: int = 0xCC) -> list[Sample]:
        cmd, readback = self.pins[:2]
        pin: Pin = readback if usable(readback) else cmd if usable(cmd) else None
        if pin is not None:
            self.take(number(pin))
        elif self.x is None:
            self.y = self.idle()
        else:
            self.take(self.x)
        self.level, self.bad_for = DISARMED, 0.0
        return self.give(q, answer)

    def forward(self) -> list[Sample]:
        cmd, readback = self.pins[:2]
        level = self.gate()
        entering = self.level < level or self.fresh
        waits = level == ARMED and entering and readback is not None and not usable(readback)
        if level <= 0 or waits:
            return self.track(0x14 if level == LINK_LOST else 0x1C)
        if level == ARMED and readback is not None and status(readback) & 0xFC in (0xCC, 0xD8):
            return self.track(0x1C, status(readback) & 0xFC)
        virtual, self.level = level == SHADOW, level
        self.bad_for = 0.0 if usable(cmd) else self.bad_for + self.dt
        failing = not usable(cmd) and self.bad_for >= self.p["fault_time"] - 1e-9
        fail_value = self.p["fail_value"] if failing and self.p["fail_is_value"] > 0.5 else None
        if entering:
            self.since = self.now  # the command's time: here every pin is of the scan it is given in
        stale = usable(cmd) and self.since != 0 and self.now == self.since
        if usable(readback) and (entering or stale):
            self.take(number(readback))
            return self.give(0x80 if usable(cmd) else 0x44, 0xC3, virtual)
        goal = number(cmd) if usable(cmd) else fail_value
        if self.x is None:
            if goal is None:
                self.y = self.idle()
                return self.give(0x1C, 0xCC, virtual)
            self.take(goal)
        bits = self.command(goal if goal is not None else self.x)  # type: ignore[arg-type]
        if usable(cmd):
            return self.give(0x80, 0xC0 | bits, virtual)
        return self.give(0x48 if failing else 0x44, 0xDC if failing else 0xC3, virtual)

    def backward(self) -> list[Sample]:
        return [NO_ANSWER if self.pins[0] is None else self.answer, NO_ANSWER, NO_ANSWER, NO_ANSWER]


class AnalogOut(Output):
    def quantised(self, x: float) -> float:
        step, lo, hi = self.p["quantum"], self.p["lo"], self.p["hi"]
        if step <= 0 or not math.isfinite(x / step):
            return x
        y = step * math.floor(x / step + 0.5)
        if y > hi + 1e-9 * step:
            y -= step
        elif y < lo - 1e-9 * step:
            y += step
        return clip(y, lo, hi)

    def take(self, x: float) -> None:
        self.x = clip(x, self.p["lo"], self.p["hi"])
        self.y = self.quantised(self.x)

    def idle(self) -> float:
        return self.quantised(clip(0.0, self.p["lo"], self.p["hi"]))

    def seen(self, x: float) -> float:
        return x

    def command(self, x: float) -> int:
        assert self.x is not None
        lo, hi = self.p["lo"], self.p["hi"]
        way = clip(x, lo, hi) - self.x
        most = self.p["rate"] * self.dt if self.p["rate"] > 0 else math.inf
        bits = 0
        if abs(way) > most:
            self.x += math.copysign(most, way)
            bits = 2 if way > 0 else 1
        else:
            self.x = clip(x, lo, hi)
        if abs(self.x - self.y) > self.p["deadband"] or self.x in (lo, hi):
            self.y = self.quantised(self.x)
        return 2 if x > hi else 1 if x < lo else bits


class DiscreteOut(Output):
    def take(self, x: float) -> None:
        self.x = self.y = float(x > 0.5)

    def command(self, x: float) -> int:
        self.take(x)
        return 0

    def idle(self) -> float:
        return 0.0

    def seen(self, x: float) -> float:
        return float(x > 0.5)
