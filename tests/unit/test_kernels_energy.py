"""Golden behaviour of the energy and production kernels, one rule a test."""

from __future__ import annotations

import pytest

from tests.reference import kernels as K  # noqa: N812
from tests.reference.kernels import Rig, good

INIT = 1


# -------------------------------------------------------------------------------------------------- peak limiter
def test_peak_limiter_budget_and_caps() -> None:
    rig = Rig(K.kernel("peak_limiter", K.PEAK))
    rig(good(300.0, 900.0, 320.0, None, None))
    assert rig.out["allow"] == pytest.approx((320 * 0.985 * 900 - rig.out["average"] * 0) / 900)
    for left in range(899, 449, -1):
        rig(good(300.0, float(left), 320.0, None, None))
    assert rig.out["allow"] == pytest.approx((320 * 0.985 * 900 - 300 * 450) / 450)
    assert rig.out["average"] == pytest.approx(300.0)
    assert rig.out["forecast"] == pytest.approx(300.0)
    assert rig.out["excess"] == pytest.approx(300.0 - rig.out["allow"])
    for left in range(449, 30, -1):
        rig(good(200.0, float(left), 320.0, None, None))
    assert rig.out["excess"] == pytest.approx(200.0 - 1.02 * 320.0), "no rebound in the last minute"


def test_peak_limiter_limit_falls_back() -> None:
    rig = Rig(K.kernel("peak_limiter", K.PEAK))
    rig([(200.0, 0x80), (900.0, 0x80), (320.0, 0x18), None, None])
    assert (rig.out["limit"], rig.q["limit"], rig.why) == (340.0, 0x48, "running on a substituted input")
    rig([(200.0, 0x80), (899.0, 0x80), (0.0, 0x80), None, None])
    assert rig.out["limit"] == 340.0, "a limit of nothing is no limit"
    rig([(200.0, 0x80), (898.0, 0x80), (310.0, 0x80), None, None])
    assert (rig.out["limit"], rig.why) == (310.0, "normal")


def test_peak_limiter_windows_by_pulse_or_clock() -> None:
    rig = Rig(K.kernel("peak_limiter", K.PEAK))
    rig.utc = 890.0
    for _ in range(15):
        rig([(300.0, 0x80), (450.0, 0x08), None, None, None])
    assert rig.q["forecast"] == 0x80, "the first window was not seen whole, the next one is"
    assert rig.out["average"] == pytest.approx(300.0)
    for left in (400.0, 399.0, 398.0):
        rig(good(300.0, left, None, None, None))
    assert rig.out["forecast"] != pytest.approx(300.0), "the pulse corrects the clock"
    frozen = Rig(K.kernel("peak_limiter", K.PEAK))
    frozen.utc = 100.0
    frozen(good(300.0, 20.0, None, None, None), n=30)
    assert frozen.out["allow"] == pytest.approx((340 * 0.985 * 900 - frozen.block.state[2]) / (900 - 129))


def closed_loop(rig: Rig, load: float, available: float, n: int, left: list[float]) -> None:
    """A battery, a modulating load and a sheddable load that do at once what they are asked; limit 250 kW."""
    for _ in range(n):
        asked = {name: rig.out.get(name, 0.0) for name in ("battery_request", "reduce", "shed")}
        grid = load - asked["battery_request"] - asked["reduce"] - 65.0 * asked["shed"]
        left[0] -= 1.0
        rig(good(grid, left[0], 250.0, available, None))


def test_peak_limiter_order_battery_reduce_shed() -> None:
    rig, left = Rig(K.kernel("peak_limiter", K.PEAK | {"reduce_for": 120.0})), [900.0]
    closed_loop(rig, 300.0, 80.0, 100, left)
    assert rig.out["battery_request"] == pytest.approx(300 - 250 * 0.985, abs=1.0)
    assert (rig.out["reduce"], rig.out["shed"], rig.why) == (0.0, 0.0, "the peak guard asks")
    closed_loop(rig, 300.0, 20.0, 100, left)
    assert 20.0 - 10.0 <= rig.out["battery_request"] <= 20.0, "all but the release band"
    assert 30.0 < rig.out["reduce"] < 60.0
    assert rig.out["shed"] == 0.0
    closed_loop(rig, 300.0, 20.0, 40, left)
    assert 0.0 < rig.out["reduce"] < 40.0, "at most reduce_for, then it is given back"
    assert rig.out["shed"] == 1.0, "the next action takes over"
    closed_loop(rig, 300.0, 20.0, 40, left)
    assert rig.out["reduce"] == 0.0, "and not again for a while"
    closed_loop(rig, 150.0, 20.0, 200, left)
    assert (rig.out["battery_request"], rig.out["shed"]) == (0.0, 0.0)


