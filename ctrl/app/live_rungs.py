"""Where each loop's setpoint comes from now, in words, and whether that is the source its configuration prefers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ctrl import quality
from ctrl.config.model import (
    AnyLoop,
    PeakLimiter,
    Pid,
    PowerFollow,
    ProductionRules,
    RateControl,
    SetpointProgram,
    Site,
    Staging,
)
from ctrl.hmi.live import Rung

Read = Callable[[str], tuple[float, int]]
"""tag -> (value, status)"""


class Rungs:
    """Sources of the setpoints of a site."""

    def __init__(self, site: Site, manifest: Mapping[str, Any]) -> None:
        self.site, self.slots = site, manifest["slots"]
        self._faces = {entry["name"]: entry["face"] for entry in manifest["loops"]}

    def now(self, read: Read) -> dict[str, Rung]:
        """By loop; loops without a setpoint are left out."""
        found = {name: self._of(name, loop, read) for name, loop in self.site.loops.items()}
        return {name: rung for name, rung in found.items() if rung is not None}

    def _of(self, name: str, loop: AnyLoop, read: Read) -> Rung | None:
        if isinstance(loop, PowerFollow | RateControl):
            return self._ladder(name, loop, read)
        if isinstance(loop, PeakLimiter):
            return self._limit(loop, read)
        if isinstance(loop, SetpointProgram):
            return self._program(loop, read)
        if isinstance(loop, Pid):
            return _usual(_pid_source(loop))
        if isinstance(loop, Staging):
            masters = [
                n for n, other in self.site.loops.items() if isinstance(other, Pid) and other.output == f"{name}.demand"
            ]
            return _usual(masters[0]) if masters else None
        return _usual("stock and price") if isinstance(loop, ProductionRules) else None

    def _ladder(self, name: str, loop: PowerFollow | RateControl, read: Read) -> Rung:
        """The number of the rung: the setpoint's source, the local rules when there are any, the fallback, hold."""
        first = loop.setpoint.from_ or "fixed value"
        names = [self._name(first)]
        if isinstance(self.site.loops.get(loop.when_setpoint_expires), ProductionRules):
            names.append("local rules")
        names += ["fallback", "holds the last value"]
        value, status = read(self._faces[name]["rung"])
        if not quality.is_usable(status) or not 0 <= value < len(names):
            return {"source": "unknown", "normal": False, "why": quality.text(status)}
        at = int(value)
        return {"source": names[at], "normal": at == 0, "why": self._why(first, read) if at else ""}

    def _limit(self, loop: PeakLimiter, read: Read) -> Rung:
        if loop.limit.ref is None:
            return _usual("fixed value")
        if quality.is_usable(read(loop.limit.ref)[1]):
            return _usual(self._name(loop.limit.ref))
        why = self._why(loop.limit.ref, read)
        return {"source": f"fallback {loop.limit_fallback}", "normal": False, "why": why}

    def _program(self, loop: SetpointProgram, read: Read) -> Rung:
        for i, tag in enumerate(loop.follow):
            if quality.is_usable(read(tag)[1]):
                why = self._why(loop.follow[0], read) if i else ""
                return {"source": self._name(tag), "normal": i == 0, "why": why}
        return {"source": "holds its state", "normal": False, "why": self._why(loop.follow[0], read)}

    def _name(self, tag: str) -> str:
        owner = tag.partition(".")[0]
        if owner in self.site.plans:
            return "plan"
        return "local rules" if isinstance(self.site.loops.get(owner), ProductionRules) else owner

    def _why(self, tag: str, read: Read) -> str:
        """Why the preferred source is not the one in use."""
        owner = tag.partition(".")[0]
        status = read(tag)[1] if tag in self.slots else quality.BAD_CONFIG
        if owner not in self.site.plans:
            return f"{tag}: {quality.text(status)}"
        if quality.is_usable(status):
            return "plan back; followed after it has held for a while"
        age, age_status = read(f"{owner}.age")
        if not quality.is_usable(age_status):
            return "no plan yet"
        return f"plan {age / 60.0:.0f} min old"


def _usual(source: str) -> Rung:
    return {"source": source, "normal": True, "why": ""}


def _pid_source(loop: Pid) -> str:
    if loop.setpoint.from_ is not None:
        return loop.setpoint.from_.removesuffix(".out")
    return "fixed value"
