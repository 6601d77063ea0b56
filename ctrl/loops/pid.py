"""Binding of `type: pid`: setpoint ramp, feed-forward, limits that others may lower, and the PID kernel."""

from __future__ import annotations

from ctrl.config.model import Pid, Tuning
from ctrl.loops.context import HIDDEN, Context, difference
from ctrl.loops.registry import Binding, register
from ctrl.units import convert


def declare(ctx: Context, name: str, loop: Pid) -> None:
    """Announce the pins of a PID loop and what it commands."""
    ctx.drives[loop.output] = f"{name}.out"
    for pin in ("out", "out_high"):
        ctx.declare(f"{name}.{pin}", lambda: ctx.unit(loop.output))
    for pin in ("setpoint", "target"):
        ctx.declare(f"{name}.{pin}", lambda: ctx.unit(loop.measure))
    ctx.declare(f"{name}.error", lambda: difference(ctx.unit(loop.measure)))
    for pin, unit in (("mode", "1"), ("why", "1"), ("ramping", "bool")):
        ctx.declare(f"{name}.{pin}", unit)


def gains(tuning: Tuning, out_unit: str, error_unit: str) -> tuple[float, float, float]:
    """(kp, ki, kd) of the parallel internals from gain, integral and derivative in the given form.

    Units: kp out/error, ki out/error/s, kd out s/error. Series to ideal: f = 1 + Td/Ti; K f, Ti f, Td/f
    (Astrom & Hagglund, Advanced PID Control, 2006, section 3.2).
    """
    gain = tuning.gain.to(f"({out_unit})/({error_unit})")
    ti = tuning.integral.to("s") if tuning.integral is not None else 0.0
    td = tuning.derivative.to("s") if tuning.derivative is not None else 0.0
    if tuning.form == "parallel":
        return gain, (1.0 / ti if ti else 0.0), td
    if tuning.form == "series" and ti > 0.0:
        factor = 1.0 + td / ti
        gain, ti, td = gain * factor, ti * factor, td / factor
    return gain, (gain / ti if ti else 0.0), gain * td


def bind(ctx: Context, name: str, loop: Pid) -> None:
    """Add the blocks of a PID loop."""
    task = ctx.tasks[loop.task]
    pv_unit, out_unit = ctx.unit(loop.measure), ctx.unit(loop.output)
    kp, ki, kd = gains(loop.tuning, out_unit, difference(pv_unit))
    lo, hi = loop.out_low.to(out_unit), loop.out_high.to(out_unit)
    params = {
        "kp": kp,
        "ki": ki,
        "kd": kd,
        "filter_n": loop.tuning.filter_ratio,
        "b": loop.tuning.setpoint_weight,
        "c": loop.tuning.derivative_weight,
        "reverse": float(loop.action == "reverse"),
        "lo": lo,
        "hi": hi,
        "safe_output": lo,
        "requires_hold": ctx.site.failsafe.plc_lost.after.to("s"),
    }
    if loop.pv_filter is not None:
        params["pv_filter"] = loop.pv_filter.to("s")
    if loop.when_measure_bad is not None:
        params["hold_time"] = loop.when_measure_bad.hold.to("s")
        params["bad_action"] = 1.0
        params["bad_output"] = loop.when_measure_bad.then_output.to(out_unit)
    ctx.builder.block(
        "pid",
        name,
        inputs={
            "pv": ctx.tag(loop.measure),
            "sp": _setpoint(ctx, name, loop, task),
            "ff": _feedforward(ctx, name, loop, task),
            "reduce": _reduction(ctx, name, task),
            "requires": ctx.all_of(loop.requires, name, task),
            "trip": ctx.any_of(ctx.trips.get(name, ()), name, task),
        },
        outputs={pin: ctx.tag(f"{name}.{pin}") for pin in ("out", "error", "mode", "why", "setpoint", "out_high")},
        params=params,
        task=task,
    )


def _setpoint(ctx: Context, name: str, loop: Pid, task: int) -> str:
    """The setpoint after limits and ramps; the ramp starts at the measurement, so that starting is no step."""
    unit = ctx.unit(loop.measure)
    source = ctx.setpoint(loop.setpoint, unit, task)
    per_second = f"({difference(unit)})/s"
    params = {}
    if loop.setpoint.limits is not None:
        params["lo"], params["hi"] = loop.setpoint.limits.to(unit)
    if loop.setpoint.ramp_up is not None:
        params["up"] = loop.setpoint.ramp_up.to(per_second)
    if loop.setpoint.ramp_down is not None:
        params["down"] = loop.setpoint.ramp_down.to(per_second)
    outputs = {"out": ctx.tag(f"{name}.target"), "ramping": ctx.tag(f"{name}.ramping")}
    ctx.builder.block(
        "ramp",
        f"{name}{HIDDEN}ramp",
        inputs={"x": source, "start": ctx.tag(loop.measure)},
        outputs=outputs,
        params=params,
        task=task,
    )
    return f"{name}.target"


def _feedforward(ctx: Context, name: str, loop: Pid, task: int) -> str | None:
    if not loop.feedforward:
        return None
    tags, factors = [], []
    for i, path in enumerate(loop.feedforward):
        tag = ctx.tag(path.from_)
        factors.append(path.gain.to(f"({ctx.unit(loop.output)})/({ctx.unit(tag)})"))
        if path.lag is not None:
            lagged = f"{name}{HIDDEN}ff{i}"
            ctx.declare(lagged, ctx.unit(tag))
            ctx.filtered(tag, path.lag, ctx.tag(lagged), task)
            tag = lagged
        tags.append(tag)
    ctx.declare(f"{name}.feedforward", ctx.unit(loop.output))
    ctx.builder.block(
        "linear_sum",
        f"{name}{HIDDEN}ff",
        var_inputs=tags,
        outputs={"out": ctx.tag(f"{name}.feedforward")},
        var_params=factors,
        task=task,
    )
    return f"{name}.feedforward"


def _reduction(ctx: Context, name: str, task: int) -> str | None:
    """Sum, in the unit of the output, of what declared limiters take off it; None when there are none."""
    lowered_by = ctx.reductions.get(f"{name}.out_high")
    if not lowered_by:
        return None
    unit = ctx.unit(f"{name}.out")
    if len(lowered_by) == 1:
        return ctx.converted(lowered_by[0], unit, task)
    block = f"{name}{HIDDEN}reduce"
    ctx.builder.block(
        "linear_sum",
        block,
        var_inputs=[ctx.tag(t) for t in lowered_by],
        var_params=[convert(1.0, ctx.unit(t), unit) for t in lowered_by],
        task=task,
    )
    ctx.declare(f"{block}.out", unit)
    return f"{block}.out"


def face(name: str, loop: Pid) -> dict[str, str]:
    """PV, SP, OP, mode and why."""
    return {
        "pv": loop.measure,
        "sp": f"{name}.setpoint",
        "op": f"{name}.out",
        "mode": f"{name}.mode",
        "why": f"{name}.why",
    }


register(Binding("pid", declare, bind, face))
