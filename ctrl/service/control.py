"""The control process at work: the ticker releases cycles, the link takes profiles and commands, nothing here waits.

Whatever may take long (disk, journal archive) happens in threads. The process ends with the configured fail action.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from ctrl.clock import Clock, system_synchronised
from ctrl.cycle import Cycle, Device
from ctrl.field import archive
from ctrl.field.journal import Journal, Record
from ctrl.messages import Command, Event, Profile
from ctrl.records.inputs import InputLog
from ctrl.schedule import Every, LiveSchedule, Statistics
from ctrl.service.link import LinkServer
from ext import Ticker

SYNC_S = 1.0  # the journal reaches the disk within this time of wall time; a power loss may cost so much
CLOCK_S = 10.0  # after a step of the clock: how often the time service is looked for
QUEUE = 20_000
READ_SHARE = 0.4  # of the period: a device that has not answered by then is bad in this cycle
WRITE_SHARE = 0.9  # of the period, reads included: what is not written by then waits for the next cycle


class Side(Protocol):
    """What the service needs of the control side (ctrl.app.control_side)."""

    cycle: Cycle
    journal: Journal
    clock: Clock

    @property
    def devices(self) -> Mapping[str, Device]:
        """The devices by name."""

    def take(self, profile: Profile) -> None:
        """A profile from the IT side."""

    def change_state(self, device: str, verb: str, user: str, reason: str) -> str:
        """arm, shadow, disarm one device; the refusal, or ""."""

    def doubt_clock(self, suspect: bool) -> None:
        """The wall clock was set, or is known to be right again."""

    def status(self) -> dict[str, Any]:
        """For `ctrl status`."""

    async def fail_action(self) -> None:
        """Write the fallbacks once, stop the heartbeats."""


class LiveRecorder:
    """Events to subscribers, inputs to their log by a thread; rows are the site process's business (shared image).

    error: what ended the log, None while it is written; shown in the status.
    """

    def __init__(self, inputs: InputLog) -> None:
        self._inputs = inputs
        self._queue: deque[tuple[int, float, float, Sequence[tuple[int, int]], bytes]] = deque()
        self._lost = 0
        self._stop = threading.Event()
        self.listeners: list[Callable[[Event], None]] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="inputs", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Scans whose inputs were not logged, because the disk was too slow or failed."""
        return self._lost + (len(self._queue) if self.error is not None else 0)

    def row(self, utc: float, values: object, statuses: object) -> None:
        """Rows are read from the shared image by the site process."""
        del utc, values, statuses

    def event(self, event: Event) -> None:
        """Hand an event to whoever listens."""
        for listener in self.listeners:
            listener(event)

    def inputs(self, now_ns: int, utc: float, local: float, ran: Sequence[tuple[int, int]], posted: bytes) -> None:
        """Queue one line of the input log."""
        # a line tells what changed since the one before: after a gap nothing could be replayed, so the log ends there
        if self.error is not None or self._lost or len(self._queue) >= QUEUE:
            self._lost += 1
            return
        self._queue.append((now_ns, utc, local, ran, posted))

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            with contextlib.closing(self._inputs):
                while not (self._stop.is_set() and not self._queue):
                    wrote = False
                    while self._queue:
                        self._inputs.cycle(*self._queue.popleft())
                        wrote = True
                    if wrote:
                        self._inputs.flush()
                    self._stop.wait(0.25)
        except Exception as error:  # noqa: BLE001 - nobody sees a thread die: whatever it was goes into the status
            self.error = error  # control goes on without the log


class _Parking:
    """A cyclic task as the scheduler sees it: parked means that its cycles are skipped."""

    def __init__(self, cycle: Cycle, name: str) -> None:
        self._state = cycle.counters.tasks[name]

    @property
    def running(self) -> bool:
        """True unless the task is parked."""
        return not self._state.parked

    def start(self) -> None:
        """Release its cycles."""
        self._state.parked = False

    def park(self) -> None:
        """Skip its cycles from the next one on."""
        self._state.parked = True

    def statistics(self) -> Statistics:
        """Cycles and skips since start."""
        state = self._state
        return {"cycles": state.cycles, "skipped": state.skipped, "reinitialised": state.reinitialised}


