"""What may die: the site process, a PLC, a source, a price, a plan. What must not: control, and the truth about it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.system.live import LiveSite, live_site

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SPEED = 10.0
MARKET = "/market/DE-LU"


async def now(site: LiveSite) -> dict[str, Any]:
    status = await site.status()
    assert status is not None, site.log()
    return status


def test_kill_9_of_the_site_process_costs_no_control_cycle(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_site(tmp_path, SPEED) as site:
            await asyncio.sleep(2.0)
            before = await now(site)
            first = site.child("site")
            site.kill("site")
            await asyncio.sleep(3.0)
            during = await now(site)
            assert during["missed"] == before["missed"]
            assert during["cycles"] >= before["cycles"] + 0.8 * 3.0 * SPEED
            assert all(d["state"] == "armed" and d["link"] for d in during["devices"].values())

            def back() -> bool:
                try:
                    return site.child("site") != first
                except AssertionError:
                    return False

            await site.until("the supervisor starts it again", back)
            assert await site.stop() == 130

    asyncio.run(run())


def test_a_lost_plc_is_one_alarm_falls_back_and_returns_without_a_bump(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_site(tmp_path, SPEED) as site:
            plc = site.plant.plants.plcs["plc_energy"]
            await site.until("the battery is commanded", lambda: abs(plc.command("bat_cmd")) > 5.0)
            await site.plant.take_down("plc_energy")

            async def lost() -> bool:
                return not (await now(site))["devices"]["plc_energy"]["link"]

            await site.until("the link is lost", lost)
            # the PLC is on its own: its watchdog has applied the fallback
            await site.until("fallback", lambda: plc.state == "fallback" and plc.command("bat_cmd") == 0.0)

            async def alarmed() -> list[str]:
                return [a["name"] for a in (await now(site))["alarms"] if a["active"]]

            assert await site.until("the alarm", alarmed) == ["plc_energy_lost"]
            written = len(site.taps["plc_energy"].writes)
            await site.plant.bring_up("plc_energy")

            def commands() -> list[Any]:
                return [w for w in site.taps["plc_energy"].writes[written:] if w.address == 10]

            first = (await site.until("commands again", commands))[0]
            assert abs(0.1 * first.i16()) <= 0.005 * 400.0, "the first write is what the register held"
            status = await now(site)
            assert all(device["link"] for device in status["devices"].values())
            assert status["missed"] == 0

    asyncio.run(run())


def test_ctrl_c_writes_the_fallbacks_once_and_stops_the_heartbeat(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_site(tmp_path, SPEED) as site:
            plc = site.plant.plants.plcs["plc_furnace"]
            await site.until("the furnace is heated", lambda: plc.command("power_cmd") > 70.0)
            before = {name: len(tap.writes) for name, tap in site.taps.items()}
            assert await site.stop() == 130
            last = site.taps["plc_furnace"].last("hr", 10)
            assert last is not None
            assert last.f32() == pytest.approx(60.0)
            air = site.taps["plc_air"]
            assert air.last("hr", 20).registers == (800,)  # type: ignore[union-attr]
            assert (air.last("co", 2).registers, air.last("co", 3).registers) == ((1,), (0,))  # type: ignore[union-attr]
            counts = {name: len(tap.writes) for name, tap in site.taps.items()}
            assert all(counts[name] > before[name] for name in counts)
            await asyncio.sleep(1.0)
            assert {name: len(tap.writes) for name, tap in site.taps.items()} == counts, "nothing is written any more"

    asyncio.run(run())


def test_nothing_is_written_before_arming_nor_after_disarming(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_site(tmp_path, SPEED) as site:
            await site.ask("disarm")
            await asyncio.sleep(0.3)
            counts = {name: len(tap.writes) for name, tap in site.taps.items()}
            await asyncio.sleep(1.5)
            assert {name: len(tap.writes) for name, tap in site.taps.items()} == counts
            status = await now(site)
            assert {d["state"] for d in status["devices"].values()} == {"disarmed"}
            await site.until("PLC fallback", lambda: site.plant.plants.plcs["plc_furnace"].state == "fallback")

    asyncio.run(run())


def test_a_dead_source_is_seen_and_survived(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_site(tmp_path, 30.0) as site:
            await asyncio.sleep(1.0)
            site.plant.feed_fault = "dead"

            async def told() -> bool:
                events = await asyncio.to_thread(_events, site.record)
                return any(e["event"] == "IT_FAILED" for e in events)

            await site.until("the failure is recorded", told, wall_s=60.0)
            site.plant.feed_fault = "none"

            async def back() -> bool:
                events = await asyncio.to_thread(_events, site.record)
                return any(e["event"] == "IT_BACK" for e in events)

            await site.until("the return is recorded", back, wall_s=90.0)
            status = await now(site)
            assert all(d["state"] == "armed" for d in status["devices"].values())

    asyncio.run(run())


def _running(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _events(record: Path) -> list[dict[str, Any]]:
    from ctrl.records.history import HistoryReader

    found: list[dict[str, Any]] = []
    for file in record.glob("history-*.sqlite"):
        reader = HistoryReader(file)
        found += reader.events()
        reader.close()
    return found


def test_a_killed_supervisor_leaves_nobody_behind(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_site(tmp_path, SPEED) as site:
            assert site.engine is not None
            children = [site.child("control"), site.child("site")]
            site.engine.kill()
            site.engine.wait()

            def gone() -> bool:
                return not any(_running(pid) for pid in children)

            for _ in range(300):
                if gone():
                    break
                await asyncio.sleep(0.05)
            assert gone(), "a process of the engine runs on without its supervisor"
            power = site.taps["plc_furnace"].last("hr", 10)
            assert power is not None
            assert power.f32() == pytest.approx(60.0), "control ended with its fail action"

    asyncio.run(run())
