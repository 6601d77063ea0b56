"""The scheduler: everything with a date. The only package that imports APScheduler.

    schedule.add("energy_plan", plan, Cron("*/15 * * * *", "Europe/Berlin"), misfire_grace_s=60)
    schedule.add("market.day_ahead", poll, Every(900), misfire_grace_s=60, at_start=True)
    schedule.add_task("regulatory", control)

LiveSchedule runs them on an event loop, ClockedScheduler in virtual time; the dates are the same.
"""

from ctrl.schedule.base import JobInfo, Schedule, ScheduleError, Statistics, TaskControl
from ctrl.schedule.clocked import ClockedScheduler
from ctrl.schedule.live import LiveSchedule
from ctrl.schedule.rules import Cron, Delayed, Every, Rule, RuleError

__all__ = [
    "ClockedScheduler", "Cron", "Delayed",
    "Every", "JobInfo", "LiveSchedule", "Rule", "RuleError", "Schedule", "ScheduleError",
    "Statistics", "TaskControl",
]  # fmt: skip
