"""Entry of the site process: `python -m ctrl.app.site_process`, started by the supervisor.

The IT side: sources, plans, historian and the live page. It reads the shared image and talks to control over the link;
when it dies, control goes on with the profiles it has, and the supervisor starts it anew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import mmap
import os
import signal
import sqlite3
import sys
from array import array
from dataclasses import asdict
from pathlib import Path

from ctrl.app.control_process import make_clock
from ctrl.app.kpi import run_kpis
from ctrl.app.live_source import SiteLiveSource
from ctrl.app.recording import run_meta, tag_meta
from ctrl.clock import Clock, system_utc
from ctrl.config.loader import load
from ctrl.config.model import Site
from ctrl.loops.bundle import Bundle
from ctrl.messages import Command, Event
from ctrl.quality import BAD_NO_COMMS_LAST, BAD_NOT_CONNECTED
from ctrl.records.history import AsyncHistory, HistoryError, HistoryReader
from ctrl.schedule import LiveSchedule
from ctrl.service.link import LinkClient, LinkError
from ctrl.service.priority import BACKGROUND, end_with_parent, prefer
from ctrl.service.site_side import SiteSide
from ctrl.signals.fetch import HttpFetch
from ctrl.signals.from_config import sources_from_config
from ctrl.simulation.http_feeds import FeedRouter
from ctrl.simulation.past import seed_past
from ctrl.simulation.plant_side import PlantSide, make_context
from ext import ImageReader

STATUS_S = 1.0
FIRST_PLAN_AFTER_S = 10.0  # of plant time: measurements, feeds and links are there by then
FROZEN_S = 5.0  # of the machine: an image that was not renewed for so long is of a control that stands or is gone
FROZEN_PERIODS = 5
SAMPLE_SHARE = 0.25  # of a period: how often the image is looked at for a new cycle


class SiteService:
    """The site side of a live run, on one event loop."""

    def __init__(
        self, site: Site, bundle: Bundle, clock: Clock, image: mmap.mmap, arguments: argparse.Namespace
    ) -> None:
        self.site, self.bundle, self.clock = site, bundle, clock
        self.slots: dict[str, int] = bundle.manifest["slots"]
        self._reader = ImageReader(image)
        self._last = self._reader.snapshot()
        self._cycle = -1
        period_s: float = bundle.manifest["base_period_s"]
        self._frozen_ns = round(1e9 * max(FROZEN_S * clock.speed, FROZEN_PERIODS * period_s))
        self.stop = asyncio.Event()
        self.record = Path(arguments.record)
        self.port: int = arguments.port
        manifest = bundle.manifest
        self.history_file = self.record / f"history-{round(system_utc())}-{os.getpid()}.sqlite"
        self.history = AsyncHistory(self.history_file, tag_meta(manifest), run_meta(manifest, clock.utc()))
        self._rows = array("i", (self.slots[tag] for tag in manifest["records"]["tags"]))
        self.fetch = HttpFetch()
        self.schedule = LiveSchedule(clock)
        self.link = LinkClient(Path(arguments.runtime) / "control.sock", clock, self._event, self._linked)
        self.side = SiteSide(
            site,
            self.schedule,
            sources_from_config(site, self.fetch),
            clock,
            read=self.read,
            send=self.link.send,
            tell=self._event,
            offload=asyncio.to_thread,
            clock_limits=True,
        )
        self.page = SiteLiveSource(site, manifest, self.snapshot, self.side, self.history_file)
        self._connected = False
        self._unrecorded = False

    # ---------------------------------------------------------------------------------------------------- the image
    def snapshot(self) -> tuple[int, int, array[float], bytes, array[int]] | None:
        """The newest consistent cycle that was seen."""
        return self._last

    def read(self, tag: str) -> tuple[float, int]:
        """Value and status of a tag, now; bad while there is no image, or while control does not renew it."""
        if self._last is None:
            return 0.0, BAD_NOT_CONNECTED
        slot = self.slots[tag]
        status = self._last[3][slot]
        if self.clock.boot_ns() - self._last[1] > self._frozen_ns:
            status = min(status, BAD_NO_COMMS_LAST)
        return self._last[2][slot], status

    async def sample(self) -> None:
        """Follow the cycles: each new one becomes the newest snapshot and, at the record period, a row."""
        every = self.bundle.manifest["records"]["every"]
        pause = SAMPLE_SHARE * self.bundle.manifest["base_period_s"] / max(self.clock.speed, 1e-9)
        while True:
            if self.history.error is not None:
                self._tell_unrecorded(f"recording stopped: {self.history.error}")
            found = self._reader.snapshot(100)
            if found is not None and found[0] != self._cycle:
                due = found[0] // every != self._cycle // every  # also when that very cycle was not seen
                self._last, self._cycle = found, found[0]
                if due:
                    values = array("d", (found[2][slot] for slot in self._rows))
                    statuses = bytes(found[3][slot] for slot in self._rows)
                    self.history.row(self.clock.utc(), values, statuses)
                    self.page.row(self.clock.utc(), values, statuses)
            await asyncio.sleep(pause)

    # ------------------------------------------------------------------------------------------------------ control
    def _event(self, event: Event) -> None:
        self.history.event(asdict(event))
        self.page.event(event)

    def _tell_unrecorded(self, text: str) -> None:
        """Tell once that the historian has failed: to the page, and on stderr since no record takes this event."""
        if not self._unrecorded:
            self._unrecorded = True
            self._event(Event(self.clock.utc(), "history", "HISTORY_FAILED", text[:1000], {}))
            print(f"site: HISTORY_FAILED: {text}", file=sys.stderr, flush=True)

    def _linked(self, connected: bool) -> None:
        if connected != self._connected:
            self._connected = connected
            name = "CONTROL_LINK_UP" if connected else "CONTROL_LINK_LOST"
            self._event(Event(self.clock.utc(), "link", name, "the control process", {}))

    async def poll_status(self) -> None:
        """Ask control for its status once a second."""
        while True:
            with contextlib.suppress(LinkError):  # the page shows that there is none; the link reconnects by itself
                self.page.update_status(await self.link.request(Command("status", "", "site", "page")))
            await asyncio.sleep(STATUS_S)

    # -------------------------------------------------------------------------------------------------------- plans
    def seed(self) -> None:
        """A simulated plant has a past: the scenario's history, from the same data."""
        if self.site.simulate is None or self.site.clock is None or not self.side.planners:
            return
        plants = PlantSide(self.site, make_context(self.site))
        router = FeedRouter(plants.paths())
        for planner in self.side.planners.values():
            seed_past(self.site, planner, plants, router)

    async def first_plans(self) -> None:
        """One plan of each soon after the start, without waiting for its date."""
        await asyncio.sleep(FIRST_PLAN_AFTER_S / max(self.clock.speed, 1e-9))
        for name in self.side.planners:
            if name not in self.side.plans:
                await self.side.plan_now(name)

    # --------------------------------------------------------------------------------------------------------- life
    async def run(self) -> None:
        """Everything at once, until SIGTERM or SIGINT, or until a part fails: that is raised after the orderly end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        self.seed()
        self.schedule.subscribe(self._event)
        self.side.start()
        self.schedule.start()
        work = [
            asyncio.create_task(job) for job in (self.sample(), self.link.run(), self.poll_status(), self.first_plans())
        ]
        page = asyncio.create_task(self._serve_page())
        failed = asyncio.create_task(asyncio.wait(work, return_when=asyncio.FIRST_EXCEPTION))
        await asyncio.wait([asyncio.create_task(self.stop.wait()), failed, page], return_when=asyncio.FIRST_COMPLETED)
        self.stop.set()
        for task in work:
            task.cancel()
        outcomes = await asyncio.gather(*work, page, return_exceptions=True)
        try:
            await self._close()
        finally:
            failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
            if failures:
                raise failures[0] if len(failures) == 1 else ExceptionGroup("parts of the site process", failures)

    async def _serve_page(self) -> None:
        """The live page until the end; no page with port 0, and then nothing of the extra `hmi` is needed."""
        if self.port == 0:
            await self.stop.wait()
            return
        from ctrl.hmi.server import serve  # noqa: PLC0415  # optional

        try:
            await serve(self.page, "127.0.0.1", self.port, self.stop)
        except SystemExit as error:  # so uvicorn ends when it cannot listen; it would take the orderly end with it
            raise OSError(f"the live page cannot be served on port {self.port}") from error

    async def _close(self) -> None:
        await self.schedule.close()
        await self.fetch.close()
        self.page.close()
        try:
            self.history.close()
        except HistoryError as error:
            self._tell_unrecorded(str(error))
        try:
            self._write_kpis()
        except (HistoryError, sqlite3.Error, OSError) as error:
            if not self._unrecorded:
                raise
            # what the historian failed at, a full disk most likely, may well prevent this too
            print(f"site: no KPIs: {error}", file=sys.stderr, flush=True)

    def _write_kpis(self) -> None:
        """KPIs of this run beside its records."""
        reader = HistoryReader(self.history_file)
        found = run_kpis(self.site, reader, self.clock.utc(), self.side.orders.values())
        reader.close()
        body = {"kpis": found, "plans": sum(p.plans for p in self.side.planners.values()), "solve_s": self.side.solve_s}
        (self.record / "kpis.json").write_text(json.dumps(body, indent=1, sort_keys=True))


def main() -> int:
    """Read the arguments that the supervisor gives."""
    parser = argparse.ArgumentParser(prog="loopwright-site")
    parser.add_argument("site")
    parser.add_argument("--override")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--image-fd", type=int, required=True)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--clock", default="live")
    parser.add_argument("--port", type=int, default=8800)
    arguments = parser.parse_args()
    end_with_parent(arguments.parent)
    prefer(BACKGROUND)
    site = load(arguments.site, arguments.override)
    image = mmap.mmap(arguments.image_fd, 0, prot=mmap.PROT_READ)

    async def serve() -> None:
        await SiteService(
            site, Bundle.load(Path(arguments.bundle)), make_clock(arguments.clock), image, arguments
        ).run()

    asyncio.run(serve())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
