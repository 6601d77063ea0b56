"""Alarm conditions: each becomes an expression, its hysteresis another, and a compiled alarm block (ISA-18.2)."""

from __future__ import annotations

from typing import Any

from ctrl.config.expressions import parse as parse_expression
from ctrl.config.model import Alarm
from ctrl.loops.context import Context
from ctrl.loops.expression import compile_expression, returned

RESET = "alarms.reset"  # rising edge clears trips whose condition is gone


def active_tag(name: str) -> str:
    """Tag that is 1 while the alarm's condition holds, delays included."""
    return f"alarms.{name}"


def trip_tag(name: str) -> str:
    """Tag that is 1 from the alarm on until it is reset."""
    return f"alarms.{name}.trip"


def declare(ctx: Context) -> None:
    """Announce the alarms' tags and whom they trip."""
    ctx.declare(RESET, "bool")
    for name, alarm in ctx.site.alarms.items():
        ctx.declare(active_tag(name), "bool")
        ctx.declare(trip_tag(name), "bool")
        if alarm.trip is not None:
            ctx.trips.setdefault(alarm.trip, []).append(trip_tag(name))


def bind(ctx: Context) -> None:
    """Add the blocks of all alarms, in the fastest task."""
    task = ctx.tasks[ctx.fastest]
    ctx.tag(RESET)
    for name, alarm in ctx.site.alarms.items():
        owner = active_tag(name)
        ctx.builder.block(
            "alarm",
            f"{owner}~block",
            inputs={
                "when": ctx.expression(alarm.when, owner, task),
                "unless": ctx.expression(alarm.unless, owner, task) if alarm.unless is not None else None,
                "off": _off(ctx, owner, alarm, task),
                "reset": RESET,
            },
            outputs={"active": ctx.tag(owner), "trip": ctx.tag(trip_tag(name))},
            params={
                "on_delay": alarm.for_.to("s"),
                "off_delay": alarm.off_after.to("s") if alarm.off_after is not None else 0.0,
                "latch_trip": float(alarm.trip is not None),
            },
            task=task,
        )


def _off(ctx: Context, owner: str, alarm: Alarm, task: int) -> str | None:
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
            "name": name,
            "slot": ctx.builder.tags[active_tag(name)].slot,
            "priority": alarm.priority,
            "text": alarm.text or alarm.when,
            "response": alarm.response or "",
            "when": alarm.when,
            "latching": alarm.trip is not None,
        }
        for name, alarm in ctx.site.alarms.items()
    ]
