"""Plain-Python twins of the regulatory kernels: same equations, written for reading; the kernels must agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

BAD, BAD_NOT_CONNECTED, BAD_NO_COMMS = 0x00, 0x08, 0x18
UNC_LAST, UNC_SUBST, UNC_INITIAL, GOOD = 0x44, 0x48, 0x4C, 0x80
C_OK, NOT_INVITED, NOT_SELECTED = 0xC0, 0xCC, 0xD0
LOW, HIGH, CONST = 1, 2, 3
REFUSALS = (0xC8, 0xCC, 0xD8, 0xDC)
INITIALISING, LOCAL, MANUAL, AUTO, CASCADE = 1, 2, 3, 4, 5

Pin = tuple[float, int] | None
Inputs = Sequence[Pin]


def clamp(x: float, lo: float, hi: float) -> float:
    return lo if x < lo else hi if x > hi else x


def worst(a: int, b: int) -> int:
    return min(a & 0xFC, b & 0xFC)


def usable(pin: Pin) -> bool:
    return pin is not None and pin[1] >= 0x40 and math.isfinite(pin[0])


class Twin:
    """One block: step() as ext.SingleBlock.step; answers as SingleBlock.backward()."""

    n_out = 0

    def __init__(self, **params: Any) -> None:
        self.p = params
        self.back: list[tuple[float, int]] = [(0.0, 0)] * self.n_out
        self.inputs: Inputs = ()

    def step(
        self,
        inputs: Inputs,
        dt: float,
        *,
        utc: float = 0.0,
        local: float = 0.0,
        fresh: int = 0,
        back: Sequence[tuple[float, int]] | None = None,
    ) -> list[tuple[float, int]]:
        self.inputs, self.dt, self.utc, self.local, self.fresh = inputs, dt, utc, local, bool(fresh)
        if back is not None:
            self.back = list(back)
        return self.scan()

    def scan(self) -> list[tuple[float, int]]:
        raise NotImplementedError

    def ok(self, i: int) -> bool:
        return usable(self.inputs[i])

    def value(self, i: int) -> float:
        pin = self.inputs[i]
        assert pin is not None
        return pin[0]

    def true(self, i: int) -> bool:
        return self.ok(i) and self.value(i) > 0.5

    def status(self, i: int) -> int:
        pin = self.inputs[i]
        return BAD_NOT_CONNECTED if pin is None else pin[1]

    def wired(self, i: int) -> bool:
        return self.inputs[i] is not None

    def answered(self, i: int) -> bool:
        return self.back[i][1] >= 0x40 and math.isfinite(self.back[i][0])

    def refused(self, i: int) -> bool:
        q = self.back[i][1]
        return q != 0 and (q < 0x40 or (q & 0xFC) in REFUSALS)


class Pid(Twin):
    """Åström & Hägglund positional PID with external reset."""

    n_out = 6

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.base: float | None = None  # output when the reduction in force began
        self.started = self.active = self.tripped = self.sp_seen = self.y_seen = False
        self.i = self.d = self.v = self.u = self.sp = self.y = self.y1 = self.ff = self.bad_for = self.err = 0.0
        self.lag: list[float] | None = None
        self.limit = 0
        self.required, self.requires_bad = False, 0.0

    def measure(self) -> bool:
        p = self.p
        if not (self.ok(0) and (p["uncertain_ok"] > 0.5 or self.status(0) >= GOOD)):
            self.lag = None
            self.bad_for += self.dt
            return False
        y = self.value(0)
        if p["pv_filter"] <= 0 or self.lag is None or self.fresh:
            self.lag = [y, y]
        else:
            a = 1.0 - math.exp(-self.dt / (0.5 * p["pv_filter"]))
            self.lag[0] += a * (y - self.lag[0])
            self.lag[1] += a * (self.lag[0] - self.lag[1])
        self.y, self.y_seen, self.bad_for = self.lag[1], True, 0.0
        return True

    def track(self, kp: float, u: float) -> None:
        self.i = u - kp * (self.p["b"] * self.sp - self.y) - self.ff
        self.d, self.v, self.u, self.y1 = 0.0, u, u, self.y

    def control(self, kp: float, ki: float, kd: float, sp1: float) -> float:
        p, h = self.p, self.dt
        e = self.sp - self.y
        achieved, bits = (self.back[0][0], self.back[0][1] & 3) if self.answered(0) else (self.u, 0)
        reset = ki * h / (kp + ki * h) if kp else float(ki != 0.0)
        miss = achieved - self.v
        self.i += reset * miss
        w, w1 = p["c"] * self.sp - self.y, p["c"] * sp1 - self.y1
        tf = kd / kp / p["filter_n"] if kp else 0.0
        self.d = (tf * self.d + kd * (w - w1)) / (tf + h) if kd else 0.0
        di = ki * h * e
        if not ((di < 0 and bits & LOW and miss <= 0) or (di > 0 and bits & HIGH and miss >= 0)):
            self.i += di
        self.v = kp * (p["b"] * self.sp - self.y) + self.i + self.d + self.ff
        self.y1 = self.y
        return self.v

    def limits(self) -> None:
        p = self.p
        self.hi = clamp(self.value(4), p["lo"], p["hi"]) if self.ok(4) else p["hi"]
        if not (self.ok(7) and self.value(7) > 0):
            self.base = None
        elif self.base is None and (self.started or self.answered(0)):
            self.base = (self.back[0][0] if self.answered(0) else self.u) - self.ff
        if self.base is not None:
            self.hi = clamp(self.base + self.ff - self.value(7), p["lo"], self.hi)
        self.lo = clamp(self.value(3), p["lo"], self.hi) if self.ok(3) else p["lo"]
        self.lo = min(self.lo, self.hi)

    def reason(self, pv_ok: bool, first: bool) -> int:
        if self.ok(5):
            self.required, self.requires_bad = self.value(5) > 0.5, 0.0
        else:
            self.requires_bad += self.dt
        if self.ok(6):
            self.tripped = self.value(6) > 0.5
        if self.tripped:
            return 4
        if self.wired(5) and not (self.required and self.requires_bad <= self.p["requires_hold"]):
            return 3
        if self.refused(0) or (first and not self.answered(0)):
            return 1
        if not pv_ok:
            return 2
        return 0 if self.sp_seen else 7

    def scan(self) -> list[tuple[float, int]]:
        p = self.p
        sign = 1.0 if p["reverse"] > 0.5 else -1.0
        kp, ki, kd = sign * p["kp"], sign * p["ki"], sign * p["kd"]
        held_down = self.base is not None and self.limit == HIGH
        self.limits()
        first, self.started = not self.started, True
        if first:
            self.u = self.v = clamp(p["safe_output"], self.lo, self.hi)
        pv_ok = self.measure()
        sp1, sp_ok = self.sp, self.ok(1)
        if sp_ok:
            self.sp, self.sp_seen = self.value(1), True
        ff_held = self.wired(2) and not self.ok(2)
        if self.ok(2):
            self.ff = self.value(2)
        why = self.reason(pv_ok, first)
        u = self.back[0][0] if self.answered(0) else self.u
        mode, q = (CASCADE if sp_ok and self.status(1) >= C_OK else AUTO), C_OK
        self.limit = 0
        if why:
            mode, q = {
                4: (LOCAL, GOOD),
                3: (LOCAL, GOOD),
                1: (INITIALISING, UNC_INITIAL if self.answered(0) else BAD),
                2: (MANUAL, UNC_LAST),
                7: (INITIALISING, UNC_INITIAL),
            }[why]
            if mode == LOCAL:
                u = p["safe_output"]
            if why == 2 and p["bad_action"] > 0.5 and self.bad_for > p["hold_time"]:
                u, q = p["bad_output"], UNC_SUBST
            self.active = False
            u = clamp(u, self.lo, self.hi)
            self.track(kp, u)
        else:
            if not self.active or self.fresh or (held_down and self.base is None):
                self.track(kp, clamp(u, self.lo, self.hi))
                sp1 = self.sp
            self.active = True
            v = self.control(kp, ki, kd, sp1)
            q = min(q, self.status(0) & 0xFC) if self.status(0) < GOOD else q
            if not sp_ok:
                q, why = worst(q, UNC_LAST), 7
            elif ff_held:
                q, why = worst(q, UNC_LAST), 16
            u = clamp(v, self.lo, self.hi)
            self.limit = HIGH if v >= self.hi else LOW if v <= self.lo else 0
            why = why or {0: 0, HIGH: 6 if self.base is None else 9, LOW: 5}[self.limit]
            self.u = u
        q_sp = self.status(1) if sp_ok else UNC_LAST if self.sp_seen else BAD
        q_err = BAD
        if pv_ok and self.sp_seen:
            self.err, q_err = self.sp - self.y, worst(self.status(0), q_sp)
        return [(u, q | self.limit), (self.err, q_err), (mode, GOOD), (why, GOOD), (self.sp, q_sp), (self.hi, GOOD)]


class SetpointProgram(Twin):
    n_out = 5

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.found = self.ever = self.running = self.released = self.was_in = self.was_away = False
        self.soak = self.lost = 0.0

    def scan(self) -> list[tuple[float, int]]:
        p, why, mode = self.p, 0, CASCADE
        used = next((i for i in range(2, len(self.inputs)) if self.ok(i)), None)
        if used is None:
            mode, why, q = AUTO, 7, UNC_LAST if self.ever else UNC_INITIAL
            self.running = self.true(1) if not self.ever and self.ok(1) else self.running
        else:
            self.running, self.ever, q = self.true(used), True, worst(self.status(used), GOOD)
        proven = self.ok(0)
        off = abs(self.value(0) - p["running"]) if proven else math.inf
        inside, away = self.running and off <= p["soak_within"], self.running and off > 3 * p["soak_within"]
        self.released = self.released and self.running
        if not self.found and proven and self.ok(1):
            self.found, self.released = True, self.released or (inside and self.true(1))
        self.soak = self.soak + self.dt if inside and self.was_in and not self.fresh else 0.0
        self.lost = self.lost + self.dt if away and self.was_away and not self.fresh else 0.0
        self.was_in, self.was_away = inside, away
        if inside and self.soak >= p["soak_for"]:
            self.released = True
        elif away and self.lost > p["soak_for"]:
            self.released = False
        q_released = q
        if self.running and self.status(0) < GOOD:
            q_released = worst(q, self.status(0) if proven else UNC_LAST)
        if not why:
            if self.refused(0):
                why = 1
            elif self.running and not proven:
                why = 2
            elif self.running and not self.released:
                why = 18
        target = p["running"] if self.running else p["holding"]
        return [(target, q), (float(self.released), q_released), (float(self.running), q), (why, GOOD), (mode, GOOD)]


class RateControl(Twin):
    n_out = 5

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.started = self.tracking = self.sp_seen = self.run = self.allowed = False
        self.allow_bad = 0.0
        self.u = params["lo"]
        self.sp = 0.0

    def scan(self) -> list[tuple[float, int]]:
        p = self.p
        if self.ok(0):
            self.sp, self.sp_seen, q_sp = self.value(0), True, self.status(0)
        else:
            q_sp = UNC_LAST if self.sp_seen else BAD
        extra = clamp(self.value(1), -0.1 * abs(self.sp), 0.1 * abs(self.sp)) if self.ok(1) else 0.0
        working = clamp(self.sp + extra, p["lo"], p["hi"])
        pins = [i for i in range(2, len(self.inputs)) if self.wired(i)]
        refused, unread = any(self.ok(i) and not self.true(i) for i in pins), any(not self.ok(i) for i in pins)
        self.allow_bad = self.allow_bad + self.dt if unread and not refused else 0.0
        kept = self.allowed and self.allow_bad <= p["allow_hold"]
        allowed = self.allowed = not refused and (not unread or kept)
        first, self.started = not self.started, True
        away = self.refused(0) or self.refused(1)
        adopt = away or first or self.fresh or self.tracking
        if self.answered(0) and adopt:
            self.u = clamp(self.back[0][0], p["lo"], p["hi"])
        if self.answered(1) and adopt:
            self.run = self.back[1][0] > 0.5
        self.tracking = away or (first and not self.answered(0)) or not self.sp_seen
        if self.tracking:
            down = away or (first and not self.answered(0))
            q = (UNC_INITIAL if self.answered(0) else BAD) if down else UNC_INITIAL
            mode, why = INITIALISING, 1 if down else 7
        else:
            self.run = allowed and self.sp > 0.5 * p["run_min"]
            target = clamp(working, clamp(p["run_min"], p["lo"], p["hi"]), p["hi"]) if self.run else p["lo"]
            step, d = p["ramp"] * self.dt, target - self.u
            self.u = target if p["ramp"] <= 0 or abs(d) <= step else self.u + math.copysign(step, d)
            mode, q, why = (CASCADE if q_sp >= C_OK else AUTO), worst(q_sp, GOOD), 0
            if not allowed:
                why = 20
            elif not self.ok(0):
                why = 7
            elif self.u != target:
                why = 17
            elif self.run and self.u >= p["hi"] and self.sp > p["hi"]:
                why = 6
        return [(self.u, q), (float(self.run), q), (mode, GOOD), (why, GOOD), (working, q_sp)]
