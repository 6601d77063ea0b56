"""Checks of signals, alarms, fail actions and records."""

from __future__ import annotations

from ctrl.config.checks import Checker
from ctrl.config.checks_expressions import check_condition
from ctrl.config.expressions import Binary, Expression, Number, Reference, Unary
from ctrl.config.model_loops import Pid, PowerFollow, ProductionRules, RateControl, Staging
from ctrl.config.model_records import Alarm
from ctrl.config.model_signals import RatioSignal, SelectSignal, Signal, SumSignal, WindowAverageSignal
from ctrl.config.problems import did_you_mean
from ctrl.config.quantity import Operand
from ctrl.config.reader import Loc
from ctrl.units import Quantity, UnitError, convert, parse_unit

SITE_KPIS = ("cost", "peak", "energy", "late_orders", "co2", "produced", "specific_energy")
LOOP_KPIS = ("iae", "ise", "travel", "overshoot", "time_in_auto")
_TRIPPED = (Pid, PowerFollow, RateControl, Staging)


def check(checker: Checker) -> None:
    """All checks of this file."""
    for name, signal in checker.draft.signals.items():
        _signal(checker, ("signals", name), signal)
    for name, alarm in checker.draft.alarms.items():
        _alarm(checker, ("alarms", name), alarm)
    _failsafe(checker)
    _records(checker)


def _signal(checker: Checker, loc: Loc, signal: Signal) -> None:
    if isinstance(signal, SelectSignal):
        _select(checker, loc, signal)
    elif isinstance(signal, WindowAverageSignal):
        checker.tag((*loc, "window_average"), signal.window_average)
        if signal.sync is not None:
            checker.tag((*loc, "sync"), signal.sync, unit="s")
    elif isinstance(signal, SumSignal):
        _sum(checker, loc, signal)
    elif isinstance(signal, RatioSignal):
        _ratio(checker, loc, signal)


def _select(checker: Checker, loc: Loc, signal: SelectSignal) -> None:
    unit = None
    for index, name in enumerate(signal.of):
        tag = checker.tag((*loc, "of", index), name, unit=unit)
        unit = unit or (tag.unit if tag is not None else None)
    if len(set(signal.of)) != len(signal.of):
        checker.report("E401", (*loc, "of"), "the same measurement twice")
    if signal.min_good > len(signal.of):
        checker.report("E208", (*loc, "min_good"), f"{signal.min_good} of {len(signal.of)} measurements")
    checker.difference((*loc, "max_difference"), signal.max_difference, unit)


def _sum(checker: Checker, loc: Loc, signal: SumSignal) -> None:
    unit: str | None = None
    for index, term in enumerate(signal.sum):
        here: Loc = (*loc, "sum", index)
        if term.ref is not None:
            tag = checker.tag(here, term.ref, unit=unit)
            if tag is not None and tag.unit is not None and parse_unit(tag.unit).point:
                checker.report("E303", here, f"'{term.ref}' in {tag.unit} cannot be added", "Sums take amounts")
            unit = unit or (tag.unit if tag is not None else None)
        elif unit is not None:
            checker.fits(here, term.value, unit)
        else:
            unit = term.value.unit if term.value is not None else None


def _ratio(checker: Checker, loc: Loc, signal: RatioSignal) -> None:
    above, below = (checker.tag((*loc, "ratio", index), name) for index, name in enumerate(signal.ratio))
    if above is not None and below is not None and above.unit is not None and below.unit is not None:
        try:
            convert(1.0, f"({above.unit})/({below.unit})", signal.unit)
        except UnitError:
            message = f"{above.unit} over {below.unit} is not {signal.unit}"
            checker.report("E212", (*loc, "unit"), message, f"Use '{above.unit}/({below.unit})' or what converts to it")
    if signal.only_if is not None:
        check_condition(checker, (*loc, "only_if"), signal.only_if)


