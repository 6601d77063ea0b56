"""Plain-Python twins of the energy and production kernels."""

from __future__ import annotations

import math
from typing import Any

from tests.reference.regulatory import (
    AUTO,
    BAD,
    BAD_NO_COMMS,
    C_OK,
    CASCADE,
    GOOD,
    HIGH,
    INITIALISING,
    NOT_SELECTED,
    UNC_INITIAL,
    UNC_LAST,
    UNC_SUBST,
    Twin,
    clamp,
    worst,
)

UNKNOWN = 1e9


class PeakLimiter(Twin):
    n_out = 10

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.started = self.seen = self.partial = self.reducing = self.shed = False
        self.k = self.e = self.pf = self.left = self.left_age = self.last_utc = self.request = self.reduce = 0.0
        self.counter: float | None = None
        self.battery, self.reduce_t, self.shed_t = UNKNOWN, params["reduce_min_off"], 0.0

    def metered(self) -> bool:
        return self.ok(0) and abs(self.value(0)) < UNKNOWN

    def elapsed(self) -> float:
        length = self.p["length"]
        if self.ok(1):
            left = self.value(1)
            self.left_age = self.left_age + self.dt if left == self.left and not self.fresh else 0.0
            self.left = left
            if 0 <= left <= length and self.left_age <= max(5.0, 2 * self.dt):
                return length - left if left > 0 else 0.0
        return clamp(self.utc - length * math.floor(self.utc / length), 0.0, length)

    def energy(self, gap: float) -> float:
        counter, e = self.ok(4), self.pf * gap
        if self.metered() and (gap <= 3 * self.dt or not counter):
            e = self.value(0) * gap
        elif counter and self.counter is not None:
            d = 3600.0 * (self.value(4) - self.counter)
            e = d if 0 <= d < UNKNOWN * gap else e
        if counter:
            self.counter = self.value(4)
        return e

    def window(self) -> None:
        length, k = self.p["length"], self.elapsed()
        gap = self.utc - self.last_utc if self.fresh and self.utc - self.last_utc > self.dt else self.dt
        e = self.energy(gap)
        if not self.started:
            self.e, self.partial = self.pf * k, k > self.dt
        elif k < self.k - 0.5 * length or gap >= length:
            self.partial = gap >= length
            self.e = self.pf * k if self.partial else e * min(1.0, k / gap)
            self.battery = self.battery if self.reducing or self.shed else UNKNOWN
        else:
            self.e += e
        self.k, self.last_utc = k, self.utc

    def headroom(self, gain: float, excess_now: float, excess: float) -> float:
        have, base, refused = 0.0, self.request, self.refused(4)
        if self.answered(4) and not refused:
            base = clamp(self.back[4][0], 0.0, base)
            if self.back[4][1] & HIGH:
                self.battery = max(self.back[4][0], 0.0)
            have = self.battery
        if self.wired(3):
            have = clamp(self.value(3), 0.0, self.battery) if self.ok(3) else 0.0
        have = 0.0 if refused else have
        self.request = clamp(base + gain * excess_now, 0.0, have)
        return have - self.request if have < UNKNOWN else max(excess, 0.0)

    def act(self, gain: float, rest: float) -> None:
        p = self.p
        self.reduce_t += self.dt
        if not self.reducing:
            self.reduce = max(0.0, self.reduce - p["reduce_max"] * self.dt / 60.0)
        if not self.reducing and self.reduce_t >= p["reduce_min_off"] and rest > 0 and p["reduce_max"] > 0:
            self.reducing, self.reduce_t = True, 0.0
        elif self.reducing and 0 < p["reduce_for"] <= self.reduce_t:
            self.reducing, self.reduce_t = False, 0.0
        if self.reducing:
            if rest > 0:
                self.reduce += gain * rest
            elif rest < -p["release_band"] and not self.shed:
                self.reduce += gain * (rest + p["release_band"])
            self.reduce = clamp(self.reduce, 0.0, p["reduce_max"])
            if self.reduce == 0:
                self.reducing, self.reduce_t = False, 0.0
        self.shed_t += self.dt
        if not self.shed:
            if rest > 0 and (not self.reducing or self.reduce >= p["reduce_max"]) and p["shed_kw"] > 0:
                self.shed, self.shed_t = True, 0.0
        elif self.shed_t >= p["shed_min_off"] and rest < -max(p["release_band"], 1.3 * p["shed_kw"]):
            self.shed, self.shed_t = False, 0.0

    def scan(self) -> list[tuple[float, int]]:
        p, why, q, margin = self.p, 0, GOOD, self.p["margin"]
        limit, q_limit = p["limit_fallback"], UNC_SUBST if self.wired(2) else GOOD
        if self.ok(2) and p["limit_valid"] <= self.value(2) < UNKNOWN:
            limit, q_limit = self.value(2), self.status(2)
        why = 16 if q_limit == UNC_SUBST else 0
        if self.metered():
            a = 1.0 - math.exp(-self.dt / p["power_filter"]) if p["power_filter"] > 0 else 1.0
            jump = not self.seen or self.fresh or p["power_filter"] <= 0
            self.pf = self.value(0) if jump else self.pf + a * (self.value(0) - self.pf)
            self.seen = True
        self.window()
        if not self.metered():
            margin, why, q = margin + 0.02, 2, UNC_SUBST if self.seen else BAD_NO_COMMS
        elif self.partial:
            q = UNC_INITIAL
        left = max(p["length"] - self.k, self.dt)
        allow = (limit * (1.0 - margin) * p["length"] - self.e) / left
        cap = limit * (p["end_cap"] if left <= 60 else p["near_end_cap"])
        target = clamp(allow, 0.5 * limit, cap)
        excess = self.pf - target
        if self.started and self.seen:
            gain = 1.0 - math.exp(-self.dt / p["power_filter"]) if p["power_filter"] > 0 else 1.0
            now = self.value(0) if self.metered() else self.pf
            rest = excess - self.headroom(gain, now - target, excess)
            self.act(gain, rest)
        self.started = True
        if (self.request > 0 or self.reduce > 0 or self.shed) and why != 2:
            why = 9
        forecast = (self.e + self.pf * (p["length"] - self.k)) / p["length"]
        return [
            (allow, worst(q, q_limit)),
            (forecast, q),
            (limit, q_limit),
            (excess, worst(q, q_limit)),
            (self.request, GOOD),
            (self.reduce, GOOD),
            (float(self.shed), GOOD),
            (AUTO, GOOD),
            (why, GOOD),
            (self.e / self.k if self.k >= 1e-3 else self.pf, q),
        ]


