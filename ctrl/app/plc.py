"""`ctrl plc`: the simulated plant as a process of its own, for `ctrl run --override` and any other Modbus client."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ctrl.clock import iso, sleep
from ctrl.config.loader import load
from ctrl.service.priority import CONTROL, prefer
from ctrl.simulation.serve import Outage, PlantServer

PROGRESS_S = 10.0  # of wall time
WATCH_S = 0.1
Say = Callable[[str], None]


def run_plc(
    site_path: str | Path,
    *,
    speed: float = 1.0,
    write_override: Path | None = None,
    outages: Sequence[Outage] = (),
    seed: int | None = None,
    days: float | None = None,
    host: str = "127.0.0.1",
    say: Say | None = None,
) -> int:
    """Serve the plants of a site until SIGINT, SIGTERM or the end of the scenario.

    Returns 130 or 143 after an orderly end by signal, 0 when the scenario is over. The override file is removed at the
    end: nothing is served there any more. Raises ConfigError, SimulationError, PlantError, ValueError (speed, host,
    outage), OSError, and ext.ProgramError when a plant breaks.
    """
    prefer(CONTROL)
    server = PlantServer(load(site_path), speed=speed, seed=seed, days=days, host=host, outages=outages)
    return asyncio.run(_serve(server, write_override, say or _print))


async def _serve(server: PlantServer, file: Path | None, say: Say) -> int:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, _stop, stopped, 128 + number)
    written = ""
    try:
        async with server:
            if file is not None:
                written = server.write_override(file)
            _introduce(server, file, say)
            over, telling = asyncio.create_task(server.wait()), asyncio.create_task(_tell(server, say))
            over.add_done_callback(lambda _: _stop(stopped, 0))
            try:
                code = await stopped
            finally:
                telling.cancel()
            if code == 0:
                over.result()  # raises what broke the plant
            over.cancel()
            why = "ended" if code else "the scenario is over"
            say(f"{why}: plant time {iso(server.clock.utc())}, {_count(server)}")
            return code
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
        if file is not None and written:
            _remove(file, written)


def _stop(stopped: asyncio.Future[int], code: int) -> None:
    if not stopped.done():
        stopped.set_result(code)


def _remove(file: Path, written: str) -> None:
    """Remove our override file; one that another plant has written meanwhile stays."""
    if file.exists() and file.read_text(encoding="utf-8") == written:
        file.unlink(missing_ok=True)


def _introduce(server: PlantServer, file: Path | None, say: Say) -> None:
    served, site = server.override(), server.site
    say(f"{site.site.name}: simulated plant, plant time {iso(server.clock.utc())}, {server.clock.speed:g} x real time")
    for name, address in served["devices"].items():
        unit = site.devices[name].device_id
        say(f"  device {name}: modbus tcp {address['host']}:{address['port']}, unit {unit}")
    for name, source in served["sources"].items():
        say(f"  source {name}: {source['url']}")
    for outage in server.outages:
        say(f"  outage {outage.device}: at {outage.at_s:g} s for {outage.for_s:g} s of plant time")
    if file is not None:
        say(f"  override: {file}")


async def _tell(server: PlantServer, say: Say) -> None:
    """Outages as they come and go, slips when there are new ones, and on a terminal how far the plant is."""
    down: frozenset[str] = frozenset()
    slips, left = 0, PROGRESS_S
    while True:
        await sleep(WATCH_S)
        left -= WATCH_S
        for name in sorted(server.down ^ down):
            say(f"{iso(server.clock.utc())}  {name}: {'nobody reaches it' if name in server.down else 'answers again'}")
        down = server.down
        if left > 0.0:
            continue
        left = PROGRESS_S
        if server.slips > slips:
            say(f"too slow for {server.clock.speed:g} x: {server.slips - slips} steps skipped; the plant stood still")
            slips = server.slips
        if sys.stdout.isatty():
            say(f"{iso(server.clock.utc())}  {_count(server)}")


def _count(server: PlantServer) -> str:
    return f"{server.steps} steps, {server.slips} skipped, {server.requests} requests"


def _print(text: str) -> None:
    print(text, flush=True)
