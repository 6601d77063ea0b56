"""A simulated site under observation: faults of its sources, values of every cycle, and what must hold in each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ctrl.app.simulate import Simulation
from ctrl.clock import Clock
from ctrl.config.loader import load
from ctrl.config.model import Site
from ctrl.field.gate import ARMED
from ctrl.messages import Event
from ctrl.planning.plan import Plan
from ctrl.signals.base import FeedError, Response
from ctrl.simulation.http_feeds import FeedRouter

FOLDER: Final = Path(__file__).parents[2] / "configs" / "heat_treatment"
PLAN: Final = "energy_plan"

Answer = Callable[[bytes], bytes]
"""Body as served -> body as answered. Raises FeedError when there is no answer."""


def dead(_: bytes) -> bytes:
    """No answer at all."""
    raise FeedError("no answer within 10 s")


def changed(folder: Path, *changes: tuple[str, str]) -> Site:
    """The example site with other text."""
    text = (FOLDER / "site.yaml").read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.yaml").write_text(text, encoding="utf-8")
    (folder / "data").symlink_to(FOLDER / "data")
    return load(folder / "site.yaml")


class Router(FeedRouter):
    """The sources of a simulation with faults. faults: start of the path ("/market") -> answer."""

    def __init__(self, feeds: Mapping[str, Callable[[float], Any]]) -> None:
        super().__init__(feeds)
        self.faults: dict[str, Answer] = {}

    def fetch(self, clock: Clock) -> Callable[[str, Mapping[str, str]], Any]:
        """See FeedRouter.fetch."""
        ask = super().fetch(clock)

        async def get(url: str, headers: Mapping[str, str]) -> Response:
            path = "/" + url.split("/", 3)[3]
            response: Response = await ask(url, headers)
            body = response.body
            for start, fault in self.faults.items():
                if path.startswith(start):
                    body = fault(body)
            return Response(response.status, response.content_type, body)

        return get


class Probe:
    """A simulation whose tags are kept cycle by cycle, and whose commands are judged in every one.

    In each cycle all commands in force must be finite, inside their limits and not further from the ones before than
    their rates allow; a PLC that is not under the engine's command may jump to its fallbacks.
    """

    def __init__(self, simulation: Simulation, tags: Iterable[str]) -> None:
        self.sim = simulation
        self.tags = tuple(tags)
        self.plans: list[Plan] = []
        self._slots = [simulation.control.slots[tag] for tag in self.tags]
        self._rows: list[tuple[tuple[float, int], ...]] = []
        self._before = self._commands()

    @property
    def t(self) -> int:
        """Cycles, which are seconds, since the start."""
        return self.sim.k

    @property
    def utc(self) -> float:
        """Now, s since 1970."""
        return self.sim.clock.utc()

    def run(self, until: float) -> None:
        """Cycles up to that many seconds since the start."""
        get = self.sim.control.image.get
        while self.sim.k < until:
            self.sim.cycle()
            self._rows.append(tuple(get(slot)[:2] for slot in self._slots))
            self._judge()
            plan = self.sim.side.plans.get(PLAN)
            if plan is not None and (not self.plans or plan is not self.plans[-1]):
                self.plans.append(plan)

    def value(self, tag: str) -> float:
        """Value now."""
        return float(self.sim.control.image.get(self.sim.control.slots[tag])[0])

    def values(self, tag: str) -> npt.NDArray[np.float64]:
        """Values of all cycles so far."""
        i = self.tags.index(tag)
        return np.array([row[i][0] for row in self._rows])

    def statuses(self, tag: str) -> npt.NDArray[np.int64]:
        """Statuses of all cycles so far."""
        i = self.tags.index(tag)
        return np.array([row[i][1] for row in self._rows])

    def events(self, name: str, since: float = 0.0) -> list[Event]:
        """Events of that name since so many seconds after the start."""
        begin = self.sim.context.start_utc + since
        return [e for e in self.sim.events if e.event == name and e.utc >= begin]

    def raised(self) -> list[str]:
        """Alarms that were raised, in order; one that came twice is there twice."""
        return [e.source.removeprefix("alarms.") for e in self.events("ALARM") if e.data["to"] == "unack"]

    def alarm(self, name: str) -> bool:
        """True while the condition of the alarm holds."""
        return self.value(f"alarms.{name}") > 0.5

    def armed(self) -> bool:
        """True when every device is."""
        return all(driver.gate.state.mode == ARMED for driver in self.sim.control.devices.values())

    def _commands(self) -> dict[str, dict[str, float]]:
        return {name: plc.commands() for name, plc in self.sim.plants.plcs.items()}

    def _judge(self) -> None:
        now = self._commands()
        for device, values in now.items():
            plc = self.sim.plants.plcs[device]
            for point in plc.spec.points:
                if not point.write:
                    continue
                value, what = values[point.name], f"{device}.{point.name} at {self.t} s"
                assert math.isfinite(value), what
                assert point.limits[0] - 1e-3 <= value <= point.limits[1] + 1e-3, f"{what}: {value}"
                if point.rate is not None and plc.state == "remote":
                    moved = abs(value - self._before[device][point.name])
                    periods = 10.0 if point.name == "belt_cmd" else 1.0  # a slow task moves once in its period
                    assert moved <= point.rate * periods * 1.001 + 0.1, f"{what} jumps by {moved}"
        self._before = now
