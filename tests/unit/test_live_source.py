"""The live page's data of a real site: from a fake image, plans and prices to what an operator reads."""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from ctrl.app import live_trend
from ctrl.app.live_source import SiteLiveSource
from ctrl.clock import VirtualClock
from ctrl.config.loader import load
from ctrl.hmi.live import LiveSource
from ctrl.loops.compile import compile_site
from ctrl.messages import Event, Profile
from ctrl.planning.plan import Costs, Plan, PlanStep, Relaxed, Solved
from ctrl.quality import BAD_NO_COMMS, GOOD, UNCERTAIN_LAST
from ctrl.records.history import HistoryWriter, TagMeta

CONFIGS = Path(__file__).parents[2] / "configs"
T0 = 1_520_204_400.0  # 2018-03-05 00:00 in Berlin


@pytest.fixture(scope="module")
def heat():
    site = load(CONFIGS / "heat_treatment/site.yaml")
    return site, compile_site(site).manifest


class Side:
    """What the page needs of the site side."""

    def __init__(self) -> None:
        self.clock = VirtualClock(T0)
        self.plans: dict[str, Plan] = {}
        self.profiles: dict[str, Profile] = {}


class Fake:
    """A page over an image that is set by tag."""

    def __init__(self, heat, history: Path | None = None) -> None:
        self.site, self.manifest = heat
        self.slots = self.manifest["slots"]
        n = max(self.slots.values()) + 1
        self.values, self.statuses, self.times = (
            array("d", bytes(8 * n)),
            bytearray([GOOD] * n),
            array("q", bytes(8 * n)),
        )
        self.side = Side()
        self.cycle = 1
        self.page = SiteLiveSource(self.site, self.manifest, self.snap, self.side, history)
        self.source: LiveSource = self.page

    def snap(self):
        if self.cycle == 0:
            return None
        return self.cycle, self.side.clock.boot_ns(), self.values, bytes(self.statuses), self.times

    def set(self, tag: str, value: float, status: int = GOOD) -> None:
        self.values[self.slots[tag]], self.statuses[self.slots[tag]] = value, status

    def answered(self, device: str) -> None:
        for tag, slot in self.slots.items():
            if tag.startswith(f"{device}.") and "~" in tag:
                self.times[slot] = self.side.clock.boot_ns()

    def device(self, name: str):
        return self.page.snapshot()["devices"][name]


@pytest.fixture
def fake(heat) -> Fake:
    return Fake(heat)


# -------------------------------------------------------------------------------------------------------------- layout
def test_the_energy_picture_is_made_of_the_parts_of_the_base_load(fake):
    assert [(f["label"], f["kind"], f["tag"]) for f in fake.page.layout()["flows"]] == [
        ("Grid", "grid", "plc_energy.grid_power"),
        ("PV", "pv", "plc_energy.pv_power"),
        ("Battery", "battery", "plc_energy.bat_power"),
        ("Furnace", "load", "plc_furnace.power"),
        ("Base load", "load", "site_base_load"),
    ]
    assert fake.page.layout()["flows"][2]["soc"] == "plc_energy.bat_soc"


def test_every_loop_has_its_face_its_units_and_its_ranges(fake):
    loops = {loop["name"]: loop for loop in fake.page.layout()["loops"]}
    assert list(loops) == list(fake.site.loops)
    furnace = loops["furnace_temp_ctl"]
    assert (furnace["tag"], furnace["text"]) == ("TIC-101", "furnace_temp_ctl: PID")
    assert furnace["pv"] == {"tag": "furnace_temp", "unit": "degC", "low": 20.0, "high": 920.0}
    assert furnace["op"] == {"tag": "furnace_temp_ctl.out", "unit": "kW", "low": 0.0, "high": 320.0}
    assert (furnace["mode"], furnace["reason"]) == ("furnace_temp_ctl.mode", "furnace_temp_ctl.why")
    assert loops["bat_dispatch"]["pv"] == {"tag": "plc_energy.bat_power", "unit": "kW", "low": -200.0, "high": 200.0}
    assert loops["line_rate_ctl"]["pv"]["tag"] == "plc_furnace.belt_rate"
    assert loops["air_stage"]["pv"] == {"tag": "air_stage.capacity", "unit": "m3/min", "low": 0.0, "high": 36.8}
    assert loops["furnace_profile"]["op"]["words"] == {"0": "holding", "1": "running"}
    assert loops["local_rules"]["pv"]["high"] == 40.0
    assert loops["peak_guard"]["pv"]["high"] == 510.0


