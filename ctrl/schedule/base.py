"""What every scheduler offers: jobs with dates, their statistics, and events when one is missed, fails or overruns."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_MAX_INSTANCES, JobEvent

from ctrl.clock import Clock
from ctrl.messages import Event
from ctrl.schedule.rules import Rule

# each failure below becomes an Event of ours; a second report on stderr would only hide it
logging.getLogger("apscheduler").setLevel(logging.CRITICAL)

JobFunction = Callable[[], object] | Callable[[], Awaitable[object]]
Statistics = Mapping[str, float | int | str | bool | None]


class ScheduleError(ValueError):
    """The job cannot be added or found."""


class TaskControl(Protocol):
    """A cyclic task that runs on its own grid; the scheduler only supervises it."""

    @property
    def running(self) -> bool:
        """True while cycles are released."""

    def start(self) -> None:
        """Release cycles. Does nothing when they are."""

    def park(self) -> None:
        """Stop releasing cycles after the current one."""

    def statistics(self) -> Statistics:
        """Cycles, late cycles, times: whatever `ctrl jobs` shows of it."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """One job as `ctrl jobs` shows it. Times in s since 1970 of the plant's clock; None: not yet, or paused.

    runs: completed; errors: ended with an exception; missed: dates that passed without a run, or too late for one;
    overruns: dates at which the run before was still going on. statistics: of a cyclic task, else None.
    """

    id: str
    next_run_utc: float | None
    last_run_utc: float | None
    runs: int
    missed: int
    errors: int
    overruns: int
    paused: bool
    statistics: Statistics | None


class Schedule(Protocol):
    """Jobs with dates. One scheduler in control, one in site, one in a simulation."""

    def add(self, id: str, func: JobFunction, rule: Rule, *, misfire_grace_s: float, at_start: bool = False) -> None:
        """Run `func` at the dates of `rule`. See ScheduleBase.add."""

    def add_task(self, id: str, control: TaskControl) -> None:
        """Supervise a cyclic task. See ScheduleBase.add_task."""

    def pause(self, id: str) -> None:
        """Skip the dates of a job, or park a task, until it is resumed."""

    def resume(self, id: str) -> None:
        """Go on with a job or task that was paused."""

    def remove(self, id: str) -> None:
        """Forget a job. A run that is going on ends by itself."""

    def jobs(self) -> list[JobInfo]:
        """All jobs, by id."""

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with the events job_missed, job_error, job_overrun, job_recovered and clock_step."""


class Entry:
    """One job inside a scheduler. `due`: plant date of its next run, None while it is paused."""

    __slots__ = (
        "control", "due", "errors", "failing", "func", "grace_s", "id", "last", "missed", "overruns", "rule", "runs",
    )  # fmt: skip

    def __init__(self, id: str, func: JobFunction, rule: Rule, grace_s: float, control: TaskControl | None) -> None:
        self.id = id
        self.func = func
        self.rule = rule
        self.grace_s = grace_s
        self.control = control
        self.due: float | None = None
        self.last: float | None = None
        self.runs = self.missed = self.errors = self.overruns = 0
        self.failing: str | None = None  # event of the trouble that is going on: one message an episode

    def info(self) -> JobInfo:
        """As others see it."""
        return JobInfo(
            self.id,
            self.due,
            self.last,
            self.runs,
            self.missed,
            self.errors,
            self.overruns,
            self.due is None and (self.control is None or not self.control.running),
            self.control.statistics() if self.control is not None else None,
        )


class ScheduleBase:
    """Book-keeping that live and virtual schedulers share.

    on_run: called with (job id, plant date s since 1970) for each run that begins: the log of dated jobs, which is the
    same live and simulated. Supervision of cyclic tasks is not in it.
    """

    def __init__(self, clock: Clock, on_run: Callable[[str, float], None] | None = None) -> None:
        self.clock = clock
        self._on_run = on_run
        self._entries: dict[str, Entry] = {}
        self._listeners: list[Callable[[Event], None]] = []

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event from now on. It must not raise."""
        self._listeners.append(listener)

    def jobs(self) -> list[JobInfo]:
        """All jobs, by id."""
        return [self._entries[id].info() for id in sorted(self._entries)]

    def entry(self, id: str) -> Entry:
        """The job of that id. Raises ScheduleError naming the ids there are."""
        try:
            return self._entries[id]
        except KeyError:
            raise ScheduleError(f"no job '{id}'; there are: {', '.join(sorted(self._entries))}") from None

    def _enter(
        self, id: str, func: JobFunction, rule: Rule, misfire_grace_s: float, control: TaskControl | None = None
    ) -> Entry:
        if id in self._entries:
            raise ScheduleError(f"job '{id}' exists already")
        if not misfire_grace_s > 0.0:
            raise ScheduleError(f"job '{id}': misfire_grace_s must be above 0, not {misfire_grace_s}")
        entry = self._entries[id] = Entry(id, func, rule, misfire_grace_s, control)
        return entry

    def _emit(self, source: str, event: str, text: str, **data: float | int | str | bool | None) -> None:
        message = Event(self.clock.utc(), source, event, text, dict(data))
        for listener in self._listeners:
            listener(message)

    def _begin(self, entry: Entry, due: float, picked: float, waited: float = 0.0) -> bool:
        """Account for a run whose date was `due`; False when it comes too late to run at all.

        picked: when the scheduler found it due; both s since 1970. waited: s from then until it begins, which is now.
        Dates that pass while it waits are not counted here: they are due when the scheduler looks again.
        """
        last, skipped = entry.rule.last_due(due, max(picked, due))
        now = picked + waited
        late = now - last > entry.grace_s
        if skipped or late:
            lost = skipped + late
            entry.missed += lost
            text = f"{entry.id}: {lost} run(s) missed, {now - due:.1f} s late"
            self._trouble(entry, "job_missed", text, missed=lost, late_s=now - due)
        if late:
            return False
        entry.last = last
        if entry.control is None and self._on_run is not None:
            self._on_run(entry.id, last)
        return True

    def _trouble(self, entry: Entry, event: str, text: str, **data: float | int | str) -> None:
        if entry.failing != event:
            entry.failing = event
            self._emit(entry.id, event, text, **data)

    def _report(self, event: JobEvent) -> None:
        """Listener of APScheduler's events."""
        entry = self._entries.get(event.job_id)
        if entry is None:  # removed while it ran
            return
        if event.code == EVENT_JOB_EXECUTED:
            entry.runs += 1
            if entry.failing is not None and entry.failing != "job_missed":
                self._emit(entry.id, "job_recovered", f"{entry.id} runs again", after=entry.failing)
            entry.failing = None
        elif event.code == EVENT_JOB_ERROR:
            entry.errors += 1
            error = event.exception
            self._trouble(entry, "job_error", f"{entry.id} failed: {error!r}"[:1000], kind=type(error).__name__)
        elif event.code == EVENT_JOB_MAX_INSTANCES:
            entry.overruns += 1
            self._trouble(entry, "job_overrun", f"{entry.id} was still running at its next date")


REPORTED = EVENT_JOB_EXECUTED | EVENT_JOB_ERROR | EVENT_JOB_MAX_INSTANCES


async def call(func: JobFunction) -> None:
    """Run a job's function, plain or coroutine."""
    result = func()
    if inspect.isawaitable(result):
        await result
