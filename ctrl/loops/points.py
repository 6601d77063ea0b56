"""Points of devices: checked analogue and discrete inputs, conditioned outputs.

The driver posts raw engineering values to `point~raw` and what the device holds to `point~readback`; blocks make the
tags from them, the same on every wire.
"""

from __future__ import annotations

from collections.abc import Callable

from ctrl.config.model import Device, Point, RateControl
from ctrl.field.from_config import RAW
from ctrl.loops.context import HIDDEN, Context
from ctrl.units import Quantity

_WORDS = {"u16": 16, "i16": 16, "u32": 32, "i32": 32}


def raw_tag(point: str) -> str:
    """Where the driver posts a measurement."""
    return f"{point}{RAW}"


def readback_tag(point: str) -> str:
    """Where the driver posts what the device holds for a command."""
    return f"{point}{HIDDEN}readback"


def line_feedback(ctx: Context, moves: Callable[[RateControl], bool]) -> str | None:
    """Tag of the run command as the device holds it, of the first rate loop for which `moves` is true; else None."""
    for loop in ctx.site.loops.values():
        if isinstance(loop, RateControl) and loop.run_output is not None and moves(loop):
            return ctx.tag(readback_tag(loop.run_output))
    return None


def declare(ctx: Context) -> None:
    """Announce all points, and the state and link of every device."""
    for device_name, device in ctx.site.devices.items():
        for pin, unit in (("state", "1"), ("link", "bool")):
            ctx.declare(f"{device_name}.{pin}", unit)
        for point_name, point in device.points.items():
            name = f"{device_name}.{point_name}"
            unit = "bool" if point.type == "bool" else point.unit
            ctx.declare(name, unit)
            ctx.declare(readback_tag(name) if point.write else raw_tag(name), unit)
            if point.enum:
                ctx.words[name] = {word: number for number, word in point.enum.items()}


def bind(ctx: Context) -> None:
    """Add the blocks of all points. Outputs nobody commands are read back only; they get no block."""
    for device_name, device in ctx.site.devices.items():
        for pin in ("state", "link"):
            ctx.tag(f"{device_name}.{pin}")
        for point_name, point in device.points.items():
            name = f"{device_name}.{point_name}"
            if not point.write:
                _input(ctx, name, device, point)
            elif name in ctx.drives:
                _output(ctx, name, device_name, device, point)


def _input(ctx: Context, name: str, device: Device, point: Point) -> None:
    raw, task = ctx.tag(raw_tag(name)), ctx.tasks[device.task]
    if point.type == "bool":
        ctx.builder.block("di", f"{name}{HIDDEN}di", inputs={"raw": raw}, outputs={"out": ctx.tag(name)}, task=task)
        return
    params: dict[str, float] = {}
    if point.valid is not None:
        params["valid_lo"], params["valid_hi"] = point.valid.to(point.unit)
        params["edge"] = 0.0  # outside `valid` the sensor has failed; a site says so with the range, not near it
    ctx.builder.block(
        "ai", f"{name}{HIDDEN}ai", inputs={"raw": raw}, outputs={"out": ctx.tag(name)}, params=params, task=task
    )


def _output(ctx: Context, name: str, device_name: str, device: Device, point: Point) -> None:
    task = ctx.tasks[device.task]
    inputs = {
        "cmd": ctx.tag(ctx.drives[name]) if point.type == "bool" else ctx.converted(ctx.drives[name], point.unit, task),
        "readback": ctx.tag(readback_tag(name)),
        "state": f"{device_name}.state",
        "link": f"{device_name}.link",
    }
    outputs = {"out": ctx.tag(name), "achieved": f"{name}{HIDDEN}achieved"}
    params = {"fail_is_value": 0.0, "fail_value": 0.0}
    if isinstance(point.fallback, bool):
        params = {"fail_is_value": 1.0, "fail_value": float(point.fallback)}
    elif isinstance(point.fallback, Quantity):
        params = {"fail_is_value": 1.0, "fail_value": point.fallback.to(point.unit)}
    if point.type == "bool":
        ctx.builder.block("do", f"{name}{HIDDEN}do", inputs=inputs, outputs=outputs, params=params, task=task)
        return
    assert point.limits is not None  # the loader refuses a written number without limits  # noqa: S101
    params["lo"], params["hi"] = point.limits.to(point.unit)
    if point.rate is not None:
        params["rate"] = point.rate.to(f"{point.unit}/s")
    if point.type in _WORDS or point.type in ("u64", "i64"):
        params["quantum"] = abs(point.scale)
    else:
        params["deadband"] = 1e-4 * (params["hi"] - params["lo"])
    ctx.builder.block("ao", f"{name}{HIDDEN}ao", inputs=inputs, outputs=outputs, params=params, task=task)
