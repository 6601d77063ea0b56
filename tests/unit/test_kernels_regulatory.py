"""Golden behaviour of the regulatory kernels, one rule a test."""

from __future__ import annotations

import math

import pytest

from ext import SingleBlock
from tests.reference import kernels as K  # noqa: N812
from tests.reference.kernels import Rig, good
from tests.reference.regulatory import Pin

INIT, LOCAL, MANUAL, AUTO, CASCADE = 1, 2, 3, 4, 5
PI = {"kp": 2.0, "ki": 0.1, "lo": 0.0, "hi": 100.0, "safe_output": 5.0}


# ------------------------------------------------------------------------------------------------------------- pid
def pid(**changes: float) -> Rig:
    return Rig(K.kernel("pid", PI | changes))


def pins(y: float, r: float, /, **more: Pin) -> list[Pin]:
    rest = [more.get(k) for k in ("ff", "out_low", "out_high", "requires", "trip", "reduce")]
    return [more.get("pv", (y, 0x80)), more.get("sp", (r, 0x80)), *rest]


@pytest.mark.parametrize(
    "tuning", [{"kp": 2.0, "ki": 0.1}, {"kp": 2.0, "ki": 0.1, "kd": 4.0, "b": 0.6}, {"kp": 2.0, "ki": 0.1, "c": 1.0}]
)
def test_pid_equals_the_velocity_form_when_nothing_limits(tuning: dict[str, float]) -> None:
    p = K.parameters("pid", PI | tuning | {"lo": -1e9, "hi": 1e9, "safe_output": 0.0})
    rig = Rig(SingleBlock("pid", list(p.values())))
    u, prop1, d, w1 = 0.0, 0.0, 0.0, 0.0
    tf = p["kd"] / p["kp"] / p["filter_n"]
    span = 0.0
    for k in range(400):
        y, sp = 30.0 * math.sin(k / 17.0) + 3.0 * math.sin(k * 1.7), 30.0 if k > 10 else 0.0
        prop, w = p["kp"] * (p["b"] * sp - y), p["c"] * sp - y
        if k == 0:
            prop1, w1 = prop, w
        d1 = d
        d = (tf * d + p["kd"] * (w - w1)) / (tf + 1.0) if p["kd"] else 0.0
        u += prop - prop1 + p["ki"] * (sp - y) + d - d1
        prop1, w1 = prop, w
        got = rig(pins(y, sp))["out"]
        span = max(span, abs(u))
        assert abs(got - u) <= 1e-12 * max(span, 1.0) * 10


@pytest.mark.parametrize("reverse", [0.0, 1.0])
def test_pid_manual_to_auto_moves_by_one_scan_of_integral_action(reverse: float) -> None:
    rig = pid(kd=6.0, b=0.5, reverse=reverse)
    for y in (40.0, 44.0, 47.0):
        rig(pins(y, 50.0, ff=(2.0, 0x80)), out=(33.0, 0xCC))
        assert (rig.out["mode"], rig.out["out"]) == (INIT, 33.0)
    rig(pins(49.0, 52.0, ff=(7.0, 0x80)), out=(33.0, 0xC0))
    assert rig.out["out"] - 33.0 == pytest.approx((1 if reverse else -1) * 0.1 * 3.0, abs=1e-12)
    assert rig.out["mode"] == AUTO


def test_pid_retune_while_running_moves_by_one_scan_of_integral_action() -> None:
    rig = pid(kd=6.0, b=0.5)
    for k in range(20):
        rig(pins(47.0 + 0.1 * k, 50.0), out=(rig.out.get("out", 40.0), 0xC0))
    for name, value in (("kp", 5.0), ("b", 1.0), ("kp", 1.0), ("kd", 0.0)):
        rig(pins(48.9, 50.0), n=60)  # the filtered derivative has died out
        before = rig.out["out"]
        rig.block.program.set_param("block", name, value)
        rig(pins(48.9, 50.0))
        assert rig.out["out"] - before == pytest.approx(0.1 * 1.1, abs=1e-11), name


