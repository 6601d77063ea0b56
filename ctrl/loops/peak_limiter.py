"""Binding of `type: peak_limiter`: watches the billing window, asks the battery, lowers limits, sheds units."""

from __future__ import annotations

from ctrl.config.model import BatteryAction, PeakLimiter, ReduceAction, ShedAction, Staging
from ctrl.loops.context import Context
from ctrl.loops.registry import Binding, register

_KW_PINS = ("allow", "forecast", "limit", "excess", "battery_request", "reduce", "average")


def declare(ctx: Context, name: str, loop: PeakLimiter) -> None:
    """Announce the pins of a peak guard and the pins of others that it moves."""
    for pin in _KW_PINS:
        ctx.declare(f"{name}.{pin}", "kW")
    for pin, unit in (("shed", "bool"), ("mode", "1"), ("why", "1")):
        ctx.declare(f"{name}.{pin}", unit)
    for action in loop.actions:
        if isinstance(action, BatteryAction):
            ctx.requests.setdefault(action.battery, []).append(f"{name}.battery_request")
        elif isinstance(action, ReduceAction):
            ctx.reductions.setdefault(action.reduce, []).append(f"{name}.reduce")
        else:
            ctx.reductions.setdefault(action.shed, []).append(f"{name}.shed")


def bind(ctx: Context, name: str, loop: PeakLimiter) -> None:
    """Add the block of a peak guard."""
    task = ctx.tasks[loop.task]
    params = {
        "length": loop.window.length.to("s"),
        "margin": loop.margin.to("1"),
        "near_end_cap": loop.near_end_cap.to("1"),
        "power_filter": loop.power_filter.to("s"),
        "limit_fallback": loop.limit_fallback.to("kW"),
        "reduce_max": 0.0,
        "reduce_for": 0.0,
        "reduce_min_off": 0.0,
        "shed_kw": 0.0,
        "shed_min_off": 0.0,
    }
    for action in loop.actions:
        if isinstance(action, ReduceAction):
            params["reduce_max"] = action.by.to("kW")
            params["reduce_for"] = action.at_most_for.to("s")
            params["reduce_min_off"] = action.min_off.to("s")
        elif isinstance(action, ShedAction):
            params["shed_kw"] = _unit_power(ctx, action)
            params["shed_min_off"] = action.min_off.to("s")
    inputs = {"meter": ctx.converted(loop.meter, "kW", task), "limit": ctx.operand(loop.limit, "kW", task)}
    if loop.window.sync is not None:
        inputs["left"] = ctx.converted(loop.window.sync, "s", task)
    pins = (*_KW_PINS, "shed", "mode", "why")
    ctx.builder.block(
        "peak_limiter",
        name,
        inputs=inputs,
        outputs={pin: ctx.tag(f"{name}.{pin}") for pin in pins},
        params=params,
        task=task,
    )


def _unit_power(ctx: Context, action: ShedAction) -> float:
    """kW that shedding a staging unit takes off."""
    loop, unit = action.shed.split(".")
    staging = ctx.site.loops[loop]
    assert isinstance(staging, Staging)  # checked by the loader  # noqa: S101
    return staging.units[unit].power.loaded.to("kW")


def face(name: str, loop: PeakLimiter) -> dict[str, str]:
    """PV is the window's forecast, SP its limit, OP what the battery is asked for."""
    pins = {"pv": "forecast", "sp": "limit", "op": "battery_request", "mode": "mode", "why": "why"}
    return {"meter": loop.meter, **{role: f"{name}.{pin}" for role, pin in pins.items()}}


register(Binding("peak_limiter", declare, bind, face))
