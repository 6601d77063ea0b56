import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrl import clock as clocks
from ctrl.config.loader import load
from ctrl.config.model import Site
from ctrl.messages import Event, Profile, decode, encode
from ctrl.schedule import ClockedScheduler, Every
from ctrl.signals import csv as csv_source
from ctrl.signals.base import Feed, FeedError, Order, Orders, Response
from ctrl.signals.from_config import feed_specs, feeds_from_config, sources_from_config
from ctrl.signals.http_json import HttpJsonSource, parse
from ctrl.signals.plausible import check_plausible
from ctrl.signals.poller import Poll, start_polls
from ctrl.signals.secrets import resolve

BERLIN = "Europe/Berlin"
T0 = datetime(2018, 3, 5, 6, tzinfo=UTC).timestamp()
PRICE = Feed("market", "day_ahead", "EUR/MWh", "EUR/MWh", 900, 93_600, "/DE-LU", BERLIN, 126_000, value="eur_per_mwh")
STOCK = Feed("erp", "stock", "t", "t", 300, 3600, "/stock", BERLIN, value="t")
ORDERS = Feed(
    "erp", "orders", "t", "t", 300, 7200, "/orders", BERLIN, fields={"id": "no", "due": "due_at", "mass": "qty_t"}
)
SALES = Feed("erp", "sales", "t/d", "t/d", 3600, 93_600, "/s", BERLIN, 14 * 86_400, value="tonnes_per_day")


def iso(utc: float, tz: str = "UTC") -> str:
    return datetime.fromtimestamp(utc, clocks.zone(tz)).isoformat()


def rows(values: list[Any], start: float = T0, step: float = 3600, key: str = "eur_per_mwh") -> list[dict[str, Any]]:
    return [{"start": iso(start + step * i, BERLIN), key: v} for i, v in enumerate(values)]


def body(data: Any, **more: Any) -> bytes:
    return json.dumps({"data": data, **more}).encode()


def profile(answer: Profile | Orders) -> Profile:
    assert isinstance(answer, Profile)
    return answer


DAY = [40.0 + 3 * ((7 * i) % 24) for i in range(24)]


def test_a_curve() -> None:
    made = profile(parse(PRICE, body(rows(DAY)), T0 + 60))
    assert made.steps == tuple((T0 + 3600 * i, v) for i, v in enumerate(DAY))
    assert (made.tag, made.unit, made.issuer, made.status) == ("market.day_ahead", "EUR/MWh", "market", 0x80)
    assert made.valid_until == T0 + 24 * 3600
    assert made.reason == ""
    assert decode(encode(made)) == made


def test_other_shapes_of_the_list() -> None:
    expected = profile(parse(PRICE, body(rows(DAY)), T0)).steps
    assert profile(parse(PRICE, json.dumps(rows(DAY)).encode(), T0)).steps == expected
    nested = replace(PRICE, list_path=("result", "rows"), time="start")
    answer = {"result": {"rows": rows(DAY), "other": []}, "n": 1}
    assert profile(parse(nested, json.dumps(answer).encode(), T0)).steps == expected


def test_units_are_converted_to_the_tag() -> None:
    cents = replace(PRICE, body_unit="ct/kWh")
    assert profile(parse(cents, body(rows([4.0, 5.0, -1.5])), T0)).steps[0][1] == pytest.approx(40.0)
    with pytest.raises(FeedError, match="does not convert"):
        parse(replace(PRICE, body_unit="kW"), body(rows(DAY)), T0)


@pytest.mark.parametrize(("day", "n"), [((2018, 3, 25), 23), ((2018, 10, 28), 25)])
@pytest.mark.parametrize("quarters", [1, 4])
def test_days_of_23_and_25_hours_are_contiguous(day: tuple[int, int, int], n: int, quarters: int) -> None:
    begin, end = clocks.local_day(datetime(*day, 12, tzinfo=UTC).timestamp(), BERLIN)
    made = profile(parse(PRICE, body(rows([float(i) for i in range(n * quarters)], begin, 3600 / quarters)), begin))
    assert len(made.steps) == n * quarters
    assert made.valid_until == end


@pytest.mark.parametrize("day", [(2018, 3, 20), (2018, 10, 22), (2018, 6, 1)])
def test_days_as_rows_follow_local_midnights(day: tuple[int, int, int]) -> None:
    at = clocks.local_day(datetime(*day, 12, tzinfo=UTC).timestamp(), BERLIN)[0]
    now, data = at + 3600, []
    for i in range(14):
        data.append({"start": iso(at, BERLIN), "tonnes_per_day": 10.0 + i})
        at = clocks.local_day(at, BERLIN)[1]
    made = profile(parse(SALES, body(data), now))
    assert len(made.steps) == 14
    assert made.valid_until == at


