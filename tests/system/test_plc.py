"""The simulated plant as a process of its own: any Modbus and HTTP client finds it where the override file says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from ctrl.clock import PlantClock, iso, system_boot_ns
from ctrl.config.loader import load
from ctrl.field.from_config import devices_from_config
from ctrl.field.modbus import ModbusTcp
from ctrl.field.read_plan import plan
from ctrl.field.transport import NotConnected, Reconnect, TransportError
from ctrl.simulation import serve
from ctrl.simulation.serve import CATCH_UP, Outage, PlantServer
from tests.fieldkit import seeded

pytestmark = pytest.mark.system
SITE = Path(__file__).parents[2] / "configs/heat_treatment/site.yaml"


@pytest.fixture(scope="module")
def site():
    return load(SITE)


def wire(server: PlantServer, device: str) -> ModbusTcp:
    unit = server.site.devices[device].device_id
    return ModbusTcp("127.0.0.1", server.ports[device], unit, 1.0, Reconnect(seeded(1), 0.0, 0.0))


async def until(condition, limit_s: float = 10.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)


def play(server: PlantServer, scene) -> None:
    async def run() -> None:
        async with server:
            await scene(server)

    asyncio.run(run())


# ---------------------------------------------------------------------------------------------------- where and when
def test_another_process_finds_devices_sources_and_the_same_time(site, tmp_path):
    async def scene(server: PlantServer) -> None:
        file = tmp_path / "made" / "override.yaml"
        server.write_override(file)
        assert [path.name for path in file.parent.iterdir()] == ["override.yaml"]  # no draft stays
        moved = load(SITE, override=file)
        assert moved.overridden == {*site.devices, *site.sources}
        assert moved.config_hash == site.config_hash
        assert moved.clock is not None
        there = PlantClock(round(moved.clock.origin * 1e9), moved.clock.start, moved.clock.speed, lambda: 10**15)
        server.clock._boot = lambda: 10**15
        assert (there.boot_ns(), there.utc()) == (server.clock.boot_ns(), server.clock.utc())  # to the nanosecond
        server.clock._boot = system_boot_ns
        for spec in devices_from_config(moved):  # every read the engine would make is answered
            modbus = ModbusTcp(spec.host, spec.port, spec.unit_id, 1.0, Reconnect(seeded(1)))
            for block in plan(spec):
                assert len(await modbus.read(block)) == block.count
            await modbus.close()
        async with httpx2.AsyncClient() as client:
            for source, part in moved.sources.items():
                for feed in part.feeds.values():
                    answer = await client.get(part.url + feed.path)
                    assert answer.status_code == 200, (source, feed.path)

    play(PlantServer(site, speed=40.0), scene)


@pytest.mark.parametrize("boot_ns", [1, 999_999_999, 86_400_000_000_007, 3 * 10**15 + 1, 2**53 + 1])
def test_the_clock_survives_its_way_through_the_file(site, tmp_path, monkeypatch, boot_ns):
    """Whatever the uptime: what the server keeps and what the file says is the same nanosecond."""

    async def scene(server: PlantServer) -> None:
        server.write_override(tmp_path / "o.yaml")
        clock = load(SITE, override=tmp_path / "o.yaml").clock
        assert clock is not None
        assert round(clock.origin * 1e9) == server.clock._origin_ns
        assert abs(server.clock._origin_ns - boot_ns) <= 8

    monkeypatch.setattr(serve, "system_boot_ns", lambda: boot_ns)
    play(PlantServer(site, speed=1e-3), scene)


def test_plant_time_moves_on_its_grid_and_measurements_with_it(site):
    async def scene(server: PlantServer) -> None:
        await until(lambda: server.steps >= 40)
        assert server.slips == 0
        late_s = server.clock.utc() - server.plants.context.start_utc - server.elapsed_s
        assert 0.0 <= late_s < 10.0  # a step is made when its end has come
        pressure = server.plants.world.output("air.net_pressure")
        assert 5.0 < pressure < 8.0

    play(PlantServer(site, speed=100.0), scene)


def test_commands_over_the_wire_move_the_plant_and_the_watchdog_ends_them(site):
    async def scene(server: PlantServer) -> None:
        modbus, plc = wire(server, "plc_energy"), server.plants.plcs["plc_energy"]
        for beat in range(1, 30):
            await modbus.write("hr", 0, [beat])
            await modbus.write("hr", 10, [1000])  # bat_cmd, 100 kW
            at = server.steps
            await until(lambda at=at: server.steps > at)
        assert plc.state == "remote"
        assert plc.command("bat_cmd") == pytest.approx(100.0)
        assert server.plants.world.output("energy.bat_power") == pytest.approx(100.0, abs=5.0)
        await until(lambda: plc.state == "fallback")
        assert plc.command("bat_cmd") == 0.0
        await modbus.close()

    play(PlantServer(site, speed=50.0), scene)


def test_the_scenario_ends(site):
    async def scene(server: PlantServer) -> None:
        await asyncio.wait_for(server.wait(), 10.0)
        assert server.steps + server.slips >= 60

    play(PlantServer(site, speed=1000.0, days=60 / 86_400), scene)


def test_a_slow_machine_catches_up_a_little_and_counts_the_rest(site, monkeypatch):
    now = [0]
    monkeypatch.setattr(serve, "system_boot_ns", lambda: 0)

    class ByHand(PlantClock):
        def __init__(self, origin_ns: int, start_utc: float, speed: float) -> None:
            super().__init__(origin_ns, start_utc, speed, lambda: now[0])

    monkeypatch.setattr(serve, "PlantClock", ByHand)

    async def scene(server: PlantServer) -> None:
        stamps = []
        whole = server.plants.step
        monkeypatch.setattr(server.plants, "step", lambda dt, ns, utc: (stamps.append((ns, utc)), whole(dt, ns, utc)))
        start = server.plants.context.start_utc
        now[0] = 3_000_000_000
        await until(lambda: server.steps == 3)
        assert server.slips == 0
        now[0] = 60_000_000_000
        await until(lambda: server.steps == 3 + CATCH_UP)
        assert server.slips == 57 - CATCH_UP
        assert server.elapsed_s == 60.0
        # the plants see the right time of day, and stood still for what was skipped: no watchdog has aged
        assert [utc - start for _, utc in stamps] == [0.0, 1.0, 2.0, 57.0, 58.0, 59.0]
        assert [ns // 10**9 for ns, _ in stamps] == [0, 1, 2, 3, 4, 5]

    play(PlantServer(site), scene)


def test_a_plant_that_breaks_is_told(site):
    async def scene(server: PlantServer) -> None:
        def broken(*_: object) -> None:
            raise ArithmeticError("furnace: broke")

        server.plants.step = broken
        with pytest.raises(ArithmeticError, match="furnace"):
            await asyncio.wait_for(server.wait(), 5.0)

    play(PlantServer(site, speed=100.0), scene)


# -------------------------------------------------------------------------------------------------------------- faults
def test_an_outage_drops_refuses_and_comes_back_at_the_same_port(site):
    outage = Outage("plc_air", 20.0, 40.0)
    server = PlantServer(site, speed=40.0, outages=[outage])

    async def scene(server: PlantServer) -> None:
        air, other = wire(server, "plc_air"), wire(server, "plc_energy")
        block = plan(server.plants.plcs["plc_air"].spec)[0]
        await air.read(block)
        await until(lambda: server.down)
        assert 20.0 <= server.elapsed_s < 24.0
        with pytest.raises(TransportError):
            await air.read(block)
        with pytest.raises(NotConnected):
            await air.read(block)
        await other.read(plan(server.plants.plcs["plc_energy"].spec)[0])
        await until(lambda: not server.down)
        assert 60.0 <= server.elapsed_s < 64.0
        await air.read(block)
        await air.close()
        await other.close()

    play(server, scene)


def test_a_device_goes_down_and_up_by_hand_and_its_port_may_be_late(site):
    async def scene(server: PlantServer) -> None:
        await server.take_down("plc_air")
        assert server.down == {"plc_air"}
        assert server.plants.plcs["plc_air"].offline
        thief = await asyncio.start_server(lambda *_: None, "127.0.0.1", server.ports["plc_air"])
        await server.bring_up("plc_air")
        assert server.down == {"plc_air"}
        thief.close()
        await until(lambda: not server.down)
        await wire(server, "plc_air").connect()
        with pytest.raises(ValueError, match="no device plc_oven"):
            await server.take_down("plc_oven")

    play(PlantServer(site, speed=40.0), scene)


def test_sources_fail_and_say_what_a_test_wants(site):
    async def scene(server: PlantServer) -> None:
        url = server.override()["sources"]["market"]["url"] + "/DE-LU"
        async with httpx2.AsyncClient() as client:
            before = (await client.get(url)).json()
            server.feed_fault = "500"
            assert (await client.get(url)).status_code == 500
            server.feed_fault = "none"
            server.bodies["/market/DE-LU"] = lambda utc: [{"start": iso(utc), "eur_per_mwh": -50.0}]
            after = (await client.get(url)).json()
        assert before != after
        assert after[0]["eur_per_mwh"] == -50.0
        assert json.loads(server.router.body("/market/DE-LU", 0.0)) == [{"start": iso(0.0), "eur_per_mwh": -50.0}]

    play(PlantServer(site), scene)


def test_outages_as_people_write_them():
    assert Outage.parse("plc_air@300s+20s") == Outage("plc_air", 300.0, 20.0)
    assert Outage.parse(" plc_air@1.5h+250 ms ") == Outage("plc_air", 5400.0, 0.25)
    for wrong in (
        "plc_air",
        "plc_air@300+20",
        "plc_air@300s",
        "@3s+4s",
        "plc_air@3kW+4s",
        "a@1s+0s",
        "a@-1s+2s",
        "a@1.2.3s+4s",
    ):
        with pytest.raises(ValueError, match=re.escape(repr(wrong))):
            Outage.parse(wrong)


def test_what_cannot_be_served_is_refused_at_once(site):
    with pytest.raises(ValueError, match="speed"):
        PlantServer(site, speed=0.0)
    with pytest.raises(ValueError, match="no device plc_oven"):
        PlantServer(site, outages=[Outage("plc_oven", 1.0, 1.0)])
    with pytest.raises(ValueError, match="loopback"):
        play(PlantServer(site, host="0.0.0.0"), lambda _: asyncio.sleep(0))
    with pytest.raises(RuntimeError, match="not started"):
        PlantServer(site).override()


# ------------------------------------------------------------------------------------------------------------- process
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_process_serves_and_ends_on_a_signal(tmp_path, number, code):
    file = tmp_path / "override.yaml"
    program = (
        "import sys; from pathlib import Path; from ctrl.app.plc import run_plc; "
        f"sys.exit(run_plc({str(SITE)!r}, speed=20.0, write_override=Path({str(file)!r})))"
    )
    env = {**os.environ, "PYTHONPATH": str(SITE.parents[2])}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(8)]
        served = load(SITE, override=file)
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(10) == code
    text = "".join(lines)
    assert "20 x real time" in text
    for name, device in served.devices.items():
        assert f"device {name}: modbus tcp 127.0.0.1:{device.port}, unit 1" in text
    for name, source in served.sources.items():
        assert f"source {name}: {source.url}" in text
    assert str(file) in text
    assert "ended: plant time 2018-03-0" in rest
    assert not file.exists()  # nobody is served there any more