def test_peak_limiter_sheds_at_least_its_minimum_time() -> None:
    rig, left = Rig(K.kernel("peak_limiter", K.PEAK | {"reduce_max": 0.0})), [900.0]
    closed_loop(rig, 300.0, 0.0, 20, left)
    assert rig.out["shed"] == 1.0
    closed_loop(rig, 100.0, 0.0, 159, left)
    assert rig.out["shed"] == 1.0
    closed_loop(rig, 100.0, 0.0, 25, left)
    assert rig.out["shed"] == 0.0


def test_peak_limiter_believes_the_battery_that_has_no_more() -> None:
    rig, left = Rig(K.kernel("peak_limiter", K.PEAK)), 900.0
    rig(good(300.0, left, 250.0, None, None), battery_request=(0.0, 0))
    assert rig.out["battery_request"] == 0.0, "nobody takes it"
    for _ in range(60):
        left -= 1.0
        asked = rig.out["battery_request"]
        rig(good(300.0, left, 250.0, None, None), battery_request=(min(asked, 15.0), 0xC2 if asked > 15.0 else 0xC0))
    assert rig.out["battery_request"] == 15.0
    assert rig.out["reduce"] > 0.0
    rig(good(300.0, left - 1.0, 250.0, None, None), battery_request=(0.0, 0xCC))
    assert rig.out["battery_request"] == 0.0


def test_peak_limiter_meter_away_counts_with_the_counter() -> None:
    rig = Rig(K.kernel("peak_limiter", K.PEAK))
    for k in range(100):
        rig(good(300.0, 900.0 - k, None, None, 1000.0 + 300 * k / 3600))
    for k in range(100, 201):
        rig([(300.0, 0x08), (900.0 - k, 0x80), None, None, (1000.0 + 300 * 100 / 3600 + 240 * (k - 100) / 3600, 0x80)])
    assert rig.out["average"] == pytest.approx((300 * 100 + 240 * 100) / 200, rel=0.01)
    assert (rig.q["forecast"], rig.why) == (0x48, "measurement is bad")


# ------------------------------------------------------------------------------------------------------- battery
def battery(**changes: float) -> Rig:
    return Rig(K.kernel("power_follow", K.BATTERY | changes))


def test_power_follow_ramps_from_the_achieved_power() -> None:
    rig = battery()
    rig(good(30.0, 150.0, 50.0, None, None), out=(0.0, 0))
    assert (rig.out["out"], rig.out["mode"], rig.q["out"]) == (30.0, INIT, 0)
    rig(good(30.0, 150.0, 50.0, None, None), out=(-40.0, 0xC0))
    assert (rig.out["out"], rig.out["why"]) == (60.0, 17)
    assert rig(good(30.0, 150.0, 50.0, None, None))["out"] == 150.0


@pytest.mark.parametrize(
    ("soc", "sp", "want"),
    [(50, 150, 150), (22.5, 150, 100), (20, 150, 0), (5, 150, 0), (92.5, -200, -100), (96, -50, 0), (50, 300, 200)],
)
def test_power_follow_derates_at_both_ends_and_keeps_the_reserve(soc: float, sp: float, want: float) -> None:
    assert battery(ramp=0.0)(good(0.0, sp, soc, None, None))["out"] == pytest.approx(want)


def test_power_follow_peak_request_comes_on_top_and_may_use_the_reserve() -> None:
    rig = battery(ramp=0.0)
    assert rig(good(0.0, 30.0, 50.0, 40.0, 1.0))["out"] == 70.0
    assert rig.why == "the peak guard asks"
    assert rig.block.backward()[3] == (40.0, 0xC0)
    assert rig(good(0.0, -80.0, 50.0, 20.0, 1.0))["out"] == -60.0, "charges less before it discharges"
    rig(good(0.0, 30.0, 10.5, 140.0, 1.0))
    assert (rig.out["out"], rig.why) == (100.0, "battery charge limit")
    assert rig.block.backward()[3] == (100.0, 0xC2)
    assert rig(good(0.0, 30.0, 10.5, 140.0, 0.0))["out"] == 0.0, "the reserve is closed"


def test_power_follow_without_setpoint_or_charge_gives_nothing() -> None:
    rig = battery(ramp=0.0)
    rig([(0.0, 0x80), (50.0, 0x18), (50.0, 0x80), (0.0, 0x80), None])
    assert (rig.out["out"], rig.why) == (0.0, "no valid setpoint")
    rig([(0.0, 0x80), (50.0, 0x80), (50.0, 0x18), (30.0, 0x80), None])
    assert (rig.out["out"], rig.q["out"], rig.why) == (0.0, 0x48, "measurement is bad")
    assert rig.block.backward()[3] == (0.0, 0xC2)


def test_power_follow_tracks_a_battery_in_local() -> None:
    rig = battery()
    rig(good(0.0, 150.0, 50.0, 10.0, None), out=(-70.0, 0xCC))
    assert (rig.out["mode"], rig.out["out"]) == (INIT, -70.0)
    assert rig.block.backward()[1] == (-70.0, 0xCC)
    assert rig(good(0.0, 150.0, 50.0, 0.0, None), out=(-70.0, 0xC0))["out"] == 30.0