class PowerFollow(Twin):
    n_out = 4

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.started = self.tracking = False
        self.u = self.plan = self.extra = 0.0

    def derate(self, room: float) -> float:
        p = self.p
        if room <= 0:
            return 0.0
        power = p["p_max"] * room / p["derate_band"] if room < p["derate_band"] else p["p_max"]
        return float(min(power, room / 100.0 * p["capacity"] * 3600.0 / self.dt))

    def target(self) -> tuple[float, int]:
        p, soc = self.p, self.value(2)
        may = not self.wired(4) or self.true(4)
        charge, plan_max = self.derate(p["soc_max"] - soc), self.derate(soc - (p["soc_min"] + p["reserve"]))
        peak_max = self.derate(soc - p["soc_min"]) if may else plan_max
        sp = self.value(1) if self.ok(1) else 0.0
        request = max(self.value(3), 0.0) if self.ok(3) else 0.0
        self.plan = clamp(sp, -charge, plan_max)
        self.extra = clamp(request, 0.0, peak_max - self.plan)
        if self.extra < request or self.plan != clamp(sp, -p["p_max"], p["p_max"]):
            why = 10
        elif request > 0:
            why = 9
        elif not self.ok(1):
            why = 7
        else:
            why = 6 if sp > plan_max else 5 if sp < -charge else 0
        return self.plan + self.extra, why

    def scan(self) -> list[tuple[float, int]]:
        p, soc_ok, away = self.p, self.ok(2), self.refused(0)
        want, why = self.target() if soc_ok else (0.0, 2)
        first, self.started = not self.started, True
        if (away or first or self.fresh or self.tracking) and self.answered(0):
            self.u = clamp(self.back[0][0], -p["p_max"], p["p_max"])
        elif first and self.ok(0):
            self.u = clamp(self.value(0), -p["p_max"], p["p_max"])
        q_sp = self.status(1) if self.ok(1) else UNC_SUBST
        self.tracking = away or (first and not self.answered(0))
        if self.tracking:
            mode, why, q = INITIALISING, 1, UNC_INITIAL if self.answered(0) else BAD
        else:
            mode, q = (CASCADE if q_sp >= C_OK else AUTO), worst(q_sp, GOOD)
            q = worst(q, self.status(2)) if soc_ok else UNC_SUBST
            step, d = p["ramp"] * self.dt, want - self.u
            if p["ramp"] > 0 and abs(d) > step:
                self.u += math.copysign(step, d)
                why = why or 17
            else:
                self.u = want
            if soc_ok:
                soc = self.value(2)
                self.u = clamp(self.u, -self.derate(p["soc_max"] - soc), self.derate(soc - p["soc_min"]))
        return [(self.u, q), (mode, GOOD), (why, GOOD), (self.value(1) if self.ok(1) else 0.0, q_sp)]


