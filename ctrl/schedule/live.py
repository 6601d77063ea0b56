"""The live scheduler: APScheduler's AsyncIOScheduler with its dates mapped from the plant's clock to the wall clock.

APScheduler decides by the wall clock of the machine, which may step, and builds the list of all dates it has missed.
So every date is computed here in plant time, never lies in the past, and is mapped to the wall clock of this moment;
before each round the mapping is checked against CLOCK_BOOTTIME and renewed after a step. Lateness is judged here too.

What a step of the wall clock does (the plant's clock of a sped-up run does not step, only the mapping is renewed):
- jobs with a period keep their rhythm: the next run comes when it would have come, the one after it back on the grid;
- cron jobs: forward, dates jumped over are run once if within their grace, else counted as missed; back, a date is not
  repeated unless the step was longer than half the time to the job's next date.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.executors.base import BaseExecutor
from apscheduler.job import Job
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from ctrl.clock import Clock, system_boot_ns, system_utc
from ctrl.schedule.base import REPORTED, Entry, JobFunction, ScheduleBase, TaskControl, call
from ctrl.schedule.rules import Every, Rule

_ROUND_S: Final = 1.0  # longest sleep of the scheduler: a step of the clock is found within it
_STEP_S: Final = 0.5  # smaller changes are the slewing of a time service, which the mapping follows
_SUPERVISION_S: Final = 1.0
_TOGETHER_NS: Final = 10_000_000  # clocks read within this time count as read at once
_READINGS: Final = 5  # attempts to do so on a machine that is busy


class LiveSchedule(ScheduleBase):
    """Jobs on the event loop of the calling thread.

    Functions run inside the loop: a plain function must be short; work that takes long awaits a worker.
    wall, boot: the clocks of the machine, for tests.
    """

    def __init__(
        self,
        clock: Clock,
        on_run: Callable[[str, float], None] | None = None,
        wall: Callable[[], float] = system_utc,
        boot: Callable[[], int] = system_boot_ns,
    ) -> None:
        super().__init__(clock, on_run)
        self._wall, self._boot = wall, boot
        self._shifted: dict[str, bool] = {}
        # of the run that is being submitted: plant date it was due, and utc s and boot ns at which it was picked
        self._picked: dict[str, tuple[float, float, int]] = {}
        self._executors = (_Executor(self), _TaskExecutor(self))
        self._scheduler = _Scheduler(self._follow_clock, self._executors)
        self._scheduler.add_listener(self._report, REPORTED)
        self._wall_offset, self._utc_offset = self._offsets()

    def start(self) -> None:
        """Begin; must be called inside the event loop."""
        self._scheduler.start()

    async def close(self) -> None:
        """Stop, and cancel the runs that are going on."""
        pending = [task for executor in self._executors for task in executor.pending]
        self._scheduler.shutdown(wait=False)
        await asyncio.sleep(0)  # APScheduler ends in the next turn of the loop
        await asyncio.gather(*pending, return_exceptions=True)

    def add(self, id: str, func: JobFunction, rule: Rule, *, misfire_grace_s: float, at_start: bool = False) -> None:
        """Run `func` at the dates of `rule`, and now as well when at_start.

        A run later than misfire_grace_s (plant time) is missed; of several dates that passed only the last one counts.
        A date at which the run before is still going on is an overrun. Raises ScheduleError when the id is taken.
        """
        entry = self._enter(id, func, rule, misfire_grace_s)
        now = self.clock.utc()
        self._schedule(entry, now if at_start else rule.after(now), "default")

    def add_task(self, id: str, control: TaskControl) -> None:
        """Start a cyclic task, and once a second see that it runs."""
        entry = self._enter(id, control.start, Every(_SUPERVISION_S), 10.0 * _SUPERVISION_S, control)
        control.start()
        self._schedule(entry, entry.rule.after(self.clock.utc()), "tasks")

    def pause(self, id: str) -> None:
        """Skip the job's dates, or park the task, until it is resumed. Raises ScheduleError for an unknown id."""
        entry = self.entry(id)
        entry.due = None
        self._scheduler.pause_job(id)
        if entry.control is not None:
            entry.control.park()

    def resume(self, id: str) -> None:
        """Go on at the job's next date; a task goes on at once. Raises ScheduleError for an unknown id."""
        entry = self.entry(id)
        if entry.control is not None:
            entry.control.start()
        if entry.due is None:
            entry.due = entry.rule.after(self.clock.utc())
            self._scheduler.modify_job(id, next_run_time=self._date(entry.due))

    def remove(self, id: str) -> None:
        """Forget a job; a run that is going on ends by itself; a task is parked."""
        entry = self.entry(id)
        del self._entries[id]
        self._scheduler.remove_job(id)
        if entry.control is not None:
            entry.control.park()

    def next_date(self, entry: Entry) -> datetime:
        """The wall time of the date after the one that is due now."""
        now = self.clock.utc()
        due = entry.due if entry.due is not None else now
        self._picked[entry.id] = due, now, self.clock.boot_ns()
        base = max(due, now)
        if self._shifted.pop(entry.id, False) and isinstance(entry.rule, Every):
            base += 0.5 * entry.rule.seconds  # back on the grid, without two runs close to each other
        entry.due = entry.rule.after(base)
        return self._date(entry.due)

    async def run(self, id: str) -> list[JobExecutionEvent]:
        """Run a job now, for the date that is due; what APScheduler shall report of it."""
        entry, (due, picked, waited) = self._entries.get(id), self._waited(id)
        if entry is None or not self._begin(entry, due, picked, waited):
            return []
        date = datetime.fromtimestamp(due, UTC)
        try:
            await call(entry.func)
        except Exception as error:  # noqa: BLE001 - a job may fail in any way; it is reported and the others go on
            return [JobExecutionEvent(EVENT_JOB_ERROR, id, "default", date, exception=error)]
        return [JobExecutionEvent(EVENT_JOB_EXECUTED, id, "default", date)]

    async def supervise(self, id: str) -> list[JobExecutionEvent]:
        """Start a cyclic task that does not run; its statistics are the result."""
        entry, (due, picked, waited) = self._entries.get(id), self._waited(id)
        if entry is None or entry.control is None or entry.due is None:
            return []
        if not self._begin(entry, due, picked, waited):
            return []
        if not entry.control.running:
            self._emit(id, "task_restarted", f"task {id} was not running; started again")
            entry.control.start()
        statistics = dict(entry.control.statistics())
        date = datetime.fromtimestamp(due, UTC)
        return [JobExecutionEvent(EVENT_JOB_EXECUTED, id, "default", date, retval=statistics)]

    def _waited(self, id: str) -> tuple[float, float, float]:
        """Of the run that begins now: when it was due and when it was picked (plant utc s), and how long it waited (s).

        By the boot clock: a step of utc since it was picked is no lateness, another job that held the loop is.
        """
        due, picked, boot_ns = self._picked[id]
        return due, picked, (self.clock.boot_ns() - boot_ns) * 1e-9

    def _schedule(self, entry: Entry, due: float, executor: str) -> None:
        entry.due = due
        self._scheduler.add_job(
            entry.func,
            _Dates(self, entry),
            id=entry.id,
            executor=executor,
            next_run_time=self._date(due),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,  # judged in plant time, by _begin
        )

    def _date(self, due: float) -> datetime:
        left = max(0.001, (due - self.clock.utc()) / self.clock.speed)
        return datetime.fromtimestamp(self._wall(), UTC) + timedelta(seconds=left)

    def _offsets(self) -> tuple[float, float]:
        """Wall clock less CLOCK_BOOTTIME, and the plant's utc less its boot time, both in s.

        What the machine does between two readings would look like a step: they are repeated until they lie together,
        and after the last attempt the closest ones count.
        """
        readings: list[tuple[int, tuple[float, float]]] = []
        for _ in range(_READINGS):
            before = self._boot()
            offsets = self._wall() - before * 1e-9, self.clock.utc() - self.clock.boot_ns() * 1e-9
            readings.append((self._boot() - before, offsets))
            if readings[-1][0] <= _TOGETHER_NS:
                break
        return min(readings)[1]

    def _follow_clock(self) -> None:
        wall, utc = self._offsets()
        wall_step, utc_step = wall - self._wall_offset, utc - self._utc_offset
        self._wall_offset, self._utc_offset = wall, utc
        if abs(wall_step) <= _STEP_S:
            return
        text = f"the clock of the machine was set by {wall_step:+.1f} s"
        moved = utc_step if abs(utc_step) > _STEP_S else 0.0
        self._emit("clock", "clock_step", text, step_s=wall_step, plant_step_s=moved)
        for entry in self._entries.values():
            if entry.due is not None:
                if abs(utc_step) > _STEP_S:
                    entry.due = self._after_step(entry, entry.due, utc_step)
                self._scheduler.modify_job(entry.id, next_run_time=self._date(entry.due))

    def _after_step(self, entry: Entry, due: float, step: float) -> float:
        if isinstance(entry.rule, Every):
            self._shifted[entry.id] = True
            return due + step
        now = self.clock.utc()
        if step > 0.0 or now >= due:
            return due
        if entry.last is not None and 0.0 <= entry.last - now < 0.5 * (due - entry.last):
            return due
        return entry.rule.after(now)


