"""Sources and feed declarations from a loaded site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ctrl.signals.base import Feed, Fetch, Source
from ctrl.signals.csv import CsvSource
from ctrl.signals.http_json import HttpJsonSource
from ctrl.signals.secrets import resolve
from ctrl.store import FeedSpec

if TYPE_CHECKING:
    from ctrl.config.model import Site
    from ctrl.config.model_field import Auth
    from ctrl.config.model_field import Feed as FeedConfig


def feeds_from_config(site: Site) -> tuple[Feed, ...]:
    """All feeds of the site, in the order of the file, with times in s."""
    tz = site.site.timezone
    return tuple(
        _feed(source, name, feed, tz) for source, part in site.sources.items() for name, feed in part.feeds.items()
    )


def sources_from_config(site: Site, fetch: Fetch) -> tuple[Source, ...]:
    """The sources of the site on this transport. Secrets are resolved at each request, not here."""
    feeds = feeds_from_config(site)
    folder = Path(site.source_path).parent
    return tuple(
        CsvSource(name, folder / part.folder, tuple(feed for feed in feeds if feed.source == name))
        if part.type == "csv"
        else HttpJsonSource(
            name,
            part.url,
            tuple(feed for feed in feeds if feed.source == name),
            fetch,
            # an address of the override file is a simulated plant: it needs no secret and must not be told one
            _headers(None if name in site.overridden else part.auth),
        )
        for name, part in site.sources.items()
    )


def feed_specs(feeds: Iterable[Feed], ranked: Iterable[str] = ()) -> tuple[FeedSpec, ...]:
    """What the control process must know of the feeds that are tags; lists of orders are none.

    ranked: tags of prices whose rank of the day is wanted.
    """
    wanted = frozenset(ranked)
    return tuple(
        FeedSpec(
            tag=feed.tag,
            unit=feed.unit,
            every_s=feed.every_s,
            stale_after_s=feed.stale_after_s,
            horizon_s=feed.horizon_s,
            valid_lo=feed.valid_lo,
            valid_hi=feed.valid_hi,
            rank=feed.tag in wanted,
        )
        for feed in feeds
        if feed.fields is None
    )


def _feed(source: str, name: str, config: FeedConfig, tz: str) -> Feed:
    unit = config.unit["mass"] if isinstance(config.unit, dict) else config.unit
    return Feed(
        source=source,
        name=name,
        unit=unit,
        body_unit=unit,
        every_s=config.every.to("s"),
        stale_after_s=config.stale_after.to("s"),
        path=config.path,
        tz=tz,
        horizon_s=None if config.horizon is None else config.horizon.to("s"),
        list_path=tuple(config.list_.split(".")) if config.list_ else (),
        time=config.time,
        value=config.value,
        fields=config.fields,
    )


def _headers(auth: Auth | None) -> Callable[[], Mapping[str, str]]:
    def headers() -> Mapping[str, str]:
        if auth is None:
            return {}
        if auth.bearer is not None:
            return {"Authorization": f"Bearer {resolve(auth.bearer)}"}
        if auth.header is not None:
            return {auth.header.name: resolve(auth.header.value)}
        return {}

    return headers
