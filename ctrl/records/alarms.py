"""Alarm list after ISA-18.2-2016 / IEC 62682: nine states, legal transitions only, one root cause one alarm.

The compiled alarm blocks decide whether an alarm is active (delays, deadband); this list keeps what people did about
it. It needs the standard library alone, never blocks, and is bounded: one entry a configured alarm, `KEEP` transitions.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

KEEP: Final = 10_000
MAX_SHELVE_S: Final = 8 * 3600.0
PRIORITIES: Final = ("low", "medium", "high", "critical")


class AlarmError(ValueError):
    """The alarm is unknown, or its state does not allow what was asked."""


class State(StrEnum):
    """The states of an alarm."""

    NORMAL = "normal"
    UNACK = "unack"
    ACK = "ack"
    RTN_UNACK = "rtn_unack"
    LATCHED_UNACK = "latched_unack"
    LATCHED_ACK = "latched_ack"
    SHELVED = "shelved"
    SUPPRESSED = "suppressed"
    OUT_OF_SERVICE = "out_of_service"


STATE_TEXT: Final = {
    State.NORMAL: "normal",
    State.UNACK: "active, not acknowledged",
    State.ACK: "active, acknowledged",
    State.RTN_UNACK: "gone, not acknowledged",
    State.LATCHED_UNACK: "latched, not acknowledged",
    State.LATCHED_ACK: "latched, acknowledged: reset it",
    State.SHELVED: "shelved",
    State.SUPPRESSED: "suppressed by design",
    State.OUT_OF_SERVICE: "out of service",
}
_HIDDEN: Final = (State.SHELVED, State.SUPPRESSED, State.OUT_OF_SERVICE)  # no edge of the process shows
_RAISED: Final = (State.UNACK, State.ACK, State.RTN_UNACK, State.LATCHED_UNACK, State.LATCHED_ACK)


@dataclass(frozen=True, slots=True)
class AlarmSpec:
    """One configured alarm.

    name: unique. text: what is wrong, in plain words. priority: low, medium, high or critical. response: what to do,
    required for high and critical. when: the condition as configured. latching: stays until reset by hand.
    parent: alarm of the common cause; while that one is active, this one is suppressed.
    """

    name: str
    text: str
    priority: str
    response: str
    when: str
    latching: bool = False
    parent: str | None = None

    def __post_init__(self) -> None:
        """Raises AlarmError for an unknown priority or a missing response."""
        if self.priority not in PRIORITIES:
            raise AlarmError(f"{self.name}: priority {self.priority!r} is not one of {', '.join(PRIORITIES)}")
        if self.priority in ("high", "critical") and not self.response.strip():
            raise AlarmError(f"{self.name}: a {self.priority} alarm needs a response text")


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state: when (utc s), which alarm, from, to, why, and who if it was a person."""

    utc: float
    name: str
    old: State
    new: State
    cause: str
    user: str
    reason: str


class _Alarm:
    """The state of one alarm. `order` numbers the raising of alarms: the smallest is the first-up."""

    __slots__ = ("active", "children", "designed_out", "order", "shelved_until", "since", "spec", "state")

    def __init__(self, spec: AlarmSpec) -> None:
        self.spec = spec
        self.children: list[_Alarm] = []
        self.state = State.NORMAL
        self.active = False
        self.designed_out = False  # suppressed by its own condition (`unless:`)
        self.since = math.nan
        self.order = 0
        self.shelved_until = math.nan


