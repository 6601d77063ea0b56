"""KPIs against numbers worked out by hand."""

import math

import numpy as np
import pytest

from ctrl.records.kpis import (
    BatteryKpi,
    EnergyKpi,
    KpiSpec,
    LoopKpi,
    Order,
    Series,
    StockKpi,
    kpis,
    window_means,
)

GOOD, BAD, SUBSTITUTED = 0x80, 0x18, 0x48
T0 = 1_520_208_000.0  # 2018-03-05 00:00 UTC, a quarter hour
QUARTER = 900.0


def steps(values, dt: float = QUARTER, t0: float = T0, q=None) -> Series:
    n = len(values)
    status = np.full(n, GOOD, np.uint8) if q is None else np.asarray(q, np.uint8)
    return Series(t0 + dt * np.arange(n), np.asarray(values, float), status)


def run(series, hours: float = 1.0, **more) -> dict[str, float]:
    return kpis(series, KpiSpec(T0 + hours * 3600, "Europe/Berlin", 1000.0, **more))


def test_energy_is_bought_and_sold_at_its_own_price():
    series = {"g": steps([100, -40, 0, 200]), "buy": steps([100, 200, 300, 50]), "spot": steps([45, 145, 245, -5])}
    out = run(series, energy=EnergyKpi("g", "buy", "spot", sell_times=0.9))
    assert out["import_kwh"] == pytest.approx((100 + 200) / 4)
    assert out["export_kwh"] == pytest.approx(40 / 4)
    assert out["energy_buy_eur"] == pytest.approx((25 * 100 + 50 * 50) / 1000)  # kWh x EUR/MWh / 1000
    assert out["energy_sell_eur"] == pytest.approx(10 * 145 * 0.9 / 1000)
    assert out["energy_cost_eur"] == pytest.approx(5.0 - 1.305)
    assert out["energy_missing_h"] == 0
    assert out["total_eur"] == pytest.approx(out["energy_cost_eur"])


def test_bad_samples_and_gaps_are_missing_not_zero():
    series = {"g": steps([100, 100, 100, 100], q=[GOOD, BAD, GOOD, GOOD]), "buy": steps([100] * 4)}
    out = run(series, hours=2, energy=EnergyKpi("g", "buy"))  # the last sample would hold 75 min: a gap
    assert out["import_kwh"] == pytest.approx(50)
    assert out["energy_missing_h"] == pytest.approx(0.25 + 1.25)


def test_co2_counts_imports_only():
    series = {"g": steps([100, -100, 100, 0]), "buy": steps([0] * 4), "co2": steps([400, 400, 200, 200])}
    out = run(series, energy=EnergyKpi("g", "buy", co2="co2", co2_eur_t=75))
    assert out["co2_kg"] == pytest.approx(25 * 0.4 + 25 * 0.2)
    assert out["co2_cost_eur"] == pytest.approx(0.015 * 75)


def test_windows_are_utc_quarter_hours():
    t = T0 + 60.0 * np.arange(-7, 31)  # from 7 min before a quarter to 31 min after
    v = np.where(t < T0 + 450, 100.0, 300.0)
    start, mean = window_means(t, v, np.full(len(t), 60.0))
    assert list(start) == [T0, T0 + 900]  # the two cut windows do not count
    # 100 kW from 0 to 480 s (the sample of minute 7 holds until minute 8), 300 kW after
    assert mean == pytest.approx([(480 * 100 + 420 * 300) / 900, 300])


def test_a_sample_across_a_quarter_is_cut():
    t = np.array([T0, T0 + 600, T0 + 1200])
    start, mean = window_means(t, np.array([100.0, 200.0, 300.0]), np.full(3, 600.0))
    assert list(start - T0) == [0, 900]
    assert mean == pytest.approx([(600 * 100 + 300 * 200) / 900, (300 * 200 + 600 * 300) / 900])


def test_the_demand_charge_is_prorated_and_says_so():
    out = run({"g": steps([300, 340, -50, 100]), "buy": steps([0] * 4)}, energy=EnergyKpi("g", "buy", None, 1, 13))
    assert out["peak_kw"] == 340
    assert out["peak_utc"] == T0 + 900
    assert out["demand_unprorated_eur"] == pytest.approx(340 * 13)
    march_h = 31 * 24 - 1  # the clocks go forward in March in Berlin
    assert out["demand_months"] == pytest.approx(1 / march_h)
    assert out["demand_cost_eur"] == pytest.approx(340 * 13 / march_h)


def test_each_billing_month_has_its_own_peak():
    april = 1_522_533_600.0  # 2018-04-01 00:00 in Berlin (22:00 UTC)
    series = {"g": steps([100, 100, 200, 200], t0=april - 1800), "buy": steps([0] * 4, t0=april - 1800)}
    spec = KpiSpec(april + 1800, "Europe/Berlin", 1000.0, energy=EnergyKpi("g", "buy", None, 1, 10))
    out = kpis(series, spec)
    assert out["demand_unprorated_eur"] == pytest.approx((100 + 200) * 10)
    assert out["demand_cost_eur"] == pytest.approx(1000 * 0.5 / (31 * 24 - 1) + 2000 * 0.5 / (30 * 24))


