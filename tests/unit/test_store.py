import itertools
import json
import math
import timeit
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrl.clock import local_day
from ctrl.messages import Profile
from ctrl.store import FeedSpec, OfferSpec, Store, StoreError

NS = 1_000_000_000
T0 = datetime(2018, 3, 5, tzinfo=UTC).timestamp()
TAGS = {"m.price": 0, "m.price.age": 1, "m.price.rank": 2, "plan.p": 3, "erp.stock": 4}
PRICE = FeedSpec("m.price", "EUR/MWh", 900.0, 26 * 3600.0, 35 * 3600.0, -500.0, 5000.0, True)
STOCK = FeedSpec("erp.stock", "t", 300.0, 3600.0, None, None, None, False)
OFFER = OfferSpec("plan.p", "kW", 900.0, 2)


class Image:
    def __init__(self) -> None:
        self.slots: dict[int, tuple[float, int, int]] = {}
        self.posts = 0

    def post(self, slot: int, value: float, status: int, t_ns: int, /) -> None:
        self.slots[slot] = (value, status, t_ns)
        self.posts += 1


class Bench:
    """A store, an image and two clocks that move together unless told otherwise."""

    def __init__(self, tz: str = "UTC", utc: float = T0) -> None:
        self.store = Store(TAGS, [PRICE, STOCK, OFFER], tz)
        self.image = Image()
        self.utc, self.ns = utc, 10 * NS

    def put(self, tag: str, steps: list[tuple[float, float]], until: float, **over: Any) -> bool:
        unit = {"m.price": "EUR/MWh", "erp.stock": "t", "plan.p": "kW"}.get(tag, "kW")
        made = {"status": 0x80, "issuer": "x", "id": f"{self.utc}", "reason": "", "issued_at": self.utc, **over}
        return self.store.put(
            Profile(**{"tag": tag, "unit": unit, "steps": tuple(steps), "valid_until": until, **made}),
            self.ns,
            self.utc,
        )

    def after(self, seconds: float) -> dict[int, tuple[float, int]]:
        self.utc += seconds
        self.ns += round(seconds * NS)
        return self.now()

    def now(self) -> dict[int, tuple[float, int]]:
        self.store.latch(self.image, self.ns, self.utc)
        return {slot: (v, q) for slot, (v, q, _) in self.image.slots.items()}


def hours(*values: float, start: float = T0) -> list[tuple[float, float]]:
    return [(start + 3600 * i, v) for i, v in enumerate(values)]


def test_before_anything_arrived_everything_is_bad_with_no_value() -> None:
    assert Bench().now() == {0: (0.0, 0x18), 2: (0.0, 0x00), 3: (0.0, 0x18), 4: (0.0, 0x18)}


def test_a_feed_ages_from_good_to_uncertain_to_bad_by_boot_time() -> None:
    b = Bench()
    assert b.put("erp.stock", [(T0, 20.0)], T0 + 86_400)
    assert b.now()[4] == (20.0, 0x80)
    assert b.after(600)[4] == (20.0, 0x80)  # 2 x 300 s: still good
    assert b.after(1)[4] == (20.0, 0x44)
    assert b.after(2999)[4] == (20.0, 0x44)  # 3600 s
    assert b.after(1)[4] == (20.0, 0x14)
    assert b.put("erp.stock", [(b.utc, 21.0)], b.utc + 86_400)
    assert b.now()[4] == (21.0, 0x80)


def test_a_step_of_the_wall_clock_makes_nothing_old_and_can_be_marked() -> None:
    b = Bench()
    b.put("m.price", hours(*range(48)), T0 + 48 * 3600)
    assert b.now()[0] == (0.0, 0x80)
    b.utc += 3600
    assert b.now()[0] == (1.0, 0x80)
    b.utc -= 3600
    assert b.now()[0] == (0.0, 0x80)
    b.store.mark_clock(True)
    assert b.now()[0] == (0.0, 0x40)
    b.store.mark_clock(False)
    assert b.now()[0] == (0.0, 0x80)


def test_values_follow_the_steps_and_are_bad_outside() -> None:
    b = Bench()
    b.put("m.price", hours(10, 20, 30, start=T0 + 3600), T0 + 4 * 3600)
    assert b.now()[0][1] == 0x14
    assert b.after(3600)[0] == (10.0, 0x44)
    b.put("m.price", hours(10, 20, 30, start=T0 + 3600), T0 + 4 * 3600)
    assert b.now()[0] == (10.0, 0x80)
    assert b.after(3599)[0] == (10.0, 0x44)
    assert b.after(1)[0] == (20.0, 0x44)
    assert b.after(2 * 3600)[0] == (30.0, 0x14)


