"""Entry of the control process: `python -m ctrl.app.control_process`, started by the supervisor.

It loads the bundle and the shared image it is given, and never sees YAML. It starts disarmed.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import os
import signal
import sys
from pathlib import Path
from random import Random

from ctrl.app.control_side import ControlSide, build
from ctrl.clock import Clock, LiveClock, PlantClock, system_utc
from ctrl.field import archive
from ctrl.field.gate import DAY_S
from ctrl.field.journal import Journal
from ctrl.field.modbus import ModbusTcp
from ctrl.field.spec import DeviceSpec
from ctrl.field.transport import Reconnect, Transport
from ctrl.loops.bundle import Bundle
from ctrl.records.inputs import InputLog
from ctrl.service.control import READ_SHARE, WRITE_SHARE, ControlService, LiveRecorder, side_by_side
from ctrl.service.priority import CONTROL, end_with_parent, prefer
from ext import Image

JOURNAL_RECORDS = 65_536
FIFO_PRIORITY = 60
START_AFTER_NS = 200_000_000
LEAST_READ_S = 0.05  # below 125 ms periods a slow answer costs cycles, which are counted, rather than the link


def make_clock(text: str) -> Clock:
    """The clock of the run: "live", or "ORIGIN_NS,START_UTC,SPEED" of a simulated plant."""
    if text == "live":
        return LiveClock()
    origin, start, speed = text.split(",")
    return PlantClock(int(origin), float(start), float(speed))


def modbus(spec: DeviceSpec) -> Transport:
    """The live wire of a device."""
    jitter = Random()  # noqa: S311 - spreads reconnects, no secret
    return ModbusTcp(spec.host, spec.port, spec.unit_id, spec.timeout_s, Reconnect(jitter))


async def serve(arguments: argparse.Namespace) -> int:
    """Build the control side and run it until SIGTERM or SIGINT. Returns the exit code."""
    bundle = Bundle.load(Path(arguments.bundle))
    clock = make_clock(arguments.clock)
    period_s = bundle.manifest["base_period_s"] / max(clock.speed, 1e-9)
    memory = mmap.mmap(arguments.image_fd, 0)
    image = Image(max(bundle.manifest["slots"].values()) + 1, memory)
    runtime, record = Path(arguments.runtime), Path(arguments.record)
    inputs = InputLog(
        record / f"inputs-{round(system_utc())}-{os.getpid()}.log",
        {"site": bundle.manifest["site"], "start_utc": clock.utc()},
    )
    recorder = LiveRecorder(inputs)
    journal = Journal(record / "journal.lwj", JOURNAL_RECORDS)
    end_with_parent(arguments.parent)
    preferred = prefer(CONTROL)
    loop = asyncio.get_running_loop()
    side = build(
        bundle,
        clock=clock,
        transport=modbus,
        gather=side_by_side,
        recorder=recorder,
        journal=journal,
        image=image,
        deadlines=lambda: _deadlines(loop.time(), period_s),
    )
    writes = record / "writes.jsonl"
    restore_wear(side, writes)
    service = ControlService(
        side,
        recorder,
        socket=runtime / "control.sock",
        archive=writes,
        period_s=period_s,
        fifo=FIFO_PRIORITY,
        preferred=preferred,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop, signal.Signals(number).name)
    first = system_start(clock)
    await service.run(first, lambda: _ready(arguments.ready_fd))
    journal.close()
    if service.failure is not None:
        print(f"control: {service.stop_reason}", file=sys.stderr, flush=True)
        return 1
    return 0


def restore_wear(side: ControlSide, writes: Path) -> None:
    """Tell the gates what was written today before this start. writes: the archive. Raises OSError."""
    gates = [driver.gate for driver in side.devices.values() if driver.gate.wears]
    if not gates:
        return
    utc = side.clock.utc()
    # an hour more, so that a wall clock that was set back ends the search no earlier than midnight
    past = archive.since(writes, utc - utc % DAY_S - 3600.0)
    records = {r.sequence: r for r in (*past, *side.journal.unreleased())}
    for gate in gates:
        gate.load_wear(records.values(), utc)


def _deadlines(now: float, period_s: float) -> tuple[float, float]:
    """Reads and writes of a cycle that begins `now`. A plant that is run faster than time gets the time it needs."""
    return now + max(READ_SHARE * period_s, LEAST_READ_S), now + max(WRITE_SHARE * period_s, 2.0 * LEAST_READ_S)


def system_start(clock: Clock) -> int:
    """CLOCK_MONOTONIC ns of the first grid point: shortly from now."""
    return round(clock.wall_mono() * 1e9) + START_AFTER_NS


def _ready(fd: int) -> None:
    if fd >= 0:
        os.write(fd, b"1")
        os.close(fd)


def main() -> int:
    """Read the arguments that the supervisor gives."""
    parser = argparse.ArgumentParser(prog="loopwright-control")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--image-fd", type=int, required=True)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--clock", default="live")
    parser.add_argument("--ready-fd", type=int, default=-1)
    arguments = parser.parse_args()
    return asyncio.run(serve(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
