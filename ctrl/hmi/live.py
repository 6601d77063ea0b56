"""What the page shows, as plain JSON-able data, and the one protocol its source fulfils.

All times are utc seconds. A tag is [value, status byte]; value None when there is none. Powers follow the sign
grid > 0 imports; loads > 0 consume; PV and battery > 0 deliver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, Protocol, TypedDict


class Flow(TypedDict):
    """One box of the energy picture. tag: its power in kW. soc: state of charge in % (battery only)."""

    name: str
    label: str
    kind: Literal["grid", "pv", "battery", "load"]
    tag: str
    soc: NotRequired[str]


class Pin(TypedDict):
    """One value of a loop: its tag, unit, and the range of its bar (None: no bar). words: of an enum, by number."""

    tag: str
    unit: str
    low: float | None
    high: float | None
    words: NotRequired[dict[str, str]]


class LoopInfo(TypedDict):
    """One loop. tag: its ISA-5.1 identifier, or "". mode, reason: tags of the enums of ctrl.modes."""

    name: str
    tag: str
    text: str
    pv: Pin | None
    sp: Pin | None
    op: Pin | None
    mode: str | None
    reason: str | None


class ChartLine(TypedDict):
    """One line of a chart: `tag` for what was recorded, or `plan` for a key of the plan's steps."""

    label: str
    kind: Literal["actual", "planned", "average", "limit"]
    tag: NotRequired[str]
    plan: NotRequired[str]


class Chart(TypedDict):
    """One chart of plan against actual."""

    name: str
    label: str
    unit: str
    lines: list[ChartLine]


class DeviceInfo(TypedDict):
    """One device as configured; contract: what its PLC promises, in words."""

    name: str
    type: str
    address: str
    contract: str


class Layout(TypedDict):
    """What does not change while the site runs. timezone: IANA name."""

    site: str
    timezone: str
    currency: str
    simulated: bool
    flows: list[Flow]
    loops: list[LoopInfo]
    charts: list[Chart]
    devices: list[DeviceInfo]
    plans: list[str]


class DeviceState(TypedDict):
    """state: disarmed, shadow or armed. link: ok, late or lost. heartbeat: beating or stopped, with its counter."""

    state: Literal["disarmed", "shadow", "armed"]
    link: Literal["ok", "late", "lost"]
    heartbeat: Literal["beating", "stopped"]
    beats: int
    age_s: float
    text: str


class Rung(TypedDict):
    """Where a loop's setpoint comes from now. normal: it is the source that its configuration prefers."""

    source: str
    normal: bool
    why: str


class Snapshot(TypedDict):
    """One consistent cycle. missed: grid slots skipped; overruns: cycles longer than their period."""

    utc: float
    cycle: int
    tags: Mapping[str, Sequence[float | int | None]]
    devices: Mapping[str, DeviceState]
    rungs: Mapping[str, Rung]
    missed: int
    overruns: int


class PlanView(TypedDict):
    """The plan in force. status: optimal, relaxed, last plan or none. steps: keys utc and the plan's quantities.

    reasons, relaxed: sentences. cost: {name with unit: amount}. valid_until, issued_at: utc s.
    """

    id: str
    name: str
    status: str
    issued_at: float
    valid_until: float
    reasons: list[str]
    relaxed: list[str]
    cost: dict[str, float]
    steps: list[dict[str, float]]


class PriceSeries(TypedDict):
    """One price over time, step-wise; it ends at valid_until. stale: older than its feed allows."""

    name: str
    label: str
    unit: str
    steps: list[tuple[float, float]]
    valid_until: float
    stale: bool


class Trend(TypedDict):
    """Recorded values on common times; None where there was none or its status was bad."""

    utc: list[float]
    tags: dict[str, list[float | None]]


class LiveSource(Protocol):
    """Where the page's data comes from.

    All methods but `trend` are called on the event loop and must return at once; `trend` is called in a thread.
    """

    def layout(self) -> Layout:
        """What does not change while the site runs."""

    def snapshot(self) -> Snapshot:
        """The last complete cycle."""

    def plan(self) -> PlanView | None:
        """The plan in force, or None before the first."""

    def prices(self) -> list[PriceSeries]:
        """Known prices, past hours included."""

    def alarms(self) -> list[dict[str, Any]]:
        """Rows of AlarmList.view: the most urgent first."""

    def trend(self, tags: Sequence[str], seconds: float) -> Trend:
        """The last `seconds` of some tags, thinned to at most about 2000 points. Raises KeyError."""