def test_pid_first_scan_waits_for_an_answer_then_starts_from_it() -> None:
    rig = pid()
    rig(pins(47.0, 50.0), out=(0.0, 0))
    assert (rig.out["mode"], rig.q["out"]) == (INIT, 0)
    assert rig.out["out"] == PI["safe_output"]
    rig(pins(47.0, 50.0), out=(61.0, 0xC0))
    assert rig.out["out"] == pytest.approx(61.0 + 0.3)
    assert rig.q["out"] == 0xC0


def test_pid_local_on_requires_and_trip() -> None:
    rig = pid()
    rig(pins(47.0, 50.0, requires=(1.0, 0x80), trip=(0.0, 0x80)), out=(40.0, 0xC0))
    for bad in ((0.0, 0x80), (1.0, 0x08), (math.nan, 0x80)):
        rig(pins(47.0, 50.0, requires=bad, trip=(0.0, 0x80)))
        assert (rig.out["mode"], rig.out["out"], rig.out["why"]) == (LOCAL, 5.0, 3)
        assert rig.block.backward()[1] == (47.0, 0xCC)
    rig(pins(47.0, 50.0, requires=(0.0, 0x80), trip=(1.0, 0x80)))
    assert rig.out["why"] == 4
    rig(pins(47.0, 50.0, requires=(1.0, 0x80), trip=(1.0, 0x08)))
    assert (rig.out["mode"], rig.out["why"]) == (LOCAL, 4), "a trip that cannot be read stays"
    rig(pins(47.0, 50.0, requires=(1.0, 0x80), trip=(0.0, 0x80)))
    assert rig.out["out"] == pytest.approx(5.3)
    rig(pins(47.0, 50.0, requires=(1.0, 0x80), trip=(0.0, 0x08)))
    assert rig.out["mode"] == AUTO


def test_pid_bad_measure_holds_then_goes_to_the_output_given() -> None:
    rig = pid(bad_action=1.0, bad_output=60.0, hold_time=3.0)
    rig(pins(47.0, 50.0), out=(40.0, 0xC0))
    for _ in range(3):
        rig(pins(0.0, 50.0, pv=(999.0, 0x10)))
        assert (rig.out["mode"], rig.q["out"]) == (MANUAL, 0x44)
        assert rig.out["out"] == pytest.approx(40.3)
        assert rig.why == "measurement is bad"
        assert rig.q["error"] == 0
    rig(pins(0.0, 50.0, pv=(999.0, 0x10)))
    assert (rig.out["out"], rig.q["out"]) == (60.0, 0x48)
    rig(pins(48.0, 50.0))
    assert rig.out["out"] == pytest.approx(60.2)
    hold = pid(hold_time=3.0)
    hold(pins(47.0, 50.0), out=(40.0, 0xC0))
    assert hold(pins(0.0, 50.0, pv=(999.0, 0x10)), n=50)["out"] == pytest.approx(40.3)


def test_pid_uncertain_measure_is_used_unless_forbidden() -> None:
    rig = pid()
    rig(pins(47.0, 50.0, pv=(47.0, 0x44)))
    assert (rig.out["mode"], rig.q["out"]) == (AUTO, 0x44)
    strict = pid(uncertain_ok=0.0)
    strict(pins(47.0, 50.0, pv=(47.0, 0x44)))
    assert strict.out["mode"] == MANUAL


def test_pid_setpoint_bad_keeps_the_last_one() -> None:
    rig = pid()
    rig(pins(47.0, 50.0, sp=(50.0, 0x18)), out=(40.0, 0xC0))
    assert (rig.out["mode"], rig.out["out"], rig.q["setpoint"]) == (INIT, 40.0, 0)
    rig(pins(47.0, 50.0, sp=(50.0, 0xC0)))
    assert rig.out["mode"] == CASCADE
    rig(pins(47.0, 0.0, sp=(0.0, 0x18)))
    assert (rig.out["mode"], rig.out["setpoint"], rig.q["setpoint"], rig.out["why"]) == (AUTO, 50.0, 0x44, 7)


def test_pid_feedforward_acts_inside_the_limits_and_is_held_when_bad() -> None:
    rig = pid()
    rig(pins(50.0, 50.0, ff=(10.0, 0x80)), out=(40.0, 0xC0))
    assert rig(pins(50.0, 50.0, ff=(25.0, 0x80)))["out"] == pytest.approx(55.0)
    rig(pins(50.0, 50.0, ff=(0.0, 0x08)))
    assert (rig.out["out"], rig.q["out"]) == (pytest.approx(55.0), 0x44)
    assert rig(pins(50.0, 50.0, ff=(99.0, 0x80)))["out"] == 100.0


