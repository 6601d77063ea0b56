"""The write gate: the last code before the wire, and the only code that calls `Transport.write`.

It checks, in this order, and refuses; it never changes a value: state, owner, allow-list, finite (by IEEE bits), limits
and rate, wear budget, age of the decision; then it journals, sends, and lets the transport validate the reply. The
read-back that follows is the driver's (`ctrl.field.device`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from struct import Struct
from typing import Final

from ctrl.field.codec import CodecError, PointCodec
from ctrl.field.journal import Journal, JournalFull, Record
from ctrl.field.spec import DeviceSpec, PointSpec, Table
from ctrl.field.transport import BUSY, MISMATCH, DeviceException, Transport, TransportError
from ctrl.messages import Event

DISARMED: Final = 0
SHADOW: Final = 1
ARMED: Final = 2
STATES: Final = ("disarmed", "shadow", "armed")

CHANGE: Final = "change"
REFRESH: Final = "refresh"
FAIL_ACTION: Final = "fail_action"

_EXPONENT: Final = 0x7FF0000000000000
_BITS: Final = Struct("<d")
DAY_S: Final = 86400.0
_RATE_PERIODS: Final = 3  # a gap longer than this re-initialises the loops, so no move may count on more


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the gate said no: a code for machines, a sentence for people."""

    code: str
    text: str


class Outcome(Enum):
    """What became of a write: confirmed, not executed (or not now), unknown until read back, or refused by the gate."""

    WRITTEN = "written"
    FAILED = "failed"
    BUSY = "busy"
    UNCERTAIN = "uncertain"
    REFUSED = "refused"


@dataclass(slots=True)
class Request:
    """A write that somebody wants. decided_ns: CLOCK_BOOTTIME of the decision; utc: seconds
    since 1970, for the wear budget of the day."""

    point: str
    table: Table
    offset: int
    value: float
    words: Sequence[int]
    owner: str
    decided_ns: int
    utc: float
    reason: str


@dataclass(slots=True)
class Allowed:
    """An entry of the allow-list, with what the last write left behind (value in the point's unit)."""

    spec: PointSpec
    codec: PointCodec
    max_age_ns: int
    last_value: float | None = None
    last_ns: int = 0
    day: int = -1
    writes_today: int = 0


@dataclass(slots=True)
class GateState:
    """All that a decision depends on."""

    device: str
    owner: str
    period_s: float
    points: dict[str, Allowed]
    mode: int = DISARMED
    latched: str = ""
    link_good: bool = False
    counters: dict[str, int] = field(default_factory=lambda: {"sent": 0, "refused": 0, "heartbeats": 0})


def decide(request: Request, state: GateState, now_ns: int) -> Refusal | None:
    """None when the write may go, else the first reason against it. Changes nothing."""
    if state.mode != ARMED:
        return Refusal("STATE", f"{state.device} is {STATES[state.mode]}")
    if request.owner != state.owner:
        return Refusal("OWNER", f"{request.owner!r} does not own {state.device}")
    allowed = state.points.get(request.point)
    if allowed is None or (request.table, request.offset) != (allowed.spec.table, allowed.spec.offset):
        return Refusal("NOT_ALLOWED", f"{request.point} at {request.table} {request.offset} is not on the allow-list")
    return (
        _bad_number(request, allowed)
        or _outside(request, allowed, state, now_ns)
        or _worn(request, allowed)
        or _old(request, allowed, now_ns)
    )


def is_finite(value: float) -> bool:
    """True unless `value` is a NaN or an infinity, by its exponent bits, which no library can bend."""
    return type(value) is float and int.from_bytes(_BITS.pack(value), "little") & _EXPONENT != _EXPONENT


def _bad_number(request: Request, allowed: Allowed) -> Refusal | None:
    if not is_finite(request.value):
        return Refusal("NOT_FINITE", f"{request.point}: {request.value!r} is no finite number")
    try:
        held = allowed.codec.decode(request.words)
    except CodecError as error:
        return Refusal("ENCODING", str(error))
    # the nearest step of the register is at most half a step away; the rest is float64 rounding of scale and offset
    if not abs(held - request.value) <= 0.51 * allowed.codec.step(request.value) + 4.0 * math.ulp(request.value):
        return Refusal("ENCODING", f"{request.point}: the words hold {held}, not {request.value}")
    return None