def test_all_that_the_page_asks_for_is_there(fake):
    layout, tags = fake.page.layout(), fake.page.snapshot()["tags"]
    pins = [loop[role] for loop in layout["loops"] for role in ("pv", "sp", "op") if loop[role]]
    asked = {flow["tag"] for flow in layout["flows"]} | {pin["tag"] for pin in pins}
    asked |= {loop[role] for loop in layout["loops"] for role in ("mode", "reason")}
    drawn = {line["tag"] for chart in layout["charts"] for line in chart["lines"] if "tag" in line}
    assert asked | (drawn - {"energy_plan.grid"}) <= set(tags)
    assert set(fake.page.trend(sorted(drawn), 60)["tags"]) == drawn
    assert not [tag for tag in tags if "~" in tag or tag.startswith("#")]
    json.dumps(
        [layout, fake.page.snapshot(), fake.page.plan(), fake.page.prices(), fake.page.alarms()], allow_nan=False
    )


def test_charts_show_plan_and_actual(fake):
    charts = {chart["name"]: chart for chart in fake.page.layout()["charts"]}
    assert list(charts) == ["battery", "rate", "grid"]
    assert charts["rate"]["unit"] == "t/h"
    assert [(line["label"], line.get("tag"), line.get("plan")) for line in charts["grid"]["lines"]] == [
        ("plan", None, "grid"),
        ("actual", "plc_energy.grid_power", None),
        ("15-min average", "grid_15min", None),
        ("peak limit", "peak_guard.limit", "peak_target"),
    ]


def test_what_no_record_holds_is_not_drawn(heat):
    site, manifest = heat
    bare = {**manifest, "records": {"every": 1, "tags": ["plc_energy.grid_power"]}}
    layout = Fake((site, bare)).page.layout()
    lines = {line.get("tag") for chart in layout["charts"] for line in chart["lines"]}
    assert lines == {None, "plc_energy.grid_power"}


def test_a_site_without_plans_has_a_page_too():
    site = load(CONFIGS / "minimal/site.yaml")
    page = Fake((site, compile_site(site).manifest)).page
    assert [(f["label"], f["kind"]) for f in page.layout()["flows"]] == [("Oven", "load")]
    assert page.layout()["charts"] == []
    assert (page.plan(), page.prices()) == (None, [])
    assert page.snapshot()["rungs"] == {"oven_temp_ctl": {"source": "fixed value", "normal": True, "why": ""}}


def test_devices_with_address_and_contract(fake):
    assert fake.page.layout()["devices"][0] == {
        "name": "plc_furnace",
        "type": "modbus_tcp",
        "address": "10.20.1.11:502",
        "contract": "heartbeat, dead after 6 s",
    }


# ------------------------------------------------------------------------------------------------------------ snapshot
def test_before_the_first_cycle_there_is_nothing(fake):
    fake.cycle = 0
    snapshot = fake.page.snapshot()
    assert (snapshot["utc"], snapshot["cycle"], snapshot["tags"], snapshot["devices"]) == (T0, 0, {}, {})


def test_the_snapshot_has_the_time_of_its_cycle(fake):
    seen = fake.snap()
    fake.side.clock.advance(2.5)
    fake.page._snap = lambda: seen
    assert fake.page.snapshot()["utc"] == pytest.approx(T0)


def test_link_states_of_a_device(fake):
    fake.side.clock.advance(10.0)
    assert (fake.device("plc_air")["link"], fake.device("plc_air")["text"]) == ("lost", "no answer yet")
    fake.answered("plc_air")
    fake.set("plc_air.link", 1.0)
    fake.set("plc_air.state", 2.0)
    assert (fake.device("plc_air")["link"], fake.device("plc_air")["state"]) == ("ok", "armed")
    fake.side.clock.advance(2.0)
    assert (fake.device("plc_air")["link"], fake.device("plc_air")["age_s"]) == ("late", 2.0)
    fake.set("plc_air.link", 0.0)
    fake.page.event(Event(T0, "plc_air", "LINK_LOST", "3 cycles without all answers", {}))
    lost = fake.device("plc_air")
    assert (lost["link"], lost["text"]) == ("lost", "3 cycles without all answers; the PLC applies its fallbacks")
    fake.answered("plc_air")
    assert fake.device("plc_air")["link"] == "late"
    assert "steady" in fake.device("plc_air")["text"]
    fake.set("plc_air.state", 1.0)
    fake.set("plc_air.link", 1.0)
    assert (fake.device("plc_air")["state"], fake.device("plc_air")["text"]) == ("shadow", "computes, writes nothing")


