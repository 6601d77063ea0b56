"""Everything with a date or a period: the dated jobs of a site, its cyclic tasks, and what runs in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from ctrl.clock import VirtualClock
from ctrl.config.model import Site
from ctrl.schedule import ClockedScheduler, Cron, Delayed, Every, Rule
from ctrl.service.site_side import SiteSide, inline
from ctrl.signals.from_config import sources_from_config

NEXT_RUNS = 3
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class JobLine:
    """One dated job: its rule in words and its next dates, UTC s. at_start: it also runs when the service starts."""

    id: str
    rule: str
    at_start: bool
    next_utc: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TaskLine:
    """One cyclic task: period in s, and what it does each time, in order."""

    name: str
    period_s: float
    devices: tuple[str, ...]
    signals: tuple[str, ...]
    loops: tuple[str, ...]
    alarms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Jobs:
    """What `ctrl jobs` shows of a site."""

    site: str
    timezone: str
    utc: float
    jobs: tuple[JobLine, ...]
    tasks: tuple[TaskLine, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def jobs_of(site: Site, utc: float) -> Jobs:
    """The jobs of the site as if its service started at `utc`: the objects that run live; nothing is asked or run."""
    clock = VirtualClock(utc)
    schedule = ClockedScheduler(clock)
    sources = sources_from_config(site, _never)
    side = SiteSide(
        site,
        schedule,
        sources,
        clock,
        read=lambda _: (0.0, 0),
        send=_nothing,
        tell=_nothing,
        offload=inline,
        clock_limits=False,
    )
    side.start()
    lines = []
    for job in schedule.jobs():
        rule = schedule.entry(job.id).rule
        lines.append(JobLine(job.id, rule_words(rule), job.next_run_utc == clock.utc(), next_dates(rule, utc)))
    return Jobs(site.site.name, site.site.timezone, utc, tuple(lines), tuple(_tasks(site)))


def next_dates(rule: Rule, utc: float, count: int = NEXT_RUNS) -> tuple[float, ...]:
    """The first dates of a rule after `utc`."""
    dates: list[float] = []
    for _ in range(count):
        dates.append(rule.after(dates[-1] if dates else utc))
    return tuple(dates)


def rule_words(rule: Rule) -> str:
    """A rule as people say it: "every 15 min", "daily at 02:30 (Europe/Berlin)"; else the cron expression itself."""
    if isinstance(rule, Every):
        return f"every {span_words(rule.seconds)}"
    if isinstance(rule, Cron):
        return _cron_words(rule)
    if isinstance(rule, Delayed):
        return f"{rule_words(rule.rule)}, {span_words(rule.seconds)} later"
    return str(rule)


def span_words(seconds: float) -> str:
    """A length of time in its largest whole unit: 900 -> "15 min"."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def _cron_words(rule: Cron) -> str:
    minute, hour, day, month, weekday = rule.expression.split()
    if (hour, day, month, weekday) == ("*",) * 4:
        if minute == "*":
            return "every minute"
        if minute.startswith("*/") and minute[2:].isdigit():
            return f"every {minute[2:]} min"
        if minute.isdigit():
            return f"every hour at minute {int(minute)}"
    if minute.isdigit() and hour.isdigit() and month == "*":
        at = f"at {int(hour):02d}:{int(minute):02d} ({rule.tz})"
        if (day, weekday) == ("*", "*"):
            return f"daily {at}"
        if day == "*" and weekday.isdigit() and int(weekday) < len(_DAYS):
            return f"every {_DAYS[int(weekday)]} {at}"
    return f"cron '{rule.expression}' ({rule.tz})"


def _tasks(site: Site) -> list[TaskLine]:
    """Fast tasks first, as they run. Signals and alarms run in the fastest."""
    ordered = sorted(site.tasks.items(), key=lambda item: item[1].every.to("s"))
    return [
        TaskLine(
            name=name,
            period_s=task.every.to("s"),
            devices=tuple(d for d, device in site.devices.items() if device.task == name),
            signals=tuple(site.signals) if i == 0 else (),
            loops=tuple(n for n, loop in site.loops.items() if loop.task == name),
            alarms=tuple(site.alarms) if i == 0 else (),
        )
        for i, (name, task) in enumerate(ordered)
    ]


async def _never(_url: str, _headers: Mapping[str, str]) -> NoReturn:
    raise AssertionError("a list of jobs asks nobody")


def _nothing(message: object) -> None:
    del message
