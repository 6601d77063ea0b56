"""Binding of `type: setpoint_program`: a setpoint for each state, chosen by the first valid order."""

from __future__ import annotations

from ctrl.config.expressions import parse, references
from ctrl.config.model import RateControl, SetpointProgram
from ctrl.loops.context import Context, difference
from ctrl.loops.points import line_feedback
from ctrl.loops.registry import Binding, register


def declare(ctx: Context, name: str, loop: SetpointProgram) -> None:
    """Announce the pins of a setpoint program."""
    ctx.declare(f"{name}.out", lambda: ctx.unit(loop.measure))
    for pin, unit in (("released", "bool"), ("state", "1"), ("mode", "1"), ("why", "1")):
        ctx.declare(f"{name}.{pin}", unit)
    ctx.words[f"{name}.state"] = {word: i for i, word in enumerate(loop.states)}


def bind(ctx: Context, name: str, loop: SetpointProgram) -> None:
    """Add the block of a setpoint program."""
    task, unit = ctx.tasks[loop.task], ctx.unit(loop.measure)
    first, last = (list(loop.states.values())[i].to(unit) for i in (0, -1))
    params = {"holding": first, "running": last, "soak_within": 0.0, "soak_for": 0.0}
    if loop.soak_before_release is not None:
        params["soak_within"] = loop.soak_before_release.within.to(difference(unit))
        params["soak_for"] = loop.soak_before_release.for_.to("s")
    ctx.builder.block(
        "setpoint_program",
        name,
        inputs={
            "measure": ctx.tag(loop.measure),
            "running": line_feedback(ctx, lambda rate: _waits_for(rate, f"{name}.released")),
        },
        var_inputs=[ctx.tag(ref) for ref in loop.follow],
        outputs={pin: ctx.tag(f"{name}.{pin}") for pin in ("out", "released", "state", "why", "mode")},
        params=params,
        task=task,
    )


def _waits_for(rate: RateControl, tag: str) -> bool:
    """True when the rate loop runs the line only while `tag` allows it."""
    return any(ref.name == tag for text in rate.allow_when for ref in references(parse(text)))


def face(name: str, loop: SetpointProgram) -> dict[str, str]:
    """PV, the setpoint it gives, its state, mode and why."""
    pins = {"sp": "out", "op": "state", "mode": "mode", "why": "why"}
    return {"pv": loop.measure, **{role: f"{name}.{pin}" for role, pin in pins.items()}}


register(Binding("setpoint_program", declare, bind, face))
