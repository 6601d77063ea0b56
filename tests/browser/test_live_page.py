"""The page in a real browser: what an operator sees, in light and dark, with alarms and without data."""

import asyncio
import os
import threading
from pathlib import Path

import pytest
import uvicorn

from ctrl.hmi.server import create_app, server_config
from tests.browser.fake_site import START, FakeSite, running_clock

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists(),
        reason=f"NO BROWSER TEST RAN: {CHROMIUM} is missing; apt-get install chromium, or set CHROMIUM",
    ),
]


class Served:
    """The fake site behind a real server on a free port."""

    def __init__(self, site: FakeSite):
        self.site = site
        self.app = create_app(site, period_s=0.25)
        self.server = uvicorn.Server(server_config(self.app, "127.0.0.1", 0))
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        asyncio.run(self.server.serve())

    def start(self) -> str:
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            self.thread.join(0.02)
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}/"

    def stop(self):
        self.app.state.streams.close()
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture
def served():
    server = Served(FakeSite(running_clock(START + 33_840)))
    server.url = server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


class Watch:
    """All requests, console messages and page errors of one page."""

    def __init__(self, page):
        self.requests, self.complaints = [], []
        page.on("request", lambda r: self.requests.append(r.url))
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.complaints.append(str(e)))


@pytest.fixture
def page(chromium, served, request):
    scheme = getattr(request, "param", "light")
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.watch = Watch(page)
    page.goto(served.url)
    page.wait_for_selector("[data-loop=furnace_temp_ctl]")
    yield page
    context.close()


def text(page, selector: str) -> str:
    element = page.locator(selector)
    drawn = element.evaluate("e => e instanceof SVGElement")
    return " ".join((element.text_content() if drawn else element.inner_text()).split())


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_the_whole_site_is_on_one_screen(page, served):
    page.wait_for_selector("[data-chart=grid] canvas")
    assert text(page, "h1").startswith("Heat treatment, plant 2")
    assert "Not a safety system" in text(page, "header")
    assert text(page, "header time").endswith("CET, Tue, 06 Mar 2018")
    assert "importing" in text(page, "[data-flow=grid]")
    assert "generating" in text(page, "[data-flow=pv]")
    assert "80 %" in text(page, "[data-flow=battery]")
    row = text(page, "[data-loop=furnace_temp_ctl]")
    assert row.startswith("TIC-101 Furnace temperature")
    assert "°C SP 870.0 °C" in row
    assert "cascade furnace_profile: running" in row
    assert text(page, "[data-loop=bat_dispatch]").endswith("plan plan")
    assert "armed link ok heartbeat beating" in text(page, "[data-device=plc_furnace]")
    assert "shadow" in text(page, "[data-device=plc_energy]")
    assert "optimal, made 10:15" in text(page, ".plan")
    assert page.locator(".chart").count() == 4
    assert "none active" in text(page, ".alarms")
    assert page.locator(".shape").count() == 0  # nothing coloured while all is normal
    size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size == [1280, 800]
    assert page.watch.complaints == []
    assert {url for url in page.watch.requests if not url.startswith(served.url)} == set()


def test_values_move_without_being_asked(page, served):
    requests = len([url for url in page.watch.requests if "/api/snapshot" in url])
    before = text(page, ".count"), text(page, "header time")
    page.wait_for_function("old => document.querySelector('.count').innerText !== old", arg=before[0], timeout=5000)
    assert text(page, "header time") != before[1]
    assert requests == 0  # by the stream alone
    served.site.now = lambda: START + 43_200  # 13:00 there: 120 kW x sin(pi 6.5 h / 12 h)
    page.wait_for_function("() => document.querySelector('[data-flow=pv] .power').textContent.includes('119.0')")


def test_an_alarm_has_shape_text_response_and_time(page, served):
    served.site.raise_alarms("air_low", "furnace_over_temp")
    page.wait_for_selector("[data-alarm=furnace_over_temp]")
    first = page.locator(".alarms li").first
    assert first.get_attribute("data-alarm") == "furnace_over_temp"
    assert first.locator("[data-shape=critical]").get_attribute("aria-label") == "priority 1, critical"
    shown = " ".join(first.inner_text().split())
    assert "critical Furnace temperature above 900 degC not acknowledged" in shown.removeprefix("1 ")
    assert "Check the burner contactor" in shown
    assert "since 10:2" in shown
    shapes = page.locator(".alarms .shape path").evaluate_all("paths => paths.map(p => p.getAttribute('d'))")
    assert len(set(shapes)) == 2  # told apart without colour
    assert page.locator("[data-loop=furnace_temp_ctl] [data-shape=critical]").count() == 1
    served.site.list.ack(served.site.now(), "furnace_over_temp", "meier")
    page.wait_for_selector("[data-alarm=furnace_over_temp].seen")


def test_a_lost_plc_is_told_in_words_and_marked(page, served):
    served.site.lose_plc()
    page.wait_for_selector("[data-alarm=plc_air_lost]")
    row = text(page, "[data-loop=air_pressure_ctl]")
    assert "? SP 6.30 bar(g)" in row
    assert "◆ manual measurement is bad" in row
    assert page.get_attribute("[data-tag='plc_air.net_pressure']", "title").endswith(
        "no communication, last value shown"
    )
    assert "✖ link lost for 41 s" in text(page, "[data-device=plc_air]")
    assert "◆ local rules plan too old" in text(page, "[data-loop=bat_dispatch]")
    page.wait_for_selector(".plan .odd")
    assert "◆ relaxed: stock limit: 1.4 t below 4 t at 19:30" in text(page, ".plan")
    assert "?" in text(page, "[data-flow=air]")
    assert "3 missed" in text(page, ".count.odd")


def test_lost_data_cannot_be_overlooked(page, served):
    served.stop()
    page.wait_for_selector(".banner", timeout=10_000)
    assert text(page, ".banner").startswith("✖ No data since 10:2")
    assert page.get_attribute(".banner", "role") == "alert"
    assert page.locator(".value.good").count() == 0
    assert page.locator(".picture .box.good").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 1280


def test_a_control_that_stands_still_is_seen(page, served):
    served.site.frozen_at = 4711
    page.wait_for_selector(".banner", timeout=12_000)
    assert text(page, ".banner").startswith("✖ Control has stopped: cycle 4711 has not moved for")
    served.site.frozen_at = None
    page.wait_for_selector(".banner", state="detached")
    assert page.locator(".value.good").count() > 0