def test_what_comes_late_is_as_old_as_its_stamp() -> None:
    """A control that was started again gets the profiles of before: they must not be young again."""
    b = Bench()
    curve, end = hours(*range(48)), T0 + 48 * 3600
    b.utc += 27 * 3600.0
    assert b.put("m.price", curve, end, issued_at=T0)
    assert b.now()[0] == (27.0, 0x14)
    assert b.image.slots[1][:2] == (27 * 3600.0, 0x80)
    assert b.put("m.price", curve, end, issued_at=b.utc - 1801.0)
    assert b.now()[0] == (27.0, 0x44)
    assert b.put("m.price", curve, end, issued_at=b.utc + 60.0)
    assert b.now()[0] == (27.0, 0x80), "a stamp of the future makes nothing younger than new"
    assert b.image.slots[1][:2] == (0.0, 0x80)


def test_age_is_posted_once_a_second() -> None:
    b = Bench()
    b.put("m.price", hours(*range(48)), T0 + 48 * 3600)
    b.now()
    assert b.image.slots[1][:2] == (0.0, 0x80)
    posts = b.image.posts
    for _ in range(99):
        b.after(0.01)
    assert b.image.posts == posts
    b.after(0.01)
    assert b.image.posts == posts + 1
    assert b.image.slots[1][:2] == (1.0, 0x80)


def test_repeating_a_stamp_does_not_make_a_value_younger() -> None:
    b = Bench()
    b.put("erp.stock", [(T0, 20.0)], T0 + 86_400, issued_at=T0)
    b.after(700)
    assert not b.put("erp.stock", [(T0, 20.0)], T0 + 86_400, issued_at=T0)
    assert b.now()[4][1] == 0x44


@pytest.mark.parametrize(
    ("tag", "steps", "until", "over", "words"),
    [
        ("m.price", [(T0, math.nan)], T0 + 9, {}, "not finite"),
        ("m.price", [(T0, math.inf)], T0 + 9, {}, "not finite"),
        ("m.price", [(T0, 1.0)], math.inf, {}, "finite"),
        ("m.price", [(T0, 1.0), (T0, 2.0)], T0 + 9, {}, "ascend"),
        ("m.price", [(T0, 1.0)], T0 + 9, {"unit": "ct/kWh"}, "is in EUR/MWh"),
        ("m.price", [(T0, 1e6)], T0 + 9, {}, "outside"),
        ("m.price", [(T0 - 9, 1.0)], T0 - 1, {}, "over since"),
        ("m.price", [], T0 + 9, {}, "empty"),
        ("nobody", [(T0, 1.0)], T0 + 9, {}, "not a declared"),
        ("m.price", [(T0, 1.0)], T0 + 9, {"issued_at": T0 - 1000}, "issued before"),
    ],
)
def test_what_is_refused_leaves_the_one_in_force(
    tag: str, steps: list[tuple[float, float]], until: float, over: dict[str, Any], words: str
) -> None:
    b = Bench()
    b.put("m.price", hours(*range(24)), T0 + 86_400, issued_at=T0 - 500)
    with pytest.raises(StoreError, match=words):
        b.put(tag, steps, until, **over)
    assert b.now()[0] == (0.0, 0x80)


def test_a_stamp_of_the_future_does_not_lock_out_the_true_ones() -> None:
    b = Bench()
    b.put("erp.stock", [(T0, 1.0)], T0 + 9e9, issued_at=T0 + 30 * 86_400)
    assert b.put("erp.stock", [(T0, 2.0)], T0 + 9e4, issued_at=T0)
    assert b.now()[4] == (2.0, 0x80)


def test_negative_prices_are_legal() -> None:
    b = Bench()
    b.put("m.price", hours(-60, -1), T0 + 7200)
    assert b.now()[0] == (-60.0, 0x80)


def test_rank_is_the_share_of_the_day_that_is_cheaper() -> None:
    b = Bench()
    b.put("m.price", hours(*range(24)), T0 + 86_400)
    assert b.now()[2] == (0.0, 0x80)
    assert b.after(6 * 3600)[2] == (6 / 24, 0x44)
    b.put("m.price", hours(*([5.0] * 24), start=T0), T0 + 86_400)
    assert b.now()[2] == (0.0, 0x80)


def test_rank_is_bad_when_a_part_of_the_day_is_unknown() -> None:
    b = Bench()
    b.put("m.price", hours(*range(23)), T0 + 23 * 3600)
    assert b.now()[2] == (0.0, 0x00)


def test_rank_keeps_the_morning_when_the_source_sends_only_the_rest_of_the_day() -> None:
    b = Bench()
    b.put("m.price", hours(*range(24)), T0 + 86_400)
    b.after(12 * 3600)
    b.put("m.price", hours(*range(12, 40), start=b.utc), T0 + 40 * 3600)
    assert b.now()[2] == (0.5, 0x80)
    # the next day begins: only 16 of its hours are known
    b.after(11 * 3600)
    b.put("m.price", hours(*range(23, 40), start=b.utc), T0 + 40 * 3600)
    assert b.after(3600)[2][1] == 0x00