def test_a_hole_is_cut_out_and_told_never_filled() -> None:
    values: list[Any] = [*DAY[:10], None, *DAY[11:]]
    made = profile(parse(PRICE, body(rows(values)), T0))
    assert made.valid_until == T0 + 10 * 3600
    assert len(made.steps) == 10
    assert made.reason == "1 value(s) missing, 13 not used beyond a hole"
    later = profile(parse(PRICE, body(rows(values)), T0 + 12 * 3600))
    assert later.steps[0][0] == T0 + 11 * 3600
    with pytest.raises(FeedError, match="value of now is missing"):
        parse(PRICE, body(rows(values)), T0 + 10.5 * 3600)
    gone = rows(DAY)
    del gone[10]
    assert profile(parse(PRICE, body(gone), T0)).valid_until == T0 + 10 * 3600


def test_negative_prices_and_zeros_are_legal() -> None:
    made = profile(parse(PRICE, body(rows([-60.0, 0.0, -0.01, 30])), T0))
    assert [v for _, v in made.steps] == [-60.0, 0.0, -0.01, 30.0]


GOOD_ROWS = rows(DAY)
BAD_BODIES: list[tuple[str, bytes, str]] = [
    ("empty", b"", "not JSON"),
    ("html", b"<html>log in</html>", "not JSON"),
    ("truncated", body(GOOD_ROWS)[:-20], "not JSON"),
    ("nan", b'{"data":[{"start":"2018-03-05T06:00:00Z","eur_per_mwh":NaN}]}', "not a number"),
    ("infinity", b'{"data":[{"start":"2018-03-05T06:00:00Z","eur_per_mwh":Infinity}]}', "not a number"),
    ("1e999", b'{"data":[{"start":"2018-03-05T06:00:00Z","eur_per_mwh":1e999}]}', "not finite"),
    ("huge integer", b'{"data":[{"start":"2018-03-05T06:00:00Z","eur_per_mwh":1' + b"0" * 400 + b"}]}", "not finite"),
    ("too many digits", b'{"data":[{"start":"2018-03-05T06:00:00Z","eur_per_mwh":1' + b"0" * 5000 + b"}]}", "not JSON"),
    ("deep", b"[" * 100_000, "not JSON"),
    ("not utf-8", b'{"data": "\xff"}', "not JSON"),
    ("null", b"null", "no list"),
    ("number", b"3", "no list"),
    ("text", b'"data"', "no list"),
    ("no list", b'{"a": 1}', "0 lists"),
    ("two lists", b'{"a": [], "b": []}', "2 lists"),
    ("empty list", body([]), "empty"),
    ("rows are numbers", body([1, 2]), "not an object"),
    ("rows are lists", body([["2018-03-05T06:00:00Z", 3]]), "not an object"),
    ("no time", body([{"eur_per_mwh": 3}]), "no 'start'"),
    ("no value", body([{"start": iso(T0)}]), "no row has"),
    ("all null", body(rows([None, None])), "no row has"),
    ("text value", body(rows(["41.2", *DAY[1:]])), "not a number"),
    ("boolean value", body(rows([True, *DAY[1:]])), "not a number"),
    ("object value", body(rows([{"v": 1}, *DAY[1:]])), "not a number"),
    ("empty text value", body(rows(["", *DAY[1:]])), "not a number"),
    ("naive time", body([{"start": "2018-03-05T06:00:00", "eur_per_mwh": 3}]), "no time zone"),
    ("epoch", body([{"start": T0, "eur_per_mwh": 3}]), "not a time"),
    ("words for time", body([{"start": "today", "eur_per_mwh": 3}]), "not a time"),
    ("null time", body([{"start": None, "eur_per_mwh": 3}]), "not a time"),
    ("german date", body([{"start": "05.03.2018 06:00", "eur_per_mwh": 3}]), "not a time"),
    ("duplicate", body([*GOOD_ROWS[:5], GOOD_ROWS[4], *GOOD_ROWS[5:]]), "comes twice"),
    ("backwards", body(GOOD_ROWS[::-1]), "go back"),
    ("swapped", body([*GOOD_ROWS[:3], GOOD_ROWS[4], GOOD_ROWS[3], *GOOD_ROWS[5:]]), "go back"),
    ("overlap", body(rows(DAY[:12]) + rows(DAY[:3], T0 + 11.5 * 3600)), "overlap"),
    ("off grid", body(rows(DAY[:12]) + rows(DAY[:3], T0 + 12.5 * 3600)), "off the grid"),
    ("resolution changes", body(rows(DAY[:12]) + rows(DAY[:8], T0 + 12 * 3600, 900)), "overlap"),
    ("yesterday", body(rows(DAY, T0 - 48 * 3600)), "ended at"),
    ("too many rows", body(rows([1.0] * 5000, step=60)), "at most 4096"),
    ("other currency", body(GOOD_ROWS, unit="GBP/MWh"), "not in the declared"),
    ("other unit", body(GOOD_ROWS, unit="ct/kWh"), "not in the declared"),
    ("unit is a number", body(GOOD_ROWS, unit=5), "not in the declared"),
]


