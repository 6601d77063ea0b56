"""What is lost and what must go on: sources, prices, solvers, the site side, PLCs, sensors. Visible, and survived."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ctrl.app.scenario
from ctrl.app.kernel_wire import KernelSimulation
from ctrl.app.simulate import Simulation
from ctrl.config.loader import load
from ctrl.config.model import Site
from ctrl.cycle import step
from ctrl.planning.plan import Plan
from ctrl.planning.solver import HotLp
from ctrl.quality import UNCERTAIN_LAST, is_good, is_usable, word
from ctrl.records.history import HistoryReader
from tests.loop.probe import FOLDER, PLAN, Probe, Router, changed, dead

NOISE_KW = 8.0  # what the noise of the sensor moves the output by in one cycle, gain 15 kW/K
MIN = 60
HOUR = 3600
RUNGS = ("bat_dispatch.rung", "line_rate_ctl.rung")
TRACKING, MEASURE_BAD = 1, 2  # reasons
INITIALISING, LOCAL, MANUAL = 1, 2, 3  # modes

Start = Callable[..., Probe]


@pytest.fixture(scope="module")
def site() -> Site:
    return load(FOLDER / "site.yaml")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a simulation of a site, with the tags that are to be kept."""
    monkeypatch.setattr(ctrl.app.scenario, "FeedRouter", Router)

    def make(site: Site, *tags: str, plans: bool = True) -> Probe:
        return Probe(Simulation(site, tmp_path / "run", days=3, plans=plans, inputs=False), tags)

    return make


def faults(probe: Probe) -> dict[str, Callable[[bytes], bytes]]:
    router = probe.sim.router
    assert isinstance(router, Router)
    return router.faults


def poll(probe: Probe, feed: str) -> None:
    """One poll of a feed now."""
    step(probe.sim.schedule.entry(feed).func())


def edge(condition: Any) -> int:
    """Index of the first cycle in which the condition holds."""
    found = np.flatnonzero(condition)
    assert found.size, "it never holds"
    return int(found[0])


def planned_stock(plan: Plan) -> float:
    """Stock that a plan began with, t."""
    first = plan.steps[0]
    return first.stock + first.due - first.rate * first.hours


def words(statuses: Any) -> list[str]:
    """The words of the statuses, in order, each episode once."""
    shown = [word(int(s)) for s in statuses]
    return [w for i, w in enumerate(shown) if i == 0 or w != shown[i - 1]]


# ------------------------------------------------------------------------------------------------------ a dead source
def test_a_dead_market_is_told_once_and_replaced_until_it_returns(tmp_path: Path, start: Start) -> None:
    site = changed(tmp_path / "site", ("horizon: 35 h, stale_after: 26 h", "horizon: 35 h, stale_after: 2 h"))
    probe = start(site, "market.day_ahead", "market.co2", *RUNGS)
    probe.run(MIN)
    faults(probe)["/market"] = dead
    probe.run(2 * HOUR + 40 * MIN)
    status = probe.statuses("market.day_ahead")
    assert words(status[5:]) == ["good", "uncertain", "bad"]
    assert edge(status[5:] == UNCERTAIN_LAST) + 5 == pytest.approx(30 * MIN, abs=2)
    assert edge(~(status[5:] >= UNCERTAIN_LAST)) + 5 == pytest.approx(2 * HOUR, abs=2)
    assert word(int(probe.statuses("market.co2")[-1])) == "uncertain"
    assert probe.alarm("market_day_ahead_old")
    assert not probe.alarm("market_co2_old")
    assert sorted(str(e.data["feed"]) for e in probe.events("IT_FAILED")) == ["market.co2", "market.day_ahead"]
    last = probe.plans[-1]
    assert last.status == "optimal"
    assert any(s.startswith("price: ") and "same hour last week" in s for s in last.substitutes), last.substitutes
    assert min(s.buy for s in last.steps) > 0.03
    assert probe.armed()
    assert probe.values("bat_dispatch.rung")[60:].max() == 0.0, "the plan is followed all the time"

    del faults(probe)["/market"]
    probe.run(3 * HOUR + MIN)
    assert is_good(int(probe.statuses("market.day_ahead")[-1]))
    assert not probe.alarm("market_day_ahead_old")
    assert sorted(str(e.data["feed"]) for e in probe.events("IT_BACK")) == ["market.co2", "market.day_ahead"]
    assert len(probe.events("IT_FAILED")) == 2
    assert probe.plans[-1].substitutes == ()
    assert probe.raised() == ["market_day_ahead_old"]
    assert probe.sim.counted() == (probe.t, 0)


