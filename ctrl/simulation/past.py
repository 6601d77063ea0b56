"""History before the start of a simulated run, from the same data that the run plays: what forecasts learn from."""

from __future__ import annotations

from pathlib import Path

from ctrl.config.model import Site
from ctrl.messages import Profile
from ctrl.planning.planner import SLOT_S, Planner
from ctrl.signals.base import Feed, FeedError, Orders
from ctrl.signals.csv import parse as parse_csv
from ctrl.signals.from_config import feeds_from_config
from ctrl.signals.http_json import parse
from ctrl.simulation.http_feeds import FeedRouter
from ctrl.simulation.plant_side import PlantSide

_DAY_S = 86_400.0
_PV_PIN = "pv_available"


def seed_past(site: Site, planner: Planner, plants: PlantSide, router: FeedRouter) -> None:
    """Give a plan the history of base load, PV and price over the scenario's `history`.

    The base load is what the plants that no plan moves would have drawn; the PV what was available; the price what the
    market published on each day, through the parser of the feed.
    """
    context, world = plants.context, plants.world
    begin = context.start_utc - context.history_s
    slots = [begin + i * SLOT_S for i in range(int(context.history_s // SLOT_S))]
    base, pv = planner.past.get(planner.tags.base_load), planner.past.get(planner.tags.pv or "")
    if base is not None:
        base.seed(slots, [world.past_load(t, t + SLOT_S) for t in slots])
    if pv is not None:
        pv.seed(slots, [world.past_input(_PV_PIN, t, t + SLOT_S) for t in slots])
    _seed_prices(site, planner, context.start_utc, int(context.history_s // _DAY_S), router)


def _seed_prices(site: Site, planner: Planner, start: float, days: int, router: FeedRouter) -> None:
    past = planner.past.get(planner.tags.price)
    feed = next((f for f in feeds_from_config(site) if f.tag == planner.tags.price), None)
    if past is None or feed is None:
        return
    steps: dict[float, float] = {}
    for day in range(days, 0, -1):
        at = start - day * _DAY_S
        try:
            answer = _published(site, feed, at, router)
        except (FeedError, KeyError, OSError):
            continue  # a hole in the data is a hole in what the forecast can learn, nothing more
        if isinstance(answer, Profile):
            steps |= dict(answer.steps)
    known = sorted((t, v) for t, v in steps.items() if t < start)
    past.seed([t for t, _ in known], [v for _, v in known])


def _published(site: Site, feed: Feed, at: float, router: FeedRouter) -> Profile | Orders:
    """What the feed's source said at `at`: the plant that plays it, or the file of a csv source."""
    part = site.sources[feed.source]
    path = f"/{feed.source}{feed.path}"
    if part.type == "csv" and path not in router.paths:
        file = Path(site.source_path).parent / part.folder / feed.path.lstrip("/")
        return parse_csv(feed, file.read_bytes(), at)
    return parse(feed, router.body(path, at), at)