@pytest.mark.parametrize(("raw", "words"), [b[1:] for b in BAD_BODIES], ids=[b[0] for b in BAD_BODIES])
def test_a_wrong_curve_is_refused_in_plain_words(raw: bytes, words: str) -> None:
    with pytest.raises(FeedError, match=words):
        parse(PRICE, raw, T0)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_a_feed_error(raw: bytes) -> None:
    for feed in (PRICE, STOCK, ORDERS):
        try:
            parse(feed, raw, T0)
        except FeedError:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just(iso(T0)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["data", "start", "eur_per_mwh", "t", "time", "no", "due_at", "qty_t"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_json_does_more_than_a_feed_error(answer: Any) -> None:
    for feed in (PRICE, STOCK, ORDERS):
        try:
            made = parse(feed, json.dumps(answer).encode(), T0)
        except FeedError:
            continue
        if isinstance(made, Profile):
            assert decode(encode(made)) == made


def test_one_value_keeps_the_stamp_of_its_source() -> None:
    made = profile(parse(STOCK, json.dumps({"t": 20.1, "time": iso(T0 - 100)}).encode(), T0))
    assert made.steps == ((T0 - 100, 20.1),)
    assert (made.issued_at, made.valid_until) == (T0 - 100, T0 + 3600)
    ahead = profile(parse(STOCK, json.dumps({"t": 20.1, "time": iso(T0 + 100)}).encode(), T0))
    assert ahead.value_at(T0) == 20.1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"t": 20.1}, "no 'time'"),
        ({"time": iso(T0)}, "no 't'"),
        ({"t": None, "time": iso(T0)}, "not a number"),
        ({"t": 20.1, "time": iso(T0 + 301)}, "in the future"),
        ({"t": 20.1, "time": iso(T0 - 3601)}, "older than"),
        ([1], "not an object"),
    ],
)
def test_a_wrong_single_value_is_refused(answer: Any, words: str) -> None:
    with pytest.raises(FeedError, match=words):
        parse(STOCK, json.dumps(answer).encode(), T0)


def test_declared_ranges_hold() -> None:
    bounded = replace(STOCK, valid_lo=0.0, valid_hi=100.0)
    with pytest.raises(FeedError, match="below 0") as caught:
        parse(bounded, json.dumps({"t": -1, "time": iso(T0)}).encode(), T0)
    assert caught.value.suspect
    with pytest.raises(FeedError, match="above 50"):
        parse(replace(PRICE, valid_hi=50.0), body(rows(DAY)), T0)


def test_the_horizon_cuts_what_lies_beyond() -> None:
    made = profile(parse(replace(PRICE, horizon_s=7200.0), body(rows(DAY)), T0))
    assert len(made.steps) == 3
    assert made.valid_until == T0 + 3 * 3600