class _Scheduler(AsyncIOScheduler):  # type: ignore[misc]  # APScheduler is untyped
    """AsyncIOScheduler that looks at the clock before each round, and has a round at least once a second."""

    def __init__(self, before: Callable[[], None], executors: tuple[BaseExecutor, BaseExecutor]) -> None:
        self._before = before
        super().__init__(
            timezone=UTC,
            jobstores={"default": MemoryJobStore()},
            executors={"default": executors[0], "tasks": executors[1]},
        )

    def _process_jobs(self) -> float | None:
        self._before()
        wait: float | None = super()._process_jobs()
        return wait

    def _start_timer(self, wait_seconds: float | None) -> None:
        super()._start_timer(_ROUND_S if wait_seconds is None else min(wait_seconds, _ROUND_S))


class _Dates(BaseTrigger):  # type: ignore[misc]  # APScheduler is untyped
    """The dates of one job as APScheduler asks for them: twice for each run, with the same previous date.

    The second question takes the answer away: after a step back of the clock the same previous date may come again,
    and then it is another run.
    """

    def __init__(self, owner: LiveSchedule, entry: Entry) -> None:
        self._owner = owner
        self._entry = entry
        self._asked: tuple[datetime, datetime] | None = None

    def get_next_fire_time(self, previous: datetime, _now: datetime) -> datetime:
        asked, self._asked = self._asked, None
        if asked is not None and asked[0] == previous:
            return asked[1]
        date = self._owner.next_date(self._entry)
        self._asked = previous, date
        return date


