"""The IT systems of a simulated plant: ERP, market and weather, served over HTTP on the loopback interface.

`FeedRouter` gives the bodies; in virtual time `fetch` hands them to the sources without a socket. To any HTTP client
they are served by `ctrl.simulation.feed_server`, which needs the extra `hmi`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from ctrl.clock import Clock
from ctrl.signals.base import FeedError, Response

Body = Callable[[float], Any]
"""utc s -> JSON-able body."""

_JSON: Final = "application/json"


class FeedRouter:
    """Bodies by path.

    feeds: path, source first ("/erp/stock/finished") -> function of UTC seconds to a JSON-able body.
    """

    def __init__(self, feeds: Mapping[str, Body]) -> None:
        self._feeds = dict(feeds)

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths, in order."""
        return tuple(sorted(self._feeds))

    def body(self, path: str, utc: float) -> bytes:
        """JSON of the feed at `utc` (s since 1970). Raises KeyError for an unknown path."""
        return json.dumps(self._feeds[path](utc), allow_nan=False, separators=(",", ":")).encode()

    def fetch(self, clock: Clock) -> Callable[[str, Mapping[str, str]], Any]:
        """A `Fetch` that reads the bodies at the time of `clock`, without a socket; the host of a url is ignored."""

        async def get(url: str, headers: Mapping[str, str]) -> Response:
            del headers
            path = urlsplit(url).path
            if path not in self._feeds:
                raise FeedError(f"nothing is served at {path}; there is {', '.join(self.paths)}")
            return Response(200, _JSON, self.body(path, clock.utc()))

        return get
