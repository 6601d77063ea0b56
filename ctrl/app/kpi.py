"""What to compute for a site: the tags and prices of its KPIs, taken from its own plan and loops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from ctrl.config.model import EconomicDispatch, Pid, PowerFollow, ProductionRules, RateControl, Site, SumSignal
from ctrl.quality import UNCERTAIN
from ctrl.records.history import HistoryReader
from ctrl.records.kpis import BatteryKpi, EnergyKpi, KpiSpec, LoopKpi, Order, Series, StockKpi, kpis
from ctrl.signals.base import Order as FeedOrder

STOCK_EUR_T = 35.0  # worth of a tonne in stock at the end of a run; else ending empty would look cheap
STORED_EUR_KWH = 0.15  # worth of a stored kWh, for the same reason
MAX_GAP_S = 60.0


def run_kpis(site: Site, reader: HistoryReader, end_utc: float, orders: Iterable[FeedOrder]) -> dict[str, float]:
    """KPIs of a run from its records. orders: every order that was seen, as it was first announced."""
    spec = kpi_spec(site, end_utc)
    known = {tag.name for tag in reader.tags()}
    missing = [tag for tag in tags_of(spec) if tag not in known]
    if missing:
        raise ValueError(f"not recorded, so no KPIs: {', '.join(missing)}")
    series = {tag: Series(*reader.series(tag)) for tag in tags_of(spec)}
    made = production_tag(site)
    if made in known and spec.stock is not None:
        stock = series[spec.stock.stock]
        usable = stock.v[stock.q >= UNCERTAIN]
        if len(usable):
            spec = with_orders(spec, orders, Series(*reader.series(str(made))), float(usable[0]))
    return kpis(series, spec)


def kpi_spec(site: Site, end_utc: float) -> KpiSpec:
    """The KPIs of a site. What it has no tags for is left out, not guessed."""
    plan = next(iter(site.plans.values()), None)
    return KpiSpec(
        end_utc=end_utc,
        timezone=site.site.timezone,
        max_gap_s=MAX_GAP_S,
        energy=_energy(site, plan) if plan is not None else None,
        battery=_battery(site, plan) if plan is not None else None,
        stock=_stock(plan) if plan is not None else None,
        lateness_eur_t_d=plan.production.lateness.to(f"{site.site.currency}/t/d") if plan and plan.production else 0.0,
        starts=_starts(site, plan) if plan is not None else None,
        loops=[_loop(site, name, loop) for name, loop in site.loops.items() if isinstance(loop, Pid)],
        rungs=_rungs(site),
        substitutes=[tag for tag in (next((f"{n}.rate" for n in site.plans), None),) if tag is not None],
    )


def with_orders(spec: KpiSpec, orders: Iterable[FeedOrder], produced: Series | None, opening: float) -> KpiSpec:
    """The spec with the orders due in the run and when each was complete: stock and production serve them by due date.

    produced: recorded rate, t/h. opening: stock at the start, t.
    """
    due = sorted((o for o in orders if o.due <= spec.end_utc), key=lambda o: (o.due, o.id))
    if not due or produced is None or not len(produced.t):
        return spec
    hours = np.diff(produced.t, append=spec.end_utc) / 3600.0
    made = opening + np.cumsum(np.where(produced.q >= 0x40, produced.v, 0.0) * hours)
    done, needed = [], 0.0
    for order in due:
        needed += order.mass_t
        at = int(np.searchsorted(made, needed - 1e-6))
        ready = float(produced.t[at]) if at < len(made) else None
        done.append(Order(order.due, None if ready is None else max(ready, order.due), order.mass_t))
    return replace(spec, orders=done)


def tags_of(spec: KpiSpec) -> tuple[str, ...]:
    """Tags that must be in the records for these KPIs."""
    found: list[str | None] = []
    if spec.energy is not None:
        found += [spec.energy.grid, spec.energy.buy, spec.energy.sell, spec.energy.co2]
    if spec.battery is not None:
        found += [spec.battery.power, spec.battery.soc]
    if spec.stock is not None:
        found.append(spec.stock.stock)
    found += list(spec.starts or ())
    for loop in spec.loops:
        found += [loop.pv, loop.sp, loop.op]
    found += [tag for tag, _ in (spec.rungs or {}).values()]
    found += list(spec.substitutes)
    return tuple(dict.fromkeys(tag for tag in found if tag is not None))


def production_tag(site: Site) -> str | None:
    """Tag of the rate that the line really makes."""
    for loop in site.loops.values():
        if isinstance(loop, ProductionRules) and loop.when_stock_stale is not None:
            return loop.when_stock_stale.integrate
    return None


def _energy(site: Site, plan: EconomicDispatch) -> EnergyKpi | None:
    charge = plan.prices.demand_charge
    measured = site.signals.get(charge.measured) if charge is not None else None
    grid = getattr(measured, "window_average", None)
    if grid is None:
        return None
    sell, co2 = plan.prices.sell, plan.prices.co2
    money = site.site.currency
    return EnergyKpi(
        grid=grid,
        buy=plan.prices.buy.of,
        sell=sell.of if sell is not None else None,
        sell_times=sell.times if sell is not None else 1.0,
        demand_eur_kw_month=charge.price.to(f"{money}/kW/month") if charge is not None else None,
        co2=co2.intensity if co2 is not None else None,
        co2_eur_t=co2.price.to(f"{money}/t") if co2 is not None else 0.0,
    )


def _battery(site: Site, plan: EconomicDispatch) -> BatteryKpi | None:
    asset = plan.assets.battery
    loop = site.loops.get(asset.loop) if asset is not None else None
    if asset is None or not isinstance(loop, PowerFollow):
        return None
    wear = asset.wear.to(f"{site.site.currency}/MWh") if asset.wear.value else 0.0
    return BatteryKpi(loop.measure, loop.soc.measure, loop.soc.capacity.to("kWh"), wear, STORED_EUR_KWH)


def _stock(plan: EconomicDispatch) -> StockKpi | None:
    if plan.production is None:
        return None
    made = plan.production
    holding = made.holding.to("EUR/t/d") if made.holding.value else 0.0
    return StockKpi(made.stock, holding, STOCK_EUR_T)


def _starts(site: Site, plan: EconomicDispatch) -> Mapping[str, float] | None:
    line = plan.assets.line
    run = next((f"{n}.run" for n, loop in site.loops.items() if isinstance(loop, RateControl)), None)
    if line is None or run is None:
        return None
    return {run: line.start_cost.to(site.site.currency)}


def _loop(site: Site, name: str, loop: Pid) -> LoopKpi:
    pv_unit = _unit(site, loop.measure)
    return LoopKpi(name, loop.measure, f"{name}.setpoint", f"{name}.out", pv_unit, _unit(site, loop.output))


def _unit(site: Site, tag: str) -> str:
    owner, _, pin = tag.partition(".")
    device = site.devices.get(owner)
    if device is not None:
        return device.points[pin].unit
    signal, loop = site.signals.get(owner), site.loops.get(owner)
    if isinstance(signal, SumSignal):
        return next((_unit(site, o.ref) for o in signal.sum if o.ref is not None), "1")
    if signal is not None:
        return _unit(site, (getattr(signal, "of", None) or [getattr(signal, "window_average", "")])[0])
    return str(getattr(loop, "demand_unit", "1"))


def _rungs(site: Site) -> dict[str, tuple[str, Mapping[int, str]]]:
    words = {0: "plan", 1: "rules", 2: "fallback", 3: "hold"}
    return {n: (f"{n}.rung", words) for n, loop in site.loops.items() if isinstance(loop, PowerFollow | RateControl)}
