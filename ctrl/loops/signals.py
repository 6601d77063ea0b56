"""Signals computed on site: select, window average, sum and ratio, each with an optional filter.

They run in the fastest task, so that every loop sees them fresh.
"""

from __future__ import annotations

from ctrl.config.model import RatioSignal, SelectSignal, Signal, SumSignal, WindowAverageSignal
from ctrl.loops.context import HIDDEN, Context, difference
from ctrl.units import convert

_MODES = {"first_good": 0.0, "median": 1.0, "min": 2.0, "max": 3.0, "mean": 4.0}


def declare(ctx: Context) -> None:
    """Announce every signal; units follow from what it is made of."""
    for name, signal in ctx.site.signals.items():
        ctx.declare(name, lambda signal=signal: _unit(ctx, signal))  # type: ignore[misc]
        if isinstance(signal, WindowAverageSignal):
            ctx.declare(f"{name}.forecast", lambda signal=signal: _unit(ctx, signal))  # type: ignore[misc]
            ctx.declare(f"{name}.elapsed", "s")


def bind(ctx: Context) -> None:
    """Add the blocks of every signal."""
    task = ctx.tasks[ctx.fastest]
    for name, signal in ctx.site.signals.items():
        tau = getattr(signal, "filter", None)
        target = f"{name}{HIDDEN}unfiltered" if tau is not None else name
        ctx.declare(f"{name}{HIDDEN}unfiltered", ctx.unit(name))
        if isinstance(signal, SelectSignal):
            _select(ctx, name, signal, ctx.tag(target), task)
        elif isinstance(signal, WindowAverageSignal):
            _window(ctx, name, signal, ctx.tag(target), task)
        elif isinstance(signal, SumSignal):
            _sum(ctx, name, signal, ctx.tag(target), task)
        else:
            _ratio(ctx, name, signal, ctx.tag(target), task)
        if tau is not None:
            ctx.filtered(target, tau, ctx.tag(name), task)


def _unit(ctx: Context, signal: Signal) -> str:
    if isinstance(signal, SelectSignal):
        return ctx.unit(signal.of[0])
    if isinstance(signal, WindowAverageSignal):
        return ctx.unit(signal.window_average)
    if isinstance(signal, RatioSignal):
        return signal.unit
    first = next((o for o in signal.sum if o.ref is not None), signal.sum[0])
    return ctx.unit(first.ref) if first.ref is not None else first.value.unit if first.value is not None else "1"


def _select(ctx: Context, name: str, signal: SelectSignal, out: str, task: int) -> None:
    unit = ctx.unit(name)
    params = {"mode": _MODES[signal.select], "min_good": float(signal.min_good)}
    if signal.max_difference is not None:
        params["max_difference"] = signal.max_difference.to(difference(unit))
    ctx.builder.block(
        "select",
        f"{name}{HIDDEN}select",
        var_inputs=[ctx.converted(ref, unit, task) for ref in signal.of],
        outputs={"out": out, "index": f"{name}.index", "disagree": f"{name}.disagree"},
        params=params,
        task=task,
    )


def _window(ctx: Context, name: str, signal: WindowAverageSignal, out: str, task: int) -> None:
    inputs = {"x": ctx.tag(signal.window_average)}
    if signal.sync is not None:
        inputs["left"] = ctx.converted(signal.sync, "s", task)
    ctx.builder.block(
        "window_average",
        f"{name}{HIDDEN}window",
        inputs=inputs,
        outputs={"avg": out, "forecast": ctx.tag(f"{name}.forecast"), "elapsed": ctx.tag(f"{name}.elapsed")},
        params={"length": signal.over.to("s")},
        task=task,
    )


def _sum(ctx: Context, name: str, signal: SumSignal, out: str, task: int) -> None:
    unit, bias = ctx.unit(name), 0.0
    tags: list[str] = []
    factors: list[float] = []
    for operand in signal.sum:
        sign = -1.0 if operand.negative else 1.0
        if operand.value is not None:
            bias += sign * operand.value.to(unit)
        elif operand.ref is not None:
            tags.append(ctx.tag(operand.ref))
            factors.append(sign * convert(1.0, ctx.unit(operand.ref), unit))
    ctx.builder.block(
        "linear_sum",
        f"{name}{HIDDEN}sum",
        var_inputs=tags,
        outputs={"out": out},
        params={"bias": bias},
        var_params=factors,
        task=task,
    )


def _ratio(ctx: Context, name: str, signal: RatioSignal, out: str, task: int) -> None:
    over, under = (ctx.tag(ref) for ref in signal.ratio)
    inputs: dict[str, str | None] = {"num": over, "den": under}
    if signal.only_if is not None:
        inputs["only_if"] = ctx.expression(signal.only_if, name, task)
    gain = convert(1.0, f"({ctx.unit(over)})/({ctx.unit(under)})", signal.unit)
    ctx.builder.block(
        "ratio", f"{name}{HIDDEN}ratio", inputs=inputs, outputs={"out": out}, params={"gain": gain}, task=task
    )