class AlarmList:
    """All alarms of a site. Times are utc seconds given by the caller; the list reads no clock.

    Every change is returned as `Transition`s in order and kept in `journal` (the last KEEP).
    """

    def __init__(self, specs: Iterable[AlarmSpec]) -> None:
        self._alarms: dict[str, _Alarm] = {}
        for spec in specs:
            if spec.name in self._alarms:
                raise AlarmError(f"two alarms are named {spec.name}")
            self._alarms[spec.name] = _Alarm(spec)
        for alarm in self._alarms.values():
            if alarm.spec.parent is not None:
                self._check_ancestors(alarm)
                self._get(alarm.spec.parent).children.append(alarm)
        self._raised = 0
        self.journal: deque[Transition] = deque(maxlen=KEEP)

    def update(self, utc: float, name: str, active: bool, suppressed: bool = False) -> list[Transition]:
        """Take the condition of one alarm as of this scan; only its edges matter.

        suppressed: its own suppression-by-design is on. Returns the transitions caused, children included.
        """
        alarm = self._get(name)
        if alarm.active == active and alarm.designed_out == suppressed:
            return []
        edge = alarm.active != active
        alarm.active, alarm.designed_out = active, suppressed
        changes = self._settle(utc, alarm, "condition true" if active else "condition false")
        if edge:
            changes += self._settle_children(utc, alarm)
        return changes

    def ack(self, utc: float, name: str, user: str) -> Transition:
        """Acknowledge. Raises AlarmError unless the alarm waits for it."""
        alarm = self._get(name)
        after = {State.UNACK: State.ACK, State.RTN_UNACK: State.NORMAL, State.LATCHED_UNACK: State.LATCHED_ACK}
        if alarm.state not in after:
            raise AlarmError(f"{name} is {STATE_TEXT[alarm.state]}; there is nothing to acknowledge")
        return self._go(utc, alarm, after[alarm.state], "acknowledged", user=user)

    def reset(self, utc: float, name: str, user: str) -> Transition:
        """Reset a latched alarm. Raises AlarmError unless it is latched, acknowledged and its condition has gone."""
        alarm = self._get(name)
        if alarm.state is not State.LATCHED_ACK:
            raise AlarmError(f"{name} is {STATE_TEXT[alarm.state]}; only a latched and acknowledged alarm is reset")
        return self._go(utc, alarm, State.NORMAL, "reset", user=user)

    def shelve(
        self, utc: float, name: str, until: float, user: str, reason: str, *, supervisor: bool = False
    ) -> Transition:
        """Hide an alarm until `until` (utc s, at most 8 h ahead).

        Raises AlarmError without a reason, for a longer time, from a hidden state, or for a critical alarm unless
        `supervisor` says that the user has that role.
        """
        alarm = self._get(name)
        if alarm.state in _HIDDEN:
            raise AlarmError(f"{name} is {STATE_TEXT[alarm.state]}; it cannot be shelved")
        if not reason.strip():
            raise AlarmError(f"shelving {name} needs a reason")
        if not utc < until <= utc + MAX_SHELVE_S:
            raise AlarmError(f"{name} may be shelved for at most {MAX_SHELVE_S / 3600:g} h")
        if alarm.spec.priority == "critical" and not supervisor:
            raise AlarmError(f"{name} is critical; only a supervisor may shelve it")
        alarm.shelved_until = until
        return self._go(utc, alarm, State.SHELVED, "shelved", user=user, reason=reason)

    def unshelve(self, utc: float, name: str, user: str) -> Transition:
        """End shelving early. Raises AlarmError when the alarm is not shelved."""
        return self._back(utc, self._get(name), State.SHELVED, "unshelved", user)

    def expire(self, utc: float) -> list[Transition]:
        """End the shelving whose time is over; called once a second or so."""
        due = [a for a in self._alarms.values() if a.state is State.SHELVED and a.shelved_until <= utc]
        return [self._back(utc, alarm, State.SHELVED, "shelving expired", "") for alarm in due]

    def take_out(self, utc: float, name: str, user: str, reason: str) -> list[Transition]:
        """Take an alarm out of service, with a reason. Its children are no longer suppressed by it."""
        alarm = self._get(name)
        if alarm.state is State.OUT_OF_SERVICE:
            raise AlarmError(f"{name} is out of service already")
        if not reason.strip():
            raise AlarmError(f"taking {name} out of service needs a reason")
        change = self._go(utc, alarm, State.OUT_OF_SERVICE, "taken out of service", user=user, reason=reason)
        return [change, *self._settle_children(utc, alarm)]

    def return_to_service(self, utc: float, name: str, user: str) -> list[Transition]:
        """Put an alarm back into service. Raises AlarmError when it is not out of service."""
        alarm = self._get(name)
        change = self._back(utc, alarm, State.OUT_OF_SERVICE, "returned to service", user)
        return [change, *self._settle_children(utc, alarm)]

    def state(self, name: str) -> State:
        """The state of one alarm. Raises AlarmError for an unknown name."""
        return self._get(name).state

    def view(self, *, everything: bool = False) -> list[dict[str, str | float | bool | int | None]]:
        """Plain rows for people: all that is not normal, the most urgent first, oldest first within a priority.

        A suppressed alarm is shown only while its condition is true.

        Keys: name, text, priority, response, when, state, state_text, active, since (utc s or None), order,
        shelved_until (utc s or None), parent. everything: normal alarms too, at the end.
        """
        rows = [a for a in self._alarms.values() if everything or _worth_showing(a)]
        rows.sort(key=lambda a: (a.state not in _RAISED, -PRIORITIES.index(a.spec.priority), a.order))
        return [_row(alarm) for alarm in rows]

    def _get(self, name: str) -> _Alarm:
        alarm = self._alarms.get(name)
        if alarm is None:
            raise AlarmError(f"there is no alarm {name}")
        return alarm

    def _check_ancestors(self, alarm: _Alarm) -> None:
        seen = [alarm.spec.name]
        parent = alarm.spec.parent
        while parent is not None:
            if parent in seen:
                raise AlarmError(f"alarms suppress each other: {' -> '.join([*seen, parent])}")
            seen.append(parent)
            parent = self._get(parent).spec.parent

    def _covered(self, alarm: _Alarm) -> bool:
        """True while the alarm is suppressed by design: by its own condition or by an active cause above it."""
        if alarm.designed_out:
            return True
        parent = alarm.spec.parent
        while parent is not None:
            above = self._get(parent)
            if above.active and above.state is not State.OUT_OF_SERVICE:
                return True
            parent = above.spec.parent
        return False

    def _settle_children(self, utc: float, alarm: _Alarm) -> list[Transition]:
        changes: list[Transition] = []
        for child in alarm.children:
            changes += self._settle(utc, child, f"{alarm.spec.name} {'active' if alarm.active else 'gone'}")
            changes += self._settle_children(utc, child)
        return changes

    def _settle(self, utc: float, alarm: _Alarm, cause: str) -> list[Transition]:
        """Bring the state in line with the condition and the suppression."""
        state = alarm.state
        if state in (State.SHELVED, State.OUT_OF_SERVICE):
            return []
        if self._covered(alarm):
            new = State.SUPPRESSED
        elif alarm.active:
            new = state if state in (State.UNACK, State.ACK) else State.UNACK
        else:
            latching = alarm.spec.latching
            new = {
                State.UNACK: State.LATCHED_UNACK if latching else State.RTN_UNACK,
                State.ACK: State.LATCHED_ACK if latching else State.NORMAL,
                State.SUPPRESSED: State.NORMAL,
            }.get(state, state)
        return [] if new is state else [self._go(utc, alarm, new, cause)]

    def _back(self, utc: float, alarm: _Alarm, from_state: State, cause: str, user: str) -> Transition:
        """Leave a hidden state for the one the process asks for; an active alarm comes back unacknowledged."""
        if alarm.state is not from_state:
            raise AlarmError(f"{alarm.spec.name} is {STATE_TEXT[alarm.state]}, not {STATE_TEXT[from_state]}")
        after = State.SUPPRESSED if self._covered(alarm) else State.UNACK if alarm.active else State.NORMAL
        return self._go(utc, alarm, after, cause, user=user)

    def _go(self, utc: float, alarm: _Alarm, new: State, cause: str, *, user: str = "", reason: str = "") -> Transition:
        change = Transition(utc, alarm.spec.name, alarm.state, new, cause, user, reason)
        if new is State.UNACK:
            self._raised += 1
            alarm.order, alarm.since = self._raised, utc
        elif new in _HIDDEN or math.isnan(alarm.since):
            alarm.since = utc
        if new is not State.SHELVED:
            alarm.shelved_until = math.nan
        alarm.state = new
        self.journal.append(change)
        return change


def _worth_showing(alarm: _Alarm) -> bool:
    return alarm.active or alarm.state not in (State.NORMAL, State.SUPPRESSED)


def _row(alarm: _Alarm) -> dict[str, str | float | bool | int | None]:
    spec = alarm.spec
    return {
        "name": spec.name,
        "text": spec.text,
        "priority": spec.priority,
        "response": spec.response,
        "when": spec.when,
        "state": alarm.state.value,
        "state_text": STATE_TEXT[alarm.state],
        "active": alarm.active,
        "since": None if math.isnan(alarm.since) else alarm.since,
        "order": alarm.order,
        "shelved_until": None if math.isnan(alarm.shelved_until) else alarm.shelved_until,
        "parent": spec.parent,
    }
