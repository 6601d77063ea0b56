"""What the simulations of all wires share: virtual time, plants and their feeds, dated jobs, records, and the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ctrl.app.kpi import run_kpis
from ctrl.app.recording import HISTORY_FILE, INPUTS_FILE, FileRecorder, digest_of, run_meta, tag_meta
from ctrl.app.simulated_run import Progress, Run
from ctrl.clock import VirtualClock
from ctrl.config.model import Site
from ctrl.cycle import step
from ctrl.loops.bundle import Bundle
from ctrl.messages import Event, Profile
from ctrl.planning.planner import Read
from ctrl.records.history import HistoryReader, HistoryWriter
from ctrl.records.inputs import InputLog
from ctrl.schedule import ClockedScheduler
from ctrl.service.site_side import SiteSide, inline
from ctrl.signals.base import Source
from ctrl.signals.csv import CsvSource, load_now
from ctrl.signals.from_config import feeds_from_config
from ctrl.signals.http_json import HttpJsonSource
from ctrl.simulation.http_feeds import FeedRouter
from ctrl.simulation.past import seed_past
from ctrl.simulation.plant_side import PlantSide

FIRST_PLAN_CYCLE = 10  # cycles: measurements are there, links are good; one plan is solved at the start
REPORTS = 200  # calls of the progress callback in a run


class Scenario(ABC):
    """One simulated run of a site on any wire.

    bundle: the site's program and manifest. record: folder for the records. inputs: keep an input log.
    n: cycles of the run; k: the next one. Subclasses build their control side and then call start_jobs().
    """

    def __init__(self, site: Site, plants: PlantSide, bundle: Bundle, record: Path, *, inputs: bool) -> None:
        self.site, self.plants, self.bundle, self.record = site, plants, bundle, record
        self.context = plants.context
        self.clock = VirtualClock(self.context.start_utc)
        self.base_s: float = bundle.manifest["base_period_s"]
        self.n = round(self.context.days * 86_400.0 / self.base_s)
        self.k = 0
        self.events: list[Event] = []
        self._make_recorder(inputs)
        self.router = FeedRouter(plants.paths())
        self.schedule = ClockedScheduler(self.clock)
        self.schedule.subscribe(self.recorder.event)

    def _make_recorder(self, inputs: bool) -> None:
        self.record.mkdir(parents=True, exist_ok=True)
        manifest, start = self.bundle.manifest, self.context.start_utc
        self.history = HistoryWriter(self.record / HISTORY_FILE, tag_meta(manifest), run_meta(manifest, start))
        header = {"program": self.bundle.program.hex()[:128], "start_utc": start}
        log = InputLog(self.record / INPUTS_FILE, header) if inputs else None
        self.recorder = FileRecorder(self.history, log, self.events.append)

    def start_jobs(self, read: Read, send: Callable[[Profile], None], plans: bool) -> None:
        """Build the site side and add its jobs. read: values of tags now; send: where profiles go."""
        fetch = self.router.fetch(self.clock)
        feeds = feeds_from_config(self.site)
        served = {path.split("/")[1] for path in self.router.paths}
        folder = Path(self.site.source_path).parent
        sources: list[Source] = []
        for name, part in self.site.sources.items():
            own = tuple(f for f in feeds if f.source == name)
            if part.type == "csv" and name not in served:
                sources.append(CsvSource(name, folder / part.folder, own, load_now))
            else:
                sources.append(HttpJsonSource(name, f"http://simulation/{name}", own, fetch, dict))
        self.side = SiteSide(
            self.site,
            self.schedule,
            sources,
            self.clock,
            read=read,
            send=send,
            tell=self.recorder.event,
            offload=inline,
            clock_limits=False,
            plans=plans,
        )
        for planner in self.side.planners.values():
            seed_past(self.site, planner, self.plants, self.router)
        self.side.start()

    def first_plan(self) -> None:
        """Call it when the clock stands at cycle k: the plans are made once at the start, then by their rules."""
        if self.k == FIRST_PLAN_CYCLE:
            for name in self.side.planners:
                step(self.side.plan_now(name))

    @abstractmethod
    def run(self, progress: Progress | None = None) -> None:
        """All cycles of the scenario that are left."""

    def report(self, progress: Progress | None) -> None:
        """Tell how far the run is."""
        if progress is not None:
            progress(self.k / self.n, f"{self.site.site.name}: {len(self.side.solve_s)} plans")

    def close(self, wall_s: float) -> Run:
        """End the records and compute the KPIs from them. wall_s: how long the run took on this machine."""
        digest = digest_of(self.record, self.recorder.close())
        reader = HistoryReader(self.record / HISTORY_FILE)
        try:
            found = run_kpis(self.site, reader, self.clock.utc(), self.side.orders.values())
            events: list[dict[str, Any]] = reader.events()
        finally:
            reader.close()
        planners = self.side.planners.values()
        cycles, missed = self.counted()
        return Run(
            site=self.site,
            record=self.record,
            digest=digest,
            simulated_s=self.k * self.base_s,
            wall_s=wall_s,
            cycles=cycles,
            overruns=missed,
            kpis=found,
            plans=sum(p.plans for p in planners),
            commits=sum(p.commits for p in planners),
            solve_s=self.side.solve_s,
            events=events,
        )

    def counted(self) -> tuple[int, int]:
        """(cycles run, cycles missed)."""
        return self.k, 0
