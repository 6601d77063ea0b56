"""Alarm conditions: each becomes an expression, its hysteresis another, and a compiled alarm block (ISA-18.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ctrl.config.expressions import parse as parse_expression
from ctrl.config.model import Alarm, Pid
from ctrl.loops.context import Context
from ctrl.loops.expression import compile_expression, returned
from ctrl.units import Quantity

MEASURE_BAD = 2  # WHY_MEASURE_BAD of ext/abi.pxd, see ctrl.modes.REASONS
RESET = "alarms.reset"  # count of resets; each rise clears trips whose condition is gone


def active_tag(name: str) -> str:
    """Tag that is 1 while the alarm's condition holds, delays included."""
    return f"alarms.{name}"


def trip_tag(name: str) -> str:
    """Tag that is 1 from the alarm on until it is reset."""
    return f"alarms.{name}.trip"


@dataclass(frozen=True, slots=True)
class _Alarm:
    """One alarm, of the site file or of the engine itself."""

    name: str
    when: str
    on_delay_s: float
    priority: str
    text: str
    response: str
    off_delay_s: float = 0.0
    unless: str | None = None
    off_below: Quantity | None = None
    off_above: Quantity | None = None
    trip: str | None = None


def _alarms(ctx: Context) -> list[_Alarm]:
    """The site's alarms, and those every site has: a device that is lost, a feed that is too old."""
    found = [_of_site(name, alarm) for name, alarm in ctx.site.alarms.items()]
    after = ctx.site.failsafe.plc_lost.after.to("s")
    for device in ctx.site.devices:
        text = f"{device} does not answer: it works on its own fallbacks, its loops track"
        response = "Check power and network of the PLC; the loops take over again by themselves"
        found.append(_Alarm(f"{device}_lost", f"not {device}.link", after, "high", text, response))
    for name, loop in ctx.site.loops.items():
        if isinstance(loop, Pid) and loop.when_measure_bad is not None:
            text = f"{name}: the measurement {loop.measure} is bad"
            action = f"The loop holds for {loop.when_measure_bad.hold}, then gives {loop.when_measure_bad.then_output}"
            bad = f"{name}.why == {MEASURE_BAD}"
            found.append(_Alarm(f"{name}_measure_bad", bad, 0.0, loop.when_measure_bad.alarm, text, action))
    for source, part in ctx.site.sources.items():
        for feed, spec in part.feeds.items():
            if f"{source}.{feed}.age" in ctx.declared:
                when = f"{source}.{feed}.age > {spec.stale_after}"
                text = f"{source}.{feed} is older than {spec.stale_after}: a substitute is in use"
                found.append(
                    _Alarm(f"{source}_{feed}_old", when, 0.0, "medium", text, f"Check the connection to {source}")
                )
    return found


def _of_site(name: str, alarm: Alarm) -> _Alarm:
    return _Alarm(
        name=name,
        when=alarm.when,
        on_delay_s=alarm.for_.to("s"),
        priority=alarm.priority,
        text=alarm.text or alarm.when,
        response=alarm.response or "",
        off_delay_s=alarm.off_after.to("s") if alarm.off_after is not None else 0.0,
        unless=alarm.unless,
        off_below=alarm.off_below,
        off_above=alarm.off_above,
        trip=alarm.trip,
    )


def declare(ctx: Context) -> None:
    """Announce the alarms' tags and whom they trip."""
    ctx.declare(RESET, "1")
    for alarm in _alarms(ctx):
        ctx.declare(active_tag(alarm.name), "bool")
        ctx.declare(trip_tag(alarm.name), "bool")
        if alarm.trip is not None:
            ctx.trips.setdefault(alarm.trip, []).append(trip_tag(alarm.name))


def bind(ctx: Context) -> None:
    """Add the blocks of all alarms, in the fastest task."""
    task = ctx.tasks[ctx.fastest]
    ctx.tag(RESET)
    for alarm in _alarms(ctx):
        owner = active_tag(alarm.name)
        ctx.builder.block(
            "alarm",
            f"{owner}~block",
            inputs={
                "when": ctx.expression(alarm.when, owner, task),
                "unless": ctx.expression(alarm.unless, owner, task) if alarm.unless is not None else None,
                "off": _off(ctx, owner, alarm, task),
                "reset": RESET,
            },
            outputs={"active": ctx.tag(owner), "trip": ctx.tag(trip_tag(alarm.name))},
            params={
                "on_delay": alarm.on_delay_s,
                "off_delay": alarm.off_delay_s,
                "latch_trip": float(alarm.trip is not None),
            },
            task=task,
        )


def _off(ctx: Context, owner: str, alarm: _Alarm, task: int) -> str | None:
    """The condition that ends the alarm, when it has a hysteresis of its own."""
    level = alarm.off_below if alarm.off_below is not None else alarm.off_above
    if level is None:
        return None
    sign = "<" if alarm.off_below is not None else ">"
    tree = returned(parse_expression(alarm.when), sign, level)
    return compile_expression(ctx, tree, ctx.fresh_name(owner), task)


def describe(ctx: Context) -> list[dict[str, Any]]:
    """The alarms as the control process keeps them: name, slot of the active bit, priority and texts."""
    return [
        {
            "name": alarm.name,
            "slot": ctx.builder.tags[active_tag(alarm.name)].slot,
            "priority": alarm.priority,
            "text": alarm.text,
            "response": alarm.response,
            "when": alarm.when,
            "latching": alarm.trip is not None,
        }
        for alarm in _alarms(ctx)
    ]
