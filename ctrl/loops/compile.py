"""From a checked site to its bundle: announce every tag, wire every block, describe the rest as plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ctrl.config.model import ProductionRules, Site, SumSignal
from ctrl.field.from_config import devices_from_config
from ctrl.loops import (
    alarms,
    peak_limiter,
    pid,
    points,
    power_follow,
    production_rules,
    rate_control,
    setpoint_program,
    signals,
    staging,
)
from ctrl.loops.bundle import Bundle
from ctrl.loops.context import HIDDEN, Context
from ctrl.loops.registry import binding_of
from ctrl.signals.from_config import feed_specs, feeds_from_config
from ctrl.store import FeedSpec, OfferSpec

# importing a binding registers it
BINDINGS = (peak_limiter, pid, power_follow, production_rules, rate_control, setpoint_program, staging)
PLAN_RECOVER = 2  # good offers in a row before a lost plan is followed again


def compile_site(site: Site, more: Callable[[Context], None] | None = None) -> Bundle:
    """The bundle of a site that the loader has accepted.

    more: adds blocks after all others, e.g. the plants of a simulation that runs them in the same program.
    Raises ext.ProgramError if the wiring does not hold after all; the loader's checks should have found that first.
    """
    ctx = Context(site)
    feeds = list(feed_specs(feeds_from_config(site), ranked=ranked_feeds(site)))
    offers = offers_of(site)
    _declare(ctx, feeds, offers)
    points.bind(ctx)
    signals.bind(ctx)
    for name, loop in site.loops.items():
        binding_of(loop.type).bind(ctx, name, loop)
    alarms.bind(ctx)
    for tag in (*(f.tag for f in feeds), *(f"{f.tag}.age" for f in feeds), *(o.tag for o in offers)):
        ctx.tag(tag)
    for plan in site.plans:
        ctx.tag(f"{plan}.age")
    if more is not None:
        more(ctx)
    return Bundle(ctx.builder.to_bytes(), _manifest(ctx, feeds, offers))


def _declare(ctx: Context, feeds: list[FeedSpec], offers: list[OfferSpec]) -> None:
    points.declare(ctx)
    signals.declare(ctx)
    for feed in feeds:
        ctx.declare(feed.tag, feed.unit)
        ctx.declare(f"{feed.tag}.age", "s")
        if feed.rank:
            ctx.declare(f"{feed.tag}.{production_rules.RANK}", "1")
    for offer in offers:
        ctx.declare(offer.tag, offer.unit)
    for plan in ctx.site.plans:
        ctx.declare(f"{plan}.age", "s")
    for name, loop in ctx.site.loops.items():
        binding_of(loop.type).declare(ctx, name, loop)
    alarms.declare(ctx)


def ranked_feeds(site: Site) -> frozenset[str]:
    """Price feeds whose rank of the day the rules want: the feed itself, or the one inside a sum with fees."""
    found: set[str] = set()
    for loop in site.loops.values():
        if isinstance(loop, ProductionRules) and loop.price is not None:
            signal = site.signals.get(loop.price)
            parts = [o.ref for o in signal.sum if o.ref is not None] if isinstance(signal, SumSignal) else [loop.price]
            found |= {ref for ref in parts if ref.partition(".")[0] in site.sources}
    return frozenset(found)


def offers_of(site: Site) -> list[OfferSpec]:
    """What the plans of the site may offer. After expiry a value may be used for one more run of the plan."""
    return [
        OfferSpec(tag=f"{name}.{output}", unit=unit, grace_s=plan.run.finish_in.to("s"), recover=PLAN_RECOVER)
        for name, plan in site.plans.items()
        for output, unit in plan.gives.items()
    ]


def _manifest(ctx: Context, feeds: list[FeedSpec], offers: list[OfferSpec]) -> dict[str, Any]:
    site, tags = ctx.site, ctx.builder.tags
    visible = [t for t in tags.values() if HIDDEN not in t.name and not t.name.startswith("#")]
    return {
        "site": {
            "name": site.site.name,
            "timezone": site.site.timezone,
            "currency": site.site.currency,
            "config_hash": site.config_hash,
        },
        "base_period_s": ctx.base_s,
        "tasks": _tasks(ctx),
        "devices": [device.to_json() for device in devices_from_config(site)],
        "slots": {t.name: t.slot for t in tags.values()},
        "units": {t.name: t.unit for t in visible},
        "words": {name: {str(n): word for word, n in words.items()} for name, words in ctx.words.items()},
        "feeds": [asdict(f) for f in feeds],
        "offers": [asdict(o) for o in offers],
        "plan_ages": {f"{name}.{next(iter(plan.gives))}": f"{name}.age" for name, plan in site.plans.items()},
        "alarms": alarms.describe(ctx),
        "reset": tags[alarms.RESET].slot,
        "loops": [
            {"name": name, "type": loop.type, "tag": loop.tag, "face": binding_of(loop.type).face(name, loop)}
            for name, loop in site.loops.items()
        ],
        "failsafe": {
            "plc_lost_after_s": site.failsafe.plc_lost.after.to("s"),
            "engine_stop": site.failsafe.engine_stop.outputs,
        },
        "records": _records(ctx, [t.name for t in visible]),
    }


def _tasks(ctx: Context) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "number": number,
            "divider": round(ctx.period_s[name] / ctx.base_s),
            "devices": [d for d, device in ctx.site.devices.items() if device.task == name],
        }
        for name, number in ctx.tasks.items()
    ]


def _records(ctx: Context, visible: list[str]) -> dict[str, Any]:
    history = ctx.site.records.history
    names = visible if history.points == "all" else [name for name in history.points if name in ctx.builder.tags]
    return {"every": max(1, round(history.every.to("s") / ctx.base_s)), "tags": names}
