"""Binding of `type: power_follow`: a battery follows a power setpoint; its rungs, then the peak guard's request."""

from __future__ import annotations

from ctrl.config.model import BatteryAction, PeakLimiter, PowerFollow, ProductionRules
from ctrl.loops.context import Context
from ctrl.loops.registry import Binding, register


def declare(ctx: Context, name: str, loop: PowerFollow) -> None:
    """Announce the pins of a battery loop and what it commands."""
    ctx.drives[loop.output] = f"{name}.out"
    for pin in ("out", "setpoint", "source"):
        ctx.declare(f"{name}.{pin}", "kW")
    for pin in ("mode", "why", "rung"):
        ctx.declare(f"{name}.{pin}", "1")


def bind(ctx: Context, name: str, loop: PowerFollow) -> None:
    """Add the blocks of a battery loop."""
    task = ctx.tasks[loop.task]
    lo, hi = _power_limits(ctx, loop)
    rungs = [ctx.setpoint(loop.setpoint, "kW", task)]
    rules = ctx.site.loops.get(loop.when_setpoint_expires)
    if isinstance(rules, ProductionRules):
        rungs.append(ctx.converted(f"{loop.when_setpoint_expires}.bat_power", "kW", task))
    fallback = None if loop.when_setpoint_expires == "hold" else 0.0
    params = {
        "ramp": loop.ramp.to("kW/s"),
        "p_max": max(-lo, hi),
        "soc_min": loop.soc.min.to("%"),
        "soc_max": loop.soc.max.to("%"),
        "capacity": loop.soc.capacity.to("kWh"),
        "derate_band": loop.derate_band.to("%"),
        "reserve": _reserve(ctx, name, loop),
    }
    requests = ctx.requests.get(name, [])
    ctx.builder.block(
        "power_follow",
        name,
        inputs={
            "measure": ctx.converted(loop.measure, "kW", task),
            "sp": ctx.ladder(name, rungs, task, fallback),
            "soc": ctx.converted(loop.soc.measure, "%", task),
            "peak_request": ctx.tag(requests[0]) if requests else None,
        },
        outputs={pin: ctx.tag(f"{name}.{pin}") for pin in ("out", "mode", "why", "setpoint")},
        params=params,
        task=task,
    )


def _power_limits(ctx: Context, loop: PowerFollow) -> tuple[float, float]:
    device, point = loop.output.split(".")
    limits = ctx.site.devices[device].points[point].limits
    assert limits is not None  # the loader refuses a written number without limits  # noqa: S101
    return limits.to("kW")


def _reserve(ctx: Context, name: str, loop: PowerFollow) -> float:
    """Charge above soc.min that only the peak guard may use, in % of the capacity."""
    reserves = [
        action.reserve.to("%")
        for other in ctx.site.loops.values()
        if isinstance(other, PeakLimiter)
        for action in other.actions
        if isinstance(action, BatteryAction) and action.battery == name
    ]
    return max(0.0, max(reserves, default=0.0) - loop.soc.min.to("%"))


def face(name: str, loop: PowerFollow) -> dict[str, str]:
    """PV, SP, OP, mode, why and the rung its setpoint comes from."""
    pins = {"sp": "setpoint", "op": "out", "mode": "mode", "why": "why", "rung": "rung"}
    return {"pv": loop.measure, **{role: f"{name}.{pin}" for role, pin in pins.items()}}


register(Binding("power_follow", declare, bind, face))