def test_pid_limit_pins_tighten_and_the_high_one_wins() -> None:
    rig = pid()
    rig(pins(0.0, 50.0, out_high=(70.0, 0x80), out_low=(20.0, 0x80)), out=(60.0, 0xC0))
    assert rig(pins(0.0, 50.0, out_high=(70.0, 0x80), out_low=(20.0, 0x80)), n=5)["out"] == 70.0
    assert (rig.q["out"], rig.out["why"]) == (0xC2, 6)
    assert rig.block.backward()[1] == (50.0, 0xC2)
    assert rig(pins(99.0, 50.0, out_high=(30.0, 0x80), out_low=(40.0, 0x80)), n=5)["out"] == 30.0
    assert rig(pins(0.0, 50.0, out_high=(70.0, 0x08), out_low=(20.0, 0x80)), n=9)["out"] == 100.0
    assert rig(pins(0.0, 50.0, out_high=(900.0, 0x80)), n=9)["out"] == 100.0


def test_pid_reduction_counts_from_the_output_and_ends_without_a_step() -> None:
    rig = pid()
    none: Pin = (0.0, 0x80)
    rig(pins(45.0, 50.0, reduce=none), out=(60.0, 0xC0))
    start = rig(pins(50.0, 50.0, reduce=none), n=5)["out"]
    assert start == pytest.approx(50.5)
    assert rig(pins(50.0, 50.0, reduce=(4.0, 0x80)))["out"] == pytest.approx(start - 4.0)
    rig(pins(42.0, 50.0, reduce=(10.0, 0x80)), n=50)
    assert (rig.out["out"], rig.out["out_high"]) == (pytest.approx(start - 10.0), pytest.approx(start - 10.0))
    assert (rig.q["out"], rig.why) == (0xC2, "the peak guard asks")
    held = rig.out["out"]
    rig(pins(42.0, 50.0, reduce=none))
    assert rig.out["out"] == pytest.approx(held + 0.1 * 8.0), "one scan of integral action, not 16 of gain"
    assert rig.out["out_high"] == 100.0
    rig(pins(42.0, 50.0, reduce=(90.0, 0x80)))
    assert rig.out["out"] == 0.0
    assert rig(pins(42.0, 50.0, reduce=(90.0, 0x18)))["out_high"] == 100.0, "who says nothing reduces nothing"


def test_pid_reduction_leaves_a_load_that_the_feedforward_announces() -> None:
    rig = pid()
    none: Pin = (0.0, 0x80)
    rig(pins(50.0, 50.0, ff=none, reduce=none), out=(40.0, 0xC0))
    assert rig(pins(48.0, 50.0, ff=none, reduce=(6.0, 0x80)))["out"] == 34.0
    rig(pins(48.0, 50.0, ff=(20.0, 0x80), reduce=(6.0, 0x80)), n=2)
    assert rig.out["out"] == 54.0
    rig(pins(48.0, 50.0, ff=(5.0, 0x80), reduce=(6.0, 0x80)), n=2)
    assert rig.out["out"] == 39.0


def test_pid_reduction_that_does_not_bind_leaves_no_trace() -> None:
    rig, free = pid(), pid()
    for k in range(40):
        y = 45.0 + 0.2 * k
        pin: Pin = (1.0 if 10 <= k < 20 else 0.0, 0x80)
        for one, inputs in ((rig, pins(y, 50.0, reduce=pin)), (free, pins(y, 50.0))):
            one(inputs, out=(60.0 if k == 0 else one.out["out"], 0xC0))
        assert k in range(10, 14) or rig.out["out"] == pytest.approx(free.out["out"], abs=1.5)


def test_pid_direct_action_reports_the_opposite_limit_to_its_master() -> None:
    rig = pid(reverse=0.0)
    rig(pins(90.0, 50.0), out=(60.0, 0xC0))
    rig(pins(90.0, 50.0), n=30)
    assert rig.out["out"] == 100.0
    assert rig.block.backward()[1] == (50.0, 0xC1)


