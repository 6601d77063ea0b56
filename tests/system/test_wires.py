"""The modbus wire is the memory wire: real client, real sockets, the same records bit for bit."""

import socket
from pathlib import Path

import pytest

from ctrl.app import modbus_wire
from ctrl.app.modbus_wire import ModbusSimulation
from ctrl.app.simulate import Simulation, simulate
from ctrl.config.loader import load
from ctrl.config.model import Site
from ctrl.field.modbus import ModbusTcp

SITE = Path(__file__).parents[2] / "configs" / "heat_treatment" / "site.yaml"
MINUTES = 1.0 / 1440.0


@pytest.fixture(scope="module")
def site() -> Site:
    return load(SITE)


@pytest.mark.system
def test_ten_minutes_with_plans_are_the_same_on_both_wires(site, tmp_path):
    memory = simulate(site, days=10 * MINUTES, record=tmp_path / "memory")
    modbus = simulate(site, days=10 * MINUTES, record=tmp_path / "modbus", wire="modbus")
    assert modbus.plans == memory.plans >= 1
    assert modbus.digest == memory.digest
    assert modbus.events == memory.events
    assert (tmp_path / "modbus" / "inputs.log").read_bytes() == (tmp_path / "memory" / "inputs.log").read_bytes()


def with_faults(simulation: Simulation) -> str:
    """Silence, a reboot, an exception and an operator, at the same cycles on any wire."""
    plcs = simulation.plants.plcs
    faults = {
        30: lambda: setattr(plcs["plc_air"], "offline", True),
        75: lambda: setattr(plcs["plc_air"], "offline", False),
        90: plcs["plc_furnace"].reboot,
        110: lambda: setattr(plcs["plc_energy"], "exception", 6),
        113: lambda: setattr(plcs["plc_energy"], "exception", None),
        130: lambda: plcs["plc_energy"].override("bat_cmd", 12.0),
        150: lambda: plcs["plc_energy"].override("bat_cmd", None),
    }
    while simulation.k < 200:
        faults.get(simulation.k, lambda: None)()
        simulation.cycle()
    return simulation.close(0.0).digest


@pytest.mark.system
def test_faults_are_the_same_on_both_wires(site, tmp_path):
    memory = Simulation(site, tmp_path / "memory", days=5 * MINUTES, plans=False)
    expected = with_faults(memory)
    modbus = ModbusSimulation(site, tmp_path / "modbus", days=5 * MINUTES, plans=False)
    try:
        assert with_faults(modbus) == expected
    finally:
        modbus.disconnect()
    events = [e.event for e in memory.events]
    assert {"READ_FAILED", "LINK_LOST", "LINK_RECOVERED", "DEVICE_RESTART"} <= set(events)
    assert [e.event for e in modbus.events] == events
    assert modbus.requests > 2000


@pytest.mark.system
def test_no_address_of_the_site_file_is_ever_contacted(site, tmp_path, monkeypatch):
    built: list[tuple[str, int]] = []

    def recorded(host, port, *rest, **named):
        built.append((host, port))
        return ModbusTcp(host, port, *rest, **named)

    monkeypatch.setattr(modbus_wire, "ModbusTcp", recorded)
    simulate(site, days=1 * MINUTES, plans=False, record=tmp_path / "modbus", wire="modbus")
    assert [host for host, _ in built] == ["127.0.0.1"] * len(site.devices)
    assert not {port for _, port in built} & {device.port for device in site.devices.values()}


@pytest.mark.parametrize("wire", ["memory", "kernel"])
def test_the_other_wires_open_no_socket(site, tmp_path, monkeypatch, wire):
    def refused(*_args, **_named):
        raise AssertionError("a socket in a simulation without one")

    monkeypatch.setattr("socket.socket.connect", refused)
    monkeypatch.setattr("ctrl.field.modbus.ModbusTcp.__init__", refused)
    assert simulate(site, days=1 * MINUTES, record=tmp_path / wire, wire=wire).cycles == 60


@pytest.mark.system
def test_sockets_are_closed_when_a_run_fails(site, tmp_path, monkeypatch):
    ports: list[int] = []
    monkeypatch.setattr(
        modbus_wire, "ModbusTcp", lambda host, port, *a, **k: ports.append(port) or ModbusTcp(host, port, *a, **k)
    )
    simulation = ModbusSimulation(site, tmp_path / "run", days=1 * MINUTES, plans=False)
    simulation.cycle()
    socket.create_connection(("127.0.0.1", ports[0]), timeout=1.0).close()

    def broken(*_args):
        raise ArithmeticError("the plant broke")

    monkeypatch.setattr(simulation.plants, "step", broken)
    with pytest.raises(ArithmeticError):
        simulation.run()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1.0)
    simulation.disconnect()  # twice does no harm