def test_a_dead_erp_leaves_orders_known_and_the_stock_carried_on(site: Site, start: Start) -> None:
    probe = start(site, "erp.stock", "plc_furnace.belt_rate", *RUNGS)
    probe.run(MIN)
    faults(probe)["/erp"] = dead
    probe.run(55 * MIN)
    assert any("stock: erp.stock is not fresh" in s for s in probe.plans[-1].substitutes)
    probe.run(2 * HOUR + 31 * MIN)
    status = probe.statuses("erp.stock")
    assert words(status[5:]) == ["good", "uncertain", "bad"]
    assert edge(status[5:] == UNCERTAIN_LAST) + 5 == pytest.approx(10 * MIN, abs=2)
    assert edge(~(status[5:] >= UNCERTAIN_LAST)) + 5 == pytest.approx(HOUR, abs=2)
    assert {e.data["feed"] for e in probe.events("IT_FAILED")} == {"erp.orders", "erp.sales", "erp.stock"}
    assert len(probe.events("IT_FAILED")) == 3
    last = probe.plans[-1]
    assert last.status in ("optimal", "relaxed")
    assert "orders: list of Mon 00:00 kept" in last.substitutes
    made = probe.values("plc_furnace.belt_rate")[10 * MIN :].sum() / HOUR
    sold = probe.value("erp.sales") / 24.0 * (probe.t - 10 * MIN) / HOUR
    estimate = probe.value("local_rules.stock_est")
    assert estimate == pytest.approx(probe.values("erp.stock")[5 * MIN] + made - sold, abs=0.02)
    assert planned_stock(last) == pytest.approx(estimate, abs=0.3)
    assert probe.armed()
    assert probe.raised() == ["erp_stock_old"]
    assert probe.values("line_rate_ctl.rung")[60:].max() == 0.0

    faults(probe).clear()
    probe.run(3 * HOUR + MIN)
    assert is_good(int(probe.statuses("erp.stock")[-1]))
    assert len(probe.events("IT_BACK")) == 3
    assert not probe.alarm("erp_stock_old")
    assert probe.plans[-1].substitutes == ()
    assert probe.value("local_rules.stock_est") == probe.value("erp.stock")


# ------------------------------------------------------------------------------------------------------ missing prices
def _rows(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[bytes], bytes]:
    def answer(body: bytes) -> bytes:
        return json.dumps({"data": change(json.loads(body)["data"])}).encode()

    return answer


def _null(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r | {"eur_per_mwh": None} if i in (6, 7) else r for i, r in enumerate(rows)]


def _gap(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for i, r in enumerate(rows) if i not in (6, 7)]


