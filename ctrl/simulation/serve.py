"""The simulated plant as a process of its own: virtual PLCs on Modbus/TCP, sources on HTTP, on one plant clock.

Everything is on the loopback interface, on ports the system gives. The plants are stepped on the grid of plant time
start + k x base period. When the machine is too slow, up to CATCH_UP steps are made up for; the grid points beyond that
are skipped and counted in `slips`: plants and PLC programs, watchdogs included, then stand still for so long.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from ctrl.clock import PlantClock, sleep, system_boot_ns
from ctrl.config.model import Site
from ctrl.field.modbus_server import ModbusServer
from ctrl.simulation.feed_server import Fault, FeedServer
from ctrl.simulation.http_feeds import Body, FeedRouter
from ctrl.simulation.plant_side import PlantSide, make_context
from ctrl.units import UnitError, parse_duration

CATCH_UP: Final = 3
_OUTAGE: Final = re.compile(
    r"(?P<device>\w+)@(?P<at>[\d.]+) ?(?P<at_unit>[a-z]+)\+(?P<long>[\d.]+) ?(?P<long_unit>[a-z]+)"
)


@dataclass(frozen=True, slots=True)
class Outage:
    """A device that nobody reaches: from at_s for for_s seconds of plant time after the start.

    Its PLC program runs on, so its watchdog brings the fallbacks.
    """

    device: str
    at_s: float
    for_s: float

    @classmethod
    def parse(cls, text: str) -> Outage:
        """From "plc_air@300s+20s": device @ time after the start + duration. Raises ValueError."""
        found = _OUTAGE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no outage; write for example plc_air@300s+20s")
        try:
            at, long = (parse_duration(f"{found[key]} {found[key + '_unit']}").to("s") for key in ("at", "long"))
        except UnitError as error:
            raise ValueError(f"{text!r} is no outage: {error}") from error
        if long <= 0.0:
            raise ValueError(f"{text!r} is no outage: it must last longer than 0 s")
        return cls(found["device"], at, long)

    def holds(self, elapsed_s: float) -> bool:
        """True while it lasts; elapsed_s: plant time since the start."""
        return self.at_s <= elapsed_s < self.at_s + self.for_s


class PlantServer:
    """Plants, PLCs and sources of a site, served until close() or the end of the scenario.

    speed: seconds of plant time in one second, above 0 and at most 1e6. seed, days: instead of the scenario's.
    bodies: what the sources answer by path ("/erp/stock/finished"), each a function of utc; replace one to change it.
    steps: steps made. slips: grid points skipped. ports: of the devices, once started.
    Raises SimulationError, PlantError, and ValueError for a wrong speed or an outage of a device that is not there.
    """

    def __init__(
        self,
        site: Site,
        *,
        speed: float = 1.0,
        seed: int | None = None,
        days: float | None = None,
        host: str = "127.0.0.1",
        outages: Iterable[Outage] = (),
    ) -> None:
        self.site, self.host, self.outages = site, host, tuple(outages)
        self.plants = PlantSide(site, make_context(site, days, seed))
        self.base_s = min(task.every.to("s") for task in site.tasks.values())
        self.bodies: dict[str, Body] = self.plants.paths()
        self.router = FeedRouter({path: self._body(path) for path in self.bodies})
        self.steps = self.slips = 0
        self.ports: dict[str, int] = {}
        for outage in self.outages:
            self._known(outage.device)
        PlantClock(0, 0.0, speed)  # refuses a wrong speed now, not when everything is open
        self._speed = speed
        self._clock: PlantClock | None = None
        self._servers = {
            name: ModbusServer({site.devices[name].device_id: plc}) for name, plc in self.plants.plcs.items()
        }
        self._feeds: FeedServer | None = None
        self._task: asyncio.Task[None] | None = None
        self._k = 0
        self._down: set[str] = set()
        self._forced: set[str] = set()

    def _known(self, device: str) -> None:
        if device not in self.plants.plcs:
            raise ValueError(f"there is no device {device}; there are {', '.join(self.plants.plcs)}")

    def _body(self, path: str) -> Body:
        def now_there(utc: float) -> Any:
            return self.bodies[path](utc)

        return now_there

    # ------------------------------------------------------------------------------------------------------- life
    async def start(self) -> None:
        """Open all ports; then plant time begins. Raises OSError, and ValueError for a host that others can reach."""
        if self._clock is not None:
            raise RuntimeError("a plant server starts once")
        # the clock is handed over in seconds: it must begin at a nanosecond that survives this
        self._origin_s = system_boot_ns() * 1e-9
        start_utc = self.plants.context.start_utc
        self._clock = PlantClock(round(self._origin_s * 1e9), start_utc, self._speed)
        self._feeds = FeedServer(self.router, self._clock)
        try:
            for name, server in self._servers.items():
                self.ports[name] = await server.start(0, self.host)
            await self._feeds.start()
        except BaseException:
            await self.close()
            raise
        self._task = asyncio.create_task(self._run(self._clock))

    async def close(self) -> None:
        """Stop plant and servers, and drop all connections."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):  # wait() has told of a failure
                await self._task
        for server in self._servers.values():
            await server.stop()
        if self._feeds is not None:
            await self._feeds.close()

    async def wait(self) -> None:
        """Until the scenario is over. Raises what broke a plant (ext.ProgramError)."""
        if self._task is None:
            raise RuntimeError("not started")
        await asyncio.shield(self._task)

    async def __aenter__(self) -> PlantServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def clock(self) -> PlantClock:
        """The clock of the plant. Raises RuntimeError before the start."""
        if self._clock is None:
            raise RuntimeError("not started")
        return self._clock

    @property
    def elapsed_s(self) -> float:
        """Plant time at which the plants are, s since the start."""
        return self._k * self.base_s

    @property
    def requests(self) -> int:
        """Modbus requests answered since the start."""
        return sum(server.requests for server in self._servers.values())

    # ---------------------------------------------------------------------------------------------------- stepping
    async def _run(self, clock: PlantClock) -> None:
        origin_ns, base_ns = round(self._origin_s * 1e9), round(self.base_s * 1e9)
        while self.elapsed_s < 86_400.0 * self.plants.context.days:
            due_ns = origin_ns + (self._k + 1) * base_ns
            while (left_ns := due_ns - clock.boot_ns()) > 0:
                await sleep(min(left_ns * 1e-9 / self._speed, 1.0))
            behind = (clock.boot_ns() - origin_ns) // base_ns - self._k
            lost = max(0, behind - CATCH_UP)
            self.slips += lost
            self._k += lost
            for _ in range(behind - lost):
                await self._step()
                await sleep(0.0)  # the servers answer between two steps

    async def _step(self) -> None:
        utc = self.plants.context.start_utc + self.elapsed_s
        # steps made, not time passed: what stood still for a slip has not aged
        self.plants.step(self.base_s, round(self.steps * self.base_s * 1e9), utc)
        self._k += 1
        self.steps += 1
        await self._apply_outages()

    # ------------------------------------------------------------------------------------------------------ faults
    async def take_down(self, device: str) -> None:
        """Nobody reaches the device from now on: connections drop, new ones are refused. Raises ValueError."""
        self._known(device)
        self._forced.add(device)
        await self._apply_outages()

    async def bring_up(self, device: str) -> None:
        """End take_down(): the device answers at its address again, unless an Outage holds."""
        self._known(device)
        self._forced.discard(device)
        await self._apply_outages()

    @property
    def down(self) -> frozenset[str]:
        """Devices nobody reaches now."""
        return frozenset(self._down)

    @property
    def feed_fault(self) -> Fault:
        """How every source fails; "none" when they work. May be set at any time after the start."""
        return self._served().fault

    @feed_fault.setter
    def feed_fault(self, fault: Fault) -> None:
        self._served().fault = fault

    def _served(self) -> FeedServer:
        if self._feeds is None:
            raise RuntimeError("not started")
        return self._feeds

    async def _apply_outages(self) -> None:
        wanted = {o.device for o in self.outages if o.holds(self.elapsed_s)} | self._forced
        if wanted == self._down:
            return
        for name in sorted(wanted - self._down):
            self._down.add(name)
            self.plants.plcs[name].offline = True
            await self._servers[name].stop()
        for name in sorted(self._down - wanted):
            with contextlib.suppress(OSError):  # its port is in use for a moment: the next step tries again
                await self._servers[name].start(self.ports[name], self.host)
                self.plants.plcs[name].offline = False
                self._down.discard(name)

    # ---------------------------------------------------------------------------------------------------- override
    def override(self) -> dict[str, Any]:
        """The override file of this plant, as plain data: new addresses, and the plant clock."""
        feeds = self._served()
        return {
            "devices": {name: {"host": self.host, "port": port} for name, port in self.ports.items()},
            "sources": {name: {"url": feeds.url(name)} for name in self.plants.feeds()},
            "clock": {"start": self.plants.context.start_utc, "origin": self._origin_s, "speed": self._speed},
        }

    def write_override(self, path: Path) -> str:
        """Write the override file, whole or not at all, and return its text. Raises OSError."""
        stream = io.StringIO()
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = None
        yaml.width = 4096
        yaml.dump(self.override(), stream)
        text = (
            "# Where the simulated plant is served. Use it with: ctrl run SITE --override THIS_FILE\n"
            + stream.getvalue()
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
        return text
