"""The live page's data of a real site: the shared image, the site side, and what control says of itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from ctrl import quality
from ctrl.app.live_layout import layout_of
from ctrl.app.live_plan import PlanPages, PricePages, plan_named
from ctrl.app.live_rungs import Rungs
from ctrl.app.live_trend import TrendStore
from ctrl.clock import Clock
from ctrl.config.model import Device, Site
from ctrl.hmi.live import DeviceState, Layout, PlanView, PriceSeries, Snapshot, Trend
from ctrl.messages import Event, Profile
from ctrl.planning.plan import Plan

Snap = tuple[int, int, Sequence[float], bytes, Sequence[int]] | None
"""(cycle, ns, values, statuses, times ns) of one cycle, as ext.ImageReader.snapshot gives it."""

KEPT_EVENTS: Final = 200
_STATES: Final[tuple[Literal["disarmed", "shadow", "armed"], ...]] = ("disarmed", "shadow", "armed")  # ctrl.field.gate
LATE_PERIODS: Final = 1.5
_LINK_EVENTS: Final = frozenset({"LINK_LOST", "READ_FAILED", "DEVICE_RESTART", "ECHO_STALLED"})


class Side(Protocol):
    """What the page needs of the site side (ctrl.service.site_side)."""

    @property
    def clock(self) -> Clock:
        """The clock of the run."""

    @property
    def plans(self) -> Mapping[str, Plan]:
        """The newest run of each plan."""

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """The newest answer of each feed."""


class SiteLiveSource:
    """Fulfils ctrl.hmi.live.LiveSource for a site that runs.

    manifest: of the site's bundle. snapshot: the newest cycle, or None before the first. side: plans, prices, clock.
    history: file of the historian, for trends older than what is kept in memory. simulated: None = when an override
    file has set a plant clock.
    """

    def __init__(
        self,
        site: Site,
        manifest: Mapping[str, Any],
        snapshot: Callable[[], Snap],
        side: Side,
        history: Path | None = None,
        *,
        simulated: bool | None = None,
    ) -> None:
        self._site, self._side, self._snap = site, side, snapshot
        self._slots: dict[str, int] = manifest["slots"]
        self._tags = [(tag, self._slots[tag]) for tag in manifest["units"]]
        self._layout = layout_of(site, manifest, simulated=site.clock is not None if simulated is None else simulated)
        self._devices = {name: _DeviceView(name, site, self._slots) for name in site.devices}
        self._rungs = Rungs(site, manifest)
        self._trend = TrendStore(manifest["records"]["tags"], history)
        self._plan, self._prices = PlanPages(site), PricePages(site)
        self._status: Mapping[str, Any] = {}
        self._alarms: list[dict[str, Any]] = []
        self.events: deque[Event] = deque(maxlen=KEPT_EVENTS)

    # ------------------------------------------------------------------------------------------------ what comes in
    def row(self, utc: float, values: Sequence[float], statuses: bytes) -> None:
        """One row of the record: values and statuses of the recorded tags, in the order of the manifest."""
        self._trend.row(utc, values, statuses)

    def event(self, event: Event) -> None:
        """Something happened; what a device said of its link is shown with it."""
        self.events.append(event)
        if event.source in self._devices and event.event in _LINK_EVENTS:
            self._devices[event.source].said = event.text

    def update_status(self, status: Mapping[str, Any]) -> None:
        """What control answered to `status`; its alarms are taken, too."""
        self._status = status
        for name, counters in status.get("devices", {}).items():
            if name in self._devices:
                self._devices[name].count(counters)
        if "alarms" in status:
            self.update_alarms(status["alarms"])

    def update_alarms(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows of AlarmList.view."""
        self._alarms = [dict(row) for row in rows]

    def close(self) -> None:
        """Close the historian's file."""
        self._trend.close()

    # ----------------------------------------------------------------------------------------------- what is shown
    def layout(self) -> Layout:
        """What does not change while the site runs."""
        return self._layout

    def snapshot(self) -> Snapshot:
        """The last complete cycle; empty before the first."""
        snap = self._snap()
        if snap is None:
            return {
                "utc": self._side.clock.utc(), "cycle": 0, "tags": {}, "devices": {}, "rungs": {}, "missed": 0,
                "overruns": 0,
            }  # fmt: skip
        cycle, now_ns, values, statuses, times = snap

        def read(tag: str) -> tuple[float, int]:
            slot = self._slots.get(tag)
            return (0.0, quality.BAD_CONFIG) if slot is None else (values[slot], statuses[slot])

        clock = self._side.clock
        missed = int(self._status.get("missed", 0))
        # of the grid points missed, those the ticker woke up late for were no overrun of a cycle
        late_wakes = int(self._status.get("ticker", {}).get("missed", 0))
        return {
            "utc": clock.utc() - 1e-9 * (clock.boot_ns() - now_ns),
            "cycle": cycle,
            "tags": {tag: (values[slot], statuses[slot]) for tag, slot in self._tags},
            "devices": {name: view.state(read, times, now_ns) for name, view in self._devices.items()},
            "rungs": self._rungs.now(read),
            "missed": missed,
            "overruns": max(0, missed - late_wakes),
        }

    def plan(self) -> PlanView | None:
        """The plan in force, or None before the first."""
        return self._plan.view(*plan_named(self._side.plans, self._site))

    def prices(self) -> list[PriceSeries]:
        """Known prices, past hours included."""
        return self._prices.view(self._side.profiles, self._side.clock.utc())

    def alarms(self) -> list[dict[str, Any]]:
        """Rows of AlarmList.view as control last gave them."""
        return self._alarms

    def trend(self, tags: Sequence[str], seconds: float) -> Trend:
        """The last `seconds` s of recorded tags. Raises KeyError for one that is not recorded."""
        return self._trend.trend(tags, seconds)


