"""A site, and everything in it that has a name, in plain words: for the people who operate it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ctrl.app import explain_field
from ctrl.app.explain_field import UNUSED, Found
from ctrl.app.explain_loops import ALARMS, DOES, TROUBLE, Section, loop_sections
from ctrl.app.explain_words import LOOP_WORDS, Words, inputs_of, listed
from ctrl.config.model import (
    Alarm,
    EconomicDispatch,
    RatioSignal,
    SelectSignal,
    Signal,
    Site,
    SumSignal,
    WindowAverageSignal,
)
from ctrl.config.pins import GIVES, PINS
from ctrl.config.problems import did_you_mean


class UnknownNameError(ValueError):
    """Nothing of the site has that name; the text names the closest one."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Headed lines about one name. kind: site, device, point, feed, loop, alarm ..."""

    name: str
    kind: str
    title: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, one object a section."""
        sections = [{"heading": heading, "lines": list(lines)} for heading, lines in self.sections]
        return {**asdict(self), "sections": sections}

    def text(self) -> str:
        """Title, headings and lines, as they are printed."""
        parts = [self.title]
        for heading, lines in self.sections:
            parts += ["", heading, *(f"  {line}" for line in lines)]
        return "\n".join(parts)


def explain(site: Site, name: str | None = None) -> Explanation:
    """What `name` is and does; the whole site without a name. Loops may also be called by their tag (TIC-101).

    Raises UnknownNameError, with the closest name there is.
    """
    words = Words(site)
    if name is None:
        return _made(site.site.name, "site", f"{site.site.name}: one site", _site(words))
    for kind, find in _FINDERS.items():
        found = find(words, name)
        if found is not None:
            return _made(name, kind, *found)
    raise UnknownNameError(f"nothing is called '{name}'. {did_you_mean(name, names(site))}".rstrip())


def names(site: Site) -> list[str]:
    """Everything that can be explained."""
    found = [*site.devices, *site.sources, *site.signals, *site.loops, *site.plans, *site.alarms]
    found += [f"{d}.{p}" for d, device in site.devices.items() for p in device.points]
    found += [f"{s}.{f}" for s, source in site.sources.items() for f in source.feeds]
    found += [f"{n}.{pin}" for n, loop in site.loops.items() for pin in PINS[loop.type]]
    found += [f"{n}.{output}" for n, plan in site.plans.items() for output in plan.gives]
    return found + [loop.tag for loop in site.loops.values() if loop.tag is not None]


def _made(name: str, kind: str, title: str, sections: list[Section]) -> Explanation:
    kept = tuple((heading, tuple(lines)) for heading, lines in sections if lines)
    return Explanation(name, kind, title, kept)


def _site(words: Words) -> list[Section]:
    site = words.site
    failsafe = site.failsafe
    loops = [f"{n}{f' ({loop.tag})' if loop.tag else ''}: {LOOP_WORDS[loop.type]}" for n, loop in site.loops.items()]
    trouble = [
        (
            "A PLC without a full answer for 3 cycles is lost: its loops follow, it acts by its contract; "
            f"after {failsafe.plc_lost.after} an alarm tells."
        ),
        "The engine that ends in order writes every fallback once, then its heartbeat stops."
        if failsafe.engine_stop.outputs == "write_fallbacks_once"
        else "The engine that ends in order leaves the outputs as they are; its heartbeat stops.",
    ]
    if failsafe.it_lost is not None:
        trouble.append(f"Without IT the last plan runs out; then the loops follow {failsafe.it_lost.then}.")
    devices = [f"{n}: {explain_field.device_line(device)}" for n, device in site.devices.items()]
    sources = [f"{n}: {listed(source.feeds)}" for n, source in site.sources.items()]
    plans = [f"{n}: makes {listed(plan.gives)}" for n, plan in site.plans.items()]
    return [
        ("Where", [f"Local time of {site.site.timezone}; money in {site.site.currency}."]),
        ("Devices", devices),
        ("Sources", sources),
        ("Plans", plans),
        ("Loops", loops),
        ("Alarms", [words.alarm_line(n, alarm) for n, alarm in site.alarms.items()]),
        (TROUBLE, [*trouble, "Safety functions stay in the PLC: this is not a safety system."]),
        ("More", ["ctrl explain SITE NAME explains any of these names."]),
    ]


def _signal(words: Words, name: str) -> Found:
    signal: Signal | None = words.site.signals.get(name)
    if signal is None:
        return None
    users = words.users((name, *((f"{name}.forecast", f"{name}.elapsed") if _is_window(signal) else ())))
    return f"{name}: a signal", [
        (DOES, [f"It is {words.signal(signal)}."]),
        ("What goes in", [f"{words.origin(ref)}." for ref in inputs_of(signal)]),
        ("Who uses it", [f"{listed(users)}." if users else UNUSED]),
        (TROUBLE, _signal_trouble(signal)),
        (ALARMS, words.watched((name,), name)),
    ]


def _is_window(signal: Signal) -> bool:
    return isinstance(signal, WindowAverageSignal)


def _signal_trouble(signal: Signal) -> list[str]:
    if isinstance(signal, SelectSignal):
        lines = [f"A bad one is left out; with fewer than {signal.min_good} good, the signal is bad."]
        if signal.max_difference is not None:
            lines.append(f"When the good ones differ by more than {signal.max_difference}, the signal is uncertain.")
        return lines
    if isinstance(signal, RatioSignal):
        return ["Where there is no ratio, the last one stays, marked as such; a bad input makes it bad."]
    if isinstance(signal, SumSignal):
        return ["One bad input makes it bad."]
    return ["While the measurement is bad, the last power counts on and the window is uncertain."]


def _loop(words: Words, name: str) -> Found:
    by_tag = {loop.tag: n for n, loop in words.site.loops.items() if loop.tag is not None}
    name = by_tag.get(name, name)
    loop = words.site.loops.get(name)
    if loop is None:
        return None
    tag = f" ({loop.tag})" if loop.tag is not None else ""
    return f"{name}{tag}: {LOOP_WORDS[loop.type]}", loop_sections(words, name)


def _pin(words: Words, name: str) -> Found:
    owner, _, rest = name.partition(".")
    loop = words.site.loops.get(owner)
    pin = PINS[loop.type].get(rest) if loop is not None else None
    if loop is None or pin is None:
        return None
    users = words.users((name,))
    used = [f"{listed(users)}."] if users else [UNUSED]
    return f"{name}: a pin of {owner} ({LOOP_WORDS[loop.type]})", [(DOES, [f"{pin.text}."]), ("Who uses it", used)]


def _plan(words: Words, name: str) -> Found:
    plan: EconomicDispatch | None = words.site.plans.get(name)
    if plan is None:
        return None
    moves = [asset for asset in ("battery", "line") if getattr(plan.assets, asset) is not None]
    offers = [f"{name}.{out}{f' in {unit}' if unit != 'bool' else ''}: {_followers(words, f'{name}.{out}')}"
              for out, unit in plan.gives.items()]  # fmt: skip
    reads = [f"{what}: {words.origin(f.from_)}." for what, f in _forecasts(plan)]
    news = listed((what.replace("_", " ") for what in plan.commit.on), "or")
    commits = f"every {plan.commit.every}" + (f" and on news of {news}" if news else "")
    ladder = {
        "relax_stock": "stock limits give way",
        "relax_orders": "orders may be late",
        "last_plan": "the rest of the last plan is offered while it is valid",
        "fallbacks": "nothing is offered, and each loop goes to its next source",
    }
    return f"{name}: an economic dispatch", [
        (DOES, [f"It looks {plan.horizon} ahead and moves {listed(moves) or 'nothing'} at the least cost.",
                f"It is made by the rule '{plan.run.cron}' (local time) and must be there within {plan.run.finish_in}.",
                f"Whether the line runs is decided {commits}; in between only rates and battery move."]),
        ("What it reads", [f"Price: {words.origin(plan.prices.buy.of)}.", *reads]),
        ("What it offers", [*offers, f"Nothing is written by it: {words.offer_life(name)}."]),
        (TROUBLE, [f"When no plan keeps every rule: {'; then '.join(ladder[s] for s in plan.when_infeasible)}."]),
        (ALARMS, words.watched((), name)),
    ]  # fmt: skip


def _forecasts(plan: EconomicDispatch) -> list[tuple[str, Any]]:
    named = (
        ("PV", plan.forecasts.pv),
        ("Base load", plan.forecasts.base_load),
        ("Price forecast", plan.forecasts.price),
    )
    return [(what, forecast) for what, forecast in named if forecast is not None]


def _followers(words: Words, ref: str) -> str:
    users = [user for user in words.users((ref,)) if user in words.site.loops]
    return f"followed by {listed(users)}" if users else "followed by no loop"


def _output(words: Words, name: str) -> Found:
    owner, _, rest = name.partition(".")
    plan = words.site.plans.get(owner)
    if plan is None or rest not in plan.gives:
        return None
    what = f"{name}, {GIVES[plan.type].get(rest, plan.gives[rest])}: {_followers(words, name)}."
    return f"{name}: an offer of {owner}", [(DOES, [what, f"{words.offer_life(owner).capitalize()}."])]


def _alarm(words: Words, name: str) -> Found:
    alarm: Alarm | None = words.site.alarms.get(name)
    if alarm is None:
        return None
    lasting = f" has been true for {alarm.for_}" if alarm.for_.value else " is true"
    does = [f"It comes when {alarm.when}{lasting}."]
    if alarm.off_below is not None:
        does.append(f"It goes when the value is below {alarm.off_below} again.")
    if alarm.off_above is not None:
        does.append(f"It goes when the value is above {alarm.off_above} again.")
    if alarm.off_after is not None:
        does.append(f"It goes {alarm.off_after} after the condition is gone.")
    if alarm.unless is not None:
        does.append(f"It is suppressed while {alarm.unless}.")
    if alarm.trip is not None:
        does.append(f"It trips {alarm.trip}: the output goes to its low limit until the alarm is gone and reset.")
    return f"{name}: an alarm of priority {alarm.priority}", [
        (DOES, [*([alarm.text + "."] if alarm.text else []), *does]),
        ("What to do", [alarm.response + "."] if alarm.response else []),
        (TROUBLE, ["While a value in its condition is bad, it neither comes nor goes."]),
    ]


_FINDERS: dict[str, Callable[[Words, str], Found]] = {
    "device": explain_field.device,
    "point": explain_field.point,
    "source": explain_field.source,
    "feed": explain_field.feed,
    "signal": _signal,
    "loop": _loop,
    "pin": _pin,
    "plan": _plan,
    "output": _output,
    "alarm": _alarm,
}