def _outside(request: Request, allowed: Allowed, state: GateState, now_ns: int) -> Refusal | None:
    lo, hi = allowed.spec.limits
    if not lo <= request.value <= hi:
        return Refusal("LIMITS", f"{request.point}: {request.value} is outside {lo} .. {hi}")
    rate = allowed.spec.rate
    # a declared fail action goes straight to its value; everything else moves no faster than its rate
    if rate is None or allowed.last_value is None or request.reason == FAIL_ACTION:
        return None
    # n x period, as the loops count: a scan that came a little early or late is still one scan
    slots = min(max(1, round(1e-9 * (now_ns - allowed.last_ns) / state.period_s)), _RATE_PERIODS)
    elapsed = slots * state.period_s
    slack = allowed.spec.deadband + allowed.codec.step(request.value) + 1e-9 * abs(request.value)
    if not abs(request.value - allowed.last_value) <= rate * elapsed + slack:
        return Refusal("RATE", f"{request.point}: {allowed.last_value} to {request.value} in {elapsed:g} s")
    return None


def _worn(request: Request, allowed: Allowed) -> Refusal | None:
    most = allowed.spec.max_writes_per_day
    if most is not None and allowed.day == int(request.utc // DAY_S) and allowed.writes_today >= most:
        return Refusal("WEAR", f"{request.point}: {most} writes today already")
    return None


def _old(request: Request, allowed: Allowed, now_ns: int) -> Refusal | None:
    age = now_ns - request.decided_ns
    if not 0 <= age <= allowed.max_age_ns:
        return Refusal("AGE", f"{request.point}: the decision is {1e-9 * age:.3f} s old")
    return None


class WriteGate:
    """The gate of one device. Starts disarmed; `epoch` counts changes of state, so that the driver starts afresh.

    events: what happened, for the driver to hand on.
    """

    def __init__(self, spec: DeviceSpec, journal: Journal) -> None:
        points = {
            p.name: Allowed(p, PointCodec(p), round(1e9 * (p.max_age_s or spec.period_s)))
            for p in spec.points
            if p.write
        }
        self.state = GateState(spec.name, spec.owner, spec.period_s, points)
        self.epoch = 0
        self.events: list[Event] = []
        self._spec = spec
        self._journal = journal
        self._said: dict[str, str] = {}

    # ------------------------------------------------------------------------------------------- people's side
    def arm(self, reason: str, user: str, utc: float) -> Refusal | None:
        """Let writes pass, or say why not."""
        refusal = self._may_arm()
        if refusal is not None:
            self._tell(utc, "ARM_REFUSED", refusal.text, code=refusal.code, user=user)
            return refusal
        self._change(ARMED, reason, user, utc)
        return None

    def _may_arm(self) -> Refusal | None:
        state = self.state
        if self._spec.contract.kind == "none":
            return Refusal("CONTRACT", f"{state.device} promises nothing when we fall silent: advisory only")
        if state.latched:
            return Refusal("LATCHED", f"{state.device}: {state.latched} is not reset")
        if not state.link_good:
            return Refusal("LINK", f"{state.device}: the link is not good")
        return None

    def shadow(self, reason: str, user: str, utc: float) -> None:
        """Compute and record what would be written; write nothing. Always works."""
        self._change(SHADOW, reason, user, utc)

    def disarm(self, reason: str, user: str, utc: float) -> None:
        """Write nothing from now on. Always works."""
        self._change(DISARMED, reason, user, utc)

    def reset(self, reason: str, user: str, utc: float) -> None:
        """A person has removed the cause of a latched fault. The device stays disarmed."""
        cause, self.state.latched = self.state.latched, ""
        self.epoch += 1
        self._tell(utc, "RESET", reason, user=user, cause=cause)

    def latch(self, cause: str, text: str, utc: float) -> None:
        """An integrity fault: disarm, and stay so until a person resets it."""
        self.state.latched = cause
        self._tell(utc, cause, text)
        if self.state.mode != DISARMED:
            self._change(DISARMED, cause, "gate", utc)

    @property
    def wears(self) -> bool:
        """True when a point has a wear budget."""
        return any(a.spec.max_writes_per_day is not None for a in self.state.points.values())

    def load_wear(self, records: Iterable[Record], utc: float) -> None:
        """Count the writes of the day of `utc` from records, so that a restart does not renew the wear budget."""
        day = int(utc // DAY_S)
        for record in records:
            allowed = self.state.points.get(record.point)
            if allowed is not None and record.device == self.state.device and int(record.utc // DAY_S) == day:
                self._count_wear(allowed, record.utc)

    def _change(self, mode: int, reason: str, user: str, utc: float) -> None:
        old, self.state.mode = self.state.mode, mode
        self.epoch += 1
        self._said.clear()
        self._tell(utc, STATES[mode].upper(), reason, user=user, was=STATES[old])

    # ------------------------------------------------------------------------------------------- the driver's side
    def known(self, point: str, value: float) -> None:
        """The register is known to hold `value`: rates count from there."""
        self.state.points[point].last_value = value

    async def write(self, request: Request, transport: Transport, now_ns: int, utc: float) -> Outcome:
        """Send one write if nothing speaks against it. UNCERTAIN: only a read-back can tell what happened."""
        refusal = decide(request, self.state, now_ns) or self._record(request, now_ns, utc)
        if refusal is not None:
            self._refused(request, refusal, utc)
            return Outcome.REFUSED
        allowed = self.state.points[request.point]
        self._count_wear(allowed, utc)
        self._said.pop(request.point, None)
        self.state.counters["sent"] += 1
        outcome = Outcome.WRITTEN
        try:
            await transport.write(request.table, request.offset, request.words)
        except TransportError as error:
            outcome = self._failed(request.point, error, utc)
        if outcome in (Outcome.WRITTEN, Outcome.UNCERTAIN):
            allowed.last_value, allowed.last_ns = request.value, now_ns
        return outcome

    async def beat(self, count: int, transport: Transport, utc: float) -> bool:
        """Send the heartbeat `count` (1..65535); True when the device confirmed it.

        It carries no decision and is not journalled one by one: the writes it vouches for are.
        """
        place = self._spec.contract.write
        if self.state.mode != ARMED or place is None or not 1 <= count <= 0xFFFF:
            return False
        try:
            await transport.write(place[0], place[1], (count,))
        except TransportError as error:
            self._failed("heartbeat", error, utc)
            return False
        self.state.counters["heartbeats"] += 1
        return True

    def rehearse(self, request: Request, now_ns: int) -> Refusal | None:
        """What `write` would answer if the device were armed: for shadow. Rates then count from what it would have
        written."""
        mode, self.state.mode = self.state.mode, ARMED
        refusal = decide(request, self.state, now_ns)
        self.state.mode = mode
        if refusal is None:
            allowed = self.state.points[request.point]
            allowed.last_value, allowed.last_ns = request.value, now_ns
        return refusal

    def _record(self, request: Request, now_ns: int, utc: float) -> Refusal | None:
        try:
            self._journal.append(
                utc=utc,
                boot_ns=now_ns,
                device=self.state.device,
                point=request.point,
                table=request.table,
                offset=request.offset,
                words=tuple(request.words),
                value=request.value,
                reason=request.reason,
            )
        except JournalFull as error:
            self._change(DISARMED, "JOURNAL_FULL", "gate", utc)
            return Refusal("JOURNAL_FULL", str(error))
        return None

    def _refused(self, request: Request, refusal: Refusal, utc: float) -> None:
        self.state.counters["refused"] += 1
        # a refusal that lasts is one event, not one a cycle
        if self._said.get(request.point) != refusal.code:
            self._said[request.point] = refusal.code
            value = request.value if math.isfinite(request.value) else None
            self._tell(utc, "WRITE_REFUSED", refusal.text, code=refusal.code, point=request.point, value=value)

    def _failed(self, point: str, error: TransportError, utc: float) -> Outcome:
        if isinstance(error, DeviceException):
            if error.code in MISMATCH:
                self.latch("CONFIG_DEVICE_MISMATCH", f"{point}: {error}", utc)
                return Outcome.FAILED
            if error.code == BUSY:
                self._tell(utc, "DEVICE_BUSY", f"{point}: {error}", point=point)
                return Outcome.BUSY
        event = "WRITE_UNCERTAIN" if error.may_have_executed else "WRITE_FAILED"
        self._tell(utc, event, f"{point}: {error}", point=point)
        return Outcome.UNCERTAIN if error.may_have_executed else Outcome.FAILED

    def _count_wear(self, allowed: Allowed, utc: float) -> None:
        day = int(utc // DAY_S)
        if allowed.day != day:
            allowed.day, allowed.writes_today = day, 0
        allowed.writes_today += 1
        most = allowed.spec.max_writes_per_day
        if most is not None and allowed.writes_today == math.ceil(0.8 * most):
            text = f"{allowed.spec.name}: {allowed.writes_today} of {most} writes today"
            self._tell(utc, "WEAR_BUDGET", text, point=allowed.spec.name)

    def _tell(self, utc: float, event: str, text: str, **data: float | str | None) -> None:
        self.events.append(Event(utc, self.state.device, event, text, dict(data)))
