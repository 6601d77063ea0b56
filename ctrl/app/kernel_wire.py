"""The kernel wire: loops and plants of a site in one compiled program, run many cycles a call.

The plants are blocks of a task that runs last: their outputs feed the raw tags of the points, the outputs of the loops
feed them through "plc_command", which also reads back. There is no codec, no gate and no fault on the way; on a site
whose points pass numbers through unchanged the records agree with the memory wire's. Between two calls: dated jobs, and
the latch of what feeds and plans say.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctrl.app.control_side import AlarmEdges, alarm_list, store_specs
from ctrl.app.scenario import FIRST_PLAN_CYCLE, REPORTS, Scenario
from ctrl.app.simulated_run import Progress
from ctrl.clock import local_seconds
from ctrl.config.model import Site
from ctrl.field.gate import ARMED, DISARMED
from ctrl.loops.compile import compile_site
from ctrl.loops.context import HIDDEN, Context
from ctrl.loops.points import raw_tag, readback_tag
from ctrl.messages import Event, Profile
from ctrl.quality import CASCADE_NOT_INVITED, GOOD
from ctrl.signals.from_config import feeds_from_config
from ctrl.simulation.plant_side import PlantSide, PointLink, make_context
from ctrl.simulation.world import add_plants
from ctrl.store import Store, StoreError
from ext import Image, Program

CHUNK: Final = 4096  # cycles in one call at most
QUARTER_NS: Final = 900_000_000_000  # the rules of time zones change on quarter hours only
_NS: Final = 1_000_000_000


class _Plants:
    """Adds the plants of a site to its program: called by the compiler of the loops when these are wired."""

    def __init__(self, side: PlantSide) -> None:
        self._side = side
        self.outputs: dict[str, str] = {}  # plant.pin -> tag
        self.ages: dict[str, str] = {}  # feed or plan output -> tag that carries when it came
        self.readbacks: dict[str, tuple[str, float]] = {}  # point -> (tag, value before the first cycle)

    def add(self, ctx: Context) -> None:
        """Blocks of the plants, of what connects them to the points, and of the ages."""
        task = ctx.builder.task("plants")
        tags = self._shared()
        wiring = add_plants(
            ctx.builder,
            self._side.specs,
            self._side.connections,
            self._side.context,
            task=task,
            tags=tags,
            prefix=HIDDEN,
        )
        self.outputs = dict(wiring.outputs)
        for device, links in self._side.measures.items():
            for link in links:
                self._measure(ctx, f"{device}.{link.point}", link, task)
        for device, links in self._side.commands.items():
            for link in links:
                self._command(ctx, device, link, tags[link.pin], task)
        self._add_ages(ctx)

    def _shared(self) -> dict[str, str]:
        """Tag of every pin: the raw tag of the first point that shows it as it is, else a hidden one of its own."""
        tags: dict[str, str] = {}
        for spec in self._side.specs:
            inputs, outputs = self._side.world.units(spec.name)
            tags |= {f"{spec.name}.{pin}": f"{HIDDEN}{spec.name}.{pin}" for pin in (*inputs, *outputs)}
        for device, links in reversed(self._side.measures.items()):
            for link in reversed(links):
                if link.factor == 1.0 and link.zero == 0.0:
                    tags[link.pin] = raw_tag(f"{device}.{link.point}")
        return tags

    def _measure(self, ctx: Context, point: str, link: PointLink, task: int) -> None:
        raw = raw_tag(point)
        if self.outputs[link.pin] != raw:
            ctx.builder.block(
                "scale",
                f"{raw}{HIDDEN}plant",
                inputs={"x": self.outputs[link.pin]},
                outputs={"out": raw},
                params={"a": link.factor, "b": link.zero},
                task=task,
            )

    def _command(self, ctx: Context, device: str, link: PointLink, pin: str, task: int) -> None:
        """A command in force, as the virtual PLC holds it: before the engine is armed its fallback, if it has one."""
        point = f"{device}.{link.point}"
        plc = self._side.plcs[device]
        before = plc.command(link.point)
        fallback = plc.spec.point(link.point).fallback
        self.readbacks[point] = (readback_tag(point), before)
        ctx.builder.block(
            "plc_command",
            f"{point}{HIDDEN}plc",
            inputs={"cmd": point if point in ctx.drives else None},
            outputs={"pin": pin, "readback": readback_tag(point)},
            params={
                "initial": before if isinstance(fallback, str) else fallback,
                "factor": link.factor,
                "zero": link.zero,
                "invited": float(plc.spec.contract.kind != "none"),
            },
            task=task,
        )

    def _add_ages(self, ctx: Context) -> None:
        site = self._side.site
        owners = {f"{name}.{next(iter(plan.gives))}": f"{name}.age" for name, plan in site.plans.items()}
        owners |= {feed.tag: f"{feed.tag}.age" for feed in feeds_from_config(site)}
        task = ctx.tasks[ctx.fastest]
        for owner, age in owners.items():
            if age in ctx.builder.tags:
                since = self.ages[owner] = f"{age}{HIDDEN}since"
                ctx.builder.tag(since)
                ctx.builder.block(
                    "age", f"{age}{HIDDEN}block", inputs={"since": since}, outputs={"out": age}, task=task
                )


class KernelSimulation(Scenario):
    """One simulated site on the kernel wire. It has no devices: they count as armed, and their links as good.

    days, seed, plans: as in Simulation. Raises SimulationError or PlantError when the site cannot be simulated.
    """

    def __init__(
        self, site: Site, record: Path, *, days: float | None = None, seed: int | None = None, plans: bool = True
    ) -> None:
        plants = PlantSide(site, make_context(site, days, seed))
        self._added = _Plants(plants)
        super().__init__(site, plants, compile_site(site, self._added.add), record, inputs=False)
        self._base_ns: int = round(self.base_s * _NS)
        manifest = self.bundle.manifest
        self._slots: dict[str, int] = manifest["slots"]
        self.image = Image(max(self._slots.values()) + 1)
        self.program = Program(self.bundle.program, self.image)
        self.refused_messages = 0
        self._build_store()
        self._build_rows()
        self._begin()
        image, slots = self.image, self._slots
        self.start_jobs(lambda tag: image.get(slots[tag])[:2], self.take, plans)

    def _build_store(self) -> None:
        manifest = self.bundle.manifest
        # the program counts ages itself, so the store has nothing to post until a value changes
        kept = {tag: slot for tag, slot in self._slots.items() if not tag.endswith(".age")}
        self.store = Store(kept, store_specs(manifest), manifest["site"]["timezone"])

    def _build_rows(self) -> None:
        manifest = self.bundle.manifest
        alarms = manifest["alarms"]
        self._edges = AlarmEdges(alarm_list(manifest))
        self._alarms = [str(a["name"]) for a in alarms]
        self._active = np.zeros((1, len(alarms)), bool)
        self._recorded = len(manifest["records"]["tags"])
        self._every: int = manifest["records"]["every"]
        # alarms are judged in every cycle; without any, only the rows that are recorded need to be taken
        self._take_every = 1 if alarms else self._every
        tags = [self._slots[tag] for tag in manifest["records"]["tags"]]
        self._columns = array("i", [*tags, *(a["slot"] for a in alarms)])
        self._values = np.zeros((CHUNK + 1, len(self._columns)))
        self._statuses = np.zeros((CHUNK + 1, len(self._columns)), np.uint8)

    def _begin(self) -> None:
        """The plants stand where those of the other wires stand, and the registers hold what theirs hold."""
        world, post = self.plants.world, self.image.post
        for block in world.program.names:
            words = world.program.block_state(block)
            if words:
                self.program.set_state(f"{HIDDEN}{block}", words)
        for pin, tag in self._added.outputs.items():
            post(self._slots[tag], world.output(pin), GOOD, 0)
        for device, links in self.plants.measures.items():
            for link in links:
                raw = self._slots[raw_tag(f"{device}.{link.point}")]
                post(raw, world.output(link.pin) * link.factor + link.zero, GOOD, 0)
        for tag, value in self._added.readbacks.values():
            post(self._slots[tag], value, CASCADE_NOT_INVITED, 0)
        self._set_devices(armed=False)
        self.image.latch(0)

    def _set_devices(self, *, armed: bool) -> None:
        """As the gate does it: disarmed in the first scan, armed when the link is good, if the contract allows."""
        now, resets = self.clock.boot_ns(), 0
        for name, plc in self.plants.plcs.items():
            may = armed and plc.spec.contract.kind != "none"
            self.image.post(self._slots[f"{name}.state"], float(ARMED if may else DISARMED), GOOD, now)
            self.image.post(self._slots[f"{name}.link"], 1.0, GOOD, now)
            resets += may
        self.image.post(self.bundle.manifest["reset"], float(resets), GOOD, now)

    def take(self, profile: Profile) -> None:
        """A profile for the loops. What cannot be believed is refused, counted and told."""
        now, utc = self.clock.boot_ns(), self.clock.utc()
        try:
            news = self.store.put(profile, now, utc)
        except StoreError as error:
            self.refused_messages += 1
            self.recorder.event(Event(utc, profile.issuer, "PROFILE_REFUSED", str(error), {}))
            return
        if news and profile.tag in self._added.ages:
            age = max(0.0, utc - profile.issued_at)
            self.image.post(self._slots[self._added.ages[profile.tag]], age, GOOD, now)

    def run(self, progress: Progress | None = None) -> None:
        """All cycles of the scenario that are left."""
        tick = max(1, self.n // REPORTS)
        told = 0
        while self.k < self.n:
            self.chunk()
            if self.k // tick > told:
                told = self.k // tick
                self.report(progress)

    def chunk(self) -> None:
        """Dated jobs, what they left to latch, and all cycles up to the next date, change or quarter hour."""
        value, slots = self.image.value, self._slots
        self.plants.world.adopt({pin: value(slots[tag]) for pin, tag in self._added.outputs.items()})
        self.schedule.run_until(self.clock.utc())
        now, utc = self.clock.boot_ns(), self.clock.utc()
        self.store.latch(self.image, now, utc)
        if self.k == 1:
            self._set_devices(armed=True)
        self.image.latch(now)
        n = self._length(now, utc)
        local = local_seconds(utc, self.site.site.timezone)
        columns, values, statuses = self._columns, self._values.data, self._statuses.data
        rows = self.program.run_grid(
            n, self.k, now, utc, local, int(self.k == 0), self._take_every, columns, values, statuses
        )
        self.image.publish()
        self._record(rows)
        self.k += n
        self.clock.advance(n * self.base_s)
        self.first_plan()

    def _length(self, now_ns: int, utc: float) -> int:
        """Cycles that may run before something else has to happen; at least one."""
        if self.k == 0:
            return 1
        dates = [job.next_run_utc for job in self.schedule.jobs() if job.next_run_utc is not None]
        start_ns = round(utc * _NS)
        free_ns = min(
            self.store.quiet_ns(now_ns, utc),
            QUARTER_NS - start_ns % QUARTER_NS,
            *(round(date * _NS) - start_ns for date in dates),
        )
        most: int = min(CHUNK, self.n - self.k)
        if self.k < FIRST_PLAN_CYCLE:
            most = min(most, FIRST_PLAN_CYCLE - self.k)
        return max(1, min(most, -(-free_ns // self._base_ns)))

    def _record(self, rows: int) -> None:
        first = -(-self.k // self._take_every) * self._take_every
        cycles = first + self._take_every * np.arange(rows)
        utc = np.array([self._utc(int(k)) for k in cycles])
        wanted = cycles % self._every == 0
        at = 0
        for row, alarm in self._changes(rows):
            self._write(at, row, utc, wanted)
            at = row
            active = bool(self._values[row, self._recorded + alarm] > 0.5)
            event = self._edges.update(float(utc[row]), self._alarms[alarm], active)
            if event is not None:
                self.recorder.event(event)
        self._write(at, rows, utc, wanted)

    def _utc(self, k: int) -> float:
        return (round(self.context.start_utc * _NS) + k * self._base_ns) / _NS  # as VirtualClock counts

    def _changes(self, rows: int) -> list[tuple[int, int]]:
        """(row, alarm) of every change of an alarm's condition, in the order of time."""
        active = self._values[:rows, self._recorded :] > 0.5
        before = np.concatenate([self._active, active[:-1]])
        self._active = active[-1:].copy() if rows else self._active
        return [(int(row), int(alarm)) for row, alarm in np.argwhere(active != before)]

    def _write(self, first: int, last: int, utc: NDArray[np.float64], wanted: NDArray[np.bool_]) -> None:
        keep = np.flatnonzero(wanted[first:last]) + first
        if len(keep):
            self.history.rows_of(
                utc[keep], self._values[keep, : self._recorded], self._statuses[keep, : self._recorded]
            )
