"""Real HTTP on the loopback interface: whatever a service does, the last curve stays and one event tells of it."""

import asyncio
import gzip
import json
import resource
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ctrl import clock as clocks
from ctrl.messages import Event, Profile
from ctrl.signals.base import Feed, FeedError, Orders
from ctrl.signals.fetch import HttpFetch
from ctrl.signals.http_json import HttpJsonSource
from ctrl.signals.poller import Poll
from ctrl.simulation.feed_server import FAULTS, FeedServer
from ctrl.simulation.http_feeds import FeedRouter

pytestmark = pytest.mark.system

T0 = datetime(2018, 3, 5, 6, tzinfo=UTC).timestamp()
PRICE = Feed(
    "market", "day_ahead", "EUR/MWh", "EUR/MWh", 900, 93_600, "/DE-LU", "Europe/Berlin", 126_000, value="eur_per_mwh"
)
ROUTER = FeedRouter(
    {
        "/market/DE-LU": lambda utc: {
            "data": [{"start": clocks.iso(utc // 3600 * 3600 + 3600 * i), "eur_per_mwh": 40.5 + i} for i in range(24)]
        }
    }
)


class Site:
    """A poll against a server, with short limits."""

    def __init__(self, url: str) -> None:
        self.clock = clocks.VirtualClock(T0)
        self.fetch = HttpFetch(deadline_s=0.25)
        source = HttpJsonSource("market", url, (PRICE,), self.fetch, dict)
        self.taken: list[Profile | Orders] = []
        self.events: list[Event] = []
        self.poll = Poll(source, PRICE, self.clock, self.taken.append, self.events.append)

    async def ask(self) -> float:
        """One poll; returns the wall time it took, s."""
        begin = clocks.system_boot_ns()
        await self.poll.run()
        return (clocks.system_boot_ns() - begin) * 1e-9


def with_server(use: Callable[[FeedServer, Site], Awaitable[None]]) -> None:
    async def run() -> None:
        server = FeedServer(ROUTER, clocks.VirtualClock(T0))
        await server.start()
        site = Site(server.url("market"))
        try:
            await use(server, site)
        finally:
            await site.fetch.close()
            await server.close()

    asyncio.run(run())


def test_a_curve_over_http() -> None:
    async def use(server: FeedServer, site: Site) -> None:
        del server
        await site.ask()
        assert site.events == []
        assert isinstance(site.taken[0], Profile)
        assert site.taken[0].steps[:2] == ((T0, 40.5), (T0 + 3600, 41.5))

    with_server(use)


@pytest.mark.parametrize("fault", [f for f in FAULTS if f != "none"])
def test_a_fault_leaves_the_last_curve_is_told_once_and_passes(fault: Any) -> None:
    async def use(server: FeedServer, site: Site) -> None:
        await site.ask()
        last = site.poll.last
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        server.fault = fault
        took = [await site.ask() for _ in range(3)]
        assert max(took) < 0.25 + 0.6
        assert site.poll.last == last
        assert len(site.taken) == 1
        assert [e.event for e in site.events] == ["IT_FAILED"]
        if fault != "huge":  # the server of this process makes the 30 MB
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000
        server.fault = "none"
        await site.ask()
        assert len(site.taken) == 2
        assert [e.event for e in site.events] == ["IT_FAILED", "IT_BACK"]

    with_server(use)


def test_nothing_listens_and_then_it_comes_back_on_the_same_port() -> None:
    async def run() -> None:
        server = FeedServer(ROUTER, clocks.VirtualClock(T0))
        await server.start()
        site = Site(server.url("market"))
        await site.ask()
        await server.close()
        await site.ask()
        await site.ask()
        again = FeedServer(ROUTER, clocks.VirtualClock(T0), server.port)
        await again.start()
        await site.ask()
        await site.fetch.close()
        await again.close()
        assert [e.event for e in site.events] == ["IT_FAILED", "IT_BACK"]

    asyncio.run(run())


def test_only_known_paths_and_only_get() -> None:
    async def use(server: FeedServer, site: Site) -> None:
        assert (await site.fetch(server.url("market") + "/other", {})).status == 404
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /market/DE-LU HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 405")
        writer.close()

    with_server(use)


def test_a_taken_port_is_an_error() -> None:
    async def use(server: FeedServer, site: Site) -> None:
        del site
        with pytest.raises(OSError, match="in use"):
            await FeedServer(ROUTER, clocks.VirtualClock(T0), server.port).start()

    with_server(use)


# ------------------------------------------------------------------------------- servers that do not keep to the rules


def answered(
    serve: Callable[[asyncio.StreamWriter], Awaitable[None]], path: str = "/x", max_bytes: int = 1_048_576
) -> bytes:
    """Body that HttpFetch gets from a raw server."""

    async def run() -> bytes:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                await serve(writer)
                await writer.drain()
            except (ConnectionError, asyncio.IncompleteReadError):
                return
            finally:
                writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        fetch = HttpFetch(deadline_s=0.25, max_bytes=max_bytes)
        try:
            port = server.sockets[0].getsockname()[1]
            return (await fetch(f"http://127.0.0.1:{port}{path}", {"X-Api-Key": "very-secret"})).body
        finally:
            await fetch.close()
            server.close()

    return asyncio.run(run())


def reply(body: bytes, headers: str = "", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def raw(data: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return serve


def test_gzip_is_understood() -> None:
    packed = gzip.compress(json.dumps({"a": 1}).encode())
    assert answered(raw(reply(packed, "Content-Encoding: gzip\r\n"))) == b'{"a": 1}'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (reply(gzip.compress(bytes(30_000_000), mtime=0), "Content-Encoding: gzip\r\n"), "larger than"),
        (reply(gzip.compress(b"x" * 500, mtime=0)[:-12], "Content-Encoding: gzip\r\n"), "middle"),
        (reply(b"no gzip", "Content-Encoding: gzip\r\n"), "not usable"),
        (reply(b"x", "Content-Encoding: br\r\n"), "not asked for"),
        (reply(b"", "Location: http://10.0.0.1/admin\r\n", "302 Found"), "another host, 10.0.0.1"),
        (reply(b"", "Location: https://127.0.0.1/x\r\n", "302 Found"), "another host"),
        (reply(b"", "Location: http://127.0.0.1:9/x\r\n", "302 Found"), "another host"),
        (reply(b"", "Location: http://127.0.0.1:99999999/x\r\n", "302 Found"), "malformed"),
        (reply(b"", "Location: /x\r\n", "302 Found"), "more than 3 times"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not reachable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "not reachable"),
        (b"", "not reachable"),
    ],
)
def test_what_a_hostile_server_sends(data: bytes, words: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FeedError, match=words) as caught:
        answered(raw(data))
    assert "very-secret" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


def test_a_redirect_within_the_host_is_followed() -> None:
    turns = [reply(b"", "Location: /new\r\n", "307 Temporary Redirect"), reply(b"here")]

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(turns.pop(0))

    assert answered(serve) == b"here"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_a_server_that_drips_bytes_is_cut_off_at_the_total_deadline(head: bytes) -> None:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(b"1\r\n \r\n" if head else b"H")
            await writer.drain()
            await asyncio.sleep(0.05)

    begin = clocks.system_boot_ns()
    with pytest.raises(FeedError, match=r"within 0.25 s|not reachable"):
        answered(serve)
    assert (clocks.system_boot_ns() - begin) * 1e-9 < 1.0


def test_an_endless_body_stops_at_the_limit() -> None:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()

    with pytest.raises(FeedError, match="larger than 1048576"):
        answered(serve)


def test_virtual_and_real_fetch_give_the_same_bytes() -> None:
    async def use(server: FeedServer, site: Site) -> None:
        real = await site.fetch(server.url("market") + "/DE-LU", {})
        virtual = ROUTER.fetch(clocks.VirtualClock(T0))
        assert (await virtual("https://prices.example/market/DE-LU", {})).body == real.body
        with pytest.raises(FeedError, match="nothing is served"):
            await virtual("https://prices.example/none", {})
        await HttpJsonSource("market", "http://p/market", (PRICE,), virtual, dict).read(replace(PRICE), T0, None)

    with_server(use)