def test_a_heartbeat_that_stands_still_is_stopped(fake):
    fake.side.clock.advance(1.0)
    fake.answered("plc_air")
    fake.set("plc_air.link", 1.0)
    fake.set("plc_air.state", 2.0)

    def say(beats: int, latched: str = "") -> None:
        fake.page.update_status({"devices": {"plc_air": {"heartbeats": beats, "latched": latched}, "gone": {}}})

    assert fake.device("plc_air")["heartbeat"] == "stopped"  # nobody has said anything yet
    say(5)
    assert (fake.device("plc_air")["heartbeat"], fake.device("plc_air")["beats"]) == ("beating", 5)
    say(5)
    assert fake.device("plc_air")["heartbeat"] == "stopped"
    say(6)
    fake.set("plc_air.state", 0.0)
    assert fake.device("plc_air")["heartbeat"] == "stopped"  # disarmed
    say(7, "WRITE_DIFFERS: c1_speed_cmd")
    assert fake.device("plc_air")["text"] == "latched: WRITE_DIFFERS: c1_speed_cmd"


def test_counters_and_alarms_come_from_control(fake):
    fake.page.update_status({"missed": 5, "ticker": {"missed": 3.0}, "devices": {}, "alarms": [{"name": "air_low"}]})
    assert (fake.page.snapshot()["missed"], fake.page.snapshot()["overruns"]) == (5, 2)
    assert fake.page.alarms() == [{"name": "air_low"}]
    fake.page.update_alarms([])
    assert fake.page.alarms() == []


def test_rungs_say_where_a_setpoint_comes_from_and_why(fake):
    def rung(loop: str):
        found = fake.page.snapshot()["rungs"][loop]
        return found["source"], found["normal"], found["why"]

    assert rung("bat_dispatch") == ("plan", True, "")
    assert rung("furnace_temp_ctl") == ("furnace_profile", True, "")
    assert rung("air_pressure_ctl") == ("fixed value", True, "")
    assert rung("air_stage") == ("air_pressure_ctl", True, "")
    assert rung("local_rules") == ("stock and price", True, "")
    assert rung("peak_guard") == ("plan", True, "")
    for output in ("bat_power", "rate", "line_on", "peak_target"):
        fake.set(f"energy_plan.{output}", 0.0, BAD_NO_COMMS)
    fake.set("energy_plan.age", 3000.0)
    fake.set("bat_dispatch.rung", 1.0)
    assert rung("bat_dispatch") == ("local rules", False, "plan 50 min old")
    assert rung("peak_guard") == ("fallback 340 kW", False, "plan 50 min old")
    assert rung("furnace_profile") == ("local rules", False, "plan 50 min old")
    fake.set("local_rules.line_on", 0.0, BAD_NO_COMMS)
    assert rung("furnace_profile")[:2] == ("holds its state", False)
    fake.set("energy_plan.age", 0.0, BAD_NO_COMMS)
    fake.set("bat_dispatch.rung", 2.0)
    assert rung("bat_dispatch") == ("fallback", False, "no plan yet")
    fake.set("bat_dispatch.rung", 3.0)
    assert rung("bat_dispatch")[0] == "holds the last value"
    fake.set("energy_plan.bat_power", 0.0, UNCERTAIN_LAST)
    assert rung("bat_dispatch")[2].startswith("plan back")
    fake.set("bat_dispatch.rung", 9.0)
    assert rung("bat_dispatch")[:2] == ("unknown", False)