def test_no_whole_window_no_peak():
    out = run({"g": steps([500], dt=60), "buy": steps([0], dt=60)}, hours=0.1, energy=EnergyKpi("g", "buy", None, 1, 9))
    assert out["peak_windows_n"] == 0
    assert "peak_kw" not in out
    assert "demand_cost_eur" not in out


def test_battery_wear_and_what_is_left_in_it():
    series = {"p": steps([80, -40, 0, 120]), "soc": steps([50, 48, 50, 45])}
    out = run(series, battery=BatteryKpi("p", "soc", 400, 15, 0.15))
    assert out["battery_discharge_kwh"] == pytest.approx(50)
    assert out["battery_charge_kwh"] == pytest.approx(10)
    assert out["battery_full_cycles"] == pytest.approx(50 / 400)
    assert out["battery_wear_eur"] == pytest.approx(0.05 * 15)
    assert out["terminal_soc_eur"] == pytest.approx(0.05 * 400 * 0.15)  # 5 % less than at the start: a cost


def test_stock_holding_and_terminal_value():
    out = run({"s": steps([20, 10, 0, 30])}, stock=StockKpi("s", 0.5, 35.0, low_t=1.0))
    assert (out["stock_min_t"], out["stock_mean_t"], out["stock_max_t"]) == (0, 15, 30)
    assert out["stock_out_h"] == 0.25
    assert out["holding_cost_eur"] == pytest.approx(15 * 0.5 / 24)
    assert out["terminal_stock_eur"] == pytest.approx(-10 * 35)  # more at the end: income
    assert run({"s": steps([1, 1], q=[BAD, BAD])}, stock=StockKpi("s", 1, 1)) == {"recorded_h": 1, "stock_missing_h": 1}


def test_late_orders_count_mass_times_time():
    orders = [Order(T0, T0 + 1800, 4), Order(T0 + 1800, None, 2), Order(T0 + 3600, T0, 9)]
    out = run({}, orders=orders, lateness_eur_t_d=160)
    assert out["late_t_h"] == pytest.approx(4 * 0.5 + 2 * 0.5)
    assert out["late_orders_n"] == 2
    assert out["late_worst_h"] == 0.5
    assert out["late_cost_eur"] == pytest.approx(3 / 24 * 160)


def test_loop_error_and_travel():
    series = {"pv": steps([10, 12, 9, 10]), "sp": steps([10, 10, 10, 10]), "op": steps([0, 30, 30.5, 20])}
    out = run(series, loops=[LoopKpi("oven", "pv", "sp", "op", "K", "m3/min", deadband=1)])
    assert out["oven_iae_K_h"] == pytest.approx((2 + 1) * 0.25)
    assert out["oven_travel_m3_per_min_per_h"] == pytest.approx(30 + 10.5)
    series["pv"] = steps([10, 12, 9, 10], q=[GOOD, BAD, GOOD, GOOD])
    out = run(series, loops=[LoopKpi("oven", "pv", "sp", "op", "K", "%")])
    assert out["oven_iae_K_h"] == pytest.approx(0.25)
    assert out["oven_missing_h"] == 0.25
    assert out["oven_travel_pct_per_h"] == pytest.approx(41)


def test_starts_rungs_and_substitutes():
    series = {"run": steps([0, 1, 1, 0]), "src": steps([1, 1, 2, 3]), "t": steps([5] * 4, q=[GOOD, SUBSTITUTED] * 2)}
    out = run(
        series,
        starts={"run": 25.0},
        rungs={"line": ("src", {1: "plan", 2: "local rules", 3: "fallback"})},
        substitutes=["t"],
    )
    assert (out["run_starts"], out["starts_cost_eur"]) == (1, 25)
    assert (out["line_on_plan_h"], out["line_on_local_rules_h"], out["line_on_fallback_h"]) == (0.5, 0.25, 0.25)
    assert out["t_substitute_h"] == 0.5


def test_the_total_is_the_sum_of_the_costs():
    series = {"g": steps([100] * 4), "buy": steps([100] * 4), "p": steps([0] * 4), "soc": steps([50] * 4)}
    out = run(
        series, energy=EnergyKpi("g", "buy", None, 1, 13), battery=BatteryKpi("p", "soc", 400, 15, 0.15),
        orders=[Order(T0, None, 1)], lateness_eur_t_d=24,
    )  # fmt: skip
    assert out["total_eur"] == pytest.approx(10 + 100 * 13 / 743 + 0 + 1)


def test_series_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="different length"):
        run({"g": Series(np.zeros(2), np.zeros(1), np.zeros(2, np.uint8))})
    with pytest.raises(ValueError, match="not ascending"):
        run({"g": Series(np.array([T0, T0]), np.zeros(2), np.zeros(2, np.uint8))})
    with pytest.raises(ValueError, match="not sampled at the same times"):
        run({"g": steps([1, 2]), "buy": steps([1, 2], t0=T0 + 1)}, energy=EnergyKpi("g", "buy"))
    with pytest.raises(KeyError):
        run({}, energy=EnergyKpi("g", "buy"))
    assert math.isclose(run({})["recorded_h"], 0)
