"""Reports of the verbs as tables and sentences, from the plain data that `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrl.cli_output import heading, number, say, table
from ctrl.clock import zone

if TYPE_CHECKING:
    from ctrl.app.jobs import Jobs
    from ctrl.app.simulate import Run
    from ctrl.config.problems import Problem
    from ctrl.planning.plan import Plan

_COSTS = (
    ("energy_cost_eur", "energy"),
    ("demand_cost_eur", "peaks"),
    ("co2_cost_eur", "CO2"),
    ("battery_wear_eur", "battery wear"),
    ("starts_cost_eur", "starts"),
    ("late_cost_eur", "late orders"),
    ("holding_cost_eur", "holding stock"),
    ("terminal_stock_eur", "stock less than before"),
    ("terminal_soc_eur", "charge less than before"),
)


def local(utc: float, tz: str, form: str = "%a %d %b %H:%M") -> str:
    """UTC seconds in the site's local time."""
    return datetime.fromtimestamp(utc, zone(tz)).strftime(form)


def count(n: int, word: str) -> str:
    """1 error, 2 errors."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def show_problems(problems: Sequence[Problem]) -> int:
    """Every problem on a line, then how many; returns the number of errors."""
    for problem in problems:
        say(str(problem))
    errors = sum(problem.severity == "error" for problem in problems)
    say(f"{count(errors, 'error')}, {count(len(problems) - errors, 'warning')}")
    return errors


def show_run(run: Run) -> None:
    """What came out of a simulation: cost, peak, orders, then every KPI and where the records are."""
    site, found = run.site.site, run.kpis
    speed = run.simulated_s / run.wall_s if run.wall_s > 0 else 0.0
    length = f"{run.simulated_s / 86_400:g} d simulated in {run.wall_s:.1f} s"
    heading(f"{site.name}: {length}, {number(speed)} times as fast as real")
    costs = [(word, found[key]) for key, word in _COSTS if key in found]
    if costs:
        table(
            ("cost", site.currency),
            [(w, number(c, 2)) for w, c in [*costs, ("total", found["total_eur"])]],
            (site.currency,),
        )
        say()
    if "peak_kw" in found:
        say(f"Peak: {number(found['peak_kw'], 1)} kW over a quarter hour, {local(found['peak_utc'], site.timezone)}")
    if "late_orders_n" in found:
        late = found["late_orders_n"]
        worst = f", the worst by {found['late_worst_h']:.1f} h" if late else ""
        say(f"Late orders: {late:.0f}{worst}")
    if run.plans:
        say(f"Plans: {run.plans}, line decided anew in {run.commits}, {sum(run.solve_s):.1f} s of solving")
    say(f"Cycles: {number(run.cycles)}, {run.overruns} missed")
    say()
    table(("kpi", "value"), [(name, f"{value:.6g}") for name, value in found.items() if name != "peak_utc"], ("value",))
    say()
    say(f"Records: {run.record}")
    say(f"Digest: {run.digest}")


def show_plan(tz: str, currency: str, plan: Plan) -> None:
    """The schedule of a plan, what it costs, what it had to bend, and the solver's work."""
    heading(f"Plan {plan.id}: {plan.message}; valid until {local(plan.valid_until, tz)}")
    rows, before = [], ""
    for step in plan.steps:
        reason = step.reason if step.reason != before else ""
        before = step.reason
        rows.append((
            local(step.utc, tz, "%a %H:%M"), f"{1000 * step.buy:.1f}", f"{step.grid:.0f}", f"{step.bat_power:.0f}",
            f"{step.soc:.0f}", "on" if step.line_on else "off", f"{step.rate:.2f}", f"{step.stock:.1f}", reason,
        ))  # fmt: skip
    columns = ("time", f"{currency}/MWh", "grid kW", "battery kW", "charge %", "line", "t/h", "stock t", "reason")
    if rows:
        table(columns, rows, tuple(c for c in columns if c not in ("time", "line", "reason")))
        say()
        kinds = ("energy", "export", "co2", "peak", "wear", "starts", "holding", "late", "total")
        table(("cost", currency), [(kind, number(getattr(plan.costs, kind), 2)) for kind in kinds], (currency,))
    for rule in plan.relaxed:
        say(f"Bent: {rule.what} by {rule.amount:.2f} {rule.unit}, {local(rule.when, tz)}")
    for text in plan.substitutes:
        say(f"Substitute: {text}")
    for text in plan.outlook:
        say(f"Later in the horizon: {text}")
    work = plan.solved
    say(
        f"Solver: {'line decided anew' if work.committed else 'line kept'}, {count(work.nodes, 'node')}, "
        f"{number(work.iterations)} iterations, gap {100 * work.gap:.2f} %, stopped by {work.stopped_by}"
    )


def show_jobs(jobs: Jobs, live: Mapping[str, Any] | None) -> None:
    """Dated jobs with their next dates, and the cyclic tasks; of a running service also what it counts."""
    heading(f"{jobs.site}: dated jobs, local time of {jobs.timezone}")
    rows = []
    for job in jobs.jobs:
        dates = [local(utc, jobs.timezone, "%a %d %b %H:%M:%S") for utc in job.next_utc]
        rows.append((job.id, job.rule, "yes" if job.at_start else "no", ", ".join(dates)))
    if rows:
        table(("job", "rule", "at start", "next"), rows)
    else:
        say("none: the site has no sources and no plans")
    say()
    heading("Cyclic tasks")
    for task in jobs.tasks:
        say(f"{task.name}, every {task.period_s:g} s")
        for word, names in (
            ("devices", task.devices),
            ("signals", task.signals),
            ("loops", task.loops),
            ("alarms", task.alarms),
        ):
            if names:
                say(f"  {word}: {', '.join(names)}")
    if live is not None:
        say()
        show_live_jobs(live, jobs.timezone)


def show_live_jobs(status: Mapping[str, Any], tz: str) -> None:
    """Jobs of the running control process."""
    heading("Running now")
    rows = [
        (
            str(job["id"]),
            "paused" if job["paused"] else local(job["next_run_utc"], tz, "%H:%M:%S") if job["next_run_utc"] else "",
            *(str(job[key]) for key in ("runs", "missed", "errors", "overruns")),
        )
        for job in status.get("jobs", ())
    ]
    table(("job", "next", "runs", "missed", "errors", "overruns"), rows, ("runs", "missed", "errors", "overruns"))


def show_status(status: Mapping[str, Any], runtime: Path) -> None:
    """State of a running service: cycles, devices, alarms."""
    heading(f"{status['site']} ({runtime})")
    say(f"Cycles: {number(status['cycles'])}, {status['missed']} missed, longest {status['longest_ms']:.1f} ms")
    devices = [
        (name, str(d["state"]), "good" if d["link"] else "lost", "yes" if d["latched"] else "no",
         str(d.get("sent", "")), str(d.get("refused", "")))
        for name, d in status["devices"].items()
    ]  # fmt: skip
    table(("device", "state", "link", "latched", "writes", "refused"), devices, ("writes", "refused"))
    tasks = [
        (name, "parked" if t["parked"] else "running", *(str(t[key]) for key in ("cycles", "skipped", "reinitialised")))
        for name, t in status["tasks"].items()
    ]
    table(("task", "state", "cycles", "skipped", "reinitialised"), tasks, ("cycles", "skipped", "reinitialised"))
    for alarm in status["alarms"]:
        say(f"Alarm {alarm.get('name', '')}: {alarm.get('priority', '')}, {alarm.get('state', '')}")
