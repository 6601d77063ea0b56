"""The site file's economic dispatch as plain numbers, and the tags it reads."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ctrl.config.model import Site
from ctrl.config.model_loops import PeakLimiter, PowerFollow, RateControl
from ctrl.config.model_plans import BatteryAsset, EconomicDispatch, LineAsset, Prices, ScaledPrice
from ctrl.config.model_signals import SumSignal, WindowAverageSignal
from ctrl.planning.spec import (
    BatterySpec,
    DispatchSpec,
    EndSpec,
    GridSpec,
    LineSpec,
    PriceSpec,
    ProductionSpec,
    SolverSpec,
)

DEFAULT_WINDOW_S = 900


@dataclass(frozen=True, slots=True)
class DispatchTags:
    """Where the inputs of a plan come from: tags and feeds, None where the site has none.

    battery_loop: name of the loop that follows bat_power; soc: its measured state of charge.
    """

    price: str
    co2: str | None
    pv: str | None
    base_load: str
    stock: str | None
    orders: str | None
    sales: str | None
    soc: str | None
    battery_loop: str | None
    measured_peak: str | None


@dataclass(frozen=True, slots=True)
class _Terms:
    """A price as feed * times + add, per kWh."""

    feed: str
    times: float
    add: float


def spec_from_config(site: Site, name: str | None = None) -> DispatchSpec:
    """Spec of plan `name`, or of the only plan. Raises ValueError for what cannot be planned, naming the key."""
    name, plan = _plan(site, name)
    battery = _battery(site, name, plan.assets.battery) if plan.assets.battery else None
    made, end, where = plan.production, plan.end_of_horizon, site.site.location
    money = site.site.currency
    steps = tuple((int(g.step.to("s")), int(g.until.to("s"))) for g in plan.grid)
    if steps[-1][1] != int(plan.horizon.to("s")):
        raise ValueError(f"plans.{name}: the grid ends at {steps[-1][1]} s, the horizon at {plan.horizon.to('s'):g} s")
    return DispatchSpec(
        name=name,
        timezone=site.site.timezone,
        lat=where.lat if where else 0.0,
        lon=where.lon if where else 0.0,
        grid=GridSpec(plan.assets.grid.import_max.to("kW"), plan.assets.grid.export_max.to("kW")),
        battery=battery,
        line=_line(site, name, plan.assets.line) if plan.assets.line else None,
        production=ProductionSpec(
            stock_min=made.stock_limits.lo.to("t"),
            stock_max=made.stock_limits.hi.to("t"),
            lateness=made.lateness.to(f"{money}/t/h"),
            holding=made.holding.to(f"{money}/t/h"),
        )
        if made
        else None,
        prices=_prices(site, name, plan.prices),
        end=EndSpec(
            battery_min=end.battery_min.to("%") if end.battery_min else 0.0,
            stock_min=end.stock_min.to("t") if end.stock_min else 0.0,
        ),
        solver=SolverSpec(plan.solver.gap.to("%") / 100, plan.solver.nodes, plan.solver.time_limit.to("s")),
        steps=steps,
        commit_every_s=int(plan.commit.every.to("s")),
        valid_s=plan.plan_valid_for.to("s"),
        when_infeasible=plan.when_infeasible,
    )


def tags_from_config(site: Site, name: str | None = None) -> DispatchTags:
    """Tags that plan `name`, or the only plan, reads."""
    name, plan = _plan(site, name)
    made, prices, battery = plan.production, plan.prices, plan.assets.battery
    loop = _battery_loop(site, name, battery) if battery else None
    return DispatchTags(
        price=_terms(site, name, prices.buy).feed,
        co2=prices.co2.intensity if prices.co2 else None,
        pv=plan.forecasts.pv.from_ if plan.forecasts.pv else None,
        base_load=plan.forecasts.base_load.from_,
        stock=made.stock if made else None,
        orders=made.orders if made else None,
        sales=made.forecast if made else None,
        soc=loop.soc.measure if loop else None,
        battery_loop=battery.loop if battery else None,
        measured_peak=prices.demand_charge.measured if prices.demand_charge else None,
    )


def _plan(site: Site, name: str | None) -> tuple[str, EconomicDispatch]:
    if name is None:
        if len(site.plans) != 1:
            raise ValueError(f"plans: name one of {', '.join(site.plans) or 'none'}")
        name = next(iter(site.plans))
    if name not in site.plans:
        raise ValueError(f"plans: there is no {name}")
    return name, site.plans[name]


def _battery_loop(site: Site, name: str, asset: BatteryAsset) -> PowerFollow:
    loop = site.loops.get(asset.loop)
    if not isinstance(loop, PowerFollow):
        raise ValueError(f"plans.{name}.assets.battery: loop {asset.loop} is not a power_follow loop")
    return loop


def _battery(site: Site, name: str, asset: BatteryAsset) -> BatterySpec:
    loop = _battery_loop(site, name, asset)
    return BatterySpec(
        power=asset.power.to("kW"),
        capacity=loop.soc.capacity.to("kWh"),
        efficiency=asset.efficiency_each_way.to("%") / 100,
        wear=asset.wear.to(f"{site.site.currency}/kWh") if asset.wear.value else 0.0,
        soc_min=loop.soc.min.to("%"),
        soc_max=loop.soc.max.to("%"),
        reserve=asset.keep_for_peaks.to("%"),
    )


def _line(site: Site, name: str, asset: LineAsset) -> LineSpec:
    ramps = [
        loop.ramp.to("t/h/h")
        for loop in site.loops.values()
        if isinstance(loop, RateControl) and loop.setpoint.from_ == f"{name}.rate"
    ]
    return LineSpec(
        rate_min=asset.rate.lo.to("t/h"),
        rate_max=asset.rate.hi.to("t/h"),
        fixed=asset.power.fixed.to("kW"),
        per_rate=asset.power.per_rate.to("kW/(t/h)"),
        holding=asset.power.holding.to("kW"),
        min_run=asset.min_run.to("h"),
        min_stop=asset.min_stop.to("h"),
        start_cost=asset.start_cost.to(site.site.currency),
        ramp=min(ramps, default=math.inf),
    )


def _prices(site: Site, name: str, prices: Prices) -> PriceSpec:
    money = site.site.currency
    buy = _terms(site, name, prices.buy)
    # without a price for it, what is exported earns nothing
    sell = _terms(site, name, prices.sell) if prices.sell else _Terms(buy.feed, 0.0, 0.0)
    if sell.feed != buy.feed:
        raise ValueError(f"plans.{name}.prices: buy and sell must come from the same feed")
    charge, window = prices.demand_charge, DEFAULT_WINDOW_S
    if charge is not None:
        measured = site.signals.get(charge.measured)
        if not isinstance(measured, WindowAverageSignal):
            raise ValueError(f"plans.{name}.prices.demand_charge: {charge.measured} is not a window_average")
        window = int(measured.over.to("s"))
    return PriceSpec(
        buy_times=buy.times,
        buy_add=buy.add,
        sell_times=sell.times,
        sell_add=sell.add,
        co2=prices.co2.price.to(f"{money}/kg") if prices.co2 else 0.0,
        demand=charge.price.to(f"{money}/kW/month") if charge else 0.0,
        window_s=window,
        expected_peak=charge.expected_peak.to("kW") if charge else 0.0,
        peak_margin=_peak_margin(site, name),
    )


def _peak_margin(site: Site, name: str) -> float:
    """What the peak limiter that follows this plan keeps free: a plan that used it would make the limiter act."""
    margins = [
        loop.margin.to("%") / 100
        for loop in site.loops.values()
        if isinstance(loop, PeakLimiter) and loop.limit.ref == f"{name}.peak_target"
    ]
    return max(margins, default=0.0)


def _terms(site: Site, name: str, price: ScaledPrice) -> _Terms:
    """A price reduced to one feed: sums of one tag and fixed amounts are followed."""
    signal = site.signals.get(price.of)
    if signal is None:
        return _Terms(price.of, price.times, 0.0)
    if not isinstance(signal, SumSignal):
        raise ValueError(f"plans.{name}.prices: {price.of} is neither a feed nor a sum")
    refs = [item for item in signal.sum if item.ref is not None]
    if len(refs) != 1:
        raise ValueError(f"plans.{name}.prices: {price.of} must be a sum of one tag and fixed amounts")
    unit = f"{site.site.currency}/kWh"
    add = sum((-1 if i.negative else 1) * i.value.to(unit) for i in signal.sum if i.value is not None)
    inner = _terms(site, name, ScaledPrice(of=refs[0].ref or ""))
    sign = -1.0 if refs[0].negative else 1.0
    return _Terms(inner.feed, price.times * sign * inner.times, price.times * (sign * inner.add + add))