# ---------------------------------------------------------------------------------------------- production rules
def rules(**changes: float) -> Rig:
    rig = Rig(K.kernel("production_rules", K.RULES | changes, list(K.AVOID[0])), dt=10.0)
    rig.local = 12 * 3600.0
    return rig


@pytest.mark.parametrize(
    ("stock", "rank", "hour", "line", "why"),
    [
        (20, 0.5, 12, 1, 0), (20, 0.7, 12, 0, 11), (9, 0.7, 12, 1, 12), (9, 0.5, 18, 0, 14), (4.9, 0.5, 18, 1, 12),
        (26, 0.1, 12, 0, 13), (20, 0.5, 20, 1, 0),
    ],
)  # fmt: skip
def test_rules_decide_in_order(stock: float, rank: float, hour: float, line: float, why: int) -> None:
    rig = rules(min_run=0.0, min_stop=0.0)
    rig.local = hour * 3600.0
    rig(good(stock, 0.6, 100.0, rank, 50.0, 0.0, 0.0))
    assert (rig.out["line_on"], rig.out["why"]) == (line, why)
    assert rig.out["rate"] == pytest.approx(min(0.95, 0.6 + (26 - stock) / 24) if line else 0.0)


def test_rules_respect_minimum_run_and_stop() -> None:
    rig = rules()
    rig(good(20.0, 0.6, 100.0, 0.9, 50.0, 0.9, 1.0), n=720)
    assert (rig.out["line_on"], rig.why) == (1.0, "minimum run or stop time")
    assert rig(good(20.0, 0.6, 100.0, 0.9, 50.0, 0.9, 1.0))["line_on"] == 0.0
    assert rig(good(20.0, 0.6, 100.0, 0.1, 50.0, 0.0, 0.0), n=719)["line_on"] == 0.0
    assert rig(good(20.0, 0.6, 100.0, 0.1, 50.0, 0.0, 0.0))["line_on"] == 1.0


def test_rules_carry_a_stale_stock_on() -> None:
    rig = rules()
    rig(good(20.0, 0.6, 100.0, 0.5, 50.0, 0.9, 1.0))
    stale = [(20.0, 0x44), *good(0.6, 100.0, 0.5, 50.0, 0.9, 1.0)]
    rig(stale, n=360)
    assert rig.out["stock_est"] == pytest.approx(20.3)
    assert {rig.q[k] for k in ("rate", "line_on", "bat_power", "stock_est")} == {0x48}
    rig([(0.0, 0x18), *good(0.6, 100.0, 0.5, 50.0), (0.0, 0x18), (1.0, 0x80)], n=360)
    assert rig.out["stock_est"] == pytest.approx(20.3 + rig.out["rate"] - 0.6, rel=1e-3)
    assert rig(good(15.0, 0.6, 100.0, 0.5, 50.0, 0.9, 1.0))["stock_est"] == 15.0


def test_rules_without_any_stock_hand_over() -> None:
    rig = rules()
    rig([(0.0, 0x18), *good(0.6, 100.0, 0.5, 50.0, 0.9, 1.0)])
    assert (rig.out["mode"], rig.q["rate"], rig.q["line_on"]) == (INIT, 0x18, 0x18)


def test_rules_without_price_use_the_clock_alone() -> None:
    rig = rules(min_run=0.0, min_stop=0.0)
    no_price = [*good(20.0, 0.6), (50.0, 0x18), (0.9, 0x18), *good(50.0, 0.9, 1.0)]
    rig(no_price)
    assert (rig.out["line_on"], rig.out["bat_power"], rig.why) == (1.0, 0.0, "running on a substituted input")
    rig.local = 18 * 3600.0
    assert rig(no_price)["line_on"] == 0.0


@pytest.mark.parametrize(
    ("price", "soc", "power"), [(80, 50, -100), (80, 90, 0), (100, 50, 0), (120, 50, 200), (120, 20, 0)]
)
def test_rules_battery(price: float, soc: float, power: float) -> None:
    assert rules()(good(20.0, 0.6, price, 0.5, soc, 0.9, 1.0))["bat_power"] == power


def test_rules_follow_the_real_line_while_another_rung_decides() -> None:
    rig = rules()
    pins_on = good(20.0, 0.6, 100.0, 0.1, 50.0, 0.9, 1.0)
    rig(pins_on, n=10, line_on=(1.0, 0xD0))
    assert rig.out["line_on"] == 1.0
    rig(good(20.0, 0.6, 100.0, 0.1, 50.0, 0.0, 0.0), line_on=(0.0, 0xD0))
    assert (rig.out["line_on"], rig.why) == (0.0, "minimum run or stop time")
