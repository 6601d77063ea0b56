"""Plain-Python twins of the signal kernels: the same definitions written for reading, to compare the kernels with.

A twin has the face of ext.SingleBlock: step(inputs, dt, ...) -> [(value, status)] of the outputs, backward() ->
[(achieved, status)] answered for the inputs. Parameters come as a dict by name; repeated ones as a list under `var`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Sample = tuple[float, int]
Pin = Sample | None

NO_ANSWER: Sample = (0.0, 0)
REFUSALS = (0xCC, 0xC8, 0xD8, 0xDC)


def usable(pin: Pin) -> bool:
    """Wired, good or uncertain, and a number."""
    return pin is not None and pin[1] >= 0x40 and math.isfinite(pin[0])


def number(pin: Pin) -> float:
    assert pin is not None
    return pin[0]


def status(pin: Pin) -> int:
    return 0x08 if pin is None else pin[1]


def bad_status(pin: Pin, not_a_number: int = 0x00) -> int:
    """Status of an input that is not usable."""
    return status(pin) if status(pin) < 0x40 else not_a_number


def worst(*statuses: int) -> int:
    return min(q & 0xFC for q in statuses)


def mirror(q: int) -> int:
    return (q & 0xFC) | {0: 0, 1: 2, 2: 1, 3: 3}[q & 3]


def clip(x: float, lo: float, hi: float) -> float:
    return min(max(x, lo), hi)


class Twin:
    """Base: remembers pins and consumer answers of the scan."""

    n_out = 1

    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        self.p, self.var, self.n_in = p, list(var), n_in
        self.back: list[Sample] = [NO_ANSWER] * self.n_out
        self.pins: list[Pin] = []
        self.dt, self.now, self.utc, self.fresh = 0.0, 0, 0.0, False

    def step(
        self,
        inputs: Sequence[Pin],
        dt: float,
        *,
        now: int = 0,
        utc: float = 0.0,
        local: float = 0.0,
        fresh: int = 0,
        back: Sequence[Sample] | None = None,
    ) -> list[Sample]:
        del local  # no signal block reads the local time
        self.pins, self.dt, self.now, self.utc, self.fresh = list(inputs), dt, now, utc, bool(fresh)
        if back is not None:
            self.back = list(back)
        return self.forward()

    def forward(self) -> list[Sample]:
        raise NotImplementedError

    def backward(self) -> list[Sample]:
        return [NO_ANSWER] * len(self.pins)

    def consumer(self) -> tuple[float | None, int]:
        """Achieved value of output 0 (None: no usable answer) and the status answered."""
        v, q = self.back[0]
        return (v if q >= 0x40 and math.isfinite(v) else None), q

    def refused(self) -> bool:
        q = self.back[0][1]
        return q != 0 and (q < 0x40 or (q & 0xFC) in REFUSALS)


class Select(Twin):
    n_out = 3

    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.y, self.offset = 0.0, 0.0
        self.index: int | None = None
        self.users: list[int] = []
        self.alive = False

    def choose(self, good: list[int]) -> tuple[float, int, int]:
        mode = int(self.p["mode"])
        order = sorted(good, key=lambda i: number(self.pins[i]))
        n = len(order)
        if mode == 4:
            return sum(number(self.pins[i]) / n for i in order), worst(*(status(self.pins[i]) for i in order)), -1
        if mode == 1 and n % 2 == 0:
            a, b = order[n // 2 - 1], order[n // 2]
            x = 0.5 * number(self.pins[a]) + 0.5 * number(self.pins[b])
            return x, worst(status(self.pins[a]), status(self.pins[b])), -1
        pick = {0: good[0], 1: order[n // 2], 2: order[0], 3: order[-1]}[mode]
        return number(self.pins[pick]), status(self.pins[pick]), pick

    def forward(self) -> list[Sample]:
        good = [i for i, pin in enumerate(self.pins) if usable(pin)]
        values = [number(self.pins[i]) for i in good]
        limit = self.p["max_difference"]
        apart = limit > 0 and len(good) > 1 and max(values) - min(values) > limit
        disagree = (float(apart), 0x80 if limit <= 0 or len(good) > 1 else 0x58)
        if not good or len(good) < self.p["min_good"]:
            self.alive, self.offset, self.index, self.users = False, 0.0, None, good
            return [(self.y, 0x00), (-1.0, 0x00), disagree]
        x, q, index = self.choose(good)
        first_mode = self.p["mode"] == 0
        if not self.alive or self.fresh or self.p["switch_time"] <= 0:
            self.offset = 0.0
        elif (index != self.index) if first_mode else (good != self.users):
            self.offset = self.y - x
        else:
            self.offset *= math.exp(-self.dt / self.p["switch_time"])
        if not math.isfinite(x + self.offset):
            self.offset = 0.0
        self.alive, self.index, self.users, self.y = True, index, good, x + self.offset
        wanted = sum(pin is not None for pin in self.pins)
        short = index != 0 if first_mode else len(good) < wanted
        if (short or apart) and q >= 0x58:
            q = worst(q, 0x58)
        return [(self.y, q), (float(index), 0x80), disagree]

    def backward(self) -> list[Sample]:
        achieved, q = self.consumer()
        if achieved is None:
            achieved = self.y
        mine = achieved - self.offset
        if not math.isfinite(mine):
            mine = achieved
        answers: list[Sample] = []
        for i, pin in enumerate(self.pins):
            if pin is None:
                answers.append(NO_ANSWER)
            elif self.alive and (i == self.index or (self.index == -1 and usable(pin))):
                answers.append((mine, q or 0xC0))
            else:
                answers.append((achieved, 0xD0))
        return answers


class Source(Twin):
    n_out = 2

    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.last: float | None = None
        self.rung: int | None = None
        self.streak = [0] * n_in

    def forward(self) -> list[Sample]:
        self.streak = [k + 1 if usable(pin) else 0 for k, pin in zip(self.streak, self.pins, strict=True)]
        allowed = [
            i
            for i, k in enumerate(self.streak)
            if k > 0 and (self.rung is None or i >= self.rung or k >= self.p["return_after"])
        ]
        if allowed:
            self.rung = allowed[0]
            self.last = number(self.pins[self.rung])
            q = status(self.pins[self.rung])
            return [(self.last, q if self.rung == 0 else worst(q, 0x48)), (float(self.rung), 0x80)]
        if self.p["fallback_is_value"] > 0.5:
            self.rung, self.last = self.n_in, self.p["fallback_value"]
            return [(self.last, 0x48), (float(self.rung), 0x80)]
        self.rung = self.n_in + 1
        held = (0.0, 0x00) if self.last is None else (self.last, 0x44)
        return [held, (float(self.rung), 0x80)]

    def backward(self) -> list[Sample]:
        achieved, q = self.consumer()
        x = achieved if achieved is not None else (self.last or 0.0)
        return [
            NO_ANSWER if pin is None else (x, (q or 0xC0) if i == self.rung else 0xD0)
            for i, pin in enumerate(self.pins)
        ]


class Filter(Twin):
    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.stages: list[float] = []
        self.gap = 0.0

    def forward(self) -> list[Sample]:
        (pin,) = self.pins
        tau = self.p["tau"]
        if not usable(pin):
            self.gap += self.dt
            hold = self.stages and self.gap <= self.p["hold"] + 1e-9
            return [(self.stages[-1] if self.stages else 0.0, 0x44 if hold else bad_status(pin))]
        x, n = number(pin), 2 if self.p["kind"] > 0.5 else 1
        if not self.stages or self.fresh or tau <= 0 or self.gap > 3 * tau + 1e-9:
            self.stages = [x] * n
        else:
            alpha = 1 - math.exp(-n * self.dt / tau)
            for k in range(n):
                step = x - self.stages[k]
                blend = (1 - alpha) * self.stages[k] + alpha * x
                x = self.stages[k] = self.stages[k] + alpha * step if math.isfinite(step) else blend
        self.gap = 0.0
        return [(self.stages[-1], status(pin))]

    def backward(self) -> list[Sample]:
        achieved, q = self.consumer()
        if q == 0 or self.pins[0] is None:
            return [NO_ANSWER]
        return [(achieved if achieved is not None else (self.stages or [0.0])[-1], q)]


class LinearSum(Twin):
    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.y = 0.0

    def forward(self) -> list[Sample]:
        used = [(c, pin) for c, pin in zip(self.var, self.pins, strict=True) if c != 0]
        broken = [pin for _, pin in used if not usable(pin)]
        if broken:
            return [(self.y, worst(*(bad_status(pin) for pin in broken)))]
        y = self.p["bias"]
        for c, pin in used:
            y += c * number(pin)
        if not math.isfinite(y):
            return [(self.y, 0x00)]
        self.y = y
        if len(used) == 1:
            return [(y, status(used[0][1]) if used[0][0] > 0 else mirror(status(used[0][1])))]
        return [(y, worst(*(status(pin) for _, pin in used)) if used else 0x80)]


class Ratio(Twin):
    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.y: float | None = None

    def forward(self) -> list[Sample]:
        num, den, only_if = self.pins
        held = (0.0, 0x00) if self.y is None else (self.y, 0x44)
        if only_if is not None and not (usable(only_if) and number(only_if) > 0.5):
            return [held]
        if not (usable(num) and usable(den)):
            return [(held[0], worst(*(status(p) if usable(p) else bad_status(p) for p in (num, den))))]
        if number(den) == 0 or abs(number(den)) < self.p["eps"]:
            return [held]
        y = self.p["gain"] * (number(num) / number(den))
        if not math.isfinite(y):
            return [(held[0], 0x00)]
        self.y = y
        return [(y, worst(status(num), status(den)))]


class Scale(Twin):
    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.x = self.y = 0.0

    def forward(self) -> list[Sample]:
        (pin,) = self.pins
        if not usable(pin):
            return [(self.y, bad_status(pin))]
        y = self.p["a"] * number(pin) + self.p["b"]
        if not math.isfinite(y):
            return [(self.y, 0x00)]
        self.x, self.y, q = number(pin), y, status(pin)
        return [(y, q if self.p["a"] > 0 else mirror(q) if self.p["a"] < 0 else q & 0xFC)]

    def backward(self) -> list[Sample]:
        achieved, q = self.consumer()
        a = self.p["a"]
        if q == 0 or self.pins[0] is None:
            return [NO_ANSWER]
        if a == 0:
            return [(self.x, 0xCC)]
        x = self.x if achieved is None else (achieved - self.p["b"]) / a
        return [(x if math.isfinite(x) else self.x, mirror(q) if a < 0 else q)]


class Ramp(Twin):
    n_out = 2

    def __init__(self, p: dict[str, float], var: Sequence[float] = (), n_in: int = 0) -> None:
        super().__init__(p, var, n_in)
        self.y: float | None = None
        self.bits = 0

    def limited(self, x: float) -> float:
        return clip(x, self.p["lo"], self.p["hi"])

    def reality(self) -> float | None:
        """Where out has to be in a scan that does not ramp; None = nothing better than the present."""
        x, start = self.pins
        achieved, _ = self.consumer()
        if usable(start):
            return number(start)
        if self.refused():
            if achieved is not None:
                return achieved
            if self.y is not None:
                return None
        return number(x) if usable(x) else None

    def move(self, x: float) -> bool:
        assert self.y is not None
        target = self.limited(x)
        rise = self.p["up"] * self.dt if self.p["up"] > 0 else math.inf
        fall = self.p["down"] * self.dt if self.p["down"] > 0 else math.inf
        if target - self.y > rise:
            self.y, self.bits = self.y + rise, 2
            return self.y != target
        if self.y - target > fall:
            self.y, self.bits = self.y - fall, 1
            return self.y != target
        self.y = target
        self.bits = 2 if x > self.p["hi"] else 1 if x < self.p["lo"] else 0
        return False

    def forward(self) -> list[Sample]:
        x, _ = self.pins
        before, moving, self.bits = self.y, False, 0
        if self.refused() or self.y is None or self.fresh:
            y = self.reality()
            if y is not None:
                self.y = self.limited(y)
        elif usable(x):
            moving = self.move(number(x)) and self.y != before
        if self.y is None:
            return [(0.0, bad_status(x)), (0.0, 0x80)]
        if not usable(x):
            self.bits = 3
            return [(self.y, 0x44), (0.0, 0x80)]
        q = status(x)
        return [(self.y, (q & 0xFC) | self.bits if self.bits else q), (float(moving), 0x80)]

    def backward(self) -> list[Sample]:
        x, _ = self.pins
        q = self.back[0][1]
        y = self.y or 0.0
        answer = (y, q if self.refused() else 0xC0 | (q & 3) | self.bits)
        return [answer if x is not None else NO_ANSWER, NO_ANSWER]
