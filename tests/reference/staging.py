"""Plain-Python twin of the staging kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.reference.regulatory import (
    AUTO,
    BAD,
    BAD_NOT_CONNECTED,
    C_OK,
    CASCADE,
    GOOD,
    INITIALISING,
    UNC_INITIAL,
    UNC_LAST,
    Twin,
    clamp,
    worst,
)


@dataclass
class Unit:
    index: int
    capacity: float
    min_on: float
    min_off: float
    starts: float
    order: float
    on: bool = False
    failed: bool = False
    away: bool = False
    since: float = 0.0
    silent: float = 0.0
    hours: float = 0.0
    tokens: float = 0.0
    count: int = 0

    def switch(self, on: bool) -> None:
        if on != self.on:
            self.on, self.since, self.silent = on, 0.0, 0.0
            self.count += on


class Staging(Twin):
    n_out = 13

    def __init__(self, units: list[tuple[float, float, float, float, float]], **params: Any) -> None:
        super().__init__(**params)
        self.units = [Unit(i, *u) for i, u in enumerate(units)]
        self.stage = 0
        self.demand = self.up = self.down = self.trim = 0.0
        self.seen = self.skip = False

    def running(self, u: Unit) -> bool:
        pin = 2 + 2 * u.index
        return self.value(pin) > 0.5 if self.ok(pin) else u.on

    def inhibited(self, u: Unit) -> bool:
        return self.true(3 + 2 * u.index)

    def committed(self) -> float:
        total = 0.0 if self.true(1) else self.p["trim_capacity"]
        for u in self.units:
            total += u.capacity if u.on else 0.0
        return total

    def key(self, u: Unit) -> float:
        if self.p["rotate"] > 1.5:
            return u.count
        return u.hours if self.p["rotate"] > 0.5 else u.order

    def age(self, first: bool) -> None:
        for u in self.units:
            if first:
                u.tokens = u.starts
            else:
                u.since += self.dt
                if u.tokens < u.starts:
                    u.tokens = min(u.starts, u.tokens + u.starts * self.dt / 3600.0)
            u.away = self.refused(5 + u.index)
            if first or self.fresh or u.away:
                if self.ok(2 + 2 * u.index):
                    u.switch(self.value(2 + 2 * u.index) > 0.5)
                elif self.answered(5 + u.index):
                    u.switch(self.back[5 + u.index][0] > 0.5)
            if self.running(u):
                u.hours += self.dt / 3600.0
            if u.failed and (u.since >= 600.0 or u.away):
                u.failed = False
            u.silent = 0.0 if not u.on or self.running(u) else u.silent + self.dt
            if u.silent >= 10.0 and not u.away:
                u.switch(False)
                u.failed = self.skip = True

    def startable(self) -> list[Unit]:
        return [u for u in self.units if not (u.on or u.failed or u.away or self.inhibited(u))]

    def stage_up(self, q: float) -> int:
        if not q > self.p["up_above"] * self.committed():
            self.up, self.skip = 0.0, False
            return 0
        self.up += self.dt
        if self.up < self.p["up_for"] and not self.skip:
            return 0
        now = [u for u in self.startable() if u.since >= u.min_off and (u.starts <= 0 or u.tokens >= 1.0)]
        if not now:
            return 15 if self.startable() else 6
        u = min(now, key=self.key)
        u.switch(True)
        u.tokens -= 1.0 if u.starts > 0 else 0.0
        self.up, self.down, self.skip = 0.0, 0.0, False
        return 0

    def spare(self, q: float, u: Unit) -> bool:
        c = self.committed()
        return bool(q < c - u.capacity * self.p["down_spare"] and q <= self.p["up_above"] * (c - u.capacity))

    def stage_down(self, q: float) -> int:
        on = sorted((u for u in self.units if u.on and not u.away), key=lambda u: (self.key(u), u.index))
        if not on or not self.spare(q, on[-1]):
            self.down = 0.0
            return 0
        self.down += self.dt
        if self.down < self.p["down_for"]:
            return 0
        on = [u for u in on if u.since >= u.min_on]
        if not on or not self.spare(q, on[-1]):
            return 15
        on[-1].switch(False)
        self.up = self.down = 0.0
        return 0

    def waits(self) -> bool:
        if self.p["trim_capacity"] > 0 and self.back[0][1] == 0:
            return True
        return any(self.back[5 + u.index][1] == 0 and not self.ok(2 + 2 * u.index) for u in self.units)

    def scan(self) -> list[tuple[float, int]]:
        p, first = self.p, self.stage < 2
        waiting, away = self.stage == 0 and self.waits(), self.refused(0)
        self.age(first)
        failed = any(u.failed for u in self.units)
        self.stage = 1 if waiting else 2
        mode, why = AUTO, 0
        if self.ok(0):
            self.demand, self.seen = self.value(0), True
            q = worst(self.status(0), GOOD)
            mode = CASCADE if self.status(0) >= C_OK else AUTO
            if not (away or waiting):
                for u in self.units:
                    if u.on and not u.away and self.inhibited(u) and u.since >= u.min_on:
                        u.switch(False)
                up = self.stage_up(self.demand)
                down = self.stage_down(self.demand)
                why = up or down
        else:
            why, q = 7, UNC_LAST if self.seen else UNC_INITIAL
        fixed = 0.0
        for u in self.units:
            fixed += u.capacity if self.running(u) else 0.0
        cap = p["trim_capacity"]
        if away or waiting or not self.seen:
            mode, why, q = INITIALISING, 1 if away or waiting else 7, BAD if waiting else UNC_INITIAL
            if self.answered(0):
                self.trim = clamp(self.back[0][0], 0.0, 100.0)
            elif first:
                self.trim = 100.0 * p["trim_min"] if cap > 0 else 0.0
        elif cap > 0:
            self.trim = 100.0 * (
                p["trim_min"] if self.true(1) else clamp((self.demand - fixed) / cap, p["trim_min"], 1)
            )
        else:
            self.trim = 0.0
        why = 19 if failed else why
        level = clamp(self.back[0][0], 0.0, 100.0) if mode == INITIALISING and self.answered(0) else self.trim
        out = [
            (self.trim, q),
            (mode, GOOD),
            (why, GOOD),
            (fixed + (0.0 if self.true(1) else cap), GOOD),
            (fixed + level / 100.0 * cap, GOOD),
        ]
        out += [(float(u.on), q) for u in self.units]
        return out + [(0.0, BAD_NOT_CONNECTED)] * (8 - len(self.units))
