"""A site with plausible moving data for the page: `python -m tests.browser.fake_site [--alarms] [--port N]`."""

import argparse
import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from ctrl.hmi.live import LoopInfo, Pin, PlanView, PriceSeries, Rung, Snapshot, Trend
from ctrl.hmi.server import serve
from ctrl.records.alarms import AlarmList, AlarmSpec

START = 1_520_294_400.0  # 2018-03-06 00:00 UTC, 01:00 in Berlin
QUARTER = 900.0
GOOD, CASCADE, BAD_COMMS, SUBSTITUTED = 0x80, 0xC0, 0x14, 0x48


def pin(tag: str, unit: str, low: float | None = None, high: float | None = None) -> Pin:
    return {"tag": tag, "unit": unit, "low": low, "high": high}


def loop(
    name: str, tag: str, text: str, *, pv: Pin | None = None, sp: Pin | None = None, op: Pin | None = None
) -> LoopInfo:
    mode, reason = f"{name}.mode", f"{name}.reason"
    return {
        "name": name, "tag": tag, "text": text, "pv": pv, "sp": sp, "op": op, "mode": mode, "reason": reason,
    }  # fmt: skip


LOOPS = [
    loop(
        "furnace_temp_ctl", "TIC-101", "Furnace temperature",
        pv=pin("furnace_temp", "degC", 700, 950),
        sp=pin("furnace_temp_ctl.sp", "degC", 700, 950),
        op=pin("plc_furnace.power_cmd", "kW", 0, 320),
    ),
    loop(
        "line_rate_ctl", "SIC-110", "Line rate",
        pv=pin("plc_furnace.belt_rate", "t/h", 0, 1.2),
        sp=pin("line_rate_ctl.sp", "t/h", 0, 1.2),
        op=pin("plc_furnace.belt_cmd", "t/h", 0, 1.1),
    ),
    loop(
        "air_pressure_ctl", "PIC-201", "Air pressure",
        pv=pin("plc_air.net_pressure", "bar_g", 5, 7.5),
        sp=pin("air_pressure_ctl.sp", "bar_g", 5, 7.5),
        op=pin("air_stage.demand", "m3/min", 0, 36),
    ),
    loop("air_stage", "", "Compressor staging", op=pin("air_stage.units_on", "", 0, 3)),
    loop(
        "bat_dispatch", "JIC-301", "Battery power",
        pv=pin("plc_energy.bat_power", "kW", -200, 200),
        sp=pin("bat_dispatch.sp", "kW", -200, 200),
        op=pin("plc_energy.bat_cmd", "kW", -200, 200),
    ),
    loop(
        "peak_guard", "JC-310", "Peak guard, 15-min forecast",
        pv=pin("peak_guard.forecast", "kW", 0, 500),
        sp=pin("peak_guard.limit", "kW", 0, 500),
    ),
]  # fmt: skip


