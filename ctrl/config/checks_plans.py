"""Checks of plans: schedule, steps, prices, forecasts and assets."""

from __future__ import annotations

import math
import re

from ctrl.config.checks import Checker
from ctrl.config.checks_loops import check_gives
from ctrl.config.model_loops import PeakLimiter, PowerFollow, RateControl
from ctrl.config.model_plans import BatteryAsset, EconomicDispatch, Forecast
from ctrl.config.reader import Loc
from ctrl.units import UnitError

_CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_CRON_PART = re.compile(r"(\*|(\d+)(-(\d+))?)(/(\d+))?")


def check(checker: Checker) -> None:
    """All checks of this file."""
    for name, plan in checker.draft.plans.items():
        loc: Loc = ("plans", name)
        _schedule(checker, loc, plan)
        _grid(checker, loc, plan)
        _prices(checker, (*loc, "prices"), plan)
        _forecasts(checker, (*loc, "forecasts"), plan)
        _assets(checker, (*loc, "assets"), plan)
        _production(checker, loc, plan)
        check_gives(checker, (*loc, "gives"), plan.type, plan.gives)


def cron_problem(text: str) -> str:
    """What is wrong with a five-field cron text, or ""."""
    fields = text.split()
    if len(fields) != 5:
        return f"{len(fields)} fields instead of minute, hour, day, month, weekday"
    for field, (low, high) in zip(fields, _CRON_RANGES, strict=True):
        for part in field.split(","):
            match = _CRON_PART.fullmatch(part)
            numbers = [int(n) for n in (match.group(2), match.group(4)) if n is not None] if match else []
            if match is None or any(not low <= n <= high for n in numbers) or match.group(6) == "0":
                return f"'{part}' is not {low} to {high}"
    return ""


def interval_minutes(cron: str) -> float | None:
    """Minutes between runs when the cron text says */n minutes or once an hour, else None."""
    minute, *rest = cron.split()
    if rest != ["*"] * 4:
        return None
    match = re.fullmatch(r"\*(?:/(\d+))?", minute)
    if match:
        return float(match.group(1) or 1)
    return 60.0 if minute.isdigit() else None


def _schedule(checker: Checker, loc: Loc, plan: EconomicDispatch) -> None:
    wrong = cron_problem(plan.run.cron)
    if wrong:
        checker.report("E406", (*loc, "run", "cron"), f"'{plan.run.cron}': {wrong}", "For example '*/15 * * * *'")
        return
    if plan.solver.time_limit.to("s") >= plan.run.finish_in.to("s"):
        message = f"{plan.solver.time_limit} is not below run.finish_in ({plan.run.finish_in})"
        checker.report("E405", (*loc, "solver", "time_limit"), message)
    interval = interval_minutes(plan.run.cron)
    if interval is not None and plan.plan_valid_for.to("min") < interval + plan.run.finish_in.to("min"):
        message = f"{plan.plan_valid_for} ends before the next plan, made every {interval:g} min, can be there"
        checker.report("E406", (*loc, "plan_valid_for"), message, f"Use {3 * interval:g} min")


def _grid(checker: Checker, loc: Loc, plan: EconomicDispatch) -> None:
    start = 0.0
    for index, part in enumerate(plan.grid):
        here: Loc = (*loc, "grid", index)
        step, until = part.step.to("s"), part.until.to("s")
        if until <= start:
            checker.report("E406", (*here, "until"), f"{part.until} is not after the part before")
        elif not math.isclose((until - start) / step, round((until - start) / step), abs_tol=1e-9):
            checker.report("E406", (*here, "step"), f"{part.step} does not divide the time up to {part.until}")
        start = until
    if not math.isclose(start, plan.horizon.to("s")):
        message = f"the last part ends at {plan.grid[-1].until}, the horizon is {plan.horizon}"
        checker.report("E406", (*loc, "grid", len(plan.grid) - 1, "until"), message, f"Use {plan.horizon}")


def _price(checker: Checker, loc: Loc, name: str, unit: str) -> None:
    node = checker.document.node_at(loc)
    long = node is not None and isinstance(node.value, dict)
    checker.tag((*loc, "of") if long else loc, name, unit=unit)


def _prices(checker: Checker, loc: Loc, plan: EconomicDispatch) -> None:
    money, prices = checker.currency, plan.prices
    _price(checker, (*loc, "buy"), prices.buy.of, f"{money}/MWh")
    if prices.sell is not None:
        _price(checker, (*loc, "sell"), prices.sell.of, f"{money}/MWh")
    charge = prices.demand_charge
    if charge is not None:
        here: Loc = (*loc, "demand_charge")
        checker.fits((*here, "price"), charge.price, f"{money}/kW/month")
        checker.tag((*here, "measured"), charge.measured, unit="kW")
    if prices.co2 is not None:
        checker.fits((*loc, "co2", "price"), prices.co2.price, f"{money}/t")
        checker.tag((*loc, "co2", "intensity"), prices.co2.intensity, unit="g/kWh")


