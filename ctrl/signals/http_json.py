"""JSON over HTTP: ERP, market, weather.

Bodies (names of fields from the site file):
    a curve     {"data": [{"start": "2018-03-05T06:00:00+01:00", "eur_per_mwh": 41.2}, ...]}
    one value   {"t": 20.1, "time": "2018-03-05T06:00:00Z"}
    orders      {"data": [{"no": "A12", "due_at": "2018-03-06T16:00:00+01:00", "qty_t": 3.5}, ...]}
A `unit` beside the list, when there is one, must be the declared one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ctrl import clock, quality
from ctrl.messages import Profile
from ctrl.signals.base import Feed, FeedError, Fetch, Order, Orders
from ctrl.signals.series import Point, check_range, make_profile
from ctrl.signals.values import in_unit, key_of, load_json, number_of, rows_of, utc_of

_AHEAD_S: Final = 300.0  # clocks of two machines may differ by so much
_MAX_ID: Final = 64


def parse(feed: Feed, body: bytes, now_utc: float) -> Profile | Orders:
    """What the body says. Pure: the same bytes at the same time give the same result.

    now_utc: s since 1970. Raises FeedError, in plain words, for everything that is not exactly of the declared form.
    """
    answer = load_json(body)
    _check_unit(feed, answer)
    if feed.fields is not None:
        return _orders(feed, feed.fields, answer, now_utc)
    if feed.value is None:
        raise FeedError(f"{feed.tag} declares neither a value nor fields")
    if feed.horizon_s is None:
        return _single(feed, feed.value, answer, now_utc)
    return make_profile(feed, _points(feed, feed.value, answer), now_utc)


def _check_unit(feed: Feed, answer: Any) -> None:
    stated = answer.get("unit") if isinstance(answer, dict) else None
    if stated is not None and stated != feed.body_unit:
        text = f"the answer is in {str(stated)[:40]!r}, not in the declared {feed.body_unit}"
        raise FeedError(text, suspect=True, persistent=True)


def _points(feed: Feed, value: str, answer: Any) -> list[Point]:
    points: list[Point] = []
    for i, row in enumerate(rows_of(answer, feed.list_path)):
        what = f"row {i + 1}"
        at = utc_of(key_of(row, feed.time or "start", what), f"the time of {what}")
        raw = row.get(value)
        points.append((at, None if raw is None else number_of(raw, f"{value} of {what}")))
    if points and all(raw is None for _, raw in points):
        raise FeedError(f"no row has a value '{value}'")
    return points


def _single(feed: Feed, value: str, answer: Any, now_utc: float) -> Profile:
    for key in feed.list_path:
        answer = key_of(answer if isinstance(answer, dict) else {}, key, "the answer")
    if not isinstance(answer, dict):
        raise FeedError("the answer is not an object")
    raw = number_of(key_of(answer, value, "the answer"), value)
    at = utc_of(key_of(answer, feed.time or "time", "the answer"), "its time")
    if at > now_utc + _AHEAD_S:
        raise FeedError(f"the value is of {clock.iso(at)}, {at - now_utc:.0f} s in the future")
    if at < now_utc - feed.stale_after_s:
        raise FeedError(f"the value is of {clock.iso(at)}, older than {feed.stale_after_s:g} s")
    number = in_unit(raw, feed.body_unit, feed.unit, value)
    check_range(feed, number, value)
    # the stamp is the source's: a system that repeats an old value does not make it young
    return Profile(
        tag=feed.tag,
        unit=feed.unit,
        steps=((min(at, now_utc), number),),
        valid_until=now_utc + feed.stale_after_s,
        status=quality.GOOD,
        issuer=feed.source,
        id=f"{feed.name} {clock.iso(at)}",
        reason="",
        issued_at=at,
    )


def _orders(feed: Feed, fields: Mapping[str, str], answer: Any, now_utc: float) -> Orders:
    missing = [name for name in ("id", "due", "mass") if name not in fields]
    if missing:
        raise FeedError(f"{feed.tag} does not declare the field(s) {', '.join(missing)}")
    found: dict[str, Order] = {}
    for i, row in enumerate(rows_of(answer, feed.list_path)):
        what = f"order {i + 1}"
        id = key_of(row, fields["id"], what)
        if isinstance(id, bool) or not isinstance(id, str | int) or not 0 < len(str(id)) <= _MAX_ID:
            raise FeedError(f"the id of {what} is {str(id)[:40]!r}")
        what = f"order {id}"
        if str(id) in found:
            raise FeedError(f"{what} comes twice")
        due = utc_of(key_of(row, fields["due"], what), f"the due date of {what}")
        raw = number_of(key_of(row, fields["mass"], what), f"the mass of {what}")
        mass = in_unit(raw, feed.body_unit, "t", f"the mass of {what}")
        if mass <= 0.0:
            raise FeedError(f"the mass of {what} is {mass:g} t")
        check_range(feed, mass, f"the mass of {what}")
        found[str(id)] = Order(str(id), due, mass)
    ordered = tuple(sorted(found.values(), key=lambda order: (order.due, order.id)))
    return Orders(feed.tag, feed.source, ordered, now_utc)


class HttpJsonSource:
    """One HTTP service and its feeds.

    headers: called for each request, so that a secret is resolved only when a request is really made.
    """

    def __init__(
        self, name: str, url: str, feeds: tuple[Feed, ...], fetch: Fetch, headers: Callable[[], Mapping[str, str]]
    ) -> None:
        self.name = name
        self.feeds = feeds
        self._url = url.rstrip("/")
        self._fetch = fetch
        self._headers = headers

    async def read(self, feed: Feed, now_utc: float, last: Profile | None) -> Profile | Orders:  # noqa: ARG002 - protocol
        """Ask once and parse. Raises FeedError."""
        response = await self._fetch(self._url + feed.path, self._headers())
        if response.status != 200:
            raise FeedError(f"answered {response.status}")
        kind = response.content_type.partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise FeedError(f"the answer is {kind or 'of no stated type'}, not application/json")
        return parse(feed, response.body, now_utc)