def test_pid_does_not_integrate_into_a_limit_reported_from_below() -> None:
    rig = pid()
    rig(pins(45.0, 50.0), out=(40.0, 0xC0))
    held = rig(pins(45.0, 50.0))["out"]
    for _ in range(50):
        rig(pins(45.0, 50.0), out=(rig.out["out"], 0xC2))  # a slave that takes the setpoint and cannot do more
    assert rig.out["out"] == pytest.approx(held)
    assert rig(pins(55.0, 50.0), out=(rig.out["out"], 0xC2))["out"] < held


def test_pid_integral_only_tracks_hard() -> None:
    rig = pid(kp=0.0, ki=0.5)
    rig(pins(45.0, 50.0), out=(40.0, 0xC0))
    assert rig.out["out"] == pytest.approx(42.5)
    assert rig(pins(45.0, 50.0), out=(20.0, 0xC0))["out"] == pytest.approx(22.5)


# ---------------------------------------------------------------------------------------------- setpoint program
def test_setpoint_program_soaks_then_releases_and_starts_hot() -> None:
    rig = Rig(K.kernel("setpoint_program", K.PROFILE, n_in=4), dt=10.0)
    rig(good(872.0, None, 1.0, 0.0))
    assert (rig.out["out"], rig.out["released"], rig.why) == (870.0, 0.0, "soaking before release")
    rig(good(872.0, None, 1.0, 0.0), n=59)
    assert rig.out["released"] == 0.0
    assert rig(good(872.0, None, 1.0, 0.0))["released"] == 1.0
    assert rig(good(872.0, None, 0.0, 1.0))["out"] == 820.0, "the first usable command decides"
    assert rig.out["released"] == 0.0


def test_setpoint_program_break_in_the_soak_starts_it_again() -> None:
    rig = Rig(K.kernel("setpoint_program", K.PROFILE, n_in=3), dt=10.0)
    rig(good(872.0, None, 1.0), n=55)
    rig(good(864.0, None, 1.0))
    assert rig(good(872.0, None, 1.0), n=60)["released"] == 0.0
    assert rig(good(872.0, None, 1.0))["released"] == 1.0


def test_setpoint_program_released_survives_short_excursions_only() -> None:
    rig = Rig(K.kernel("setpoint_program", K.PROFILE, n_in=3), dt=10.0)
    rig(good(870.0, None, 1.0), n=61)
    assert rig(good(856.0, None, 1.0), n=500)["released"] == 1.0, "inside three bands"
    assert rig(good(850.0, None, 1.0), n=60)["released"] == 1.0
    assert rig([(850.0, 0x10), None, (1.0, 0x80)], n=2)["released"] == 0.0, "a bad measure is no proof"


def test_setpoint_program_keeps_its_state_without_commands() -> None:
    rig = Rig(K.kernel("setpoint_program", K.PROFILE, n_in=4))
    rig([(820.0, 0x80), None, (1.0, 0x08), (1.0, 0x08)])
    assert (rig.out["out"], rig.q["out"]) == (820.0, 0x4C)
    rig([(820.0, 0x80), None, (1.0, 0x08), (1.0, 0x80)])
    assert rig.block.backward()[2:] == [(1.0, 0xD0), (1.0, 0xC0)]
    rig([(820.0, 0x80), None, (1.0, 0x08), (0.0, 0x18)])
    assert (rig.out["out"], rig.q["out"], rig.why) == (870.0, 0x44, "no valid setpoint")


def test_setpoint_program_found_running_hot_is_released_at_once() -> None:
    """Starting the controller is no stop of a line that runs at its temperature."""
    unknown: Pin = (0.0, 0x08)
    rig = Rig(K.kernel("setpoint_program", K.PROFILE, n_in=4), dt=10.0)
    rig([unknown, unknown, unknown, unknown])
    assert (rig.out["out"], rig.out["released"]) == (820.0, 0.0)
    rig([(872.0, 0x80), (1.0, 0xCC), unknown, unknown])
    assert (rig.out["out"], rig.out["released"], rig.q["released"]) == (870.0, 1.0, 0x4C)
    rig([(872.0, 0x80), (1.0, 0xCC), (1.0, 0x80), unknown])
    assert (rig.out["released"], rig.q["released"], rig.why) == (1.0, 0x80, "normal")
    rig([(872.0, 0x80), (1.0, 0xCC), (0.0, 0x80), unknown])
    rig([(872.0, 0x80), (1.0, 0xCC), (1.0, 0x80), unknown])
    assert rig.out["released"] == 0.0, "later the soak has to be proven"


