"""What `ctrl explain` says of the flagship: key sentences for every kind of thing; what they say of blocks is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctrl.app.explain import UnknownNameError, explain, names
from ctrl.app.explain_words import Words, listed, sum_words
from ctrl.config import load
from ctrl.config.model import Operand, Site
from ctrl.units import Quantity
from ext import SingleBlock, kinds

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def site() -> Site:
    return load(CONFIGS / "heat_treatment/site.yaml")


# name -> sentences that must stand in its explanation, word by word
GOLDEN: dict[str, tuple[str, ...]] = {
    "furnace_temp_ctl": (
        "It keeps furnace_temp at its setpoint: when furnace_temp is too low it raises plc_furnace.power_cmd.",
        "It runs every 1 s, in the task regulatory.",
        ("It measures furnace_temp, worked out on site: the first good one of plc_furnace.temp and "
        "plc_furnace.temp_backup, smoothed over 3 s."),
        "It commands plc_furnace.power_cmd, written to plc_furnace at hr 10.",
        "Whatever the loop asks, the command stays within 0 kW to 320 kW and changes by at most 40 kW/s.",
        "The setpoint is furnace_profile.out, given by the loop furnace_profile (setpoint program).",
        ("It is 820 degC when holding and 870 degC when running; the state follows energy_plan.line_on then "
        "local_rules.line_on."),
        "It rises by at most 4 K/min and falls by at most 6 K/min.",
        "peak_guard may lower its out_high by up to 60 kW, at most 20 min at a time, then not for 10 min.",
        "If furnace_temp is bad, the output is held for 60 s; after that it goes to 60 kW.",
        "While plc_furnace.door_closed is false or unknown, the output is 0 kW.",
        "When furnace_over_temp trips it, the output is 0 kW until the alarm is gone and reset.",
        ("If plc_furnace does not answer for 3 cycles, the loop writes nothing and follows what the PLC reports. "
        "The PLC acts on its own 6 s after the last heartbeat: plc_furnace.power_cmd goes to 60 kW."),
        "furnace_over_temp (critical): furnace_temp > 900 degC for 10 s; it trips furnace_temp_ctl",
    ),
    "furnace_profile": (
        "It gives the setpoint of furnace_temp_ctl: 870 degC running, 820 degC holding.",
        "1. energy_plan.line_on, offered by the plan energy_plan",
        "2. local_rules.line_on, given by the loop local_rules (local production rules)",
        "Production is released once furnace_temp was within 5 K of 870 degC for 10 min without a break.",
        "The release ends when furnace_temp is more than 15 K away for over 10 min.",
        "If none of them is valid, the last state stays; if there never was one, it is holding.",
    ),
    "air_pressure_ctl": (
        "It commands air_stage.demand: the demand of the loop air_stage (staging of several units).",
        "The setpoint is fixed in the site file: 6.3 bar_g.",
        "If plc_air.net_pressure is bad, the output is held until it is good again.",
        "air_low (high): plc_air.net_pressure < 5.6 bar_g for 15 s",
    ),
    "air_stage": (
        "c2 and c3 go on and off, c1 runs at variable speed and takes the rest.",
        "c2: 10.4 m3/min; on for at least 3 min, off for at least 2 min, at most 6 starts an hour.",
        "One more unit (the one with the fewest run hours) when the demand is above 95 % of the capacity for 20 s.",
        "peak_guard may block c3, for at least 3 min.",
        "If the demand is bad, every unit stays as it is.",
        "plc_air.c1_speed_cmd goes to 80 %, plc_air.c2_load_cmd goes on and plc_air.c3_load_cmd goes off.",
    ),
    "peak_guard": (
        "It keeps the mean of plc_energy.grid_power over every 15 min below a limit, in step with",
        "1. bat_dispatch discharges more; its setpoints leave 12 % of the charge for that.",
        "2. furnace_temp_ctl.out_high is lowered by up to 60 kW for at most 20 min, then not for 10 min.",
        "3. air_stage.c3 is blocked, for at least 3 min.",
        "While that gives none, the limit is 340 kW.",
        "If plc_energy.grid_power is bad, it goes on with the last power and aims 2 points lower.",
        "peak_at_risk (medium): peak_guard.forecast > peak_guard.limit for 30 s",
    ),
    "bat_dispatch": (
        "It makes the battery follow a power: plc_energy.bat_cmd, + discharges, - charges.",
        ("1. energy_plan.bat_power (an offer is valid for 45 min and usable 60 s longer; a lost plan is followed again "
        "after 2 good ones)"),
        "2. local_rules.bat_power, from stock and price on site",
        "3. 0 kW",
        ("If no plan comes, the last one is followed for 45 min and its last value for 60 s more; then the next source "
        "takes over."),
        "If plc_energy.bat_soc is bad, the battery goes to 0 kW: neither plan nor peak guard may use it.",
        "peak_guard may ask it for more discharge; setpoints leave 12 % of charge for that.",
    ),
    "line_rate_ctl": (
        "It commands plc_furnace.belt_cmd, written to plc_furnace at hr 12.",
        "2. local_rules.rate, from stock and price on site",
        "3. stop",
        "The line may run only while furnace_profile.released and plc_furnace.line_state in (ready, running).",
        "If one of these conditions is false or unknown, the line stops.",
        "plc_furnace.belt_cmd keeps its last value and plc_furnace.line_run_cmd keeps its last value.",
    ),
    "local_rules": (
        "- Stock at 26 t or more: the line stops.",
        "- Between 17:00 and 20:00 local time: it stops, unless stock is below half of 10 t.",
        "- Else it runs in the 16 cheapest hours of the day by buy_price.",
        "- bat_dispatch charges below 85 EUR/MWh and discharges above 115 EUR/MWh.",
        "If erp.stock is not fresh, it is carried on from plc_furnace.belt_rate less sales.",
    ),
    "energy_plan": (
        "It looks 48 h ahead and moves battery and line at the least cost.",
        ("Whether the line runs is decided every 1 h and on news of orders, price or capacity limit; in between only "
        "rates and battery move."),
        "energy_plan.rate in t/h: followed by line_rate_ctl",
        "plan_old (medium): energy_plan.age > 45 min",
    ),
    "furnace_over_temp": (
        "It comes when furnace_temp > 900 degC has been true for 10 s.",
        "It goes when the value is below 890 degC again.",
        "Check the power contactor, open the door relief, call maintenance.",
        "While a value in its condition is bad, it neither comes nor goes.",
    ),
    "furnace_deviation": ("It is suppressed while furnace_temp_ctl.ramping.",),
    "plc_furnace": (
        "A PLC at 10.20.1.11:502, read every 1 s; an answer after 400 ms counts as none.",
        "power_cmd at hr 10, f32 kW, 0 kW to 320 kW",
        "After 6 s without a new count the PLC applies its fallbacks.",
        "It starts disarmed: read, not written.",
    ),
    "plc_energy.bat_cmd": (
        "At hr 10 of plc_energy as i16, value = number x 0.1 kW.",
        "bat_dispatch.",
        "Not refreshed for 6 s: plc_energy.bat_cmd goes to 0 kW.",
    ),
    "plc_furnace.line_state": ("Its numbers mean: 0 stopped, 1 heating, 2 ready, 3 running and 4 fault."),
    "plc_furnace.shell_temp": ("Nothing uses it; it is shown and recorded.",),
    "furnace_temp": (
        "When the good ones differ by more than 8 K, the signal is uncertain.",
        "furnace_temp_ctl, furnace_profile and furnace_over_temp.",
    ),
    "site_base_load": (
        "plc_energy.pv_power + plc_energy.bat_power - plc_furnace.power, smoothed over 2 min.",
        "energy_plan.",
    ),
    "grid_15min": ("the mean of plc_energy.grid_power over each window of 15 min, in step with plc_energy",),
    "sec": ("plc_furnace.power over plc_furnace.belt_rate in kWh/t, only while plc_furnace.belt_rate",),
    "market.day_ahead": ("day_ahead: a curve of 35 h ahead, every 15 min; after 26 h without news it counts as gone.",),
    "erp": ("A JSON service at https://erp.plant.example/api/v2.", "orders: a list, every 5 min;"),
    "energy_plan.rate": ("energy_plan.rate, t/h: followed by line_rate_ctl.",),
    "peak_guard.forecast": ("mean of the window if nothing changes.", "peak_at_risk."),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_key_sentences(site: Site, name: str) -> None:
    text = explain(site, name).text()
    for sentence in GOLDEN[name]:
        assert sentence in text


def test_the_site_names_everything_it_has(site: Site) -> None:
    text = explain(site).text()
    for name in (*site.devices, *site.sources, *site.loops, *site.plans, *site.alarms):
        assert f"\n  {name}" in text
    assert "Without IT the last plan runs out; then the loops follow local_rules." in text
    assert "this is not a safety system" in text


@pytest.mark.parametrize("file", ["heat_treatment/site.yaml", "minimal/site.yaml"])
def test_every_name_can_be_explained(file: str) -> None:
    loaded = load(CONFIGS / file)
    for name in names(loaded):
        told = explain(loaded, name)
        assert told.title
        assert told.sections
        for heading, lines in told.sections:
            assert heading
            assert lines
            for line in lines:
                assert "None" not in line
                assert "Quantity(" not in line
                assert ".." not in line


def test_a_loop_is_found_by_its_tag(site: Site) -> None:
    assert explain(site, "TIC-101").sections == explain(site, "furnace_temp_ctl").sections


def test_an_unknown_name_gets_the_closest(site: Site) -> None:
    with pytest.raises(UnknownNameError, match=r"nothing is called 'bat_dipatch'\. Did you mean 'bat_dispatch'\?"):
        explain(site, "bat_dipatch")
    with pytest.raises(UnknownNameError, match=r"plc_furnace\.tmep"):
        explain(site, "plc_furnace.tmep")


def test_json_is_the_same_text(site: Site) -> None:
    told = explain(site, "air_stage")
    body = told.to_json()
    assert (body["name"], body["kind"]) == ("air_stage", "loop")
    assert [s["heading"] for s in body["sections"]] == [heading for heading, _ in told.sections]
    assert all(line in told.text() for s in body["sections"] for line in s["lines"])


def test_fixed_setpoint_of_the_smallest_site() -> None:
    text = explain(load(CONFIGS / "minimal/site.yaml"), "oven_temp_ctl").text()
    assert "The setpoint is fixed in the site file: 870 degC." in text
    assert "When its source is bad" not in text


def test_outputs_go_through_the_loops_below(site: Site) -> None:
    words = Words(site)
    assert words.outputs("air_pressure_ctl") == ("plc_air.c1_speed_cmd", "plc_air.c2_load_cmd", "plc_air.c3_load_cmd")
    assert words.outputs("local_rules") == ()
    assert words.sources("furnace_temp") == ("furnace_temp", "plc_furnace.temp", "plc_furnace.temp_backup")


def test_lists_and_sums() -> None:
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed("abc", "or")] == ["", "a", "a and b", "a, b or c"]
    minus, plus = Operand(ref="a.b", negative=True), Operand(value=Quantity(5.0, "kW"))
    assert sum_words([minus, plus]) == "-a.b + 5 kW"
    assert sum_words([plus, minus]) == "5 kW - a.b"


# ---------------------------------------------- numbers in the sentences that blocks hold, not the file
def test_the_last_minute_of_a_window_is_102_percent() -> None:
    assert dict(kinds()["peak_limiter"].params)["end_cap"] == pytest.approx(1.02)


def test_the_rules_fill_the_stock_within_a_day() -> None:
    assert dict(kinds()["production_rules"].params)["lead_time"] == pytest.approx(24.0)


def test_a_unit_that_does_not_run_fails_after_10_s_and_rests_10_min() -> None:
    params = [16.0, 0.25, 0.95, 0.0, 1.15, 90.0, 0.0, 1.0, 10.4, 0.0, 0.0, 0.0, 0.0]
    block = SingleBlock("staging", params, n_in=4)
    stopped, demand = (0.0, 0x80), (24.0, 0x80)

    def command(scans: int) -> list[float]:
        return [block.step([demand, None, stopped, None], 1.0)[5][0] for _ in range(scans)]

    first = command(14)
    assert max(first) == 1.0
    on = first.index(1.0)
    assert sum(first[on:]) == pytest.approx(10.0, abs=1.0)
    rest = command(590 - (14 - on))
    assert max(rest) == 0.0
    assert max(command(30)) == 1.0


def test_a_bad_charge_stops_the_battery() -> None:
    block = SingleBlock("power_follow", [0.0, 200.0, 5.0, 95.0, 400.0, 5.0, 7.0])
    back = [(50.0, 0xC0), (0.0, 0), (0.0, 0), (0.0, 0)]
    good = block.step([(50.0, 0x80), (100.0, 0x80), (50.0, 0x80), (30.0, 0x80), None], 1.0, back=back)
    bad = block.step([(50.0, 0x80), (100.0, 0x80), (50.0, 0x00), (30.0, 0x80), None], 1.0, back=back)
    assert good[0][0] == pytest.approx(130.0)
    assert bad[0][0] == 0.0