# --------------------------------------------------------------------------------------------------------------- plans
def step(hour: float, reason: str, hours: float = 1.0) -> PlanStep:
    return PlanStep(
        T0 + 3600 * hour, hours, -50.0, 0.8, True, 300.0, 60.0, 20.0, 250.0, 0.08, 0.0, 100.0, 0.0, reason
    )  # fmt: skip


def make(name: str = "p-1", steps: tuple[PlanStep, ...] = (), status="optimal", **more) -> Plan:
    costs = Costs(10.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0) if steps else Costs(0, 0, 0, 0, 0, 0, 0, 0)
    solved = Solved(True, 1, 1, 0.0, "gap", 0.0)
    plan = Plan(name, T0, T0 + 2700, status, steps, costs, (), (), (), solved, "solver: no answer")
    return replace(plan, **more)


STEPS = (
    step(0, "line runs: shortest run of 2 h; battery charges: price 80 EUR/MWh, used 19:00 at 139"),
    step(
        1,
        "line runs: 3rd cheapest of 9 hours before order 7 due 12:00; "
        "battery charges: price 76 EUR/MWh, used 20:00 at 133",
    ),
    step(2, "line runs: cheapest of 8 hours before order 7 due 12:00; battery rests"),
    step(3, "line off: stock 21.0 t is enough; battery rests", 21.0),
    step(24, "line off: stock 21.0 t is enough; battery discharges: price 139 EUR/MWh"),
)


def test_a_plan_in_sentences(fake):
    assert fake.page.plan() is None
    relaxed = (Relaxed("stock below its limit", 1.4, "t", T0 + 36_000),)
    fake.side.plans["energy_plan"] = make(
        steps=STEPS, status="relaxed", relaxed=relaxed, substitutes=("pv: clear sky",)
    )
    plan = fake.page.plan()
    assert plan is not None
    assert (plan["name"], plan["status"], plan["issued_at"], plan["valid_until"]) == (
        "energy_plan",
        "relaxed",
        T0,
        T0 + 2700,
    )
    assert plan["reasons"] == [
        "00:00 to 03:00 line runs: shortest run of 2 h, then 3rd cheapest of 9 hours before order 7 due 12:00",
        "00:00 to 02:00 battery charges: price 80 EUR/MWh, used 19:00 at 139",
        "03:00 to Tue 01:00 line off: stock 21.0 t is enough",
        "Tue 00:00 to Tue 01:00 battery discharges: price 139 EUR/MWh",
        "stands in: pv: clear sky",
    ]
    assert plan["relaxed"] == ["stock below its limit, by up to 1.4 t, at 10:00"]
    assert plan["cost"] == {"total_eur": 15.0, "energy_eur": 10.0, "co2_eur": 5.0}
    assert plan["steps"][0]["grid"] == 250.0
    assert "reason" not in plan["steps"][0]
    assert fake.page.plan() is plan  # made once a plan, not once a second


def test_a_plan_that_failed_leaves_the_last_one(fake):
    fake.side.plans["energy_plan"] = make(steps=STEPS)
    first = fake.page.plan()
    fake.side.plans["energy_plan"] = make("p-2", status="failed")
    second = fake.page.plan()
    assert first is not None
    assert second is not None
    assert (second["status"], second["steps"], second["valid_until"]) == ("last plan", first["steps"], T0 + 2700)
    assert second["reasons"][0] == "The newest plan failed: solver: no answer"
    assert second["id"] != first["id"]


def test_without_any_good_plan_there_is_none(fake):
    fake.side.plans["energy_plan"] = make(status="failed")
    plan = fake.page.plan()
    assert plan is not None
    assert (plan["status"], plan["steps"]) == ("none", [])


def test_prices_with_fees_and_with_the_past(fake):
    assert fake.page.prices() == []
    tag = "market.day_ahead"
    fake.side.profiles[tag] = Profile(
        tag, "EUR/MWh", ((T0, 20.0), (T0 + 3600, 40.0)), T0 + 7200, GOOD, "market", "a", "", T0
    )
    buy, sell = fake.page.prices()
    assert buy["steps"] == [(T0, pytest.approx(75.0)), (T0 + 3600, pytest.approx(95.0))]
    assert sell["steps"] == [(T0, pytest.approx(18.0)), (T0 + 3600, pytest.approx(36.0))]
    assert not buy["stale"]
    fake.side.clock.advance(3600.0)
    fake.side.profiles[tag] = Profile(
        tag, "EUR/MWh", ((T0 + 3600, 44.0),), T0 + 7200, GOOD, "market", "b", "", T0 + 3600
    )
    assert fake.page.prices()[0]["steps"] == [(T0, pytest.approx(75.0)), (T0 + 3600, pytest.approx(99.0))]
    fake.side.clock.advance(3600.0)
    assert fake.page.prices()[0]["stale"]  # it has ended