def test_a_missing_price_is_never_a_price_of_zero(site: Site, start: Start) -> None:
    probe = start(site, "market.day_ahead")
    probe.run(15)
    side, store = probe.sim.side, probe.sim.control.store
    planner = side.planners[PLAN]
    full = store.profile("market.day_ahead")
    assert full is not None
    answers: dict[str, Callable[[bytes], bytes]] = {
        "null": _rows(_null),
        "gap": _rows(_gap),
        "empty": _rows(lambda _: []),
        "all null": _rows(lambda rows: [r | {"eur_per_mwh": None} for r in rows]),
        "nan": lambda body: body.replace(b"16.31", b"NaN"),
        "text": lambda body: body.replace(b"16.31", b'"16.31"'),
    }
    six = full.steps[6][0]
    for name, answer in answers.items():
        probe.run(probe.t + 1)
        faults(probe)["/market/DE-LU"] = answer
        poll(probe, "market.day_ahead")
        now = store.profile("market.day_ahead")
        assert now is not None
        known = dict(full.steps)
        assert all(known[t] == v for t, v in now.steps), f"{name}: no value is invented"
        if name in ("null", "gap"):
            assert now.valid_until == six, name
        else:
            assert now.steps == full.steps[: len(now.steps)], name
        step(side.plan_now(PLAN))
        plan = side.plans[PLAN]
        assert plan.status == "optimal", name
        assert min(s.buy for s in plan.steps) > 0.055, f"{name}: no hour for nothing but the fees"
        assert min(v for _, v in planner.inputs(probe.utc).price.steps) > 0.005, name
        if name in ("null", "gap"):
            assert any("price: market unknown from Mon 06:00" in s for s in plan.outlook), name
        faults(probe).clear()
        probe.run(probe.t + 1)
        poll(probe, "market.day_ahead")
        again = store.profile("market.day_ahead")
        assert again is not None
        assert again.steps == full.steps, f"{name}: it returns by itself"
    told = [e.event for e in probe.events("IT_FAILED") + probe.events("IT_INCOMPLETE") if e.source == "market"]
    assert told.count("IT_FAILED") == 4
    assert told.count("IT_INCOMPLETE") >= 1


def test_without_any_price_local_rules_keep_to_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctrl.app.scenario, "FeedRouter", Router)
    site = changed(tmp_path / "site", ("start: 2018-03-05T00:00", "start: 2018-03-05T14:50"))
    monkeypatch.setattr(Router, "body", _no_price(Router.body))
    run = KernelSimulation(site, tmp_path / "run", days=6 / 24, plans=False)
    run.run()
    run.close(0.0)
    reader = HistoryReader(tmp_path / "run" / "history.sqlite")
    price = reader.series("market.day_ahead")[2]
    on, battery = reader.series("local_rules.line_on")[1], reader.series("local_rules.bat_power")[1]
    commanded, request = (reader.series(tag)[1] for tag in ("plc_energy.bat_cmd", "peak_guard.battery_request"))
    reader.close()
    assert not any(is_usable(int(q)) for q in price)
    clock = 14 * HOUR + 50 * MIN + np.arange(on.size)
    avoided = (clock >= 17 * HOUR + 10) & (clock < 20 * HOUR)
    assert on[avoided].max() == 0.0
    assert on[20:][~avoided[20:] & (clock[20:] < 17 * HOUR)].min() == 1.0
    assert on[clock >= 20 * HOUR + 10].min() == 1.0
    assert np.abs(battery).max() == 0.0
    assert np.abs(commanded[30:][request[28:-2] == 0.0]).max() <= 0.5, "nothing but what the peak guard asks"


def _no_price(body: Callable[..., bytes]) -> Callable[..., bytes]:
    def answer(router: Router, path: str, utc: float) -> bytes:
        return b'{"data": []}' if path == "/market/DE-LU" else body(router, path, utc)

    return answer


