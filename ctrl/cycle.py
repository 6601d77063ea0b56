"""The cycle: read, latch, execute, write, then alarms and record. Everything the engine does to a plant passes here.

The same object runs live and in simulation. What differs is given to it: the clock, the transports inside the devices,
and `gather`, which runs the devices of one phase concurrently (live) or one after the other (simulation).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ctrl.clock import local_seconds
from ctrl.messages import Event
from ext import Image, Program

MAX_GAP = 3  # periods; a longer gap re-initialises (dt of a block is n x period, n <= 3)

Gather = Callable[[Sequence[Awaitable[None]]], Awaitable[None]]


Deadlines = Callable[[], tuple[float, float]]
"""(reads, writes) of the cycle that begins: s on the event loop's clock"""


def _no_deadlines() -> tuple[float, float]:
    return math.inf, math.inf


class Device(Protocol):
    """What the cycle needs of a device (see ctrl.field.device)."""

    @property
    def name(self) -> str:
        """Name in the site file."""

    async def read(self, now_ns: int, deadline: float) -> None:
        """Read the device and post what it said into the image. deadline: s on the event loop's clock."""

    async def write(self, now_ns: int, utc: float, deadline: float) -> None:
        """Write its outputs through the gate, then its heartbeat. deadline: as for read."""

    def drain_events(self) -> list[Event]:
        """What happened since the last call."""


class Store(Protocol):
    """What the cycle needs of the store of IT values and offers (see ctrl.store)."""

    def latch(self, image: Image, now_ns: int, utc: float) -> None:
        """Post the values that hold now."""


class Clock(Protocol):
    """What the cycle needs of a clock (see ctrl.clock)."""

    def boot_ns(self) -> int:
        """Monotonic ns."""

    def utc(self) -> float:
        """Seconds since 1970."""


class Recorder(Protocol):
    """Where rows, events and inputs go. It must never make the cycle wait."""

    def row(self, utc: float, values: array[float], statuses: bytearray) -> None:
        """One row of the recorded tags."""

    def event(self, event: Event) -> None:
        """One event."""

    def inputs(self, now_ns: int, utc: float, local: float, ran: Sequence[tuple[int, int]], posted: bytes) -> None:
        """What this cycle runs on: its times, (task, grid points) that it runs, and what is latched."""


class Alarms(Protocol):
    """What the cycle needs of the alarm list (see ctrl.records.alarms)."""

    def update(self, utc: float, name: str, active: bool) -> Event | None:
        """Tell whether an alarm's condition holds; an event when its state changed."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A cyclic task: name, number in the program, period as a multiple of the grid's, devices it reads and writes."""

    name: str
    number: int
    divider: int
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """One execution of a task: grid points since the last one, and whether blocks re-initialise."""

    task: TaskSpec
    points: int
    fresh: bool


@dataclass(slots=True)
class TaskState:
    """Counters of a task: cycles run, grid points skipped, re-initialisations, and whether it is parked."""

    last_k: int = -1
    cycles: int = 0
    skipped: int = 0
    reinitialised: int = 0
    parked: bool = False


@dataclass(slots=True)
class Counters:
    """Counters of the scan since start."""

    cycles: int = 0
    missed: int = 0
    longest_ms: float = 0.0
    tasks: dict[str, TaskState] = field(default_factory=dict)