@pytest.mark.parametrize(("day", "n"), [((2018, 3, 25), 23), ((2018, 10, 28), 25)])
def test_rank_of_a_day_with_23_or_25_hours(day: tuple[int, int, int], n: int) -> None:
    noon = datetime(*day, 12, tzinfo=UTC).timestamp()
    b = Bench("Europe/Berlin", noon)
    begin, end = local_day(noon, "Europe/Berlin")
    b.put("m.price", hours(*range(n), start=begin), end)
    rank, status = b.now()[2]
    assert rank == pytest.approx((noon - begin) / 3600 / n)
    assert status == 0x80


def test_an_offer_holds_expires_gets_grace_and_must_come_twice_to_be_used_again() -> None:
    b = Bench()
    assert b.put("plan.p", [(T0, 100.0)], T0 + 2700)  # the first one ever is used at once
    assert b.now()[3] == (100.0, 0x80)
    assert b.after(2699)[3] == (100.0, 0x80)
    assert b.after(1)[3] == (100.0, 0x44)
    assert b.after(900)[3] == (100.0, 0x14)
    assert not b.put("plan.p", [(b.utc, 50.0)], b.utc + 2700)
    assert b.now()[3] == (100.0, 0x14)
    b.after(900)
    assert b.put("plan.p", [(b.utc, 60.0)], b.utc + 2700)
    assert b.now()[3] == (60.0, 0x80)


def test_an_offer_that_is_late_but_within_grace_needs_no_recovery() -> None:
    b = Bench()
    b.put("plan.p", [(T0, 100.0)], T0 + 900)
    b.after(1000)
    assert b.put("plan.p", [(b.utc, 90.0)], b.utc + 900)
    assert b.now()[3] == (90.0, 0x80)


def test_the_old_offer_holds_until_the_new_one_begins() -> None:
    b = Bench()
    b.put("plan.p", [(T0, 100.0)], T0 + 2700)
    b.after(60)
    b.put("plan.p", [(T0 + 900, 200.0)], T0 + 3600)
    assert b.now()[3] == (100.0, 0x80)
    assert b.after(840)[3] == (200.0, 0x80)


def test_an_offer_is_taken_back_by_one_without_steps() -> None:
    b = Bench()
    b.put("plan.p", [(T0, 100.0)], T0 + 2700)
    b.after(1)
    b.put("plan.p", [], b.utc)
    assert b.now()[3][1] == 0x14


def test_the_status_of_the_profile_is_never_improved() -> None:
    b = Bench()
    b.put("plan.p", [(T0, 1.0)], T0 + 900, status=0x48)
    assert b.now()[3] == (1.0, 0x48)
    assert b.after(900)[3] == (1.0, 0x44)


def test_specs_are_json_and_declared_once() -> None:
    assert FeedSpec(**json.loads(json.dumps(asdict(PRICE)))) == PRICE
    assert OfferSpec(**json.loads(json.dumps(asdict(OFFER)))) == OFFER
    with pytest.raises(StoreError, match="twice"):
        Store({}, [STOCK, STOCK], "UTC")
    with pytest.raises(StoreError, match="recover"):
        Store({}, [OfferSpec("a.b", "kW", 0.0, 0)], "UTC")


@given(
    st.lists(st.tuples(st.floats(0, 86_400), st.floats(-500, 5000)), min_size=1, max_size=20, unique_by=lambda s: s[0]),
    st.lists(st.floats(0, 90_000), min_size=1, max_size=30),
)
def test_latch_agrees_with_the_profile_whatever_the_order_of_times(
    steps: list[tuple[float, float]], moments: list[float]
) -> None:
    b = Bench()
    ordered = sorted((T0 + t, v) for t, v in steps)
    if any(x[0] >= y[0] for x, y in itertools.pairwise(ordered)) or ordered[0][0] >= T0 + 86_400:
        return
    b.put("m.price", ordered, T0 + 86_400)
    profile = b.store.profile("m.price")
    assert profile is not None
    for moment in moments:  # the wall clock may jump anywhere
        b.utc = T0 + moment
        value, status = b.now()[0]
        expected = profile.value_at(b.utc)
        assert (status >= 0x80) == (expected is not None)
        if expected is not None:
            assert value == expected


def test_latch_of_twelve_tags_costs_little_when_nothing_changes() -> None:
    specs = [FeedSpec(f"m.f{i}", "kW", 900.0, 3600.0, None, None, None, True) for i in range(12)]
    tags = {f"m.f{i}{c}": 3 * i + k for i in range(12) for k, c in enumerate(("", ".age", ".rank"))}
    store, image = Store(tags, specs, "Europe/Berlin"), Image()
    for spec in specs:
        store.put(Profile(spec.tag, "kW", tuple(hours(*range(48))), T0 + 48 * 3600, 0x80, "x", "1", "", T0), 0, T0)
    store.latch(image, 1, T0)
    best = min(timeit.repeat(lambda: store.latch(image, 2, T0), number=200, repeat=5)) / 200
    assert best < 20e-6
