"""Phrases of all explanations: where a tag comes from, what a command may do, who watches, what a loss means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ctrl.config.expressions import parse, references
from ctrl.config.model import (
    Alarm,
    BatteryAction,
    Operand,
    Point,
    ProductionRules,
    RatioSignal,
    ReduceAction,
    Setpoint,
    SetpointProgram,
    Signal,
    Site,
    Staging,
    SumSignal,
    WindowAverageSignal,
)
from ctrl.loops.compile import PLAN_RECOVER
from ctrl.units import Quantity, Range

LOOP_WORDS = {
    "pid": "PID controller",
    "setpoint_program": "setpoint program",
    "staging": "staging of several units",
    "peak_limiter": "peak guard",
    "power_follow": "battery dispatch",
    "rate_control": "production rate",
    "production_rules": "local production rules",
}
_SELECT_WORDS = {
    "first_good": "the first good one of",
    "median": "the median of",
    "min": "the lowest of",
    "max": "the highest of",
    "mean": "the mean of",
}


def listed(items: Iterable[str], joint: str = "and") -> str:
    """a, b and c."""
    words = list(items)
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {joint} {words[-1]}"


def span(limits: Range) -> str:
    """A range in words: 0 kW to 320 kW."""
    return f"{limits.lo} to {limits.hi}"


def sum_words(terms: Sequence[Operand]) -> str:
    """a + b - c."""
    text = ""
    for term in terms:
        sign = "-" if term.negative else "+" if text else ""
        text += f" {sign} " if text else sign
        text += term.ref if term.ref is not None else str(term.value)
    return text


class Words:
    """Phrases about one site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    # ------------------------------------------------------------------------------------------------ tags
    def point(self, ref: str) -> Point | None:
        """The point behind a tag, if it is one."""
        owner, _, rest = ref.partition(".")
        device = self.site.devices.get(owner)
        return device.points.get(rest) if device is not None else None

    def origin(self, ref: str) -> str:
        """The tag and where its value comes from, in one phrase."""
        owner, _, rest = ref.partition(".")
        point = self.point(ref)
        if point is not None:
            believed = f", believed from {span(point.valid)}" if point.valid is not None else ""
            unit = f" in {point.unit}" if point.unit != "1" and point.valid is None else ""
            return f"{ref}{unit}, read from {owner} at {point.at}{believed}"
        if owner in self.site.sources:
            feed = self.site.sources[owner].feeds.get(rest)
            return f"{ref}, asked of {owner} every {feed.every}" if feed is not None else ref
        if owner in self.site.signals:
            return f"{ref}, worked out on site: {self.signal(self.site.signals[owner])}"
        if owner in self.site.plans:
            return f"{ref}, offered by the plan {owner}"
        loop = self.site.loops.get(owner)
        return f"{ref}, given by the loop {owner} ({LOOP_WORDS[loop.type]})" if loop is not None else ref

    def signal(self, signal: Signal) -> str:
        """How a signal is worked out."""
        tau = getattr(signal, "filter", None)
        smooth = f", smoothed over {tau}" if tau is not None else ""
        if isinstance(signal, SumSignal):
            return f"{sum_words(signal.sum)}{smooth}"
        if isinstance(signal, RatioSignal):
            only = f", only while {signal.only_if}" if signal.only_if else ""
            return f"{signal.ratio[0]} over {signal.ratio[1]} in {signal.unit}{only}{smooth}"
        if isinstance(signal, WindowAverageSignal):
            sync = f", in step with {signal.sync}" if signal.sync else ", in step with the clock"
            return f"the mean of {signal.window_average} over each window of {signal.over}{sync}"
        return f"{_SELECT_WORDS[signal.select]} {listed(signal.of)}{smooth}"

    def sources(self, ref: str) -> tuple[str, ...]:
        """The tag and every tag that goes into it, through signals."""
        found: dict[str, None] = {}

        def visit(tag: str) -> None:
            if tag in found:
                return
            found[tag] = None
            signal = self.site.signals.get(tag.partition(".")[0])
            if signal is not None:
                for part in inputs_of(signal):
                    visit(part)

        visit(ref)
        return tuple(found)

    # ------------------------------------------------------------------------------------------------ commands
    def command(self, ref: str) -> list[str]:
        """What an output drives, and what holds for that command whatever the loop asks."""
        owner, _, rest = ref.partition(".")
        point = self.point(ref)
        if point is None:
            loop = self.site.loops[owner]
            return [f"It commands {ref}: the {rest} of the loop {owner} ({LOOP_WORDS[loop.type]})."]
        lines = [f"It commands {ref}, written to {owner} at {point.at}."]
        bounds = [f"stays within {span(point.limits)}"] if point.limits is not None else []
        bounds += [f"changes by at most {point.rate}"] if point.rate is not None else []
        if bounds:
            lines.append(f"Whatever the loop asks, the command {listed(bounds)}.")
        if point.expires_after is not None:
            lines.append(
                f"If this command is not refreshed for {point.expires_after}, {owner} drops it: {self.fallback(ref)}."
            )
        return lines

    def fallback(self, ref: str) -> str:
        """What a device does with a command that is gone."""
        point = self.point(ref)
        value = point.fallback if point is not None else None
        if value is None:
            return f"{ref} has no fallback"
        if value == "hold":
            return f"{ref} keeps its last value"
        if isinstance(value, bool):
            return f"{ref} goes {'on' if value else 'off'}"
        return f"{ref} goes to {value}"

    def outputs(self, name: str) -> tuple[str, ...]:
        """Points that a loop commands, through the loops below it."""
        loop = self.site.loops[name]
        if isinstance(loop, Staging):
            return (loop.trim.command, *(unit.command for unit in loop.units.values()))
        if isinstance(loop, SetpointProgram | ProductionRules):
            return ()
        direct = [getattr(loop, key, None) for key in ("output", "run_output")]
        found: list[str] = []
        for ref in direct:
            if ref is not None and self.point(ref) is None:
                found += self.outputs(ref.partition(".")[0])
            elif ref is not None:
                found.append(ref)
        return tuple(found)

    def device_lost(self, refs: Iterable[str]) -> list[str]:
        """What the loss of each device behind these commands means, and what its PLC does when the engine is gone."""
        by_device: dict[str, list[str]] = {}
        for ref in refs:
            by_device.setdefault(ref.partition(".")[0], []).append(self.fallback(ref))
        lines = []
        for name, fallbacks in by_device.items():
            dead = self.site.devices[name].contract.dead_after
            when = f"{dead} after the last heartbeat" if dead is not None else "by its own contract"
            lines.append(
                f"If {name} does not answer for 3 cycles, the loop writes nothing and follows what the PLC reports. "
                f"The PLC acts on its own {when}: {listed(fallbacks)}."
            )
        return lines

    # ------------------------------------------------------------------------------------------------ setpoints
    def offer_life(self, plan: str) -> str:
        """How long the offers of a plan count."""
        config = self.site.plans[plan]
        return (
            f"an offer is valid for {config.plan_valid_for} and usable {config.run.finish_in} longer; "
            f"a lost plan is followed again after {PLAN_RECOVER} good ones"
        )

    def setpoint(self, setpoint: Setpoint) -> str:
        """Source of a setpoint that is not a ladder."""
        if setpoint.value is not None:
            return f"The setpoint is fixed in the site file: {setpoint.value}."
        return f"The setpoint is {self.origin(str(setpoint.from_))}."

    def ladder(self, setpoint: Setpoint, when_expired: str, pin: str, idle: str) -> list[str]:
        """Sources of a setpoint, best first. pin: what the local rules give; idle: the last rung in words."""
        first = str(setpoint.from_) if setpoint.from_ is not None else str(setpoint.value)
        plan = first.partition(".")[0]
        rungs = [f"{first} ({self.offer_life(plan)})" if plan in self.site.plans else first]
        if isinstance(self.site.loops.get(when_expired), ProductionRules):
            rungs.append(f"{when_expired}.{pin}, from stock and price on site")
        rungs.append("hold the last value" if when_expired == "hold" else idle)
        return [
            "The setpoint comes from the first of these that is valid:",
            *(f"  {i}. {rung}" for i, rung in enumerate(rungs, 1)),
        ]

    def plan_lost(self, setpoint: Setpoint) -> list[str]:
        """What happens when the plan behind a setpoint stays away."""
        plan = self.site.plans.get((setpoint.from_ or "").partition(".")[0])
        if plan is None:
            return []
        return [
            (
                f"If no plan comes, the last one is followed for {plan.plan_valid_for} and its last value for "
                f"{plan.run.finish_in} more; then the next source takes over."
            )
        ]

    # ------------------------------------------------------------------------------------------------ who watches
    def alarms_on(self, refs: Iterable[str], owner: str | None = None) -> list[str]:
        """Names of the alarms whose condition uses one of the tags, or any tag of `owner`, or that trip it."""
        wanted = set(refs)
        found = []
        for name, alarm in self.site.alarms.items():
            used = {r.name for r in references(parse(alarm.when))}
            own = owner is not None and (alarm.trip == owner or any(u.partition(".")[0] == owner for u in used))
            if own or used & wanted:
                found.append(name)
        return found

    def alarm_line(self, name: str, alarm: Alarm) -> str:
        """One alarm in one line."""
        lasting = f" for {alarm.for_}" if alarm.for_.value else ""
        trip = f"; it trips {alarm.trip}" if alarm.trip is not None else ""
        return f"{name} ({alarm.priority}): {alarm.when}{lasting}{trip}"

    def watched(self, refs: Iterable[str], owner: str | None = None) -> list[str]:
        """The alarms on the tags, one line each."""
        names = self.alarms_on(refs, owner)
        lines = [self.alarm_line(name, self.site.alarms[name]) for name in names]
        return lines or ["No alarm of the site file watches it."]

    def limiters(self, name: str) -> list[str]:
        """What peak guards may do to a loop."""
        lines = []
        for guard, loop in self.site.loops.items():
            for action in getattr(loop, "actions", ()):
                if isinstance(action, BatteryAction) and action.battery == name:
                    lines.append(
                        f"{guard} may ask it for more discharge; setpoints leave {action.reserve} of charge for that."
                    )
                elif isinstance(action, ReduceAction) and action.reduce.partition(".")[0] == name:
                    lines.append(
                        f"{guard} may lower its {action.reduce.partition('.')[2]} by up to {action.by}, at most "
                        f"{action.at_most_for} at a time, then not for {action.min_off}."
                    )
                elif getattr(action, "shed", "").partition(".")[0] == name:
                    unit = action.shed.partition(".")[2]
                    lines.append(f"{guard} may block {unit}, for at least {action.min_off}.")
        return lines

    def users(self, refs: Iterable[str]) -> list[str]:
        """Loops, signals, plans and alarms that use one of the tags directly."""
        wanted = set(refs)
        found = [n for n, signal in self.site.signals.items() if wanted & set(inputs_of(signal))]
        found += [n for n, loop in self.site.loops.items() if wanted & set(refs_in(loop))]
        found += [n for n, plan in self.site.plans.items() if wanted & set(refs_in(plan))]
        return found + [n for n in self.alarms_on(wanted) if n not in found]


def inputs_of(signal: Signal) -> tuple[str, ...]:
    """Tags that a signal is made of."""
    if isinstance(signal, SumSignal):
        return tuple(term.ref for term in signal.sum if term.ref is not None)
    if isinstance(signal, RatioSignal):
        only = tuple(r.name for r in references(parse(signal.only_if))) if signal.only_if else ()
        return (*signal.ratio, *only)
    if isinstance(signal, WindowAverageSignal):
        return (signal.window_average, *((signal.sync,) if signal.sync else ()))
    return signal.of


def refs_in(part: object) -> list[str]:
    """Every text inside a part of the model, conditions taken apart: enough to find who uses a tag."""
    found: list[str] = []
    for name in getattr(type(part), "model_fields", {}):
        value = getattr(part, name)
        if name in ("allow_when", "requires"):
            found += [r.name for text in value for r in references(parse(text))]
        else:
            found += _texts(value)
    return found


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Operand):
        return [value.ref] if value.ref is not None else []
    if isinstance(value, Quantity | Range):
        return []
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, tuple | list):
        return [text for item in value for text in _texts(item)]
    return refs_in(value)
