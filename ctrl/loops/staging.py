"""Binding of `type: staging`: one unit of variable speed and several that are on or off serve a demand."""

from __future__ import annotations

from ctrl.config.model import Staging
from ctrl.loops.context import HIDDEN, Context
from ctrl.loops.registry import Binding, register

MAX_UNITS = 8
_ROTATE = {"fixed": 0.0, "run_hours": 1.0, "starts": 2.0}


def declare(ctx: Context, name: str, loop: Staging) -> None:
    """Announce the pins of a staging loop and what it commands."""
    for pin in ("demand", "capacity", "achieved_demand"):
        ctx.declare(f"{name}.{pin}", loop.demand_unit)
    ctx.declare(f"{name}.trim", "%")
    for pin in ("mode", "why"):
        ctx.declare(f"{name}.{pin}", "1")
    ctx.drives[loop.trim.command] = f"{name}.trim"
    for unit_name, unit in loop.units.items():
        ctx.declare(f"{name}.{unit_name}", "bool")
        ctx.drives[unit.command] = f"{name}.{unit_name}"


def bind(ctx: Context, name: str, loop: Staging) -> None:
    """Add the block of a staging loop."""
    task = ctx.tasks[loop.task]
    pins: list[str | None] = []
    numbers: list[float] = []
    for i, (unit_name, unit) in enumerate(loop.units.items()):
        inhibit = ctx.reductions.get(f"{name}.{unit_name}", [])
        pins += [ctx.tag(unit.running), ctx.any_of([ctx.tag(t) for t in inhibit], name, task)]
        limits = unit.limits
        numbers += [
            unit.capacity.to(loop.demand_unit),
            limits.min_on.to("s"),
            limits.min_off.to("s"),
            float(limits.starts_per_hour),
            float(i),
        ]
    outputs = {
        "trim_cmd": ctx.tag(f"{name}.trim"),
        **{pin: ctx.tag(f"{name}.{pin}") for pin in ("mode", "why", "capacity", "achieved_demand")},
    }
    unit_names = list(loop.units)
    for i in range(MAX_UNITS):
        pin = f"{name}.{unit_names[i]}" if i < len(unit_names) else f"{name}{HIDDEN}unused{i + 1}"
        outputs[f"cmd_{i + 1}"] = ctx.tag(pin) if i < len(unit_names) else pin
    ctx.builder.block(
        "staging",
        name,
        inputs={"demand": ctx.converted(ctx.drives[f"{name}.demand"], loop.demand_unit, task)},
        var_inputs=pins,
        outputs=outputs,
        params={
            "trim_capacity": loop.trim.capacity.to(loop.demand_unit),
            "trim_min": loop.trim.min.to("1"),
            "up_above": loop.stage_up.above_capacity.to("1"),
            "up_for": loop.stage_up.for_.to("s"),
            "down_spare": loop.stage_down.spare_over_next.to("1"),
            "down_for": loop.stage_down.for_.to("s"),
            "rotate": _ROTATE[loop.rotate_by],
            "n_units": float(len(unit_names)),
        },
        var_params=numbers,
        task=task,
    )


def face(name: str, loop: Staging) -> dict[str, str]:
    """PV is what the running units can give, SP the demand's source, OP the trim command."""
    pins = {"pv": "capacity", "sp": "achieved_demand", "op": "trim", "mode": "mode", "why": "why"}
    units = {unit: f"{name}.{unit}" for unit in loop.units}
    return {**{role: f"{name}.{pin}" for role, pin in pins.items()}, **units}


register(Binding("staging", declare, bind, face))