class FakeSite:
    """Fulfils LiveSource from formulas. `plc_lost` and `alarm` change what it shows; `now` gives utc seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.plc_lost = False
        self.frozen_at: int | None = None
        self.list = AlarmList(
            [
                AlarmSpec(
                    "furnace_over_temp", "Furnace temperature above 900 degC", "critical",
                    "Check the burner contactor, open the door relief, call maintenance", "furnace_temp > 900 degC",
                ),
                AlarmSpec(
                    "air_low", "Air pressure below 5.6 bar_g", "high",
                    "Start compressor 3 by hand, look for a leak", "plc_air.net_pressure < 5.6 bar_g",
                ),
                AlarmSpec("peak_at_risk", "15-min peak at risk", "medium", "", "forecast > limit"),
                AlarmSpec("energy_per_tonne", "Energy per tonne above 260 kWh/t", "low", "", "sec > 260 kWh/t"),
                AlarmSpec(
                    "plc_air_lost", "No answer from plc_air", "high",
                    "Check the switch in cabinet A2 and the PLC's power", "plc_air.link lost",
                ),
            ]
        )  # fmt: skip

    def raise_alarms(self, *names: str) -> None:
        for i, name in enumerate(names):
            self.list.update(self.now() - 60.0 * (len(names) - i), name, True)

    def lose_plc(self) -> None:
        self.plc_lost = True
        self.list.update(self.now(), "plc_air_lost", True)

    def layout(self) -> dict[str, Any]:
        device = {"type": "modbus_tcp", "contract": "heartbeat, dead after 6 s"}
        return {
            "site": "Heat treatment, plant 2",
            "timezone": "Europe/Berlin",
            "currency": "EUR",
            "simulated": True,
            "flows": [
                {"name": "grid", "label": "Grid", "kind": "grid", "tag": "plc_energy.grid_power"},
                {"name": "pv", "label": "PV", "kind": "pv", "tag": "plc_energy.pv_power"},
                {
                    "name": "battery", "label": "Battery", "kind": "battery", "tag": "plc_energy.bat_power",
                    "soc": "plc_energy.bat_soc",
                },
                {"name": "furnace", "label": "Furnace", "kind": "load", "tag": "plc_furnace.power"},
                {"name": "air", "label": "Air", "kind": "load", "tag": "air.power"},
                {"name": "base", "label": "Base load", "kind": "load", "tag": "site_base_load"},
            ],
            "loops": LOOPS,
            "charts": [
                {
                    "name": "battery", "label": "Battery", "unit": "kW",
                    "lines": [
                        {"label": "plan", "kind": "planned", "plan": "bat_power", "tag": "energy_plan.bat_power"},
                        {"label": "actual", "kind": "actual", "tag": "plc_energy.bat_power"},
                    ],
                },
                {
                    "name": "rate", "label": "Line rate", "unit": "t/h",
                    "lines": [
                        {"label": "plan", "kind": "planned", "plan": "rate", "tag": "energy_plan.rate"},
                        {"label": "actual", "kind": "actual", "tag": "plc_furnace.belt_rate"},
                    ],
                },
                {
                    "name": "grid", "label": "Grid", "unit": "kW",
                    "lines": [
                        {"label": "plan", "kind": "planned", "plan": "grid"},
                        {"label": "actual", "kind": "actual", "tag": "plc_energy.grid_power"},
                        {"label": "15-min average", "kind": "average", "tag": "grid_15min"},
                        {"label": "peak target", "kind": "limit", "plan": "peak_target"},
                    ],
                },
            ],
            "devices": [
                {"name": "plc_furnace", "address": "10.20.1.11:502", **device},
                {"name": "plc_air", "address": "10.20.1.12:502", **device},
                {"name": "plc_energy", "address": "10.20.1.13:502", **device},
            ],
            "plans": ["energy_plan"],
        }  # fmt: skip

    def values(self, t: float) -> dict[str, float]:
        hour = (t / 3600 + 1) % 24
        pv = max(0.0, 120 * math.sin(math.pi * (hour - 6.5) / 12)) if 6.5 < hour < 18.5 else 0.0
        rate = 0.9 if self.line_on(t) else 0.0
        bat = self.battery(t) + 2 * math.sin(t / 7)
        furnace = 28 + 146 * rate + 9 * math.sin(t / 90)
        base, air = 90 + 25 * math.sin(t / 5000) + 4 * math.sin(t / 11), 81.0 + 3 * math.sin(t / 30)
        grid = furnace + base + air - pv - bat
        temp = 870 + 1.2 * math.sin(t / 120)
        pressure = 6.3 + 0.04 * math.sin(t / 17)
        if self.list.state("air_low") == "unack":
            pressure = 5.42 + 0.02 * math.sin(t / 17)
        if self.list.state("furnace_over_temp") == "unack":
            temp = 904.6
        return {
            "plc_energy.grid_power": grid, "plc_energy.pv_power": pv, "plc_energy.bat_power": bat,
            "plc_energy.bat_soc": 52 + 30 * math.sin(t / 9000), "plc_furnace.power": furnace, "air.power": air,
            "site_base_load": base, "grid_15min": grid - 6 * math.sin(t / 11), "furnace_temp": temp,
            "furnace_temp_ctl.sp": 870.0, "plc_furnace.power_cmd": furnace + 1, "plc_furnace.belt_rate": rate,
            "line_rate_ctl.sp": rate, "plc_furnace.belt_cmd": rate, "plc_air.net_pressure": pressure,
            "air_pressure_ctl.sp": 6.3, "air_stage.demand": 19.4 + math.sin(t / 30), "air_stage.units_on": 2.0,
            "bat_dispatch.sp": self.battery(t), "plc_energy.bat_cmd": self.battery(t),
            "energy_plan.bat_power": self.battery(t), "energy_plan.rate": rate,
            "peak_guard.forecast": grid + 3, "peak_guard.limit": 340.0,
        }  # fmt: skip

    def line_on(self, t: float) -> bool:
        return (t / 3600 + 1) % 24 < 16 or (t / 3600 + 1) % 24 > 20

    def battery(self, t: float) -> float:
        hour = int(t / 3600 + 1) % 24
        return -120.0 if hour in (1, 2, 3, 13) else 110.0 if hour in (7, 8, 18, 19) else 0.0

    def snapshot(self) -> Snapshot:
        t = self.now()
        cycle = int(t - START) + 86_400 if self.frozen_at is None else self.frozen_at
        tags: dict[str, list[float | int | None]] = {k: [v, GOOD] for k, v in self.values(t).items()}
        for info in LOOPS:
            tags[f"{info['name']}.mode"] = [4, CASCADE]
            tags[f"{info['name']}.reason"] = [0, CASCADE]
        for name in ("bat_dispatch", "line_rate_ctl"):
            tags[f"{name}.mode"] = [6, CASCADE]
        tags["furnace_temp_ctl.mode"] = [5, CASCADE]
        if self.plc_lost:
            for name in ("plc_air.net_pressure", "air.power"):
                tags[name][1] = BAD_COMMS
            tags["site_base_load"][1] = SUBSTITUTED
            tags["bat_dispatch.mode"] = [4, CASCADE]
            tags["air_pressure_ctl.mode"] = [3, CASCADE]
            tags["air_pressure_ctl.reason"] = [2, CASCADE]
        lost = {"state": "armed", "link": "lost", "heartbeat": "stopped", "beats": 4711, "age_s": 41.0,
                "text": "no answer; the PLC applies its fallbacks"}  # fmt: skip
        ok = {"state": "armed", "link": "ok", "heartbeat": "beating", "beats": cycle % 65536, "age_s": 0.2, "text": ""}
        return {
            "utc": t,
            "cycle": cycle,
            "tags": tags,
            "devices": {
                "plc_furnace": ok,
                "plc_air": lost if self.plc_lost else ok,
                "plc_energy": {**ok, "state": "shadow", "heartbeat": "stopped", "text": "computes, writes nothing"},
            },
            "rungs": {
                "furnace_temp_ctl": rung("furnace_profile: running"),
                "line_rate_ctl": rung("plan"),
                "air_pressure_ctl": rung("fixed in the configuration"),
                "bat_dispatch": rung("local rules", False, "plan too old") if self.plc_lost else rung("plan"),
                "peak_guard": rung("plan"),
            },
            "missed": 3 if self.plc_lost else 0,
            "overruns": 0,
        }

    def plan(self) -> PlanView:
        issued = self.now() // QUARTER * QUARTER
        steps = []
        for i in range(-16, 136):
            t = issued + i * QUARTER
            v = self.values(t)
            steps.append(
                {
                    "utc": t, "bat_power": self.battery(t), "rate": v["line_rate_ctl.sp"], "line_on": self.line_on(t),
                    "peak_target": 340.0, "grid": v["plc_energy.grid_power"] // 10 * 10, "soc": v["plc_energy.bat_soc"],
                    "stock": 18.0,
                }
            )  # fmt: skip
        return {
            "id": f"energy_plan/{issued:.0f}{'/relaxed' if self.plc_lost else ''}",
            "name": "energy_plan",
            "status": "relaxed" if self.plc_lost else "optimal",
            "issued_at": issued + 8,
            "valid_until": issued + 2700,
            "reasons": [
                "Line stops 16:00 to 20:00: prices above 120 EUR/MWh, stock is enough",
                "Battery charges 01:00 to 04:00 at 58 EUR/MWh",
            ],
            "relaxed": ["stock limit: 1.4 t below 4 t at 19:30"] if self.plc_lost else [],
            "cost": {"energy_eur": 412.3, "demand_eur": 96.0, "wear_eur": 6.1, "late_eur": 0.0},
            "steps": steps,
        }

    def prices(self) -> list[PriceSeries]:
        start = self.now() // 3600 * 3600 - 6 * 3600
        hours = [start + 3600 * i for i in range(36)]
        spot = [
            58 + 30 * math.sin((h / 3600 - 3) / 3.5) + 22 * math.exp(-(((h / 3600 + 1) % 24 - 18) ** 2) / 5)
            for h in hours
        ]
        end = hours[-1] + 3600
        return [
            {
                "name": "buy", "label": "Buy", "unit": "EUR/MWh", "valid_until": end, "stale": False,
                "steps": [(h, round(p + 55, 1)) for h, p in zip(hours, spot, strict=True)],
            },
            {
                "name": "sell", "label": "Sell", "unit": "EUR/MWh", "valid_until": end, "stale": False,
                "steps": [(h, round(0.9 * p, 1)) for h, p in zip(hours, spot, strict=True)],
            },
        ]  # fmt: skip

    def alarms(self) -> list[dict[str, Any]]:
        return self.list.view()

    def trend(self, tags: Sequence[str], seconds: float) -> Trend:
        now = self.now()
        step = max(1.0, seconds / 600)
        times = [now - seconds + i * step for i in range(int(seconds / step) + 1)]
        rows = [self.values(t) for t in times]
        return {"utc": times, "tags": {tag: [row[tag] for row in rows] for tag in tags}}


def rung(source: str, normal: bool = True, why: str = "") -> Rung:
    return {"source": source, "normal": normal, "why": why}


def running_clock(start: float = START + 9.4 * 3600) -> Callable[[], float]:
    origin = time.monotonic()
    return lambda: start + time.monotonic() - origin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--alarms", action="store_true")
    args = parser.parse_args()
    site = FakeSite(running_clock())
    if args.alarms:
        site.raise_alarms("air_low", "energy_per_tonne", "peak_at_risk", "furnace_over_temp")
        site.lose_plc()
    asyncio.run(serve(site, "127.0.0.1", args.port, asyncio.Event()))


if __name__ == "__main__":
    main()