class _Executor(BaseExecutor):  # type: ignore[misc]  # APScheduler is untyped
    """Runs jobs as tasks of the event loop."""

    def __init__(self, owner: LiveSchedule) -> None:
        super().__init__()
        self.owner = owner
        self.pending: list[asyncio.Task[Any]] = []

    def work(self, id: str) -> Awaitable[list[JobExecutionEvent]]:
        return self.owner.run(id)

    def shutdown(self, wait: bool = True) -> None:  # noqa: ARG002 - APScheduler's signature
        for task in self.pending:
            task.cancel()

    def _do_submit_job(self, job: Job, _run_times: list[datetime]) -> None:
        task = asyncio.ensure_future(self.work(job.id))
        self.pending.append(task)
        task.add_done_callback(lambda done: self._done(job.id, done))

    def _done(self, id: str, task: asyncio.Task[list[JobExecutionEvent]]) -> None:
        self.pending.remove(task)
        if task.cancelled():
            self._run_job_success(id, [])
        elif (error := task.exception()) is not None:
            self._run_job_error(id, error)
        else:
            self._run_job_success(id, task.result())


class _TaskExecutor(_Executor):
    """Does not run anything itself: sees that the compiled task runs."""

    def work(self, id: str) -> Awaitable[list[JobExecutionEvent]]:
        return self.owner.supervise(id)