class ProductionRules(Twin):
    n_out = 6

    def __init__(self, avoid: list[tuple[float, float]], **params: Any) -> None:
        super().__init__(**params)
        self.avoid = avoid
        self.started = self.line = self.full = self.out = False
        self.stock: float | None = None
        self.sales = self.since = self.rate = 0.0

    def good(self, i: int) -> bool:
        return self.ok(i) and self.status(i) >= GOOD

    def know_stock(self) -> bool:
        """True: substituted."""
        if self.ok(1):
            self.sales = max(self.value(1), 0.0)
        if self.ok(0) and (self.stock is None or self.status(0) & 0xFC != UNC_LAST):
            self.stock = self.value(0)
            return not (self.good(0) and self.good(1))
        if self.stock is not None:
            made = self.value(5) if self.ok(5) else self.rate * self.line
            self.stock = clamp(self.stock + (made - self.sales) * self.dt / 3600.0, 0.0, 1e12)
        return True

    def know_line(self, elsewhere: bool) -> None:
        line = self.line
        self.since += self.dt
        if not self.started or self.fresh or elsewhere:
            if self.ok(6):
                line = self.true(6)
            elif self.answered(1):
                line = self.back[1][0] > 0.5
        if line != self.line or not self.started:
            self.line, self.since = line, 0.0
        self.started = True

    def rule(self, stock: float) -> tuple[bool, int]:
        p = self.p
        avoided = any(a <= self.local < z if a <= z else self.local >= a or self.local < z for a, z in self.avoid)
        low = stock < p["reorder_below"]
        if stock >= p["fill_to"]:
            self.full = True
        elif low or stock <= p["fill_to"] - p["rate"] * p["min_run"] / 3600.0:
            self.full = False
        if self.full:
            return False, 13
        if avoided and stock >= 0.5 * p["reorder_below"]:
            return False, 14
        priced = self.ok(3) and (not self.wired(2) or self.ok(2))
        if priced and not low and self.value(3) >= p["cheapest_hours"] / 24.0:
            return False, 11
        return True, 12 if low else 0

    def battery(self) -> float:
        p = self.p
        if not self.ok(2) or (self.wired(4) and not self.ok(4)):
            return 0.0
        soc = self.value(4) if self.wired(4) else None
        if self.value(2) < p["charge_below"] and (soc is None or soc < p["soc_hi"]):
            return float(-min(p["charge_power"], p["bat_power_max"]))
        if self.value(2) > p["discharge_above"] and (soc is None or soc > p["soc_lo"]):
            return float(p["bat_power_max"])
        return 0.0

    def scan(self) -> list[tuple[float, int]]:
        p = self.p
        q_back = self.back[1][1]
        elsewhere = self.refused(1) or q_back & 0xFC == NOT_SELECTED
        substituted = self.know_stock() or any(self.wired(i) and not self.good(i) for i in (2, 3, 4))
        self.know_line(elsewhere)
        q_all = UNC_SUBST if substituted else GOOD
        if self.stock is None:
            self.rate, mode, why, q = 0.0, INITIALISING, 2, BAD_NO_COMMS
            self.out = self.line
        else:
            go, why = self.rule(self.stock)
            self.out = self.line
            if go != self.line and self.since < p["min_run" if self.line else "min_stop"]:
                why = 15
            elif go != self.line:
                self.out = go
                if not elsewhere:
                    self.line, self.since = go, 0.0
            wish = self.sales + (p["fill_to"] - self.stock) / p["lead_time"]
            self.rate = clamp(wish, 0.0, p["rate"]) if self.out else 0.0
            mode, q = AUTO, q_all
            why = 16 if substituted and not why else why
        return [
            (self.rate, q),
            (float(self.out), q),
            (self.battery(), q_all),
            (mode, GOOD),
            (why, GOOD),
            (self.stock or 0.0, q),
        ]
