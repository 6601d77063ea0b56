"""Binding of `type: production_rules`: rate, on/off and battery from stock, sales and price, without any plan."""

from __future__ import annotations

from ctrl.config.model import PowerFollow, ProductionRules, SumSignal
from ctrl.loops.context import Context
from ctrl.loops.points import line_feedback
from ctrl.loops.registry import Binding, register

RANK = "rank"  # companion tag of a price feed: share of the local day's hours that are cheaper, 0..1


def declare(ctx: Context, name: str, loop: ProductionRules) -> None:
    """Announce the pins of the rules."""
    del loop  # the same for all
    for pin, unit in (("rate", "t/h"), ("line_on", "bool"), ("bat_power", "kW"), ("mode", "1"), ("why", "1")):
        ctx.declare(f"{name}.{pin}", unit)
    ctx.declare(f"{name}.stock_est", "t")


def bind(ctx: Context, name: str, loop: ProductionRules) -> None:
    """Add the block of the rules."""
    task = ctx.tasks[loop.task]
    params = {
        "reorder_below": loop.reorder_below.to("t"),
        "fill_to": loop.fill_to.to("t"),
        "rate": loop.rate.to("t/h"),
        "cheapest_hours": loop.cheapest_hours.to("h/d"),
        **_line_times(ctx),
    }
    inputs: dict[str, str | None] = {
        "stock": ctx.converted(loop.stock, "t", task),
        "sales": ctx.converted(loop.sales, "t/h", task) if loop.sales is not None else ctx.builder.constant(0.0, "t/h"),
    }
    if loop.price is not None:
        inputs["price"] = ctx.converted(loop.price, "EUR/MWh", task)
        inputs["rank"] = _rank(ctx, loop.price)
    inputs["line_running"] = line_feedback(ctx, lambda rate: rate.when_setpoint_expires == name)
    if loop.when_stock_stale is not None:
        inputs["produced"] = ctx.converted(loop.when_stock_stale.integrate, "t/h", task)
    if loop.battery is not None:
        battery = ctx.site.loops[loop.battery.loop]
        assert isinstance(battery, PowerFollow)  # checked by the loader  # noqa: S101
        inputs["soc"] = ctx.converted(battery.soc.measure, "%", task)
        params |= _battery(ctx, loop, battery)
    hours = [x for clock in loop.avoid_hours for x in (clock.start, clock.end)]
    ctx.builder.block(
        "production_rules",
        name,
        inputs=inputs,
        outputs={p: ctx.tag(f"{name}.{p}") for p in ("rate", "line_on", "bat_power", "mode", "why", "stock_est")},
        params=params,
        var_params=hours,
        task=task,
    )


def _battery(ctx: Context, loop: ProductionRules, battery: PowerFollow) -> dict[str, float]:
    assert loop.battery is not None  # noqa: S101
    device, point = battery.output.split(".")
    limits = ctx.site.devices[device].points[point].limits
    assert limits is not None  # the loader refuses a written number without limits  # noqa: S101
    low, high = limits.to("kW")
    power = min(-low, high)
    return {
        "charge_below": loop.battery.charge_below.to("EUR/MWh"),
        "discharge_above": loop.battery.discharge_above.to("EUR/MWh"),
        "bat_power_max": power,
        "charge_power": 0.5 * power,
        "soc_lo": battery.soc.min.to("%") + battery.derate_band.to("%"),
        "soc_hi": battery.soc.max.to("%") - battery.derate_band.to("%"),
    }


def _line_times(ctx: Context) -> dict[str, float]:
    """Shortest run and stop of the line, s, as the plan of the site has them."""
    lines = [plan.assets.line for plan in ctx.site.plans.values() if plan.assets.line is not None]
    if not lines:
        return {"min_run": 0.0, "min_stop": 0.0}
    return {
        "min_run": max(line.min_run.to("s") for line in lines),
        "min_stop": max(line.min_stop.to("s") for line in lines),
    }


def _rank(ctx: Context, price: str) -> str | None:
    """Rank tag of the feed behind a price: adding fees does not change which hours are cheapest."""
    tag = f"{price}.{RANK}"
    if tag in ctx.declared:
        return ctx.tag(tag)
    signal = ctx.site.signals.get(price)
    if isinstance(signal, SumSignal):
        ranked = [f"{o.ref}.{RANK}" for o in signal.sum if o.ref is not None and f"{o.ref}.{RANK}" in ctx.declared]
        if len(ranked) == 1:
            return ctx.tag(ranked[0])
    return None


def face(name: str, loop: ProductionRules) -> dict[str, str]:
    """PV is the stock, OP the rate; on/off and battery power beside them."""
    pins = {"op": "rate", "line_on": "line_on", "bat_power": "bat_power", "mode": "mode", "why": "why"}
    return {"pv": loop.stock, **{role: f"{name}.{pin}" for role, pin in pins.items()}}


register(Binding("production_rules", declare, bind, face))