@pytest.mark.parametrize(("temp", "running", "command"), [(860.0, 1.0, 1.0), (872.0, 0.0, 1.0), (872.0, 1.0, 0.0)])
def test_setpoint_program_found_otherwise_has_to_soak(temp: float, running: float, command: float) -> None:
    rig = Rig(K.kernel("setpoint_program", K.PROFILE, n_in=3), dt=10.0)
    assert rig(good(temp, running, command))["released"] == 0.0
    assert rig(good(872.0, 1.0, 1.0), n=2)["released"] == 0.0


# ------------------------------------------------------------------------------------------------------- staging
def stage(**changes: float) -> Rig:
    fast = [x for u in K.AIR_UNITS for x in (u[0], 0.0, 0.0, 0.0, u[4])]
    return Rig(K.kernel("staging", K.AIR | {"rotate": 0.0} | changes, fast, n_in=6))


def plant(rig: Rig, demand: float, n: int = 1, dead: tuple[int, ...] = (), inhibit: tuple[int, ...] = ()) -> None:
    for _ in range(n):
        feedback: list[Pin] = []
        for i in (1, 2):
            on = rig.out.get(f"cmd_{i}", 0.0) if i not in dead else 0.0
            feedback += good(on, float(i in inhibit))
        rig([(demand, 0x80), None, *feedback])


def test_staging_up_after_20_s_down_after_90_s() -> None:
    rig = stage()
    plant(rig, 15.3, n=19)
    assert (rig.out["cmd_1"], rig.out["trim_cmd"]) == (0.0, pytest.approx(95.625))
    plant(rig, 15.3)
    assert rig.out["cmd_1"] == 1.0
    plant(rig, 15.3)
    assert rig.out["trim_cmd"] == pytest.approx(100 * (15.3 - 10.4) / 16)
    assert rig.out["capacity"] == pytest.approx(26.4)
    plant(rig, 14.5, n=300)
    assert rig.out["cmd_1"] == 1.0, "C - 1.15 c = 14.44 is not above the demand"
    plant(rig, 14.4, n=89)
    assert rig.out["cmd_1"] == 1.0
    plant(rig, 14.4)
    assert rig.out["cmd_1"] == 0.0


def test_staging_answers_what_it_delivers_with_limit_bits() -> None:
    rig = stage()
    plant(rig, 30.0, n=2)
    assert rig.block.backward()[0] == (16.0, 0xC2)
    plant(rig, 30.0, n=60)
    assert rig.block.backward()[0] == (pytest.approx(30.0), 0xC0)
    assert (rig.out["cmd_1"], rig.out["cmd_2"]) == (1.0, 1.0)
    plant(rig, 1.0, n=2)
    assert rig.block.backward()[0] == (pytest.approx(24.8), 0xC1)
    rig([(30.0, 0x80), None, *good(1.0, 0.0, 1.0, 0.0)], trim_cmd=(50.0, 0xCC))
    assert rig.block.backward()[0] == (pytest.approx(28.8), 0xCC)
    assert (rig.out["mode"], rig.out["trim_cmd"]) == (INIT, 50.0)


def test_staging_replaces_a_unit_that_does_not_start() -> None:
    rig = stage()
    plant(rig, 20.0, n=20, dead=(1,))
    assert (rig.out["cmd_1"], rig.out["cmd_2"]) == (1.0, 0.0)
    plant(rig, 20.0, n=9, dead=(1,))
    assert rig.out["cmd_2"] == 0.0
    plant(rig, 20.0, dead=(1,))
    assert (rig.out["cmd_1"], rig.out["cmd_2"], rig.why) == (0.0, 1.0, "fail action")
    plant(rig, 30.0, n=580, dead=(1,))
    assert rig.out["cmd_1"] == 0.0
    plant(rig, 30.0, n=40)
    assert (rig.out["cmd_1"], rig.out["cmd_2"]) == (1.0, 1.0)