class ControlService:
    """Runs the control side on a ticker until it is told to stop.

    period_s: wall time between two grid points. fifo: real-time priority of the ticker. preferred: shown in the status.
    archive: file that takes the journal's records once they are on disk. synchronised: is a time service at work?
    """

    def __init__(
        self,
        side: Side,
        recorder: LiveRecorder,
        *,
        socket: Path,
        archive: Path,
        period_s: float,
        fifo: int = 0,
        preferred: bool = False,
        synchronised: Callable[[], bool] = system_synchronised,
    ) -> None:
        self.side, self.recorder = side, recorder
        self.ticker = Ticker(round(period_s * 1e9), fifo)
        self.link = LinkServer(socket, side.clock, self._message, self._command)
        self.schedule = LiveSchedule(side.clock)
        self.stopped = asyncio.Event()
        self.failure: BaseException | None = None
        self.stop_reason = ""
        self._archive = archive
        self._preferred = preferred
        self._synchronised = synchronised
        self._cycle: asyncio.Task[None] | None = None
        self._began = 0.0

    async def run(self, first_ns: int, on_ready: Callable[[], None]) -> None:
        """Serve until stop(); then the fail action. first_ns: CLOCK_MONOTONIC of the first grid point."""
        loop = asyncio.get_running_loop()
        self.recorder.listeners.append(self.link.publish)
        await self.link.start()
        for task in self.side.cycle.tasks:
            self.schedule.add_task(task.name, _Parking(self.side.cycle, task.name))
        speed = max(self.side.clock.speed, 1.0)
        self.schedule.add("journal", self._sync_journal, Every(SYNC_S * speed), misfire_grace_s=60.0 * speed)
        self.schedule.add("clock", self._believe_clock, Every(CLOCK_S * speed), misfire_grace_s=60.0 * speed)
        self.schedule.subscribe(self._scheduled)
        self.schedule.start()
        gc.collect()
        gc.freeze()  # what was built once is never looked at again: no pause of 0.4 s for two million objects
        self.ticker.start(first_ns)
        loop.add_reader(self.ticker.fd, self._tick)
        on_ready()
        try:
            await self.stopped.wait()
        finally:
            loop.remove_reader(self.ticker.fd)
            await self._end()

    def stop(self, reason: str) -> None:
        """End in order."""
        self.stop_reason = self.stop_reason or reason
        self.stopped.set()

    def _tick(self) -> None:
        k, new = self.ticker.take()
        if new == 0:
            return
        counters = self.side.cycle.counters
        if self._cycle is not None and not self._cycle.done():
            counters.missed += new  # the cycle before is still running: skipped, never queued
            return
        counters.missed += new - 1
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self._cycle = loop.create_task(self.side.cycle.run(k))
        self._cycle.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        counters = self.side.cycle.counters
        counters.longest_ms = max(counters.longest_ms, 1000.0 * (asyncio.get_running_loop().time() - self._began))
        if not task.cancelled() and task.exception() is not None:
            # a broken block or a broken engine: stop writing at once; the PLC contract takes over
            self.failure = task.exception()
            self.stop(f"cycle failed: {self.failure!r}")

    async def _end(self) -> None:
        if self._cycle is not None:
            with contextlib.suppress(Exception):  # its failure is in self.failure already
                await self._cycle
        if self.failure is None:
            await self.side.fail_action()
        for device in self.side.devices.values():
            for event in device.drain_events():
                self.recorder.event(event)
        try:
            await self._sync_journal()
        except OSError as error:  # the records wait in the journal for the next start
            self.recorder.event(Event(self.side.clock.utc(), "journal", "ARCHIVE_FAILED", str(error), {}))
        await self.schedule.close()
        await asyncio.sleep(0.05)  # let the last events out
        await self.link.close()
        self.ticker.stop()
        self.recorder.close()

    # ------------------------------------------------------------------------------------------------------ link
    def _message(self, message: Profile | Event) -> None:
        if isinstance(message, Profile):
            self.side.take(message)

    def _command(self, command: Command) -> dict[str, Any]:
        if command.verb == "status":
            error = self.recorder.error
            return {
                **self.side.status(),
                "ticker": self.ticker.statistics(),
                "realtime": self.ticker.realtime,
                "preferred": self._preferred,
                "jobs": [asdict(job) for job in self.schedule.jobs()],
                "inputs_dropped": self.recorder.dropped,
                "inputs_error": None if error is None else f"{type(error).__name__}: {error}"[:1000],
            }
        if command.verb == "stop":
            self.stop(f"{command.user}: {command.reason}")
            return {"text": "stopping"}
        if command.verb in ("pause", "resume"):
            if command.device not in self.side.cycle.counters.tasks:
                raise ValueError(f"no task {command.device!r}")
            getattr(self.schedule, command.verb)(command.device)
            return {"text": f"{command.device}: {command.verb}d"}
        return self._change(command)

    def _change(self, command: Command) -> dict[str, Any]:
        if command.verb not in ("arm", "shadow", "disarm"):
            raise ValueError(f"unknown command {command.verb!r}")
        if command.device and command.device not in self.side.devices:
            raise ValueError(f"no device {command.device!r}; there are {', '.join(self.side.devices)}")
        names = [command.device] if command.device else list(self.side.devices)
        refused = {
            name: text
            for name in names
            if (text := self.side.change_state(name, command.verb, command.user, command.reason))
        }
        if refused:
            raise ValueError("; ".join(refused.values()))
        return {"text": f"{command.verb}: {', '.join(names)}"}

    # ----------------------------------------------------------------------------------------------------- clock
    def _scheduled(self, event: Event) -> None:
        self.recorder.event(event)
        if event.event == "clock_step" and event.data["plant_step_s"]:
            self.side.doubt_clock(True)

    async def _believe_clock(self) -> None:
        if self._synchronised():
            self.side.doubt_clock(False)

    # --------------------------------------------------------------------------------------------------- journal
    async def _sync_journal(self) -> None:
        """Put the journal on disk, then what is new in it into the archive; both in a thread."""
        records = self.side.journal.unreleased()
        await asyncio.to_thread(self._write_archive, records)
        if records:
            self.side.journal.release(records[-1].sequence)

    def _write_archive(self, records: Sequence[Record]) -> None:
        self.side.journal.sync()
        if records:
            archive.append(self._archive, records)


async def side_by_side(work: Sequence[Awaitable[None]]) -> None:
    """`gather` of the live engine: devices at the same time; the first failure ends the cycle."""
    if len(work) == 1:
        await work[0]
    elif work:
        await asyncio.gather(*work)
