"""Curves from a file: a header line `time,<value>` and rows of ISO 8601 times with a zone and numbers.

    time,eur_per_mwh
    2018-03-05T06:00:00Z,41.2
An empty value is a missing one. For sites whose IT drops files, and for simulation.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from ctrl.messages import Profile
from ctrl.signals.base import Feed, FeedError
from ctrl.signals.series import Point, make_profile
from ctrl.signals.values import MAX_ROWS, number_of, utc_of

MAX_BYTES: Final = 1_048_576
_AROUND_S: Final = 7 * 86_400.0  # of a long file only what lies around the present is used


def parse(feed: Feed, body: bytes, now_utc: float) -> Profile:
    """Profile from the bytes of a file, around now_utc (s since 1970). Raises FeedError with the line number."""
    try:
        lines = body.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FeedError(f"the file is not UTF-8 text: {error}") from error
    rows = csv.reader(lines)
    header = next(rows, [])
    time, value = feed.time or "time", feed.value or "value"
    if time not in header or value not in header:
        raise FeedError(f"line 1 must name the columns {time} and {value}; it has {', '.join(header) or 'nothing'}")
    at, of = header.index(time), header.index(value)
    points: list[Point] = []
    for row in rows:
        if not row:
            continue
        what = f"line {rows.line_num}"
        if len(row) != len(header):
            raise FeedError(f"{what} has {len(row)} columns, not {len(header)}")
        moment = utc_of(row[at].strip(), f"the time in {what}")
        if abs(moment - now_utc) <= _AROUND_S:
            points.append((moment, _number(row[of].strip(), what)))
    if len(points) > MAX_ROWS:
        raise FeedError(f"{len(points)} rows around the present; at most {MAX_ROWS}")
    return make_profile(feed, points, now_utc)


def _number(text: str, what: str) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError as error:
        raise FeedError(f"the value in {what} is '{text[:40]}', not a number") from error
    return number_of(number, f"the value in {what}")


class CsvSource:
    """Files of a folder; the path of a feed is relative to it. They are read anew at each poll.

    load: how a file is read. On a thread when live, since a share may hang; `load_now` in virtual time.
    """

    def __init__(
        self, name: str, folder: Path, feeds: tuple[Feed, ...], load: Callable[[Path], Awaitable[bytes]] | None = None
    ) -> None:
        self.name = name
        self.feeds = feeds
        self._folder = folder
        self._load = load or load_in_thread

    async def read(self, feed: Feed, now_utc: float, last: Profile | None) -> Profile:  # noqa: ARG002 - protocol
        """Read the file once and parse it. Raises FeedError."""
        path = self._folder / feed.path.lstrip("/")
        try:
            body = await self._load(path)
        except OSError as error:
            raise FeedError(f"{path}: {error.strerror or error}") from error
        return parse(feed, body, now_utc)


async def load_in_thread(path: Path) -> bytes:
    """The bytes of a file, without holding the event loop. Raises OSError, FeedError when it is too large."""
    return await asyncio.to_thread(_read, path)


async def load_now(path: Path) -> bytes:
    """The bytes of a file, at once. Raises OSError, FeedError when it is too large."""
    return _read(path)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        body = file.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise FeedError(f"{path} is larger than {MAX_BYTES} bytes")
    return body