def test_orders_are_sorted_and_checked() -> None:
    data = [
        {"no": "B", "due_at": iso(T0 + 9000, BERLIN), "qty_t": 2},
        {"no": 12, "due_at": iso(T0 - 50), "qty_t": 3.5, "customer": "x"},
    ]
    made = parse(ORDERS, body(data), T0)
    assert made == Orders("erp.orders", "erp", (Order("12", T0 - 50, 3.5), Order("B", T0 + 9000, 2.0)), T0)
    assert parse(ORDERS, body([]), T0) == Orders("erp.orders", "erp", (), T0)
    kilos = parse(replace(ORDERS, body_unit="kg"), body(data), T0)
    assert isinstance(kilos, Orders)
    assert kilos.orders[0].mass_t == pytest.approx(0.0035)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"no": None}, "id of order 1"),
        ({"no": ""}, "id of order 1"),
        ({"no": "x" * 65}, "id of order 1"),
        ({"no": True}, "id of order 1"),
        ({"due_at": "2018-03-05"}, "no time zone"),
        ({"qty_t": 0}, "is 0 t"),
        ({"qty_t": -3}, "is -3 t"),
        ({"qty_t": "3"}, "not a number"),
    ],
)
def test_a_wrong_order_refuses_the_list(change: Mapping[str, Any], words: str) -> None:
    order = {"no": "A", "due_at": iso(T0), "qty_t": 1.0}
    with pytest.raises(FeedError, match=words):
        parse(ORDERS, body([{**order, **change}]), T0)
    with pytest.raises(FeedError, match="twice"):
        parse(ORDERS, body([order, order]), T0)


# ---------------------------------------------------------------------------------------------------- plausibility


def curve(values: list[float], start: float = T0) -> Profile:
    return profile(parse(PRICE, body(rows(values, start)), start))


@pytest.mark.parametrize("factor", [10, 100, 1000, 0.1, 0.01, 0.001])
def test_a_factor_of_ten_is_a_unit_error_however_often_it_comes(factor: float) -> None:
    with pytest.raises(FeedError, match="unit changed") as caught:
        check_plausible(curve([v * factor * 1.1 for v in DAY]), curve(DAY))
    assert caught.value.suspect
    assert caught.value.persistent


@pytest.mark.parametrize("factor", [0.25, 0.5, 1.0, 2.0, 4.5, -1.0])
def test_what_markets_do_is_believed(factor: float) -> None:
    check_plausible(curve([v * factor + 0.01 for v in DAY]), curve(DAY))


def test_an_unlikely_change_is_only_doubted() -> None:
    with pytest.raises(FeedError, match="times what it was") as caught:
        check_plausible(curve([v * 6.0 for v in DAY]), curve(DAY))
    assert not caught.value.persistent


def test_weather_that_changes_by_a_factor_of_ten_is_doubted_not_banned() -> None:
    sunny = [0.0] * 6 + [5.0 * i for i in range(1, 7)] + [30.0 - 5.0 * i for i in range(6)] + [0.0] * 6
    cloudy = [0.0 if v == 0.0 else 0.3 + 0.1 * (i % 5) + 0.12 * v * (i % 3) for i, v in enumerate(sunny)]
    with pytest.raises(FeedError, match="times what it was") as caught:
        check_plausible(curve(cloudy), curve(sunny))
    assert not caught.value.persistent
    with pytest.raises(FeedError, match="unit changed"):
        check_plausible(curve([v * 1000 for v in sunny]), curve(sunny))


@pytest.mark.parametrize("shift", [1, -1])
def test_a_curve_shifted_by_an_hour_with_a_zero_is_refused(shift: int) -> None:
    moved = [0.0, *DAY[:-1]] if shift > 0 else [*DAY[1:], 0.0]
    with pytest.raises(FeedError, match="shifted by an hour"):
        check_plausible(curve(moved), curve(DAY))


def test_the_next_day_and_a_flat_tariff_are_not_shifts() -> None:
    check_plausible(curve([*DAY[6:], *DAY[:6]], T0 + 6 * 3600), curve(DAY))
    check_plausible(curve([50.0] * 24), curve([50.0] * 24))
    check_plausible(curve([50.0] * 12 + [60.0] * 12), curve([60.0] * 12 + [50.0] * 12))


# ---------------------------------------------------------------------------------------------------- csv


