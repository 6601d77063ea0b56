"""The control side of a site, put together from its bundle. The control process and simulations build the same.

Light on purpose: nothing here imports YAML, solvers, HTTP or plotting.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ctrl.clock import Clock
from ctrl.cycle import Cycle, Deadlines, Gather, Recorder, TaskSpec
from ctrl.field.device import DeviceDriver
from ctrl.field.gate import STATES, WriteGate
from ctrl.field.journal import Journal
from ctrl.field.spec import DeviceSpec, device_from_json
from ctrl.field.transport import Transport
from ctrl.loops.bundle import Bundle
from ctrl.messages import Event, Profile
from ctrl.quality import GOOD
from ctrl.records.alarms import AlarmList, AlarmSpec, Transition
from ctrl.store import FeedSpec, OfferSpec, Store, StoreError
from ext import Image, Program

MakeTransport = Callable[[DeviceSpec], Transport]


class AlarmEdges:
    """The alarm list as the cycle sees it: edges in, events out."""

    def __init__(self, alarms: AlarmList) -> None:
        self.list = alarms

    def update(self, utc: float, name: str, active: bool) -> Event | None:
        """Tell the list; the event of the change, if there was one."""
        changes = self.list.update(utc, name, active)
        return alarm_event(changes[0]) if changes else None


def alarm_event(change: Transition) -> Event:
    """A change of an alarm's state as an event."""
    data: dict[str, float | int | str | bool | None] = {"from": str(change.old), "to": str(change.new)}
    if change.user:
        data["user"] = change.user
    return Event(change.utc, f"alarms.{change.name}", "ALARM", change.reason or change.cause, data)


def alarm_list(manifest: Mapping[str, Any]) -> AlarmList:
    """The alarms of a bundle, all normal."""
    return AlarmList(
        AlarmSpec(a["name"], a["text"], a["priority"], a["response"], a["when"], latching=a["latching"])
        for a in manifest["alarms"]
    )


def store_specs(manifest: Mapping[str, Any]) -> list[FeedSpec | OfferSpec]:
    """The feeds and offers of a bundle."""
    return [*(FeedSpec(**f) for f in manifest["feeds"]), *(OfferSpec(**o) for o in manifest["offers"])]