# -------------------------------------------------------------------------------------------------------- no solution
def test_a_solver_that_finds_nothing_costs_the_plan_and_nothing_else(site: Site, start: Start) -> None:
    probe = start(site, "energy_plan.age", *RUNGS)
    probe.run(16 * MIN)
    dispatch = probe.sim.side.planners[PLAN]._dispatch
    good_spec, good_lp, n, good = dispatch.spec, dispatch._lp, len(probe.plans), probe.plans[-1]
    solver = replace(good_spec.solver, nodes=0, iterations=0)
    dispatch.spec, dispatch._lp = replace(good_spec, solver=solver), HotLp(solver, None)
    probe.run(59 * MIN)
    assert [p.status for p in probe.plans[n:]] == ["shifted", "shifted"]
    assert probe.plans[-1].valid_until == good.valid_until
    assert "last plan shifted" in probe.plans[-1].message
    assert max(probe.value(r) for r in RUNGS) == 0.0, "the old plan is followed while it is valid"
    assert not probe.alarm("plan_old")
    probe.run(62 * MIN)
    assert probe.plans[-1].status == "failed"
    assert probe.alarm("plan_old")
    assert [probe.value(r) for r in RUNGS] == [1.0, 1.0]
    probe.run(76 * MIN)
    told = [e.event for e in probe.sim.events if e.source == PLAN]
    assert told == ["PLAN_SHIFTED", "PLAN_FAILED"], "one event an episode"

    dispatch.spec, dispatch._lp = good_spec, good_lp
    probe.run(91 * MIN)
    assert probe.plans[-1].status == "optimal"
    assert [probe.value(r) for r in RUNGS] == [1.0, 1.0], "one plan is not enough to trust"
    probe.run(106 * MIN)
    assert [probe.value(r) for r in RUNGS] == [0.0, 0.0]
    assert not probe.alarm("plan_old")
    assert [e.event for e in probe.sim.events if e.source == PLAN][-1] == "PLAN_GOOD"
    assert probe.raised() == ["plan_old"]
    assert probe.armed()
    at = 15 * MIN + 5
    assert edge(probe.values("bat_dispatch.rung")[60:] == 1.0) + 60 == pytest.approx(at + 46 * MIN, abs=15)


def test_a_connection_below_the_base_load_is_exceeded_by_a_told_amount(tmp_path: Path, start: Start) -> None:
    site = changed(tmp_path / "site", ("import_max: 800 kW", "import_max: 20 kW"))
    probe = start(site)
    probe.run(15)
    plan = probe.plans[-1]
    assert plan.status == "relaxed"
    worst = next(r for r in plan.relaxed if "import" in r.what)
    assert worst.unit == "kW"
    highest = max(s.grid for s in plan.steps)
    assert worst.amount == pytest.approx(highest - 20.0, abs=1.0)
    assert len(probe.events("PLAN_RELAXED")) == 1
    assert "by " in probe.events("PLAN_RELAXED")[0].text


def test_orders_that_cannot_be_made_in_time_are_named_with_what_is_late(site: Site, start: Start) -> None:
    probe = start(site)
    due = datetime.fromtimestamp(probe.utc + 6 * HOUR).astimezone().isoformat()
    more = {"no": "HUGE-1", "due_at": due, "qty_t": 60.0}
    faults(probe)["/erp/orders"] = _rows(lambda rows: [*rows, more])
    probe.run(2)
    poll(probe, "erp.orders")
    probe.run(15)
    plan = probe.plans[-1]
    assert plan.status == "relaxed"
    late = next(r for r in plan.relaxed if "HUGE-1" in r.what)
    assert late.unit == "h"
    soonest = (60.0 - probe.value("erp.stock")) / 1.1 - 6.0  # h, with the line at its best all the time
    assert soonest - 0.1 <= late.amount <= 42.0
    assert f"HUGE-1 late by {late.amount:.2f} h" in probe.events("PLAN_RELAXED")[0].text


