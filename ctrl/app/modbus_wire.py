"""The modbus wire: the real Modbus/TCP client against virtual PLCs over the loopback, in lock-step virtual time.

Client, servers and plants share one event loop and one thread. Virtual time stands still while a request is under
way, so nothing that depends on the speed of the machine reaches the records: they are those of the memory wire, bit
for bit.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ctrl.app.scenario import REPORTS
from ctrl.app.simulate import Simulation
from ctrl.app.simulated_run import Progress
from ctrl.config.model import Site
from ctrl.field.modbus import ModbusTcp
from ctrl.field.modbus_server import ModbusServer
from ctrl.field.read_plan import ReadBlock
from ctrl.field.spec import DeviceSpec, Table
from ctrl.field.transport import Reconnect, Timeout, Transport
from ctrl.field.virtual_plc import VirtualPlc

PATIENCE_S: Final = 30.0  # wall; an answer is on its way, however slow the machine is
SILENCE_S: Final = 0.02  # wall; the virtual PLC is offline, and its server shares our loop: there will be no answer
HOST: Final = "127.0.0.1"


class LockStep:
    """A transport whose clock stands still while it waits: a late answer cannot happen, silence is known beforehand."""

    def __init__(self, plc: VirtualPlc, port: int, unit: int, reconnect: Reconnect, clock: Callable[[], float]) -> None:
        self.deadline = math.inf
        self.latency_ms = 0.0
        self._plc = plc
        self._inner = ModbusTcp(HOST, port, unit, PATIENCE_S, reconnect, clock=clock)

    async def connect(self) -> None:
        """See Transport.connect."""
        self._wait()
        await self._inner.connect()

    async def close(self) -> None:
        """See Transport.close."""
        await self._inner.close()

    async def read(self, block: ReadBlock) -> Sequence[int]:
        """See Transport.read."""
        self._wait()
        try:
            return await self._inner.read(block)
        except Timeout as error:
            raise Timeout("no answer") from error  # how long it took is a fact of this machine, not of the run

    async def write(self, table: Table, offset: int, words: Sequence[int]) -> None:
        """See Transport.write."""
        self._wait()
        try:
            await self._inner.write(table, offset, words)
        except Timeout as error:
            raise Timeout("no answer") from error

    def _wait(self) -> None:
        patience = SILENCE_S if self._plc.offline else PATIENCE_S
        self._inner.deadline = asyncio.get_running_loop().time() + patience


class ModbusSimulation(Simulation):
    """A Simulation over real sockets. It owns an event loop, so it cannot be built inside a running one."""

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
        self._runner = asyncio.Runner()
        self._servers: dict[str, ModbusServer] = {}
        self._wires: list[LockStep] = []
        try:
            super().__init__(site, record, days=days, seed=seed, plans=plans, arm=arm, inputs=inputs)
        except BaseException:
            self.disconnect()
            raise

    @property
    def requests(self) -> int:
        """Requests that the servers have seen."""
        return sum(server.requests for server in self._servers.values())

    def transport(self, spec: DeviceSpec) -> Transport:
        """Start a server for the device's virtual PLC on a free port, and connect the real client to that."""
        plc = self.plants.plcs[spec.name]
        server = self._servers[spec.name] = ModbusServer({spec.unit_id: plc})
        port = self._runner.run(server.start(host=HOST))
        wire = LockStep(plc, port, spec.unit_id, self.reconnect(spec), self.now_s)
        self._wires.append(wire)
        return wire

    def cycle(self) -> None:
        """One grid point: dated jobs, the scan over TCP, the plants."""
        self._runner.run(self._cycle())

    def run(self, progress: Progress | None = None) -> None:
        """All cycles of the scenario that are left; then the sockets are closed."""
        try:
            self._runner.run(self._cycles(progress))
        finally:
            self.disconnect()

    def disconnect(self) -> None:
        """Close all sockets and the loop; safe to call twice."""
        self._runner.run(self._disconnect())
        self._runner.close()
        self._runner = asyncio.Runner()  # holds nothing until it runs something

    async def _cycle(self) -> None:
        self.schedule.run_until(self.clock.utc())
        await self.control.cycle.run(self.k)
        self.after_scan()

    async def _cycles(self, progress: Progress | None) -> None:
        tick = max(1, self.n // REPORTS)
        while self.k < self.n:
            await self._cycle()
            if self.k % tick == 0:
                self.report(progress)

    async def _disconnect(self) -> None:
        for wire in self._wires:
            await wire.close()
        for server in self._servers.values():
            await server.stop()
