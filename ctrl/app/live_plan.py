"""Plans and prices as the live page shows them: sentences instead of steps, and only what matters now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from ctrl.clock import zone
from ctrl.config.model import Site
from ctrl.hmi.live import PlanView, PriceSeries
from ctrl.messages import Profile
from ctrl.planning.from_config import spec_from_config, tags_from_config
from ctrl.planning.plan import Plan
from ctrl.units import convert

MOST_REASONS: Final = 6
PAST_S: Final = 6 * 3600.0  # of prices
STATUS: Final = {"optimal": "optimal", "relaxed": "relaxed", "shifted": "last plan", "failed": "none"}
_RESTS: Final = "battery rests"
_DETAILS: Final = re.compile(r"order \S+|\w*\d\S*|\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) |cheapest|of |hours? |before |due ")


@dataclass(slots=True)
class _Episode:
    """Steps in a row in which one asset does the same."""

    start: float
    end: float
    asset: str
    what: str
    text: str
    then: str = ""


class PlanPages:
    """The newest plan as a page shows it. A plan that failed leaves the one before in force until it expires."""

    def __init__(self, site: Site) -> None:
        self._timezone, self._currency = site.site.timezone, site.site.currency.lower()
        self._seen: Plan | None = None
        self._good: Plan | None = None
        self._view: PlanView | None = None

    def view(self, name: str, plan: Plan | None) -> PlanView | None:
        """The view of the plan in force, or None before the first."""
        if plan is not None and plan is not self._seen:
            self._seen = plan
            if plan.steps:
                self._good = plan
            self._view = self._make(name, plan)
        return self._view

    def _make(self, name: str, newest: Plan) -> PlanView:
        plan = self._good or newest
        failed = plan is not newest
        reasons = [f"The newest plan failed: {newest.message}"] if newest.status == "failed" else []
        costs = {kind: value for kind, value in asdict(plan.costs).items() if abs(value) >= 0.005}
        return {
            "id": f"{plan.id}/{newest.id}",
            "name": name,
            "status": "last plan" if failed else STATUS[plan.status],
            "issued_at": plan.utc,
            "valid_until": plan.valid_until,
            "reasons": [*reasons, *self._reasons(plan)],
            "relaxed": [
                f"{each.what}, by up to {each.amount:.3g} {each.unit}, at {self._clock(each.when, plan.utc)}"
                for each in plan.relaxed
            ],
            "cost": {
                f"{kind}_{self._currency}": value for kind, value in ({"total": plan.costs.total} | costs).items()
            },
            "steps": [
                {key: float(value) for key, value in asdict(step).items() if not isinstance(value, str)}
                for step in plan.steps
            ],
        }

    def _reasons(self, plan: Plan) -> list[str]:
        """What line and battery do first and next, then what stands in for a missing input."""
        episodes = _episodes(plan)
        told = [each for each in episodes if each.start <= plan.utc or each.what != _RESTS]
        told = sorted(told, key=lambda each: (each.start, each.asset != "line"))[:MOST_REASONS]
        lines = [f"{self._clock(e.start, plan.utc)} to {self._clock(e.end, plan.utc)} {e.text}{e.then}" for e in told]
        return [*lines, *(f"stands in: {text}" for text in plan.substitutes)]

    def _clock(self, utc: float, now: float) -> str:
        then, today = (datetime.fromtimestamp(t, zone(self._timezone)) for t in (utc, now))
        return f"{then:%H:%M}" if then.date() == today.date() else f"{then:%a %H:%M}"


def _episodes(plan: Plan) -> list[_Episode]:
    found: list[_Episode] = []
    running: dict[str, _Episode] = {}
    for step in plan.steps:
        end = step.utc + 3600.0 * step.hours
        for text in step.reason.split("; "):
            asset, what = text.partition(" ")[0], text.partition(":")[0]
            before = running.get(asset)
            if before is not None and before.what == what:
                before.end = end
                if not before.then and _kind(text) != _kind(before.text):
                    before.then = f", then {text.partition(': ')[2]}"
                continue
            running[asset] = _Episode(step.utc, end, asset, what, text)
            found.append(running[asset])
    return found


def _kind(text: str) -> str:
    """What a reason says without its numbers, order and time."""
    return _DETAILS.sub("", text)


class PricePages:
    """Buying and selling price of the first plan of a site, past hours included; none for a site without plans."""

    def __init__(self, site: Site) -> None:
        self._currency = site.site.currency
        self._seen: Profile | None = None
        self._steps: dict[float, float] = {}
        self._terms: tuple[tuple[str, str, float, float], ...] = ()
        self.tag: str | None = None
        for name, plan in site.plans.items():
            prices, self.tag = spec_from_config(site, name).prices, tags_from_config(site, name).price
            self._terms = (("buy", "Buy", prices.buy_times, prices.buy_add),)
            if plan.prices.sell is not None:
                self._terms += (("sell", "Sell", prices.sell_times, prices.sell_add),)
            break
        source, _, feed = (self.tag or "").partition(".")
        self._stale_after_s = site.sources[source].feeds[feed].stale_after.to("s") if source in site.sources else 0.0

    def view(self, profiles: Mapping[str, Profile], utc: float) -> list[PriceSeries]:
        """The series at `utc`; nothing before the first answer of the market."""
        profile = profiles.get(self.tag) if self.tag is not None else None
        if profile is None:
            return []
        unit = f"{self._currency}/MWh"
        if profile is not self._seen:
            self._seen = profile
            first = profile.steps[0][0] if profile.steps else profile.valid_until
            kept = {t: v for t, v in self._steps.items() if utc - PAST_S - 3600.0 <= t < first}
            self._steps = kept | {t: convert(v, profile.unit, unit) for t, v in profile.steps}
        stale = utc - profile.issued_at > self._stale_after_s or utc >= profile.valid_until
        return [
            {
                "name": name,
                "label": label,
                "unit": unit,
                "steps": [(t, v * times + 1000.0 * add) for t, v in sorted(self._steps.items())],
                "valid_until": profile.valid_until,
                "stale": stale,
            }
            for name, label, times, add in self._terms
        ]


def plan_named(plans: Mapping[str, Any], site: Site) -> tuple[str, Plan | None]:
    """Name of the site's first plan and the newest run of it."""
    name = next(iter(site.plans), "")
    return name, plans.get(name)