# -------------------------------------------------------------------------------------------------- no site side at all
def test_a_day_and_more_without_the_site_side(site: Site, start: Start) -> None:
    tags = ("local_rules.bat_power", "local_rules.line_on", "local_rules.rate", "local_rules.stock_est", "buy_price",
            "plc_energy.bat_soc", "plc_energy.bat_power", "plc_furnace.belt_rate", "line_rate_ctl.run", "erp.sales",
            "peak_guard.battery_request")  # fmt: skip
    probe = start(site, *tags, *RUNGS)
    probe.run(16 * MIN)
    for job in probe.sim.schedule.jobs():
        probe.sim.schedule.remove(job.id)
    probe.run(26 * HOUR + 16 * MIN)
    assert probe.sim.counted() == (probe.t, 0)
    assert probe.armed()
    gone = 15 * MIN + 5 + 46 * MIN + 30  # the last plan is over
    for rung in RUNGS:
        assert set(probe.values(rung)[gone:].tolist()) == {1.0}

    price, known = probe.values("buy_price"), probe.statuses("buy_price") >= 0x40
    asked, soc = probe.values("local_rules.bat_power"), probe.values("plc_energy.bat_soc")
    after = np.arange(asked.size) > gone
    assert known[gone : 24 * HOUR - 60].all()
    assert not known[24 * HOUR + 60 :].any()
    # a supervisory task looks every 10 s: judge where the price is the same since then
    settled = after & (np.roll(price, 20) == price) & (np.roll(known, 20) == known)
    charge, discharge = known & (price < 85.0) & (soc < 89.5), known & (price > 115.0) & (soc > 20.0)
    assert (settled & charge).sum() > HOUR
    assert (settled & discharge).sum() > HOUR
    assert (asked[settled & charge] < 0.0).all()
    assert (asked[settled & discharge] > 0.0).all()
    assert (asked[settled & known & (price > 85.0) & (price < 115.0)] == 0.0).all()
    assert (asked[settled & ~known] == 0.0).all()
    power, request = probe.values("plc_energy.bat_power"), probe.values("peak_guard.battery_request")
    assert power[settled & charge & (request == 0.0)].mean() < -50.0
    assert np.abs(power[24 * HOUR + 5 * MIN :][request[24 * HOUR + 5 * MIN :] == 0.0]).max() < 1.0

    estimate, made = probe.values("local_rules.stock_est"), probe.values("plc_furnace.belt_rate") / HOUR
    sold = probe.values("erp.sales") / 24.0 / HOUR
    begin, end = 30 * MIN, 23 * HOUR
    assert estimate[end] - estimate[begin] == pytest.approx((made - sold)[begin:end].sum(), abs=0.02)

    on = probe.values("local_rules.line_on")[gone:]
    changes = np.flatnonzero(np.diff(on))
    assert changes.size >= 2
    assert np.diff(changes).min() >= 2 * HOUR - 10
    assert probe.values("plc_furnace.belt_rate").max() <= 1.1


# ----------------------------------------------------------------------------------------------------------- a lost PLC
def test_a_plc_lost_for_a_minute_is_one_alarm_and_returns_without_a_bump(site: Site, start: Start) -> None:
    tags = ("plc_furnace.temp", "plc_furnace.power", "plc_furnace.link", "furnace_temp_ctl.out",
            "furnace_temp_ctl.mode", "furnace_temp_ctl.why", "line_rate_ctl.mode", "plc_furnace.power_cmd~readback",
            "plc_furnace.power_cmd", "plc_furnace.line_run_cmd", "plc_furnace.belt_rate")  # fmt: skip
    probe = start(site, *tags)
    probe.run(5 * MIN)
    plc = probe.sim.plants.plcs["plc_furnace"]
    lost = probe.t
    plc.offline = True
    probe.run(lost + 1)
    assert all(not is_usable(int(probe.statuses(tag)[-1])) for tag in ("plc_furnace.temp", "plc_furnace.power"))
    probe.run(lost + 4)
    assert plc.state == "remote"
    probe.run(lost + 9)
    assert plc.state == "fallback"
    assert plc.command("power_cmd") == 60.0
    probe.run(lost + 60)
    assert probe.alarm("plc_furnace_lost")
    assert set(probe.values("furnace_temp_ctl.mode")[lost + 3 :].tolist()) <= {INITIALISING, LOCAL, MANUAL}
    assert probe.raised() == ["plc_furnace_lost"]
    assert probe.armed()

    belt = plc.command("belt_cmd")
    plc.offline = False
    probe.run(lost + 60 + 1)
    while plc.state != "remote":
        assert probe.t < lost + 60 + 120, "it returns"
        probe.run(probe.t + 1)
    back = probe.t
    assert plc.command("power_cmd") == pytest.approx(60.0, abs=0.005 * 320.0)
    assert plc.command("belt_cmd") == pytest.approx(belt, abs=0.005 * 1.1)
    probe.run(back + 5 * MIN)
    out = probe.values("furnace_temp_ctl.out")
    assert out[back + 2] == pytest.approx(60.0, abs=0.005 * 320.0), "it begins where the PLC was"
    assert np.abs(np.diff(out[back - 3 :])).max() < NOISE_KW
    assert not probe.alarm("plc_furnace_lost")
    assert probe.raised() == ["plc_furnace_lost"]
    assert probe.values("furnace_temp_ctl.why")[-1] not in (TRACKING, MEASURE_BAD)
    assert probe.values("plc_furnace.line_run_cmd")[lost:].min() == 1.0, "the line is not told to stop"
    assert probe.values("plc_furnace.belt_rate")[lost:].min() > 0.54


