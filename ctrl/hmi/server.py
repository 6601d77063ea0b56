"""Read-only web server of the page. No route changes anything; it listens on the loopback address alone.

Headers after OWASP ASVS 5.0 section 3.4; the event stream after WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import math
from collections.abc import AsyncIterator, Generator, Iterable
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ctrl import modes, quality
from ctrl.hmi.live import LiveSource

STATIC: Final = Path(__file__).parent / "static"
LOCAL_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
MAX_TREND_TAGS: Final = 32
MAX_TREND_S: Final = 7 * 86400.0
MAX_TAG_TEXT: Final = 4096
_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


def create_app(
    source: LiveSource, *, period_s: float = 1.0, max_streams: int = 16, hosts: Iterable[str] = LOCAL_HOSTS
) -> FastAPI:
    """The application that shows `source`.

    period_s: time between two events of a stream. max_streams: pages that may be open at once; one more gets 503.
    hosts: accepted Host names without port; anything else gets 421, so that no foreign name can be rebound to us.
    """
    app = FastAPI(title="loopwright", docs_url=None, redoc_url=None, openapi_url=None)
    streams = _Streams(source, period_s, max_streams)
    app.state.streams = streams

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})

    @app.get("/api/layout")
    async def layout() -> Response:
        return _json({**source.layout(), "words": _words(), "period_s": period_s})

    @app.get("/api/snapshot")
    async def snapshot() -> Response:
        return _json(source.snapshot())

    @app.get("/api/plan")
    async def plan() -> Response:
        return _json(source.plan())

    @app.get("/api/prices")
    async def prices() -> Response:
        return _json(source.prices())

    @app.get("/api/alarms")
    async def alarms() -> Response:
        return _json(source.alarms())

    @app.get("/api/trend")
    def trend(
        tags: str = Query(min_length=1, max_length=MAX_TAG_TEXT), seconds: float = Query(gt=0, le=MAX_TREND_S)
    ) -> Response:
        names = tags.split(",")
        if len(names) > MAX_TREND_TAGS:
            raise HTTPException(422, f"{len(names)} tags; at most {MAX_TREND_TAGS}")
        try:
            return _json(source.trend(names, seconds))
        except KeyError as error:
            raise HTTPException(404, f"unknown tag {error}") from error

    @app.get("/events")
    async def events() -> Response:
        return streams.open()

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(_Guard, hosts=frozenset(hosts))
    return app


async def serve(source: LiveSource, host: str, port: int, stop: asyncio.Event) -> None:
    """Serve the page on host:port until `stop` is set. Raises ValueError unless `host` is a loopback address."""
    app = create_app(source)
    server = _Server(server_config(app, host, port))

    async def end() -> None:
        await stop.wait()
        app.state.streams.close()  # first: an open stream would delay the end by the whole time-out
        server.should_exit = True

    ending = asyncio.create_task(end())
    try:
        await server.serve()
    finally:
        ending.cancel()


def server_config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """The server's configuration. Raises ValueError unless `host` is a loopback address or localhost."""
    if host != "localhost" and not _is_loopback(host):
        raise ValueError(
            f"{host} is not a loopback address; put a proxy with login in front to show the page elsewhere"
        )
    return uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False, date_header=False,
        timeout_graceful_shutdown=2, limit_concurrency=64, lifespan="off",
    )  # fmt: skip


class _Server(uvicorn.Server):
    """Leaves the signals to the service it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


class _Streams:
    """The open event streams: bounded in number, ended together."""

    def __init__(self, source: LiveSource, period_s: float, limit: int) -> None:
        self._source = source
        self._period_s = period_s
        self._limit = limit
        self._closed = asyncio.Event()
        self.open_now = 0

    def close(self) -> None:
        """End all streams."""
        self._closed.set()

    def full(self) -> bool:
        """True when no further stream may open."""
        return self.open_now >= self._limit

    def open(self) -> Response:
        """A new stream; it answers 503 when too many are open."""
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return _Stream(self, self._lines(), media_type="text/event-stream", headers=headers)

    async def _lines(self) -> AsyncIterator[bytes]:
        """One `snapshot` event a period. Each is complete, so a page that comes back needs no Last-Event-ID."""
        yield b"retry: 2000\n\n"
        while not self._closed.is_set():
            yield self._event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), self._period_s)

    def _event(self) -> bytes:
        snapshot = self._source.snapshot()
        plan = self._source.plan()
        body = {**snapshot, "alarms": self._source.alarms(), "plan_id": plan["id"] if plan else None}
        return b"id: %d\nevent: snapshot\ndata: %s\n\n" % (snapshot["cycle"], _dump(body))


class _Stream(StreamingResponse):
    """Takes a place when it starts and gives it back however it ends."""

    def __init__(self, streams: _Streams, lines: AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(lines, **options)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._streams.full():
            refusal = PlainTextResponse("too many pages are open\n", 503, {"retry-after": "10"})
            return await refusal(scope, receive, send)
        self._streams.open_now += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.open_now -= 1


class _Guard:
    """Around every route: GET only, known Host only, and the security headers on whatever is answered."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no websockets, no lifespan

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or _without_port(hosts[0]) not in self._hosts:
            return PlainTextResponse("this name is not served here\n", 421)
        if scope["method"] != "GET":
            return PlainTextResponse("this server only shows\n", 405, {"allow": "GET"})
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _words() -> dict[str, dict[int, str]]:
    """What the numbers of modes, reasons and statuses mean, so that the page has no second table."""
    return {
        "modes": modes.MODES,
        "reasons": modes.REASONS,
        "statuses": {status: quality.text(status) for status in range(0, 256, 4)},
    }


def _json(body: Any) -> Response:
    return Response(_dump(body), media_type="application/json", headers={"cache-control": "no-store"})


def _dump(body: Any) -> bytes:
    """JSON on one line; a number that is not finite becomes null, as JSON has no such number."""
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        return json.dumps(_finite(body), allow_nan=False, separators=(",", ":")).encode()


def _finite(body: Any) -> Any:
    if isinstance(body, float):
        return body if math.isfinite(body) else None
    if isinstance(body, dict):
        return {key: _finite(value) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [_finite(value) for value in body]
    return body