def _forecasts(checker: Checker, loc: Loc, plan: EconomicDispatch) -> None:
    units = {"pv": "kW", "base_load": "kW", "price": f"{checker.currency}/MWh"}
    for key, unit in units.items():
        forecast: Forecast | None = getattr(plan.forecasts, key)
        if forecast is None:
            continue
        here: Loc = (*loc, key)
        tag = checker.tag((*here, "from"), forecast.from_, unit=unit)
        if tag is None:
            continue
        if tag.curve and forecast.model is not None:
            checker.report("E405", (*here, "model"), f"'{forecast.from_}' is a curve already", "Use when_stale")
        if not tag.curve and forecast.model is None:
            hint = "Add 'model: weekday_profile', or refer to a feed with a horizon"
            checker.report("E405", here, f"'{forecast.from_}' is one value, not a curve", hint)
        if tag.curve and forecast.when_stale is None:
            checker.report("E405", here, "'when_stale' is missing", "What to use while the feed is stale")


def _assets(checker: Checker, loc: Loc, plan: EconomicDispatch) -> None:
    limit = plan.assets.grid.import_max.to("kW")
    for name, loop in checker.draft.loops.items():
        if isinstance(loop, PeakLimiter) and loop.limit_fallback.to("kW") > limit:
            message = f"{loop.limit_fallback} is above the grid connection, {plan.assets.grid.import_max}"
            checker.report("W421", ("loops", name, "limit_fallback"), message)
    if plan.assets.battery is not None:
        _battery(checker, (*loc, "battery"), plan.assets.battery, plan)
    line = plan.assets.line
    if line is None:
        return
    here: Loc = (*loc, "line")
    checker.fits((*here, "power", "per_rate"), line.power.per_rate, "kW/(t/h)")
    checker.fits((*here, "start_cost"), line.start_cost, checker.currency)
    for loop in checker.draft.loops.values():
        if isinstance(loop, RateControl):
            _line_rate(checker, (*here, "rate"), line.rate.to("t/h")[1], loop)


def _line_rate(checker: Checker, loc: Loc, highest: float, loop: RateControl) -> None:
    point = checker.writable(loop.output)
    try:
        most = point.limits.to("t/h")[1] if point is not None and point.limits is not None else None
    except UnitError:
        return  # another kind of rate, or reported with the point
    if most is not None and highest > most * (1 + 1e-9):
        checker.report("E405", loc, f"{highest:g} t/h is above the limit of {loop.output}, {most:g} t/h")


def _battery(checker: Checker, loc: Loc, asset: BatteryAsset, plan: EconomicDispatch) -> None:
    loops = checker.draft.loops
    batteries = [name for name, loop in loops.items() if isinstance(loop, PowerFollow)]
    checker.fits((*loc, "wear"), asset.wear, f"{checker.currency}/MWh")
    if not checker.entry((*loc, "loop"), asset.loop, batteries, "power_follow loop"):
        return
    battery = loops[asset.loop]
    point = checker.writable(battery.output)
    if point is not None and point.limits is not None:
        try:
            low, high = point.limits.to("kW")
        except UnitError:
            return  # reported with the point
        if asset.power.to("kW") > min(-low, high):
            checker.report(
                "E405", (*loc, "power"), f"{asset.power} is beyond the limits of {battery.output}, {point.limits}"
            )
    low, high = battery.soc.min.to("%"), battery.soc.max.to("%")
    here: Loc = (*loc[:2], "end_of_horizon", "battery_min")
    for where, level in (((*loc, "keep_for_peaks"), asset.keep_for_peaks), (here, plan.end_of_horizon.battery_min)):
        if level is not None and level.value > 0 and not low <= level.to("%") <= high:
            checker.report(
                "E405", where, f"{level} is outside {asset.loop}.soc, {battery.soc.min} .. {battery.soc.max}"
            )


def _production(checker: Checker, loc: Loc, plan: EconomicDispatch) -> None:
    production, money = plan.production, checker.currency
    if production is None:
        return
    here: Loc = (*loc, "production")
    checker.tag((*here, "stock"), production.stock, unit="t")
    if production.orders is not None:
        checker.tag((*here, "orders"), production.orders, "list")
    if production.forecast is not None:
        checker.tag((*here, "forecast"), production.forecast, unit="t/d")
    for key in ("lateness", "holding"):
        checker.fits((*here, key), getattr(production, key), f"{money}/t/d")
    low, high = production.stock_limits.to("t")
    stock_min = plan.end_of_horizon.stock_min
    if stock_min is not None and not low <= stock_min.to("t") <= high:
        message = f"{stock_min} is outside production.stock_limits, {production.stock_limits}"
        checker.report("E405", (*loc, "end_of_horizon", "stock_min"), message)