# ---------------------------------------------------------------------------------------------------------- bad sensors
def test_sensors_that_fail_one_after_the_other(site: Site, start: Start) -> None:
    tags = ("furnace_temp", "furnace_temp.index", "furnace_temp_ctl.out", "furnace_temp_ctl.mode",
            "furnace_temp_ctl.why", "plc_furnace.temp", "plc_furnace.power_cmd")  # fmt: skip
    probe = start(site, *tags)
    probe.run(5 * MIN)
    plc = probe.sim.plants.plcs["plc_furnace"]
    forced: dict[str, float] = {}
    show = plc.set_measures
    plc.set_measures = lambda values: show({**values, **forced})  # type: ignore[method-assign]

    forced["temp"] = 1300.0
    probe.run(7 * MIN)
    assert not is_usable(int(probe.statuses("plc_furnace.temp")[-1]))
    assert is_usable(int(probe.statuses("furnace_temp")[-1]))
    assert probe.value("furnace_temp") == pytest.approx(870.0, abs=10.0)
    assert probe.value("furnace_temp_ctl.why") != MEASURE_BAD
    assert np.abs(np.diff(probe.values("furnace_temp_ctl.out")[4 * MIN :])).max() < 10.0
    assert probe.raised() == []

    forced["temp_backup"] = -200.0
    lost = probe.t
    probe.run(lost + 55)
    held = probe.values("furnace_temp_ctl.out")[lost + 2 :]
    assert held.max() - held.min() < 0.1, "held"
    assert probe.value("furnace_temp_ctl.why") == MEASURE_BAD
    assert probe.raised() == ["furnace_temp_ctl_measure_bad"]
    probe.run(lost + 90)
    assert plc.command("power_cmd") == pytest.approx(60.0, abs=0.1)

    forced.clear()
    back = probe.t
    probe.run(back + 3 * MIN)
    assert np.abs(np.diff(probe.values("furnace_temp_ctl.out")[back - 2 :])).max() < NOISE_KW
    assert not probe.alarm("furnace_temp_ctl_measure_bad")
    assert probe.raised() == ["furnace_temp_ctl_measure_bad"]
    assert probe.armed()


# ----------------------------------------------------------------------------------------------------------------- news
def test_news_lead_to_a_commitment_within_a_minute(site: Site, start: Start) -> None:
    probe = start(site)
    probe.run(3 * MIN)
    planner = probe.sim.side.planners[PLAN]
    assert planner.commits == 1
    orders = {"no": "NEW-1", "due_at": "2018-03-06T10:00:00+01:00", "qty_t": 3.0}

    def within_a_minute(feed: str) -> None:
        before = planner.commits
        poll(probe, feed)
        probe.run(probe.t + MIN + 1)
        assert planner.commits == before + 1, feed
        probe.run(probe.t + MIN)
        assert planner.commits == before + 1, "once"

    faults(probe)["/erp/orders"] = _rows(lambda rows: [*rows, orders])
    within_a_minute("erp.orders")
    orders["qty_t"] = 5.0
    within_a_minute("erp.orders")
    orders["due_at"] = "2018-03-05T18:00:00+01:00"
    within_a_minute("erp.orders")
    faults(probe)["/market/DE-LU"] = _rows(lambda rows: [r | {"eur_per_mwh": r["eur_per_mwh"] * 1.2} for r in rows])
    within_a_minute("market.day_ahead")
    before = planner.commits
    orders["qty_t"] = 4.0
    poll(probe, "erp.orders")
    probe.run(probe.t + MIN + 1)
    assert planner.commits == before, "what was delivered is no news"