def test_csv_file() -> None:
    lines = ["time,x,eur_per_mwh", *(f"{iso(T0 + 3600 * i)},0,{v}" for i, v in enumerate(DAY))]
    made = csv_source.parse(PRICE, "\n".join(lines).encode(), T0)
    assert made.steps == curve(DAY).steps
    lines[11] = lines[11].rsplit(",", 1)[0] + ","
    assert csv_source.parse(PRICE, ("\ufeff" + "\r\n".join(lines)).encode(), T0).valid_until == T0 + 10 * 3600


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "line 1"),
        (b"when,what\n", "line 1"),
        (b"time,eur_per_mwh\n2018-03-05T06:00:00Z,abc\n", "line 2 is 'abc'"),
        (b"time,eur_per_mwh\n2018-03-05T06:00:00Z,nan\n", "line 2 is not finite"),
        (b"time,eur_per_mwh\n2018-03-05T06:00:00Z,1,2\n", "line 2 has 3 columns"),
        (b"time,eur_per_mwh\n2018-03-05T06:00:00,1\n", "no time zone"),
        (b"time,eur_per_mwh\n", "empty"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_wrong_csv_file_is_refused_with_its_line(text: bytes, words: str) -> None:
    with pytest.raises(FeedError, match=words):
        csv_source.parse(PRICE, text, T0)


def test_csv_source_reads_anew(tmp_path: Path) -> None:
    feed = replace(PRICE, path="/day.csv")
    source = csv_source.CsvSource("market", tmp_path, (feed,), csv_source.load_now)
    threaded = csv_source.CsvSource("market", tmp_path, (feed,))
    with pytest.raises(FeedError, match="No such file"):
        asyncio.run(source.read(feed, T0, None))
    (tmp_path / "day.csv").write_text(f"time,eur_per_mwh\n{iso(T0)},41.5\n")
    assert asyncio.run(source.read(feed, T0, None)).steps == ((T0, 41.5),)
    assert asyncio.run(threaded.read(feed, T0, None)).steps == ((T0, 41.5),)
    (tmp_path / "day.csv").write_text(" " * (csv_source.MAX_BYTES + 1))
    with pytest.raises(FeedError, match="larger"):
        asyncio.run(source.read(feed, T0, None))


# ---------------------------------------------------------------------------------------------------- polls


class Plant:
    """Bodies by path, in virtual time; `fail` makes every fetch fail."""

    def __init__(self) -> None:
        self.fail: str | None = None
        self.factor = 1.0
        self.asked = 0
        self.clock = clocks.VirtualClock(T0)
        self.taken: list[Profile | Orders] = []
        self.events: list[Event] = []
        self.schedule = ClockedScheduler(self.clock)

    async def fetch(self, url: str, headers: Mapping[str, str]) -> Response:
        self.asked += 1
        assert url == "http://m/x/DE-LU"
        assert headers == {"X": "1"}
        if self.fail:
            raise FeedError(self.fail)
        start = self.clock.utc() // 3600 * 3600
        hour = round((start - T0) / 3600)
        values = [DAY[(hour + i) % 24] * self.factor for i in range(24)]
        return Response(200, "application/json; charset=utf-8", body(rows(values, start)))

    def poll(self, feed: Feed = PRICE) -> Poll:
        source = HttpJsonSource("market", "http://m/x/", (feed,), self.fetch, lambda: {"X": "1"})

        def add(id: str, func: Any, every_s: float) -> None:
            self.schedule.add(id, func, Every(every_s), misfire_grace_s=60, at_start=True)

        return start_polls([source], self.clock, add, self.taken.append, self.events.append)[0]

    def told(self) -> list[str]:
        return [e.event for e in self.events]


def test_polls_run_at_their_dates_and_give_what_is_believed() -> None:
    plant = Plant()
    plant.poll()
    plant.schedule.run_until(T0 + 3600)
    assert [job.id for job in plant.schedule.jobs()] == ["market.day_ahead"]
    assert [t.issued_at - T0 for t in plant.taken] == [0, 900, 1800, 2700, 3600]
    assert plant.events == []


def test_a_failure_is_one_event_an_episode_and_leaves_the_last() -> None:
    plant = Plant()
    poll = plant.poll()
    plant.schedule.run_until(T0 + 900)
    plant.fail = "not reachable"
    plant.schedule.run_until(T0 + 4 * 3600)
    assert plant.told() == ["IT_FAILED"]
    assert "not reachable" in plant.events[0].text
    assert "2018-03-05T06:15:00Z stays" in plant.events[0].text
    assert poll.last == plant.taken[-1]
    plant.fail = None
    plant.schedule.run_until(T0 + 5 * 3600)
    assert plant.told() == ["IT_FAILED", "IT_BACK"]


def test_polls_of_a_dead_source_back_off_but_not_beyond_a_quarter_of_an_hour() -> None:
    plant = Plant()
    plant.poll(replace(PRICE, every_s=10.0))
    plant.fail = "dead"
    plant.schedule.run_until(T0 + 3600)
    assert 8 <= plant.asked <= 15
    plant.fail = None
    plant.schedule.run_until(T0 + 3600 + 900)
    assert plant.told() == ["IT_FAILED", "IT_BACK"]


def test_a_unit_error_is_never_believed_and_a_new_level_after_three_answers() -> None:
    plant = Plant()
    poll = plant.poll()
    plant.schedule.run_until(T0)
    plant.factor = 10.0
    plant.schedule.run_until(T0 + 6 * 3600)
    assert len(plant.taken) == 1
    assert plant.told() == ["IT_SUSPECT"]
    plant.factor = 6.0
    plant.schedule.run_until(T0 + 6 * 3600 + 1800)
    assert len(plant.taken) == 1
    plant.schedule.run_until(T0 + 6 * 3600 + 2700)
    assert len(plant.taken) == 2
    assert plant.told() == ["IT_SUSPECT", "IT_BACK"]
    assert poll.failures == 0


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (Response(500, "text/plain", b"oops"), "answered 500"),
        (Response(401, "application/json", b"{}"), "answered 401"),
        (Response(200, "text/html", b"<html>"), "text/html, not application/json"),
        (Response(200, "", b"{}"), "no stated type"),
    ],
)
def test_answers_that_are_no_json_service(response: Response, words: str) -> None:
    async def fetch(url: str, headers: Mapping[str, str]) -> Response:
        del url, headers
        return response

    source = HttpJsonSource("market", "http://m", (PRICE,), fetch, dict)
    with pytest.raises(FeedError, match=words):
        asyncio.run(source.read(PRICE, T0, None))


