"""What the bindings share while a site is compiled: the builder, tasks, units of tags, and who drives what."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ctrl.config.expressions import parse as parse_expression
from ctrl.config.model import Operand, Setpoint, Site
from ctrl.loops.builder import Builder
from ctrl.loops.expression import compile_expression
from ctrl.units import Quantity, convert, parse_unit

HIDDEN = "~"  # tags with this mark are wiring, not for operators


def difference(unit: str) -> str:
    """Unit of a difference of two values in `unit`: K for degC."""
    return parse_unit(unit).difference


class Context:
    """One compilation of a site.

    declared   tag -> function that gives its unit; filled by every part before anything is wired
    drives     pin or point -> tag of the loop output that commands it
    reductions pin -> tags that lower it (limit pins written by declared limiters)
    trips      loop -> tags of the alarms that trip it
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        periods = {name: task.every.to("s") for name, task in site.tasks.items()}
        self.base_s = min(periods.values())
        self.builder = Builder(self.base_s)
        ordered = sorted(periods.items(), key=lambda item: item[1])
        self.tasks = {name: self.builder.task(name, round(period / self.base_s)) for name, period in ordered}
        self.period_s = periods
        self.fastest = ordered[0][0]
        self.declared: dict[str, Callable[[], str]] = {}
        self.drives: dict[str, str] = {}
        self.reductions: dict[str, list[str]] = {}
        self.requests: dict[str, list[str]] = {}
        self.trips: dict[str, list[str]] = {}
        self.words: dict[str, dict[str, int]] = {}
        self._units: dict[str, str] = {}
        self._names = 0

    def declare(self, tag: str, unit: str | Callable[[], str]) -> None:
        """Announce a tag and its unit (or how to find it)."""
        self.declared[tag] = unit if callable(unit) else lambda: unit

    def unit(self, tag: str) -> str:
        """Unit of an announced tag."""
        if tag not in self._units:
            self._units[tag] = self.declared[tag]()
        return self._units[tag]

    def tag(self, name: str) -> str:
        """Make sure the tag has a slot; returns its name."""
        self.builder.tag(name, self.unit(name))
        return name

    def fresh_name(self, owner: str) -> str:
        """A hidden name below `owner`."""
        self._names += 1
        return f"{owner}{HIDDEN}{self._names}"

    def converted(self, tag: str, unit: str, task: int) -> str:
        """The tag in another unit: itself when the units are the same, else the output of a scale block."""
        self.tag(tag)
        have = self.unit(tag)
        if have == unit or (unit in ("", "1") and have in ("", "1", "bool")):
            return tag
        zero = convert(0.0, have, unit)
        factor = convert(1.0, have, unit) - zero
        if factor == 1.0 and zero == 0.0:
            return tag
        name = self.fresh_name(tag)
        self.builder.block("scale", name, inputs={"x": tag}, params={"a": factor, "b": zero}, task=task)
        self.declare(f"{name}.out", unit)
        return f"{name}.out"

    def operand(self, operand: Operand, unit: str, task: int) -> str:
        """Tag of an operand in `unit`; a fixed value becomes a constant tag."""
        sign = -1.0 if operand.negative else 1.0
        if operand.value is not None:
            return self.builder.constant(sign * operand.value.to(unit), unit)
        assert operand.ref is not None  # an operand is one or the other  # noqa: S101
        return self.converted(operand.ref, unit, task)

    def setpoint(self, setpoint: Setpoint, unit: str, task: int) -> str:
        """Tag of a setpoint's source in `unit`, limits and ramps not applied."""
        if setpoint.value is not None:
            return self.builder.constant(setpoint.value.to(unit), unit)
        return self.converted(str(setpoint.from_), unit, task)

    def expression(self, text: str, owner: str, task: int) -> str:
        """Tag of an expression's value (0/1 for a condition)."""
        return compile_expression(self, parse_expression(text), self.fresh_name(owner), task)

    def all_of(self, texts: Sequence[str], owner: str, task: int) -> str | None:
        """Tag that is true when every condition is, or None when there are none."""
        if not texts:
            return None
        return self.expression(" and ".join(f"({text})" for text in texts), owner, task)

    def any_of(self, tags: Sequence[str], owner: str, task: int) -> str | None:
        """Tag that is true when one of the boolean tags is; None without tags."""
        if len(tags) <= 1:
            return tags[0] if tags else None
        return self.expression(" or ".join(tags), owner, task)

    def filtered(self, tag: str, tau: Quantity | None, name: str, task: int) -> None:
        """Give tag `name` the value of `tag` through a first-order filter."""
        assert tau is not None  # noqa: S101
        self.builder.block(
            "filter", name, inputs={"x": tag}, outputs={"out": name}, params={"tau": tau.to("s")}, task=task
        )

    def ladder(self, owner: str, rungs: Sequence[str], task: int, fallback: float | None) -> str:
        """Source of a setpoint: the first rung that is valid; then the fallback value, or hold. Returns its tag."""
        name = f"{owner}.source"
        params = {"fallback_is_value": float(fallback is not None), "fallback_value": fallback or 0.0}
        self.builder.block(
            "source",
            name,
            var_inputs=[self.tag(r) for r in rungs],
            outputs={"out": name, "rung": f"{owner}.rung"},
            params=params,
            task=task,
        )
        return name
