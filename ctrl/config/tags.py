"""Every tag of a site with its unit and type, worked out from what is valid of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ctrl.config.model_field import CsvSource, Device, HttpSource, Point
from ctrl.config.model_loops import PeakLimiter, Pid, ReduceAction, Staging
from ctrl.config.model_plans import EconomicDispatch
from ctrl.config.model_records import Alarm, Failsafe, Records, Simulate
from ctrl.config.model_signals import RatioSignal, SelectSignal, SumSignal, WindowAverageSignal
from ctrl.config.pins import DEVICE_PINS, PINS, SELECT_PINS, WINDOW_PINS, Direction, Pin, PinType
from ctrl.units import parse_unit


@dataclass(slots=True)
class Draft:
    """The valid part of a site.

    broken  names that are in the file but not valid: "plc" or "plc.temp"
    blind   a whole section is unreadable, so that any name may have been meant to be there
    """

    site: Any = None
    tasks: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    sources: dict[str, HttpSource | CsvSource] = field(default_factory=dict)
    signals: dict[str, Any] = field(default_factory=dict)
    loops: dict[str, Any] = field(default_factory=dict)
    plans: dict[str, EconomicDispatch] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    failsafe: Failsafe | None = None
    records: Records | None = None
    simulate: Simulate | None = None
    broken: set[str] = field(default_factory=set)
    blind: bool = False

    def is_broken(self, name: str) -> bool:
        """True when `name` or its owner is in the file but not valid: references to it are not questioned."""
        return self.blind or name in self.broken or name.partition(".")[0] in self.broken


@dataclass(frozen=True, slots=True)
class Tag:
    """What is known of a tag. unit None: it depends on something that is itself wrong."""

    name: str
    unit: str | None
    type: PinType = "float"
    direction: Direction = "out"
    owner: str = ""
    point: Point | None = None
    curve: bool = False


class Tags:
    """Looks tags up by name."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self._busy: set[str] = set()

    def names(self) -> list[str]:
        """All tag names, for did-you-mean."""
        draft = self.draft
        found = [f"{d}.{p}" for d, device in draft.devices.items() for p in (*device.points, *DEVICE_PINS)]
        found += [f"{s}.{f}" for s, source in draft.sources.items() for f in source.feeds]
        for name, signal in draft.signals.items():
            found += [name, *(f"{name}.{pin}" for pin in _signal_pins(signal))]
        found += [f"{n}.{p}" for n, loop in draft.loops.items() for p in self._loop_pins(loop)]
        found += [f"{n}.{p}" for n, plan in draft.plans.items() for p in (*plan.gives, "age")]
        return found

    def get(self, name: str) -> Tag | None:
        """The tag, or None when there is none of that name."""
        if name in self._busy:
            return Tag(name, None)
        self._busy.add(name)
        try:
            return self._find(name)
        finally:
            self._busy.discard(name)

    def unit(self, name: str) -> str | None:
        """Unit of a tag, None when unknown."""
        tag = self.get(name)
        return tag.unit if tag is not None else None

    def _find(self, name: str) -> Tag | None:
        owner, _, rest = name.partition(".")
        draft = self.draft
        if owner in draft.devices:
            return self._point(name, owner, rest)
        if owner in draft.sources:
            return self._feed(name, owner, rest)
        if owner in draft.signals:
            return self._signal(name, owner, rest)
        if owner in draft.loops:
            return self._loop(name, owner, rest)
        if owner in draft.plans:
            return self._plan(name, owner, rest)
        return None

    def _point(self, name: str, owner: str, rest: str) -> Tag | None:
        point = self.draft.devices[owner].points.get(rest)
        if point is not None:
            kind: PinType = "bool" if point.type == "bool" else "state" if point.enum else "float"
            return Tag(name, point.unit, kind, owner=owner, point=point)
        pin = DEVICE_PINS.get(rest)
        return Tag(name, pin.unit, pin.type, owner=owner) if pin else None

    def _feed(self, name: str, owner: str, rest: str) -> Tag | None:
        feed_name, _, companion = rest.partition(".")
        feed = self.draft.sources[owner].feeds.get(feed_name)
        if feed is None or companion not in ("", "age"):
            return None
        if companion:
            return Tag(name, "s", owner=owner)
        if feed.fields is not None or isinstance(feed.unit, dict):
            return Tag(name, None, "list", owner=owner)
        return Tag(name, feed.unit, owner=owner, curve=feed.horizon is not None)

    def _signal(self, name: str, owner: str, rest: str) -> Tag | None:
        signal = self.draft.signals[owner]
        unit: str | None = None
        if isinstance(signal, SelectSignal):
            unit = self.unit(signal.of[0])
        elif isinstance(signal, WindowAverageSignal):
            unit = self.unit(signal.window_average)
        elif isinstance(signal, RatioSignal):
            unit = signal.unit
        elif isinstance(signal, SumSignal):
            unit = self._sum_unit(signal)
        if not rest:
            return Tag(name, unit, owner=owner)
        pin = _signal_pins(signal).get(rest)
        return Tag(name, unit if pin.unit == "measure" else pin.unit, pin.type, owner=owner) if pin else None

    def _sum_unit(self, signal: SumSignal) -> str | None:
        for term in signal.sum:
            if term.ref is not None:
                return self.unit(term.ref)
        first = signal.sum[0].value
        return first.unit if first is not None else None

    def _loop_pins(self, loop: Any) -> dict[str, Pin]:
        pins = dict(PINS[loop.type])
        if isinstance(loop, Pid) and not loop.feedforward:
            del pins["feedforward"]
        if isinstance(loop, Staging):
            pins |= {unit: Pin("1", "bool", text="the unit should run") for unit in loop.units}
        return pins

    def _loop(self, name: str, owner: str, rest: str) -> Tag | None:
        loop = self.draft.loops[owner]
        pin = self._loop_pins(loop).get(rest)
        if pin is None:
            return None
        return Tag(name, self.pin_unit(loop, pin.unit), pin.type, pin.direction, owner)

    def pin_unit(self, loop: Any, rule: str) -> str | None:
        """Unit that a rule of the pin table means for one loop."""
        if rule == "demand_unit":
            return str(loop.demand_unit)
        if rule in ("measure", "output"):
            return self.unit(getattr(loop, rule))
        if rule == "measure difference":
            unit = self.unit(loop.measure)
            return None if unit is None else parse_unit(unit).difference
        return rule

    def _plan(self, name: str, owner: str, rest: str) -> Tag | None:
        if rest == "age":
            return Tag(name, "s", owner=owner)
        unit = self.draft.plans[owner].gives.get(rest)
        if unit is None:
            return None
        return Tag(name, "1", "bool", owner=owner) if unit == "bool" else Tag(name, unit, owner=owner)

    def readable(self, tag: Tag) -> bool:
        """False for a pin that is only an entrance: nothing puts a value there to be read."""
        if tag.direction == "limit":
            guards = (loop for loop in self.draft.loops.values() if isinstance(loop, PeakLimiter))
            return any(isinstance(a, ReduceAction) and a.reduce == tag.name for guard in guards for a in guard.actions)
        return tag.direction == "out"


def _signal_pins(signal: Any) -> dict[str, Pin]:
    if isinstance(signal, WindowAverageSignal):
        return WINDOW_PINS
    return SELECT_PINS if isinstance(signal, SelectSignal) else {}