class Cycle:
    """One scan over the process image.

    image, program   the tags and the compiled loops
    tasks            in order, fastest first
    devices          by name
    alarms           alarm name -> slot of its "active" bit; the list that keeps their states
    record           slots of the recorded tags, and every how many cycles a row is taken
    deadlines        asked at the start of a cycle: until when its reads may take, and its writes; later is bad
    """

    def __init__(
        self,
        *,
        image: Image,
        program: Program,
        tasks: Sequence[TaskSpec],
        devices: Mapping[str, Device],
        store: Store,
        clock: Clock,
        timezone: str,
        alarms: Alarms,
        alarm_slots: Mapping[str, int],
        recorder: Recorder,
        record_slots: Sequence[int],
        record_every: int,
        gather: Gather,
        deadlines: Deadlines = _no_deadlines,
    ) -> None:
        self.image, self.program, self.tasks, self.devices = image, program, tuple(tasks), dict(devices)
        self.store, self.clock, self.timezone = store, clock, timezone
        self.alarms, self.recorder, self.gather, self._deadlines = alarms, recorder, gather, deadlines
        self._alarm_slots = tuple(alarm_slots.items())
        self._alarm_active = bytearray(len(self._alarm_slots))
        self._slots = array("i", record_slots)
        self._row = array("d", bytes(8 * len(self._slots)))
        self._row_status = bytearray(len(self._slots))
        self._record_every = record_every
        self.counters = Counters(tasks={t.name: TaskState() for t in tasks})
        self._local_at = -1.0
        self._local_base = 0.0

    async def run(self, k: int) -> None:
        """Run grid point k. Points between the last one and k were missed and are counted, never made up for."""
        now, utc = self.clock.boot_ns(), self.clock.utc()
        due = [t for t in self.tasks if k % t.divider == 0 or self._slipped(t, k)]
        active = [t for t in due if not self.counters.tasks[t.name].parked]
        busy = [self.devices[name] for t in active for name in t.devices]
        read_by, write_by = self._deadlines()
        await self.gather([d.read(now, read_by) for d in busy])
        self.store.latch(self.image, now, utc)
        local = self._local(utc)
        runs = [self._due(t, k) for t in active]
        self.recorder.inputs(now, utc, local, [(r.task.number, r.points) for r in runs], self.image.pending_log(now))
        self.image.latch(now)
        self._execute(runs, k, now, utc, local)
        await self.gather([d.write(now, utc, write_by) for d in busy])
        self._alarm_edges(utc)
        self._events(busy)
        self.image.publish()
        self.counters.cycles += 1
        if k % self._record_every == 0:
            self.image.copy_values(self._row, self._row_status, self._slots)
            self.recorder.row(utc, self._row, self._row_status)

    def missed(self, n: int) -> None:
        """Count grid points that were released while a cycle was still running."""
        self.counters.missed += n

    def _slipped(self, task: TaskSpec, k: int) -> bool:
        """True when a grid point of this task lay in the points that were missed before k."""
        last = self.counters.tasks[task.name].last_k
        return last >= 0 and k // task.divider > last // task.divider

    def _due(self, task: TaskSpec, k: int) -> _Run:
        """How many grid points the task stands for, and whether that is too long a gap to integrate over."""
        last = self.counters.tasks[task.name].last_k
        if last < 0:
            return _Run(task, task.divider, fresh=True)
        points = max(1, k // task.divider - last // task.divider) * task.divider
        return _Run(task, points, fresh=points > MAX_GAP * task.divider)

    def _execute(self, runs: Iterable[_Run], k: int, now: int, utc: float, local: float) -> None:
        base = self.program.base_period_s
        for run in runs:
            state, divider = self.counters.tasks[run.task.name], run.task.divider
            # a long gap re-initialises with one nominal period: no block integrates over the gap
            dt = base * (divider if run.fresh else run.points)
            self.program.run(run.task.number, dt, now, utc, local, int(run.fresh))
            state.skipped += run.points // divider - 1
            state.reinitialised += int(run.fresh)
            state.last_k = k
            state.cycles += 1

    def _local(self, utc: float) -> float:
        """Seconds since local midnight. The zone is asked once a quarter hour: its rules change on those only."""
        quarter = utc // 900.0
        if quarter != self._local_at:
            self._local_at = quarter
            self._local_base = local_seconds(quarter * 900.0, self.timezone)
        return (self._local_base + utc - quarter * 900.0) % 86400.0

    def _alarm_edges(self, utc: float) -> None:
        value, bits = self.image.value, self._alarm_active
        for i, (name, slot) in enumerate(self._alarm_slots):
            active = value(slot) > 0.5
            if active != bits[i]:
                bits[i] = active
                event = self.alarms.update(utc, name, active)
                if event is not None:
                    self.recorder.event(event)

    def _events(self, busy: Iterable[Device]) -> None:
        for device in busy:
            for event in device.drain_events():
                self.recorder.event(event)


def step(coroutine: Awaitable[object]) -> None:
    """Run a coroutine that never waits (the memory wire) to its end, without an event loop.

    Raises RuntimeError if it does wait: something that belongs to the live engine slipped into a simulation.
    """
    stepper = coroutine.__await__()
    try:
        next(stepper)
    except StopIteration:
        return
    raise RuntimeError("a coroutine waited in a run that has no event loop")


async def one_by_one(work: Sequence[Awaitable[None]]) -> None:
    """`gather` of the simulation: in the given order, so that a run repeats bit for bit."""
    for item in work:
        await item
