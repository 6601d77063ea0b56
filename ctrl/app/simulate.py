"""Simulation of a site: the control side, the site side and the plants in one process and virtual time.

Order of one cycle: dated jobs that are due, the scan (read, latch, execute, write), then the plants move. So a run with
the same site, seed and wire gives the same records, byte for byte. The wires:

    memory   requests go straight to the virtual PLCs: codec, gate, quality and faults, no sockets
    modbus   the real client and a server over TCP on the loopback, in lock-step; the same records as memory
    kernel   loops and plants in one compiled program: no codec, no gate, no faults; the fastest
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import Final, Literal, get_args

from ctrl.app.control_side import ControlSide, build
from ctrl.app.scenario import REPORTS, Scenario
from ctrl.app.simulated_run import Progress, Run
from ctrl.clock import LiveClock
from ctrl.config.model import Site
from ctrl.cycle import one_by_one, step
from ctrl.field.gate import DISARMED
from ctrl.field.journal import Journal
from ctrl.field.memory import MemoryTransport
from ctrl.field.spec import DeviceSpec
from ctrl.field.transport import Reconnect, Transport
from ctrl.loops.compile import compile_site
from ctrl.simulation.plant_side import PlantSide, SimulationError, make_context

__all__ = ["WIRES", "Progress", "Run", "Simulation", "SimulationError", "Wire", "simulate"]

Wire = Literal["memory", "modbus", "kernel"]
WIRES: Final[tuple[str, ...]] = get_args(Wire)
JOURNAL_RECORDS = 200_000


class Simulation(Scenario):
    """One simulated site on the memory wire, advanced cycle by cycle; tests reach into its parts between two cycles.

    days, seed: instead of the scenario's. plans: make plans (else the loops run on local rules). arm: arm each device
    as soon as its link is good. inputs: keep an input log.
    Raises SimulationError or PlantError when the site cannot be simulated.
    """

    def __init__(
        self,
        site: Site,
        record: Path,
        *,
        days: float | None = None,
        seed: int | None = None,
        plans: bool = True,
        arm: bool = True,
        inputs: bool = True,
    ) -> None:
        plants = PlantSide(site, make_context(site, days, seed))
        super().__init__(site, plants, compile_site(site), record, inputs=inputs)
        self._arm = arm
        self.control: ControlSide = build(
            self.bundle,
            clock=self.clock,
            transport=self.transport,
            gather=one_by_one,
            recorder=self.recorder,
            journal=Journal(None, JOURNAL_RECORDS),
        )
        image, slots = self.control.image, self.control.slots
        self.start_jobs(lambda tag: image.get(slots[tag])[:2], self.control.take, plans)

    def transport(self, spec: DeviceSpec) -> Transport:
        """The wire to one device: always to the run's own virtual PLC, never to the address in the site file."""
        return MemoryTransport(self.plants.plcs[spec.name], self.reconnect(spec), self.now_s)

    def reconnect(self, spec: DeviceSpec) -> Reconnect:
        """When to try again after a loss, the same on every wire."""
        return Reconnect(Random(spec.name))  # noqa: S311 - jitter, not a secret

    def now_s(self) -> float:
        """Virtual seconds since the start."""
        return self.clock.boot_ns() * 1e-9

    def cycle(self) -> None:
        """One grid point: dated jobs, the scan, the plants."""
        self.schedule.run_until(self.clock.utc())
        step(self.control.cycle.run(self.k))
        self.after_scan()

    def after_scan(self) -> None:
        """The plants move, at the one point where all writes of the cycle are acknowledged; then time moves."""
        self.plants.step(self.base_s, self.clock.boot_ns(), self.clock.utc())
        if self._arm:
            self._try_arm()
        self.clock.advance(self.base_s)
        self.k += 1
        self.first_plan()

    def _try_arm(self) -> None:
        waiting = False
        for name, driver in self.control.devices.items():
            if driver.gate.state.mode == DISARMED and not driver.gate.state.latched:
                waiting = True
                if driver.gate.state.link_good:
                    self.control.change_state(name, "arm", "simulation", "start of the simulation")
        self._arm = waiting

    def run(self, progress: Progress | None = None) -> None:
        """All cycles of the scenario that are left."""
        tick = max(1, self.n // REPORTS)
        while self.k < self.n:
            self.cycle()
            if self.k % tick == 0:
                self.report(progress)

    def counted(self) -> tuple[int, int]:
        """(cycles run, cycles missed)."""
        counters = self.control.cycle.counters
        return counters.cycles, counters.missed


def simulate(
    site: Site,
    *,
    days: float | None = None,
    wire: Wire = "memory",
    seed: int | None = None,
    plans: bool = True,
    record: str | Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run a site's scenario in virtual time. No device or source of the site file is ever contacted.

    days: length in days of 24 h, above 0; seed: from 0; both instead of the scenario's. wire: see this module.
    plans: False leaves the loops to local rules.
    record: folder for the records, made when missing (default: a new temporary one); it may not hold records yet.
    Raises SimulationError or PlantError when the site cannot be simulated, HistoryError for a folder with records.
    """
    if wire not in WIRES:
        raise SimulationError(f"no wire {wire!r}; there are {', '.join(WIRES)}")
    context = make_context(site, days, seed)  # a site without `simulate:` leaves no folder behind
    if not context.days > 0.0:
        raise SimulationError(f"a run takes more than {context.days} days")
    folder = Path(record) if record is not None else Path(tempfile.mkdtemp(prefix="loopwright-"))
    wall = LiveClock()
    began = wall.wall_mono()
    simulation = _made(site, folder, wire, days=days, seed=seed, plans=plans)
    simulation.run(progress)
    return simulation.close(wall.wall_mono() - began)


def _made(site: Site, folder: Path, wire: Wire, *, days: float | None, seed: int | None, plans: bool) -> Scenario:
    # imported here: they build on Simulation, and pymodbus is slow to import
    if wire == "modbus":
        from ctrl.app.modbus_wire import ModbusSimulation  # noqa: PLC0415

        return ModbusSimulation(site, folder, days=days, seed=seed, plans=plans)
    if wire == "kernel":
        from ctrl.app.kernel_wire import KernelSimulation  # noqa: PLC0415

        return KernelSimulation(site, folder, days=days, seed=seed, plans=plans)
    return Simulation(site, folder, days=days, seed=seed, plans=plans)
