"""Binding of `type: rate_control`: production rate and run command of a line."""

from __future__ import annotations

from ctrl.config.model import ProductionRules, RateControl, Site
from ctrl.loops.context import Context
from ctrl.loops.registry import Binding, register

NO_PLAN_SHARE = 0.05  # of the highest rate: less than that is no rate but a stop


def declare(ctx: Context, name: str, loop: RateControl) -> None:
    """Announce the pins of a rate loop and what it commands."""
    ctx.drives[loop.output] = f"{name}.out"
    if loop.run_output is not None:
        ctx.drives[loop.run_output] = f"{name}.run"
    for pin in ("out", "setpoint", "source"):
        ctx.declare(f"{name}.{pin}", lambda: ctx.unit(loop.output))
    for pin, unit in (("run", "bool"), ("mode", "1"), ("why", "1"), ("rung", "1")):
        ctx.declare(f"{name}.{pin}", unit)


def bind(ctx: Context, name: str, loop: RateControl) -> None:
    """Add the blocks of a rate loop."""
    task, unit = ctx.tasks[loop.task], ctx.unit(loop.output)
    rungs = [ctx.setpoint(loop.setpoint, unit, task)]
    rules = ctx.site.loops.get(loop.when_setpoint_expires)
    if isinstance(rules, ProductionRules):
        rungs.append(ctx.converted(f"{loop.when_setpoint_expires}.rate", unit, task))
    # with rules below the plan nothing may be valid only before the first news of the stock: then the loop has no
    # setpoint and tracks the line, so that starting the engine stops nobody
    fallback = 0.0 if loop.when_setpoint_expires == "idle" else None
    device, point = loop.output.split(".")
    limits = ctx.site.devices[device].points[point].limits
    assert limits is not None  # the loader refuses a written number without limits  # noqa: S101
    lo, hi = limits.to(unit)
    ctx.builder.block(
        "rate_control",
        name,
        inputs={"sp": ctx.ladder(name, rungs, task, fallback)},
        var_inputs=[ctx.expression(text, name, task) for text in loop.allow_when],
        outputs={pin: ctx.tag(f"{name}.{pin}") for pin in ("out", "run", "mode", "why", "setpoint")},
        params={
            "ramp": loop.ramp.to(f"({unit})/s"),
            "lo": lo,
            "hi": hi,
            "run_min": _slowest(ctx.site, loop, unit, hi),
            "allow_hold": ctx.period_s[loop.task] + ctx.site.failsafe.plc_lost.after.to("s"),
        },
        task=task,
    )


def _slowest(site: Site, loop: RateControl, unit: str, hi: float) -> float:
    """Lowest rate at which the line runs, from the plan that moves it; without one, a small part of the highest."""
    plan = site.plans.get(str(loop.setpoint.from_).partition(".")[0])
    line = plan.assets.line if plan is not None else None
    return line.rate.to(unit)[0] if line is not None else NO_PLAN_SHARE * hi


def face(name: str, loop: RateControl) -> dict[str, str]:
    """SP, OP, the run command, mode, why and the rung its setpoint comes from."""
    pins = {"sp": "setpoint", "op": "out", "run": "run", "mode": "mode", "why": "why", "rung": "rung"}
    return {"output": loop.output, **{role: f"{name}.{pin}" for role, pin in pins.items()}}


register(Binding("rate_control", declare, bind, face))