# ---------------------------------------------------------------------------------------------------- secrets, specs


def test_secrets_come_from_credentials_then_run_then_environment(tmp_path: Path) -> None:
    credentials, run = tmp_path / "c", tmp_path / "r"
    credentials.mkdir()
    run.mkdir()
    env = {"CTRL_SECRET_ERP_TOKEN": "from-env", "CREDENTIALS_DIRECTORY": str(credentials)}
    assert resolve("${secret:erp_token}", env, run) == "from-env"
    (run / "erp_token").write_text("from-run\n")
    assert resolve("${secret:erp_token}", env, run) == "from-run"
    (credentials / "erp_token").write_text("from-credentials")
    assert resolve("${secret:erp_token}", env, run) == "from-credentials"
    assert resolve("plain", env, run) == "plain"
    with pytest.raises(FeedError, match="CTRL_SECRET_MARKET_KEY") as caught:
        resolve("${secret:market_key}", env, run)
    assert "from-" not in str(caught.value)


def test_feeds_and_headers_of_a_site_and_no_secret_for_a_simulated_plant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = load(Path(__file__).parents[2] / "configs" / "heat_treatment" / "site.yaml")
    feeds = {feed.tag: feed for feed in feeds_from_config(site)}
    price, orders, stock = feeds["market.day_ahead"], feeds["erp.orders"], feeds["erp.stock"]
    assert (price.unit, price.every_s, price.horizon_s, price.stale_after_s) == ("EUR/MWh", 900, 126_000, 93_600)
    assert orders.fields == {"id": "no", "due": "due_at", "mass": "qty_t"}
    assert stock.horizon_s is None
    asked: list[Mapping[str, str]] = []

    async def fetch(url: str, headers: Mapping[str, str]) -> Response:
        asked.append({"url": url, **headers})
        return Response(500, "", b"")

    def ask(site: Site) -> None:
        source = next(s for s in sources_from_config(site, fetch) if s.name == "market")
        with pytest.raises(FeedError):
            asyncio.run(source.read(source.feeds[0], T0, None))

    monkeypatch.delenv("CTRL_SECRET_MARKET_KEY", raising=False)
    ask(site)  # the secret is missing: found when asked, and nothing was sent
    assert asked == []
    monkeypatch.setenv("CTRL_SECRET_MARKET_KEY", "k")
    ask(site)
    assert asked == [{"url": "https://prices.example/da/DE-LU", "X-Api-Key": "k"}]
    override = tmp_path / "override.yaml"
    override.write_text("sources:\n  market: {url: http://127.0.0.1:8123/market}\n")
    ask(load(Path(__file__).parents[2] / "configs" / "heat_treatment" / "site.yaml", override))
    assert asked[1:] == [{"url": "http://127.0.0.1:8123/market/DE-LU"}]


def test_specs_for_control_leave_out_lists_of_orders() -> None:
    specs = feed_specs([PRICE, STOCK, ORDERS], ["market.day_ahead"])
    assert [(s.tag, s.rank) for s in specs] == [("market.day_ahead", True), ("erp.stock", False)]
