"""The scheduler of virtual time: the same jobs, rules and events as live, fired by a clock that is moved by hand.

APScheduler 3.x reads `datetime.now` wherever it decides, so its schedulers cannot run in virtual time; its triggers and
event objects can, and these are what is used here.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Coroutine
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent

from ctrl.clock import VirtualClock
from ctrl.schedule.base import Entry, JobFunction, ScheduleBase, ScheduleError, TaskControl, call
from ctrl.schedule.rules import Every, Rule

_NEVER = float("inf")


class ClockedScheduler(ScheduleBase):
    """Fires due jobs in the order of (date, id), one after the other, each at its date."""

    clock: VirtualClock

    def __init__(self, clock: VirtualClock, on_run: Callable[[str, float], None] | None = None) -> None:
        super().__init__(clock, on_run)
        self._queue: list[tuple[float, str]] = []
        self._next = _NEVER

    def add(self, id: str, func: JobFunction, rule: Rule, *, misfire_grace_s: float, at_start: bool = False) -> None:
        """Run `func` at the dates of `rule`, and now as well when at_start.

        A coroutine function may only await what is ready at once: in virtual time nobody else moves meanwhile.
        """
        entry = self._enter(id, func, rule, misfire_grace_s)
        now = self.clock.utc()
        self._set(entry, now if at_start else rule.after(now))

    def add_task(self, id: str, control: TaskControl) -> None:
        """Start a cyclic task; its supervision once a second does not fire in virtual time."""
        self._enter(id, control.start, Every(1.0), 1.0, control)
        control.start()

    def pause(self, id: str) -> None:
        """Skip the job's dates, or park the task, until it is resumed."""
        entry = self.entry(id)
        if entry.control is not None:
            entry.control.park()
        self._set(entry, None)

    def resume(self, id: str) -> None:
        """Go on at the job's next date; a task goes on at once."""
        entry = self.entry(id)
        if entry.control is not None:
            entry.control.start()
        elif entry.due is None:
            self._set(entry, entry.rule.after(self.clock.utc()))

    def remove(self, id: str) -> None:
        """Forget a job; a task is parked."""
        self.pause(id)
        del self._entries[id]

    def run_until(self, utc: float) -> int:
        """Fire everything due up to `utc`, moving the clock to each date and to `utc` at the end. Returns the runs.

        Raises ScheduleError when a job awaits something that is not ready.
        """
        if utc < self._next:
            self.clock.advance_to(utc)
            return 0
        return _drive(self.advance(utc))

    async def advance(self, utc: float) -> int:
        """As run_until, for jobs that await real work (a test over real sockets). Returns the runs."""
        fired = 0
        while self._next <= utc:
            due, id = heapq.heappop(self._queue)
            entry = self._entries.get(id)
            if entry is not None and entry.due == due:
                self.clock.advance_to(due)
                self._set(entry, entry.rule.after(max(due, self.clock.utc())))
                if self._begin(entry, due, self.clock.utc()):
                    await self._fire(entry, due)
                    fired += 1
            self._next = self._queue[0][0] if self._queue else _NEVER
        self.clock.advance_to(utc)
        return fired

    def _set(self, entry: Entry, due: float | None) -> None:
        entry.due = due
        if due is not None:
            heapq.heappush(self._queue, (due, entry.id))
            self._next = self._queue[0][0]

    async def _fire(self, entry: Entry, due: float) -> None:
        code, failure = EVENT_JOB_EXECUTED, None
        try:
            await call(entry.func)
        except ScheduleError:
            raise
        except Exception as error:  # noqa: BLE001 - a job may fail in any way; it is reported and the others go on
            code, failure = EVENT_JOB_ERROR, error
        self._report(JobExecutionEvent(code, entry.id, "default", due, exception=failure))


def _drive(work: Coroutine[Any, Any, int]) -> int:
    """Result of a coroutine that never has to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        return int(done.value)
    work.close()
    raise ScheduleError("a job waits for something real; in virtual time everything must be ready at once")
