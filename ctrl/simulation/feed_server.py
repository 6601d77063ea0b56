"""Serves the feeds of a simulated plant to any HTTP client, with a switch for the ways in which such services fail.

Needs the extra `hmi` (uvicorn and starlette).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, Literal, get_args

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.responses import StreamingResponse
from starlette.routing import Route

from ctrl.clock import Clock
from ctrl.simulation.http_feeds import FeedRouter

Fault = Literal["none", "dead", "500", "garbage", "missing", "nan", "html", "slow", "huge", "redirect"]
FAULTS: Final[tuple[str, ...]] = get_args(Fault)

_LOOPBACK: Final = "127.0.0.1"
_JSON: Final = "application/json"
_NUMBER: Final = re.compile(rb":-?\d[\d.e+-]*")
_HUGE_BYTES: Final = 30_000_000


class _Embedded(uvicorn.Server):
    """Leaves signals to the process around it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class FeedServer:
    """HTTP/1.1 on 127.0.0.1; GET and HEAD only.

    port: 0 = any free one; `port` tells which after start(). fault: how every answer fails from now on.
    """

    def __init__(self, router: FeedRouter, clock: Clock, port: int = 0) -> None:
        self.fault: Fault = "none"
        self.port = port
        self._router = router
        self._clock = clock
        self._stop = asyncio.Event()
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET"])])
        config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        self._server = _Embedded(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve. Raises OSError when the port is taken."""
        sock = socket.create_server((_LOOPBACK, self.port))
        self.port = sock.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve([sock]))
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Stop serving; answers that hang are cut off."""
        self._stop.set()
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    def url(self, source: str) -> str:
        """Base url of a source."""
        return f"http://{_LOOPBACK}:{self.port}/{source}"

    async def _answer(self, request: Request) -> HttpResponse:
        path = "/" + request.path_params["path"]
        try:
            body = self._router.body(path, self._clock.utc())
        except KeyError:
            return HttpResponse(f"no feed at {path}", 404)
        if self.fault == "none":
            return HttpResponse(body, media_type=_JSON)
        return await self._faulty(body)

    async def _faulty(self, body: bytes) -> HttpResponse:
        if self.fault == "dead":
            await self._stop.wait()
        if self.fault == "slow":
            return StreamingResponse(self._drip(body), media_type=_JSON)
        make: dict[str, Callable[[], HttpResponse]] = {
            "500": lambda: HttpResponse("internal error", 500),
            "garbage": lambda: HttpResponse(b"\x00\xff{]" + body[:20], media_type=_JSON),
            "missing": lambda: HttpResponse(_NUMBER.sub(b":null", body), media_type=_JSON),
            "nan": lambda: HttpResponse(_NUMBER.sub(b":NaN", body), media_type=_JSON),
            "html": lambda: HttpResponse("<html><body>Please log in</body></html>", media_type="text/html"),
            "huge": lambda: HttpResponse(b" " * _HUGE_BYTES, media_type=_JSON),
            "redirect": lambda: HttpResponse(status_code=302, headers={"location": "http://localhost:9/secret"}),
        }
        return make[self.fault]() if self.fault in make else HttpResponse("stopped", 503)

    async def _drip(self, body: bytes) -> AsyncIterator[bytes]:
        for i in range(len(body)):
            yield body[i : i + 1]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 0.05)
            if self._stop.is_set():
                return