class _DeviceView:
    """State of one device: link and state of this cycle from the image, counters from the status."""

    def __init__(self, name: str, site: Site, slots: Mapping[str, int]) -> None:
        self.name = name
        device: Device = site.devices[name]
        self._contract = device.contract.kind
        self._late_s = LATE_PERIODS * site.tasks[device.task].every.to("s")
        driven = [
            slot for tag, slot in slots.items() if tag.startswith(f"{name}.") and tag.endswith(("~raw", "~readback"))
        ]
        self._driven = driven
        self._beats, self._moved, self._latched = 0, False, ""
        self.said = ""

    def count(self, counters: Mapping[str, Any]) -> None:
        """Counters of the device in a status of control."""
        beats = int(counters.get("heartbeats", 0))
        # the first status has nothing to compare with: a beat ever sent counts
        self._moved, self._beats = beats != self._beats, beats
        self._latched = str(counters.get("latched", ""))

    def state(self, read: Callable[[str], tuple[float, int]], times: Sequence[int], now_ns: int) -> DeviceState:
        """The state in the cycle of `now_ns`."""
        good = read(f"{self.name}.link")[0] > 0.5
        gate = _STATES[int(read(f"{self.name}.state")[0])]
        newest = max((times[slot] for slot in self._driven), default=0)
        age_s = max(0.0, 1e-9 * (now_ns - newest)) if newest else 0.0
        fresh = newest != 0 and age_s <= self._late_s
        if good and fresh:
            self.said = ""
        return {
            "state": gate,
            "link": "ok" if good and fresh else "late" if good or fresh else "lost",
            "heartbeat": "beating" if gate == "armed" and self._moved and (good or fresh) else "stopped",
            "beats": self._beats,
            "age_s": age_s,
            "text": self._text(gate, good, fresh, newest == 0),
        }

    def _text(self, gate: str, good: bool, fresh: bool, never: bool) -> str:
        if self._latched:
            return f"latched: {self._latched}"
        if never:
            return "no answer yet"
        if not good and not fresh:
            act = "" if self._contract == "none" else "; the PLC applies its fallbacks"
            return f"{self.said or 'no answer'}{act}"
        if not good:
            return "answers again; waits until it is steady"
        return {"shadow": "computes, writes nothing", "disarmed": "is read, not written"}.get(gate, "")
