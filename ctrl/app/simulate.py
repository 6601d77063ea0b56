"""Simulation of a site: the control side, the site side and the plants in one process and virtual time.

Order of one cycle: dated jobs that are due, the scan (read, latch, execute, write), then the plants move. So a run with
the same site, seed and wire gives the same records, byte for byte.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from ctrl.app.control_side import build
from ctrl.app.kpi import run_kpis
from ctrl.app.recording import HISTORY_FILE, INPUTS_FILE, FileRecorder, digest_of, run_meta, tag_meta
from ctrl.clock import LiveClock, VirtualClock
from ctrl.config.model import Site
from ctrl.cycle import one_by_one, step
from ctrl.field.gate import DISARMED
from ctrl.field.journal import Journal
from ctrl.field.memory import MemoryTransport
from ctrl.field.spec import DeviceSpec
from ctrl.field.transport import Reconnect, Transport
from ctrl.loops.compile import compile_site
from ctrl.messages import Event
from ctrl.records.history import HistoryReader, HistoryWriter
from ctrl.records.inputs import InputLog
from ctrl.schedule import ClockedScheduler
from ctrl.service.site_side import SiteSide, inline
from ctrl.signals.from_config import feeds_from_config
from ctrl.signals.http_json import HttpJsonSource
from ctrl.simulation.http_feeds import FeedRouter
from ctrl.simulation.past import seed_past
from ctrl.simulation.plant_side import PlantSide, make_context

if TYPE_CHECKING:
    import pandas as pd

JOURNAL_RECORDS = 200_000
Progress = Callable[[float, str], None]
"""(share of the run that is done, what is going on)"""


@dataclass(slots=True)
class Run:
    """What a simulation left behind.

    record: folder of the records. digest: sha256 of rows, events and inputs. wall_s: time of this machine.
    """

    site: Site
    record: Path
    digest: str
    simulated_s: float
    wall_s: float
    cycles: int
    overruns: int
    kpis: dict[str, float]
    plans: int
    commits: int
    solve_s: list[float]
    events: list[dict[str, Any]] = field(repr=False, default_factory=list)

    def frame(self) -> pd.DataFrame:
        """One row a record period, one column a tag (needs pandas)."""
        return HistoryReader(self.record / HISTORY_FILE).frame()

    def save(self, folder: str | Path) -> Path:
        """Copy the records to a folder that does not exist yet."""
        import shutil

        return Path(shutil.copytree(self.record, folder))

    def to_json(self) -> dict[str, Any]:
        """The report of `ctrl simulate --json`."""
        return {
            "kpis": self.kpis,
            "record": str(self.record),
            "digest": self.digest,
            "simulated_s": self.simulated_s,
            "wall_s": self.wall_s,
            "cycles": self.cycles,
            "overruns": self.overruns,
            "plans": self.plans,
            "commits": self.commits,
            "solve_s": sum(self.solve_s),
        }


class Simulation:
    """One simulated site that is advanced cycle by cycle; tests reach into its parts between two cycles.

    plans: make plans (else the loops run on local rules). arm: arm each device as soon as its link is good.
    """

    def __init__(
        self,
        site: Site,
        record: Path,
        *,
        days: float | None = None,
        seed: int | None = None,
        plans: bool = True,
        arm: bool = True,
        inputs: bool = True,
    ) -> None:
        context = make_context(site, days, seed)
        self.site, self.record = site, record
        self.bundle = compile_site(site)
        self.clock = VirtualClock(context.start_utc)
        self.plants = PlantSide(site, context)
        self.n = round(context.days * 86_400.0 / self.bundle.manifest["base_period_s"])
        self.k = 0
        self._arm = arm
        self.events: list[Event] = []
        self.recorder = self._make_recorder(context.start_utc, inputs)
        self.control = build(
            self.bundle,
            clock=self.clock,
            transport=self.transport,
            gather=one_by_one,
            recorder=self.recorder,
            journal=Journal(None, JOURNAL_RECORDS),
        )
        self.router = FeedRouter(
            {f"/{s}{path}": body for s, feeds in self.plants.feeds().items() for path, body in feeds.items()}
        )
        self.schedule = ClockedScheduler(self.clock)
        self.schedule.subscribe(self.recorder.event)
        self.side = self._make_side(plans)

    def _make_recorder(self, start_utc: float, inputs: bool) -> FileRecorder:
        self.record.mkdir(parents=True, exist_ok=True)
        manifest = self.bundle.manifest
        meta = run_meta(manifest, start_utc)
        history = HistoryWriter(self.record / HISTORY_FILE, tag_meta(manifest), meta)
        header = {"program": self.bundle.program.hex()[:128], "start_utc": start_utc}
        log = InputLog(self.record / INPUTS_FILE, header) if inputs else None
        return FileRecorder(history, log, self.events.append)

    def transport(self, spec: DeviceSpec) -> Transport:
        """The memory wire: requests go straight to the virtual PLC."""
        reconnect = Reconnect(Random(f"{spec.name}"))  # noqa: S311 - jitter, not a secret
        return MemoryTransport(self.plants.plcs[spec.name], reconnect, lambda: self.clock.boot_ns() * 1e-9)

    def _make_side(self, plans: bool) -> SiteSide:
        fetch = self.router.fetch(self.clock)
        feeds = feeds_from_config(self.site)
        sources = [
            HttpJsonSource(name, f"http://simulation/{name}", tuple(f for f in feeds if f.source == name), fetch, dict)
            for name in self.site.sources
        ]
        image, slots = self.control.image, self.control.slots
        side = SiteSide(
            self.site,
            self.schedule,
            sources,
            self.clock,
            read=lambda tag: image.get(slots[tag])[:2],
            send=self.control.take,
            tell=self.recorder.event,
            offload=inline,
            clock_limits=False,
            plans=plans,
        )
        for planner in side.planners.values():
            seed_past(self.site, planner, self.plants, self.router)
        side.start()
        return side

    def cycle(self) -> None:
        """One grid point: dated jobs, the scan, the plants."""
        base = self.control.program.base_period_s
        self.schedule.run_until(self.clock.utc())
        step(self.control.cycle.run(self.k))
        self.plants.step(base, self.clock.boot_ns(), self.clock.utc())
        if self._arm:
            self._try_arm()
        self.clock.advance(base)
        self.k += 1
        if self.k == FIRST_PLAN_CYCLE:
            for name in self.side.planners:
                step(self.side.plan_now(name))

    def _try_arm(self) -> None:
        waiting = False
        for name, driver in self.control.devices.items():
            if driver.gate.state.mode == DISARMED and not driver.gate.state.latched:
                waiting = True
                if driver.gate.state.link_good:
                    self.control.change_state(name, "arm", "simulation", "start of the simulation")
        self._arm = waiting

    def run(self, progress: Progress | None = None) -> None:
        """All cycles of the scenario that are left."""
        tick = max(1, self.n // 200)
        while self.k < self.n:
            self.cycle()
            if progress is not None and self.k % tick == 0:
                progress(self.k / self.n, f"{self.side.site.site.name}: {len(self.side.solve_s)} plans")

    def close(self, wall_s: float) -> Run:
        """End the records and compute the KPIs from them."""
        digest = digest_of(self.record, self.recorder.close())
        reader = HistoryReader(self.record / HISTORY_FILE)
        found = run_kpis(self.site, reader, self.clock.utc(), self.side.orders.values())
        events = reader.events()
        reader.close()
        planners = self.side.planners.values()
        return Run(
            site=self.site,
            record=self.record,
            digest=digest,
            simulated_s=self.k * self.control.program.base_period_s,
            wall_s=wall_s,
            cycles=self.control.cycle.counters.cycles,
            overruns=self.control.cycle.counters.missed,
            kpis=found,
            plans=sum(p.plans for p in planners),
            commits=sum(p.commits for p in planners),
            solve_s=self.side.solve_s,
            events=events,
        )


FIRST_PLAN_CYCLE = 10  # cycles: measurements are there, links are good; one plan is solved at the start


def simulate(
    site: Site,
    *,
    days: float | None = None,
    seed: int | None = None,
    plans: bool = True,
    record: str | Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run a site's scenario on the memory wire in virtual time.

    days, seed: instead of the scenario's. record: folder for the records, made when missing (default: a new temporary
    one). Raises SimulationError, PlantError or ctrl.config.ConfigError when the site cannot be simulated.
    """
    folder = Path(record) if record is not None else Path(tempfile.mkdtemp(prefix="loopwright-"))
    wall = LiveClock()
    began = wall.wall_mono()
    simulation = Simulation(site, folder, days=days, seed=seed, plans=plans)
    simulation.run(progress)
    return simulation.close(wall.wall_mono() - began)