def test_staging_adopts_running_units_and_obeys_inhibits() -> None:
    rig = stage()
    rig([(20.0, 0x80), None, *good(0.0, 0.0, 1.0, 0.0)])
    assert (rig.out["cmd_1"], rig.out["cmd_2"]) == (0.0, 1.0)
    plant(rig, 20.0, inhibit=(2,))
    assert rig.out["cmd_2"] == 0.0
    plant(rig, 20.0, n=30, inhibit=(2,))
    assert (rig.out["cmd_1"], rig.out["cmd_2"]) == (1.0, 0.0)
    rig([(20.0, 0x80), None, *good(1.0, 0.0, 1.0, 0.0)], cmd_2=(1.0, 0xCC))
    assert rig.out["cmd_2"] == 1.0, "switched on by hand at the unit"


@pytest.mark.parametrize("rotate", [1.0, 2.0])
def test_staging_rotates_by_run_hours_or_starts(rotate: float) -> None:
    rig = stage(rotate=rotate)
    plant(rig, 20.0, n=100)
    plant(rig, 5.0, n=200)
    assert rig.out["cmd_1"] == 0.0
    plant(rig, 20.0, n=30)
    assert (rig.out["cmd_1"], rig.out["cmd_2"]) == (0.0, 1.0)


def test_staging_demand_bad_changes_nothing() -> None:
    rig = stage()
    plant(rig, 20.0, n=40)
    before = dict(rig.out)
    rig([(0.0, 0x08), None, *good(1.0, 0.0, 0.0, 0.0)], n=200)
    assert (rig.out["trim_cmd"], rig.out["cmd_1"]) == (before["trim_cmd"], 1.0)
    assert (rig.q["trim_cmd"], rig.why) == (0x44, "no valid setpoint")


# -------------------------------------------------------------------------------------------------- rate control
def test_rate_control_ramps_runs_and_stops() -> None:
    rig = Rig(K.kernel("rate_control", K.RATE, n_in=4), dt=10.0)
    rig(good(0.8, None, 1.0, 1.0), out=(0.4, 0xC0))
    assert (rig.out["run"], rig.out["out"]) == (1.0, pytest.approx(0.4 + 1 / 60))
    assert rig.block.backward()[0][1] == 0xC2
    rig(good(0.8, None, 1.0, 1.0), n=30)
    assert rig.out["out"] == 0.8
    assert rig(good(0.3, None, 1.0, 1.0), n=30)["out"] == 0.55, "not slower than the line can"
    assert rig(good(0.27, None, 1.0, 1.0))["run"] == 0.0
    rig(good(0.8, None, 1.0, None), n=100)
    rig([(0.8, 0x80), None, (1.0, 0x08), None])
    assert (rig.out["run"], rig.out["why"]) == (0.0, 20)
    assert rig.block.backward()[0][0] == 0.0


def test_rate_control_catch_up_is_at_most_a_tenth() -> None:
    rig = Rig(K.kernel("rate_control", K.RATE | {"ramp": 0.0}), dt=10.0)
    assert rig(good(0.8, 0.5))["out"] == pytest.approx(0.88)
    assert rig(good(0.8, -0.5))["out"] == pytest.approx(0.72)
    assert rig.block.backward()[1] == (pytest.approx(-0.08), 0xC0)


def test_rate_control_tracks_the_line_when_it_is_local() -> None:
    rig = Rig(K.kernel("rate_control", K.RATE), dt=10.0)
    rig(good(0.8, None), out=(0.6, 0xCC), run=(1.0, 0xCC))
    assert (rig.out["mode"], rig.out["out"], rig.out["run"]) == (INIT, 0.6, 1.0)
    assert rig.block.backward()[0] == (0.6, 0xCC)
    rig([(0.0, 0x18), None], out=(0.6, 0xC0), run=(1.0, 0xC0))
    assert (rig.out["setpoint"], rig.why) == (0.8, "no valid setpoint")
    assert rig.out["out"] == pytest.approx(0.6 + 1 / 60)
