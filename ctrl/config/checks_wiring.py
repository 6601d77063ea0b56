"""Checks across loops: one writer for each output, and no circles within one pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ctrl.config.checks import Checker
from ctrl.config.expressions import ExpressionError, parse, references
from ctrl.config.model_loops import (
    BatteryAction,
    PeakLimiter,
    Pid,
    PowerFollow,
    ProductionRules,
    RateControl,
    ReduceAction,
    SetpointProgram,
    Staging,
)
from ctrl.config.model_signals import RatioSignal, SelectSignal, SumSignal, WindowAverageSignal
from ctrl.config.reader import Loc


def check(checker: Checker) -> None:
    """All checks of this file."""
    _writers(checker)
    for task in checker.draft.tasks:
        _circles(checker, task)


def outputs(name: str, loop: Any) -> Iterator[tuple[Loc, str]]:
    """What a loop commands: place of the key and the tag."""
    loc: Loc = ("loops", name)
    if isinstance(loop, Pid | PowerFollow | RateControl):
        yield (*loc, "output"), loop.output
    if isinstance(loop, RateControl) and loop.run_output is not None:
        yield (*loc, "run_output"), loop.run_output
    if isinstance(loop, Staging):
        yield (*loc, "trim", "command"), loop.trim.command
        for unit, fixed in loop.units.items():
            yield (*loc, "units", unit, "command"), fixed.command


def _writers(checker: Checker) -> None:
    draft = checker.draft
    first: dict[str, str] = {}
    for name, loop in draft.loops.items():
        for loc, tag in outputs(name, loop):
            if tag in first:
                hint = "Let a selector or a staging loop choose between them"
                checker.report("E301", loc, f"'{tag}' is written by {first[tag]} already", hint)
            first.setdefault(tag, name)
    if any(name in draft.broken for name in _names_in_file(checker)):
        return  # a loop that failed validation may be the missing writer
    for device_name, device in draft.devices.items():
        for point_name, point in device.points.items():
            tag = f"{device_name}.{point_name}"
            if point.write and tag not in first:
                message = f"no loop writes '{tag}'"
                checker.report(
                    "W401", ("devices", device_name, "points", point_name), message, "Its fallback stays in force"
                )


def _names_in_file(checker: Checker) -> list[str]:
    node = checker.document.node_at(("loops",))
    return [str(name) for name in node.value] if node is not None and isinstance(node.value, dict) else []


def reads(loop: Any) -> Iterator[str]:
    """Tags that a loop or signal reads in the forward pass."""
    if isinstance(loop, SelectSignal):
        yield from loop.of
    elif isinstance(loop, WindowAverageSignal):
        yield from filter(None, (loop.window_average, loop.sync))
    elif isinstance(loop, SumSignal):
        yield from (term.ref for term in loop.sum if term.ref is not None)
    elif isinstance(loop, RatioSignal):
        yield from loop.ratio
        yield from _in_expressions((loop.only_if,) if loop.only_if else ())
    elif isinstance(loop, Pid):
        yield from (loop.measure, *(path.from_ for path in loop.feedforward), *filter(None, (loop.setpoint.from_,)))
        yield from _in_expressions(loop.requires)
    elif isinstance(loop, SetpointProgram):
        yield from (loop.measure, *loop.follow)
    elif isinstance(loop, PeakLimiter):
        yield from filter(None, (loop.meter, loop.window.sync, loop.limit.ref))
    else:
        yield from _reads_more(loop)


def _reads_more(loop: Any) -> Iterator[str]:
    if isinstance(loop, PowerFollow):
        yield from filter(None, (loop.measure, loop.setpoint.from_, loop.soc.measure, loop.when_setpoint_expires))
    elif isinstance(loop, RateControl):
        yield from filter(None, (loop.setpoint.from_, loop.when_setpoint_expires))
        yield from _in_expressions(loop.allow_when)
    elif isinstance(loop, Staging):
        yield from (unit.running for unit in loop.units.values())
    elif isinstance(loop, ProductionRules):
        integrate = loop.when_stock_stale.integrate if loop.when_stock_stale is not None else None
        yield from filter(None, (loop.stock, loop.sales, loop.price, integrate))


def _in_expressions(texts: tuple[str, ...]) -> Iterator[str]:
    for text in texts:
        try:
            tree = parse(text)
        except ExpressionError:
            continue  # reported where it stands
        yield from (reference.name for reference in references(tree))


def _circles(checker: Checker, task: str) -> None:
    """Blocks of one task, and the signals they share, in which each waits for the one before."""
    draft = checker.draft
    blocks: dict[str, Any] = {n: loop for n, loop in draft.loops.items() if loop.task == task}
    blocks |= draft.signals
    waits: dict[str, list[str]] = {name: [] for name in blocks}
    for name, block in blocks.items():
        owners = (tag.partition(".")[0] for tag in reads(block))
        waits[name] += [owner for owner in owners if owner in blocks]
        for target in _pushes(name, block):
            if target in blocks:
                waits[target].append(name)
    done: set[str] = set()
    for name in blocks:
        circle = _find_circle(name, waits, [], done)
        if circle and not (circle[0] in draft.signals and task != next(iter(draft.tasks))):
            section = "signals" if circle[0] in draft.signals else "loops"
            path = " -> ".join((*circle, circle[0]))
            checker.report(
                "E310", (section, circle[0]), f"these wait for each other in one pass: {path}", "Break the circle"
            )
            return


def _pushes(name: str, block: Any) -> Iterator[str]:
    """Blocks that must run after this one because it commands or limits them."""
    for _, tag in outputs(name, block):
        yield tag.partition(".")[0]
    if isinstance(block, PeakLimiter):
        for action in block.actions:
            if isinstance(action, BatteryAction):
                yield action.battery
            elif isinstance(action, ReduceAction):
                yield action.reduce.partition(".")[0]
            else:
                yield action.shed.partition(".")[0]


def _find_circle(name: str, waits: dict[str, list[str]], trail: list[str], done: set[str]) -> list[str]:
    if name in trail:
        return trail[trail.index(name) :]
    if name in done:
        return []
    for other in waits[name]:
        circle = _find_circle(other, waits, [*trail, name], done)
        if circle:
            return circle
    done.add(name)
    return []