# -------------------------------------------------------------------------------------------------------------- trends
def feed(fake: Fake, times, value=lambda t: t, status: int = GOOD) -> None:
    n = len(fake.manifest["records"]["tags"])
    for t in times:
        fake.page.row(t, array("d", [value(t)] * n), bytes([status]) * n)


def test_a_trend_of_the_recent_past(fake):
    feed(fake, [T0 + i for i in range(100)])
    feed(fake, [T0 + 100], status=BAD_NO_COMMS)
    trend = fake.page.trend(["furnace_temp", "grid_15min"], 10)
    assert trend["utc"] == [T0 + i for i in range(90, 101)]
    assert trend["tags"]["grid_15min"] == [*(T0 + i for i in range(90, 100)), None]
    with pytest.raises(KeyError):
        fake.page.trend(["nobody"], 10)


def test_a_long_trend_is_thinned_and_reaches_six_hours(fake):
    feed(fake, [T0 + i for i in range(25_000)])
    last = T0 + 24_999
    fine, coarse = fake.page.trend(["furnace_temp"], 600), fake.page.trend(["furnace_temp"], 4 * 3600)
    assert len(fine["utc"]) == 601
    assert coarse["utc"][0] == pytest.approx(last - 4 * 3600, abs=live_trend.COARSE_S)
    assert len(coarse["utc"]) == 1440
    assert coarse["tags"]["furnace_temp"] == coarse["utc"]
    assert fake.page.trend(["furnace_temp"], 1e6)["utc"][0] == pytest.approx(last - 21_590, abs=live_trend.COARSE_S)


def test_an_empty_trend(fake):
    assert fake.page.trend(["furnace_temp"], 60) == {"utc": [], "tags": {"furnace_temp": []}}
    assert fake.page.trend([], 60) == {"utc": [], "tags": {}}


def test_a_pause_is_a_gap_and_a_clock_set_back_begins_anew(fake):
    feed(fake, [T0 + i for i in range(20)])
    feed(fake, [T0 + 300 + i for i in range(20)])
    trend = fake.page.trend(["furnace_temp"], 3600)
    assert trend["utc"] == sorted(trend["utc"])
    assert trend["tags"]["furnace_temp"].count(None) == 1
    assert trend["tags"]["furnace_temp"][20] is None
    feed(fake, [T0, T0 + 1])
    assert fake.page.trend(["furnace_temp"], 3600)["utc"] == [T0, T0 + 1]


def test_what_is_older_comes_from_the_historian(heat, tmp_path):
    file = tmp_path / "history.sqlite"
    tags = heat[1]["records"]["tags"]
    writer = HistoryWriter(file, [TagMeta(tag, "", "float") for tag in tags], {})
    for i in range(0, 40_000, 20):
        writer.row(T0 + i, [T0 + i] * len(tags), bytes([GOOD if i > 200 else BAD_NO_COMMS]) * len(tags))
    writer.close()
    fake = Fake(heat, file)
    feed(fake, [T0 + i for i in range(15_000, 40_000, 10)])
    trend = fake.page.trend(["furnace_temp", "sec"], 40_000)
    assert trend["utc"][0] == pytest.approx(T0, abs=60.0)
    assert trend["utc"] == sorted(set(trend["utc"]))
    assert trend["tags"]["sec"][0] is None
    assert all(v is None or math.isclose(v, t) for t, v in zip(trend["utc"], trend["tags"]["sec"], strict=True))
    assert len(trend["utc"]) <= live_trend.MOST
    fake.page.close()
    assert fake.page.trend(["sec"], 40_000)["utc"] == trend["utc"]  # opened anew when asked again
    fake.page.close()
    assert Fake(heat, tmp_path / "not there").page.trend(["sec"], 60)["utc"] == []