@dataclass(slots=True)
class ControlSide:
    """Everything on the OT side of one site."""

    bundle: Bundle
    image: Image
    program: Program
    store: Store
    cycle: Cycle
    devices: dict[str, DeviceDriver]
    journal: Journal
    alarms: AlarmList
    recorder: Recorder
    clock: Clock
    slots: Mapping[str, int]
    refused_messages: int = 0
    _resets: int = 0

    def take(self, profile: Profile) -> None:
        """A profile arrived from the IT side. What cannot be believed is refused, counted and told."""
        try:
            self.store.put(profile, self.clock.boot_ns(), self.clock.utc())
        except StoreError as error:
            self.refused_messages += 1
            self.recorder.event(Event(self.clock.utc(), profile.issuer, "PROFILE_REFUSED", str(error), {}))

    def change_state(self, device: str, verb: str, user: str, reason: str) -> str:
        """arm, shadow, disarm or reset one device. Returns the refusal in plain words, or "" when it was done."""
        gate, utc = self.devices[device].gate, self.clock.utc()
        if verb == "arm":
            if gate.state.latched:
                gate.reset(reason, user, utc)
            refusal = gate.arm(reason, user, utc)
            if refusal is not None:
                return refusal.text
            self.reset_trips()
        elif verb == "shadow":
            gate.shadow(reason, user, utc)
        elif verb == "disarm":
            gate.disarm(reason, user, utc)
        else:
            return f"no verb {verb!r}"
        return ""

    def reset_trips(self) -> None:
        """Clear the trips whose condition is gone. The tag counts the resets, so that each one is an edge."""
        self._resets += 1
        self.image.post(self.bundle.manifest["reset"], float(self._resets), GOOD, self.clock.boot_ns())

    def doubt_clock(self, suspect: bool) -> None:
        """The wall clock was set (True), or is known to be right again: what depends on the hour is uncertain."""
        if suspect == self.store.suspect:
            return
        self.store.mark_clock(suspect)
        utc = self.clock.utc()
        if suspect:
            text = "values that depend on the hour are uncertain until a time service keeps the clock"
            self.recorder.event(Event(utc, "clock", "CLOCK_SUSPECT", text, {}))
        else:
            self.recorder.event(Event(utc, "clock", "CLOCK_BELIEVED", "a time service keeps the clock", {}))

    def status(self) -> dict[str, Any]:
        """What `ctrl status` shows."""
        counters = self.cycle.counters
        return {
            "site": self.bundle.manifest["site"]["name"],
            "utc": self.clock.utc(),
            "cycles": counters.cycles,
            "missed": counters.missed,
            "longest_ms": counters.longest_ms,
            "tasks": {
                name: {"cycles": t.cycles, "skipped": t.skipped, "reinitialised": t.reinitialised, "parked": t.parked}
                for name, t in counters.tasks.items()
            },
            "devices": {
                name: {
                    "state": STATES[driver.gate.state.mode],
                    "link": driver.link.good,
                    "latched": driver.gate.state.latched,
                    **driver.counters,
                    **driver.gate.state.counters,
                }
                for name, driver in self.devices.items()
            },
            "profiles": self._profiles(),
            "refused_messages": self.refused_messages,
            "clock_suspect": self.store.suspect,
            "not_finite": self.program.not_finite,
            "writes_journalled": self.journal.last,
            "alarms": self.alarms.view(),
        }

    def _profiles(self) -> dict[str, dict[str, Any]]:
        """What IT and plans have said: issuer, id and until when, by tag; tags nobody has spoken of are left out."""
        manifest = self.bundle.manifest
        known = {s["tag"]: self.store.profile(s["tag"]) for s in (*manifest["feeds"], *manifest["offers"])}
        return {
            tag: {"issuer": p.issuer, "id": p.id, "valid_until": p.valid_until, "status": p.status}
            for tag, p in known.items()
            if p is not None
        }

    async def fail_action(self) -> None:
        """The engine stops in order: every armed device gets its fallbacks once; the heartbeats stop."""
        if self.bundle.manifest["failsafe"]["engine_stop"] == "write_fallbacks_once":
            for device in self.devices.values():
                await device.fail_action(self.clock.boot_ns(), self.clock.utc())


def build(
    bundle: Bundle,
    *,
    clock: Clock,
    transport: MakeTransport,
    gather: Gather,
    recorder: Recorder,
    journal: Journal,
    image: Image | None = None,
    deadlines: Deadlines | None = None,
) -> ControlSide:
    """Put the control side together. image: of at least as many slots as the program, shared or private.

    deadlines: of the reads and writes of each cycle (none in simulation).

    Raises ext.ProgramError, ctrl.field.spec.SpecError or StoreError for a bundle that does not hold together.
    """
    manifest = bundle.manifest
    slots: dict[str, int] = manifest["slots"]
    if image is None:
        image = Image(max(slots.values()) + 1)
    program = Program(bundle.program, image)
    devices = {}
    for raw in manifest["devices"]:
        spec = device_from_json(json.loads(json.dumps(raw)))
        devices[spec.name] = DeviceDriver(spec, transport(spec), WriteGate(spec, journal), image, slots)
    companions = {f"{output}.age": slots[age] for output, age in manifest["plan_ages"].items()}
    zone = manifest["site"]["timezone"]
    store = Store({**slots, **companions}, store_specs(manifest), zone)
    alarms = alarm_list(manifest)
    cycle = Cycle(
        image=image,
        program=program,
        tasks=[TaskSpec(t["name"], t["number"], t["divider"], tuple(t["devices"])) for t in manifest["tasks"]],
        devices=devices,
        store=store,
        clock=clock,
        timezone=zone,
        alarms=AlarmEdges(alarms),
        alarm_slots={a["name"]: a["slot"] for a in manifest["alarms"]},
        recorder=recorder,
        record_slots=[slots[tag] for tag in manifest["records"]["tags"]],
        record_every=manifest["records"]["every"],
        gather=gather,
        **({} if deadlines is None else {"deadlines": deadlines}),
    )
    image.post(manifest["reset"], 0.0, GOOD, clock.boot_ns())
    return ControlSide(bundle, image, program, store, cycle, devices, journal, alarms, recorder, clock, slots)
