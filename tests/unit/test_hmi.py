"""The server behind the page: shows, never changes; loopback, known names, strict headers, bounded streams."""

import asyncio
import hashlib
import json
import math
import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from ctrl.hmi.server import STATIC, create_app, serve, server_config
from tests.browser.fake_site import START, FakeSite

METHODS = ("POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "ARM")
ROUTES = (
    "/",
    "/healthz",
    "/static/style.css",
    "/api/layout",
    "/api/snapshot",
    "/api/plan",
    "/api/prices",
    "/api/alarms",
    "/api/trend?tags=furnace_temp&seconds=60",
)


class Answer:
    """What an ASGI application sent."""

    def __init__(self):
        self.status, self.headers, self.body = 0, {}, b""

    async def take(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.body += message.get("body", b"")

    def json(self):
        return json.loads(self.body)


def scope(path: str, method: str = "GET", hosts: tuple[str, ...] = ("127.0.0.1:8080",), **headers: str):
    path, _, query = path.partition("?")
    pairs = [(b"host", h.encode()) for h in hosts]
    pairs += [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "scheme": "http",
        "headers": pairs, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8080), "state": {},
    }  # fmt: skip


async def ask_on(app, path: str, **more) -> Answer:
    answer = Answer()

    asked = False

    async def receive():
        nonlocal asked
        if asked:
            await asyncio.Event().wait()  # the client stays
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    await asyncio.wait_for(app(scope(path, **more), receive, answer.take), 10)
    return answer


@pytest.fixture
def site() -> FakeSite:
    return FakeSite(lambda: START + 34_000)


@pytest.fixture
def ask(site):
    app = create_app(site)
    return lambda path, **more: asyncio.run(ask_on(app, path, **more))


def test_every_route_answers(ask, site):
    for path in ROUTES:
        assert ask(path).status == 200, path
    layout = ask("/api/layout").json()
    assert layout["site"] == "Heat treatment, plant 2"
    assert layout["words"]["modes"]["6"] == "plan"
    assert layout["words"]["statuses"]["24"] == "no communication, no value yet"
    snapshot = ask("/api/snapshot").json()
    assert snapshot["tags"]["furnace_temp"] == [pytest.approx(870, abs=2), 128]
    site.raise_alarms("air_low")
    assert [row["name"] for row in ask("/api/alarms").json()] == ["air_low"]
    trend = ask("/api/trend?tags=furnace_temp,grid_15min&seconds=60").json()
    assert len(trend["utc"]) == len(trend["tags"]["grid_15min"]) == 61


@pytest.mark.parametrize("method", METHODS)
def test_no_route_changes_anything(ask, method):
    for path in (*ROUTES, "/events", "/nowhere"):
        answer = ask(path, method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET"), path


def test_every_answer_carries_the_headers(ask):
    for path, more in (("/", {}), ("/nowhere", {}), ("/api/plan", {}), ("/", {"method": "POST"}), ("/", {"hosts": ()})):
        headers = ask(path, **more).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_only_our_own_names_are_served(ask):
    for host in ("127.0.0.1", "127.0.0.1:9", "localhost:8080", "LOCALHOST", "[::1]:8080", "[::1]"):
        assert ask("/healthz", hosts=(host,)).status == 200, host
    for hosts in (
        ("evil.example",),
        ("evil.example:8080",),
        ("127.0.0.1.evil.example",),
        ("",),
        (),
        ("localhost", "x"),
    ):
        assert ask("/api/snapshot", hosts=hosts).status == 421, hosts


def test_there_is_no_documentation_page_and_no_way_out_of_static(ask):
    for path in ("/docs", "/redoc", "/openapi.json", "/static/../server.py", "/static/%2e%2e/server.py", "/static/"):
        assert ask(path).status == 404, path


def test_a_trend_is_bounded(ask):
    assert ask("/api/trend?tags=nobody&seconds=60").status == 404
    assert ask("/api/trend?tags=furnace_temp&seconds=1e9").status == 422
    assert ask("/api/trend?tags=furnace_temp&seconds=nan").status == 422
    assert ask("/api/trend?tags=&seconds=60").status == 422
    assert ask(f"/api/trend?tags={','.join(['furnace_temp'] * 33)}&seconds=60").status == 422


def test_a_number_that_is_not_finite_becomes_null(ask, site):
    site.values = lambda _: {
        "furnace_temp": math.nan,
        "air.power": math.inf,
    }  # a source gone wrong must not stop the page
    site.plan = lambda: None
    tags = ask("/api/snapshot").json()["tags"]
    assert tags["furnace_temp"] == [None, 128]
    assert tags["air.power"] == [None, 128]
    assert ask("/api/plan").json() is None


def events_of(body: bytes) -> list[dict]:
    return [json.loads(m) for m in re.findall(rb"event: snapshot\ndata: (.*)\n\n", body)]


async def stream(app, answer: Answer, gone: asyncio.Event, **more):
    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    await app(scope("/events", **more), receive, answer.take)


def test_the_stream_sends_whole_cycles_and_ends_when_told(site):
    async def run():
        app = create_app(site, period_s=0.01)
        answer = Answer()
        task = asyncio.create_task(stream(app, answer, asyncio.Event(), last_event_id="17; drop"))
        while answer.body.count(b"event:") < 3:
            await asyncio.sleep(0.005)
        app.state.streams.close()
        await asyncio.wait_for(task, 5)
        assert app.state.streams.open_now == 0
        return answer

    answer = asyncio.run(run())
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    first = events_of(answer.body)[0]
    assert first["cycle"] == 120_400
    assert first["plan_id"] == f"energy_plan/{(START + 34_000) // 900 * 900:.0f}"
    assert first["alarms"] == []
    assert b"id: 120400\n" in answer.body


def test_pages_are_bounded_and_a_closed_page_makes_room(site):
    async def run():
        app = create_app(site, period_s=0.01, max_streams=2)
        gone = [asyncio.Event() for _ in range(2)]
        tasks = [asyncio.create_task(stream(app, Answer(), g)) for g in gone]
        while app.state.streams.open_now < 2:
            await asyncio.sleep(0.005)
        refused = await ask_on(app, "/events")
        assert (refused.status, refused.headers["retry-after"]) == (503, "10")
        gone[0].set()
        await asyncio.wait_for(tasks[0], 5)
        again = Answer()
        third = asyncio.create_task(stream(app, again, asyncio.Event()))
        while not again.body:
            await asyncio.sleep(0.005)
        assert again.status == 200
        app.state.streams.close()
        await asyncio.gather(tasks[1], third)
        assert app.state.streams.open_now == 0

    asyncio.run(run())


def test_it_listens_on_the_loopback_alone(site):
    app = create_app(site)
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.53"):
        assert server_config(app, host, 8080).host == host
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", ""):
        with pytest.raises(ValueError, match="not a loopback"):
            server_config(app, host, 8080)


def test_the_server_ends_at_once_with_a_page_open(site):
    async def run():
        stop = asyncio.Event()
        task = asyncio.create_task(serve(site, "127.0.0.1", 18_731, stop))
        for _ in range(500):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", 18_731)
                break
            except OSError:
                await asyncio.sleep(0.01)
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"event: snapshot")
        stop.set()
        await asyncio.wait_for(task, 1.5)  # uvicorn alone would wait for the stream for 2 s
        writer.close()

    asyncio.run(run())


def test_vendored_files_are_the_published_ones():
    vendor = STATIC / "vendor"
    sums = dict(line.split("  ")[::-1] for line in (vendor / "SHA256SUMS").read_text().splitlines())
    found = {str(p.relative_to(vendor)) for p in vendor.rglob("*") if p.is_file()} - {"SHA256SUMS"}
    assert found == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest, name
    for package in vendor.iterdir():
        assert not package.is_dir() or (package / "LICENSE").is_file()


def test_the_page_asks_nobody_else_and_has_no_inline_code():
    own = [p for p in STATIC.rglob("*") if p.suffix in (".html", ".css", ".js", ".svg") and "vendor" not in p.parts]
    assert len(own) >= 10
    for path in own:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn", text), path
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page)
    for reference in re.findall(r'(?:src|href)="/static/([^"]+)"', page):
        assert (STATIC / reference).is_file(), reference
    for path in own:
        for reference in re.findall(r'from "(\.[^"]+)"', path.read_text() if path.suffix == ".js" else ""):
            assert (path.parent / reference).resolve().is_file(), (path, reference)
    assert Path(STATIC / "favicon.svg").is_file()
