"""Checks of loops: every reference resolves, every number is in the unit of what it meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ctrl.config.checks import Checker, Want, quotient
from ctrl.config.checks_expressions import check_condition
from ctrl.config.checks_signals import check_operand
from ctrl.config.model_loops import (
    BatteryAction,
    PeakLimiter,
    Pid,
    PowerFollow,
    ProductionRules,
    RateControl,
    ReduceAction,
    Setpoint,
    SetpointProgram,
    ShedAction,
    Staging,
)
from ctrl.config.pins import GIVES
from ctrl.config.problems import did_you_mean
from ctrl.config.reader import Loc
from ctrl.units import Quantity, UnitError, parse_unit

_SPARE_PERCENT = 5.0  # less than this between reserve and lowest charge is hardly worth calling a reserve


def check(checker: Checker) -> None:
    """All checks of this file."""
    for name, loop in checker.draft.loops.items():
        loc: Loc = ("loops", name)
        checker.entry((*loc, "task"), loop.task, list(checker.draft.tasks), "task")
        _CHECKS[type(loop)](checker, loc, loop)


def _output(checker: Checker, loc: Loc, name: str, want: Want, unit: str | None = None) -> str | None:
    """Unit of what an output commands: a writable point, or a pin that takes commands."""
    tag = checker.tag(loc, name, want, unit, read=False)
    if tag is None:
        return None
    if tag.point is not None and not tag.point.write:
        checker.report("E304", loc, f"'{name}' is read only", "Give the point 'write: true', limits and a fallback")
    elif tag.point is None and tag.direction != "in":
        checker.report("E304", loc, f"'{name}' does not take commands", "Outputs go to points with 'write: true'")
    return tag.unit


def _setpoint(checker: Checker, loc: Loc, setpoint: Setpoint, unit: str | None) -> None:
    long = isinstance(getattr(checker.document.node_at(loc), "value", None), dict)
    if (setpoint.from_ is None) == (setpoint.value is None):
        checker.report("E203", loc, "a setpoint has either 'from' (a tag) or 'value'")
    if setpoint.from_ is not None:
        checker.tag((*loc, "from") if long else loc, setpoint.from_, unit=unit)
    fits = checker.fits((*loc, "value") if long else loc, setpoint.value, unit)
    ranged = checker.range_fits((*loc, "limits"), setpoint.limits, unit)
    checker.rate((*loc, "ramp_up"), setpoint.ramp_up, unit)
    checker.rate((*loc, "ramp_down"), setpoint.ramp_down, unit)
    if fits and ranged and unit is not None and setpoint.value is not None and setpoint.limits is not None:
        low, high = setpoint.limits.to(unit)
        if not low <= setpoint.value.to(unit) <= high:
            checker.report("E401", (*loc, "value"), f"{setpoint.value} is outside limits {setpoint.limits}")


def _inside(checker: Checker, loc: Loc, value: Quantity, name: str, unit: str) -> None:
    """A limit of a loop must be inside the limits of the point it commands."""
    point = checker.writable(name)
    if point is None or point.limits is None:
        return
    try:
        low, high = point.limits.to(unit)
    except UnitError:
        return  # the limits themselves are reported
    if not low <= value.to(unit) <= high:
        checker.report("E401", loc, f"{value} is outside the limits of {name}, {point.limits}")


def _pid(checker: Checker, loc: Loc, loop: Pid) -> None:
    measure = checker.tag((*loc, "measure"), loop.measure)
    pv_unit = measure.unit if measure is not None else None
    op_unit = _output(checker, (*loc, "output"), loop.output, "number")
    _setpoint(checker, (*loc, "setpoint"), loop.setpoint, pv_unit)
    _tuning(checker, (*loc, "tuning"), loop, pv_unit, op_unit)
    ends = [checker.fits((*loc, key), getattr(loop, key), op_unit) for key in ("out_low", "out_high")]
    if all(ends) and op_unit is not None:
        if loop.out_low.to(op_unit) >= loop.out_high.to(op_unit):
            checker.report("E401", (*loc, "out_low"), f"{loop.out_low} is not below out_high ({loop.out_high})")
        for key in ("out_low", "out_high"):
            _inside(checker, (*loc, key), getattr(loop, key), loop.output, op_unit)
    for index, path in enumerate(loop.feedforward):
        here: Loc = (*loc, "feedforward", index)
        tag = checker.tag((*here, "from"), path.from_)
        if tag is not None and tag.unit is not None and op_unit is not None:
            note = f"(output is {op_unit}, {path.from_} is {tag.unit})"
            below = parse_unit(tag.unit).difference
            checker.fits((*here, "gain"), path.gain, quotient(parse_unit(op_unit).difference, below), note)
    bad = loop.when_measure_bad
    if bad is not None and checker.fits((*loc, "when_measure_bad", "then_output"), bad.then_output, op_unit):
        _inside(checker, (*loc, "when_measure_bad", "then_output"), bad.then_output, loop.output, str(op_unit))
    _conditions(checker, (*loc, "requires"), loop.requires)


def _tuning(checker: Checker, loc: Loc, loop: Pid, pv_unit: str | None, op_unit: str | None) -> None:
    tuning, period = loop.tuning, checker.period_s(loop.task)
    if pv_unit is not None and op_unit is not None:
        gain = quotient(parse_unit(op_unit).difference, parse_unit(pv_unit).difference)
        checker.fits((*loc, "gain"), tuning.gain, gain, f"(output is {op_unit}, measure is {pv_unit})")
    if tuning.gain.value == 0:
        checker.report("E208", (*loc, "gain"), "a gain of 0 does nothing")
    if tuning.gain.value < 0:
        checker.report(
            "W430", (*loc, "gain"), f"{tuning.gain} turns 'action: {loop.action}' round", "Use a positive gain"
        )
    if tuning.integral is None:
        return
    integral = tuning.integral.to("s")
    if period is not None and 0 < integral < period:
        checker.report("E401", (*loc, "integral"), f"{tuning.integral} is below the period of the task, {period:g} s")
    if tuning.derivative is not None and tuning.derivative.to("s") > integral > 0:
        checker.report("W501", (*loc, "derivative"), f"{tuning.derivative} is above integral ({tuning.integral})")


def _conditions(checker: Checker, loc: Loc, texts: tuple[str, ...]) -> None:
    node = checker.document.node_at(loc)
    listed = node is not None and isinstance(node.value, list)
    for index, text in enumerate(texts):
        check_condition(checker, (*loc, index) if listed else loc, text)


def _setpoint_program(checker: Checker, loc: Loc, loop: SetpointProgram) -> None:
    measure = checker.tag((*loc, "measure"), loop.measure)
    unit = measure.unit if measure is not None else None
    for state, value in loop.states.items():
        checker.fits((*loc, "states", state), value, unit)
    if len(loop.states) < 2:
        checker.report("E401", (*loc, "states"), "a setpoint program has at least two states")
    for index, name in enumerate(loop.follow):
        checker.tag((*loc, "follow", index), name, "bool")
    if loop.soak_before_release is not None:
        checker.difference((*loc, "soak_before_release", "within"), loop.soak_before_release.within, unit)


def _peak_limiter(checker: Checker, loc: Loc, loop: PeakLimiter) -> None:
    checker.tag((*loc, "meter"), loop.meter, unit="kW")
    if loop.window.sync is not None:
        checker.tag((*loc, "window", "sync"), loop.window.sync, unit="s")
    check_operand(checker, (*loc, "limit"), loop.limit, "kW")
    if loop.near_end_cap.to("%") < 100:
        checker.report("E401", (*loc, "near_end_cap"), f"{loop.near_end_cap} is below the limit itself, 100 %")
    for index, action in enumerate(loop.actions):
        here: Loc = (*loc, "actions", index)
        if isinstance(action, BatteryAction):
            _battery_action(checker, here, action)
        elif isinstance(action, ReduceAction):
            tag = checker.tag((*here, "reduce"), action.reduce, read=False)
            if tag is not None and tag.direction != "limit":
                hint = "Use the out_high of a pid loop"
                checker.report("E402", (*here, "reduce"), f"'{action.reduce}' is not a limit", hint)
            elif tag is not None:
                checker.fits((*here, "by"), action.by, tag.unit)
        else:
            _shed_action(checker, here, action)


def _battery_action(checker: Checker, loc: Loc, action: BatteryAction) -> None:
    loops = checker.draft.loops
    batteries = [name for name, loop in loops.items() if isinstance(loop, PowerFollow)]
    if not checker.entry((*loc, "battery"), action.battery, batteries, "power_follow loop"):
        return
    soc = loops[action.battery].soc
    spare = action.reserve.to("%") - soc.min.to("%")
    if spare <= 0:
        message = f"reserve {action.reserve} is not above {action.battery}.soc.min ({soc.min})"
        checker.report("E402", (*loc, "reserve"), message)
    elif spare < _SPARE_PERCENT:
        usable = f"{spare:g} % ({spare / 100 * soc.capacity.to('kWh'):g} kWh)"
        message = (
            f"reserve {action.reserve} but {action.battery}.soc.min is {soc.min}: only {usable} is usable for peaks"
        )
        checker.report("W420", (*loc, "reserve"), message)


def _shed_action(checker: Checker, loc: Loc, action: ShedAction) -> None:
    owner, _, unit = action.shed.partition(".")
    staging = checker.draft.loops.get(owner)
    if isinstance(staging, Staging) and unit in staging.units:
        return
    if checker.draft.is_broken(owner):
        return
    known = [f"{n}.{u}" for n, loop in checker.draft.loops.items() if isinstance(loop, Staging) for u in loop.units]
    checker.report(
        "E402", (*loc, "shed"), f"no unit '{action.shed}' that can be shed", did_you_mean(action.shed, known)
    )


def _expired(checker: Checker, loc: Loc, rung: str, output: str) -> None:
    """hold, idle or a production_rules loop that gives what is needed."""
    if rung in ("hold", "idle"):
        return
    rules = {name: loop for name, loop in checker.draft.loops.items() if isinstance(loop, ProductionRules)}
    if rung in rules:
        if output not in rules[rung].gives:
            checker.report("E407", loc, f"{rung} does not give {output}", f"Add '{output}' to its gives")
    else:
        checker.entry(loc, rung, ["hold", "idle", *rules], "fallback")


def _power_follow(checker: Checker, loc: Loc, loop: PowerFollow) -> None:
    checker.tag((*loc, "measure"), loop.measure, unit="kW")
    _output(checker, (*loc, "output"), loop.output, "number", "kW")
    _setpoint(checker, (*loc, "setpoint"), loop.setpoint, "kW")
    checker.tag((*loc, "soc", "measure"), loop.soc.measure, unit="%")
    if loop.soc.min.to("%") >= loop.soc.max.to("%"):
        checker.report("E401", (*loc, "soc", "min"), f"{loop.soc.min} is not below max ({loop.soc.max})")
    checker.rate((*loc, "ramp"), loop.ramp, "kW")
    _expired(checker, (*loc, "when_setpoint_expires"), loop.when_setpoint_expires, "bat_power")


def _staging(checker: Checker, loc: Loc, loop: Staging) -> None:
    unit = loop.demand_unit
    _output(checker, (*loc, "trim", "command"), loop.trim.command, "number", "%")
    _capacity(checker, (*loc, "trim", "capacity"), loop.trim.capacity, unit)
    if loop.trim.name in loop.units:
        checker.report("E207", (*loc, "trim", "name"), f"'{loop.trim.name}' is the name of a fixed unit too")
    for name, fixed in loop.units.items():
        here: Loc = (*loc, "units", name)
        _output(checker, (*here, "command"), fixed.command, "bool")
        checker.tag((*here, "running"), fixed.running, "bool")
        _capacity(checker, (*here, "capacity"), fixed.capacity, unit)
        if fixed.power.unloaded.to("kW") > fixed.power.loaded.to("kW"):
            message = f"{fixed.power.unloaded} unloaded is above {fixed.power.loaded} loaded"
            checker.report("E401", (*here, "power"), message)
    if loop.stage_down.spare_over_next.to("%") < 100:
        message = f"{loop.stage_down.spare_over_next} would stop a unit that is still needed"
        checker.report("E401", (*loc, "stage_down", "spare_over_next"), message, "Use 100 % or more")


def _capacity(checker: Checker, loc: Loc, capacity: Quantity, unit: str) -> None:
    if checker.fits(loc, capacity, unit) and capacity.value <= 0:
        checker.report("E208", loc, f"'{capacity}' must be above zero")


def _rate_control(checker: Checker, loc: Loc, loop: RateControl) -> None:
    unit = _output(checker, (*loc, "output"), loop.output, "number")
    _setpoint(checker, (*loc, "setpoint"), loop.setpoint, unit)
    if loop.run_output is not None:
        _output(checker, (*loc, "run_output"), loop.run_output, "bool")
    checker.rate((*loc, "ramp"), loop.ramp, unit)
    _conditions(checker, (*loc, "allow_when"), loop.allow_when)
    _expired(checker, (*loc, "when_setpoint_expires"), loop.when_setpoint_expires, "rate")


def _production_rules(checker: Checker, loc: Loc, loop: ProductionRules) -> None:
    money = f"{checker.currency}/MWh"
    checker.tag((*loc, "stock"), loop.stock, unit="t")
    if loop.when_stock_stale is not None:
        checker.tag((*loc, "when_stock_stale", "integrate"), loop.when_stock_stale.integrate, unit="t/h")
    if loop.sales is not None:
        checker.tag((*loc, "sales"), loop.sales, unit="t/d")
    if loop.price is not None:
        checker.tag((*loc, "price"), loop.price, unit=money)
    if loop.reorder_below.to("t") >= loop.fill_to.to("t"):
        checker.report("E401", (*loc, "reorder_below"), f"{loop.reorder_below} is not below fill_to ({loop.fill_to})")
    if loop.battery is not None:
        here: Loc = (*loc, "battery")
        batteries = [name for name, other in checker.draft.loops.items() if isinstance(other, PowerFollow)]
        checker.entry((*here, "loop"), loop.battery.loop, batteries, "power_follow loop")
        low, high = loop.battery.charge_below, loop.battery.discharge_above
        fits = [
            checker.fits((*here, key), value, money)
            for key, value in (("charge_below", low), ("discharge_above", high))
        ]
        if all(fits) and low.to(money) >= high.to(money):
            checker.report("E401", (*here, "charge_below"), f"{low} is not below discharge_above ({high})")
    check_gives(checker, (*loc, "gives"), loop.type, loop.gives)


def check_gives(checker: Checker, loc: Loc, kind: str, gives: dict[str, str]) -> None:
    """Outputs that a loop or plan promises: known ones, in a unit of their dimension."""
    known = GIVES[kind]
    for name, unit in gives.items():
        here: Loc = (*loc, name)
        if name not in known:
            checker.report("E407", here, f"{kind} gives no '{name}'", did_you_mean(name, known))
            continue
        want = known[name]
        try:
            fits = unit == want if "bool" in (unit, want) else parse_unit(unit).same_kind(parse_unit(want))
        except UnitError as error:
            checker.report("E221", here, error.message, error.hint)
            continue
        if not fits:
            checker.report("E212", here, f"'{name}' is not given in {unit}", f"Use {want}")


_CHECKS: dict[type[Any], Callable[[Checker, Loc, Any], None]] = {
    Pid: _pid,
    SetpointProgram: _setpoint_program,
    PeakLimiter: _peak_limiter,
    PowerFollow: _power_follow,
    Staging: _staging,
    RateControl: _rate_control,
    ProductionRules: _production_rules,
}