def _alarm(checker: Checker, loc: Loc, alarm: Alarm) -> None:
    tree = check_condition(checker, (*loc, "when"), alarm.when)
    if alarm.unless is not None:
        check_condition(checker, (*loc, "unless"), alarm.unless)
    if alarm.priority in ("high", "critical") and not (alarm.response or "").strip():
        hint = "Add response: what the operator does"
        checker.report("E403", loc, f"an alarm of priority {alarm.priority} needs a response", hint)
    if alarm.trip is not None:
        names = [name for name, loop in checker.draft.loops.items() if isinstance(loop, _TRIPPED)]
        checker.entry((*loc, "trip"), alarm.trip, names, "loop that can be tripped")
    for key, rising in (("off_below", True), ("off_above", False)):
        level: Quantity | None = getattr(alarm, key)
        if level is not None and tree is not None:
            _clears(checker, (*loc, key), tree, level, rising=rising)


def _clears(checker: Checker, loc: Loc, tree: Expression, level: Quantity, *, rising: bool) -> None:
    """off_below goes with `x > limit`, off_above with `x < limit`, on the safe side of the limit."""
    wanted = (">", ">=") if rising else ("<", "<=")
    if not isinstance(tree, Binary) or tree.op not in wanted:
        text = "off_below needs 'when: x > limit'" if rising else "off_above needs 'when: x < limit'"
        checker.report("E404", loc, text)
        return
    name = _first_reference(tree.left)
    unit = checker.tags.unit(name) if name else None
    if not checker.fits(loc, level, unit) or unit is None or not isinstance(tree.right, Number):
        return
    try:
        limit, back = Quantity(tree.right.value, tree.right.unit).to(unit), level.to(unit)
    except UnitError:
        return  # the condition itself is reported
    if (back > limit) if rising else (back < limit):
        side = "above" if rising else "below"
        checker.report("E404", loc, f"{level} is {side} the threshold, {tree.right.value:g} {tree.right.unit}")


def _first_reference(tree: Expression) -> str | None:
    if isinstance(tree, Unary):
        return _first_reference(tree.operand)
    return tree.name if isinstance(tree, Reference) else None


def _failsafe(checker: Checker) -> None:
    failsafe = checker.draft.failsafe
    if failsafe is None or failsafe.it_lost is None:
        return
    rules = [name for name, loop in checker.draft.loops.items() if isinstance(loop, ProductionRules)]
    checker.entry(("failsafe", "it_lost", "then"), failsafe.it_lost.then, rules, "production_rules loop")


def _records(checker: Checker) -> None:
    records = checker.draft.records
    if records is None:
        return
    for index, name in enumerate(records.kpis):
        _kpi(checker, ("records", "kpis", index), name)
    if isinstance(records.history.points, tuple):
        for index, name in enumerate(records.history.points):
            checker.tag(("records", "history", "points", index), name, "any")
    periods = [task.every.to("s") for task in checker.draft.tasks.values()]
    if periods and records.history.every.to("s") < min(periods):
        message = f"{records.history.every} is below the fastest task, {min(periods):g} s"
        checker.report("E208", ("records", "history", "every"), message)


def _kpi(checker: Checker, loc: Loc, name: str) -> None:
    owner, _, metric = name.partition(".")
    if name in SITE_KPIS or name in checker.draft.signals or checker.draft.is_broken(name):
        return
    if owner in checker.draft.loops:
        if metric not in LOOP_KPIS:
            checker.report("E302", loc, f"no KPI '{metric}' of a loop", did_you_mean(metric, LOOP_KPIS))
        return
    known = (*SITE_KPIS, *checker.draft.signals, *(f"{n}.{m}" for n in checker.draft.loops for m in LOOP_KPIS))
    checker.report("E302", loc, f"no KPI '{name}'", did_you_mean(name, known) or f"Known: {', '.join(SITE_KPIS)}")


def check_operand(checker: Checker, loc: Loc, operand: Operand, unit: str) -> None:
    """A tag or a value that must convert to `unit`."""
    if operand.ref is not None:
        checker.tag(loc, operand.ref, unit=unit)
    else:
        checker.fits(loc, operand.value, unit)
