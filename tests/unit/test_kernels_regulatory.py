"""Golden behaviour of the regulatory, energy and production kernels, one rule a test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

import ctrl.modes
from ext import SingleBlock
from tests.reference import kernels as K  # noqa: N812
from tests.reference.regulatory import Pin

INIT, LOCAL, MANUAL, AUTO, CASCADE = 1, 2, 3, 4, 5
PI = {"kp": 2.0, "ki": 0.1, "lo": 0.0, "hi": 100.0, "safe_output": 5.0}


def good(*values: float | None) -> list[Pin]:
    return [None if v is None else (v, 0x80) for v in values]


class Rig:
    """A block whose outputs are read by name and answered by a perfect consumer unless told otherwise."""

    def __init__(self, block: SingleBlock, dt: float = 1.0) -> None:
        self.block, self.dt, self.utc, self.local = block, dt, 0.0, 0.0
        self.out: dict[str, float] = {}
        self.q: dict[str, int] = {}

    def __call__(self, pins: Sequence[Pin], n: int = 1, **answers: tuple[float, int]) -> dict[str, float]:
        for _ in range(n):
            back = [answers.get(name, (self.out.get(name, 0.0), 0xC0)) for name in self.block.kind.outputs]
            out = self.block.step(pins, self.dt, utc=self.utc, local=self.local, back=back)
            self.out = {k: v for k, (v, _) in zip(self.block.kind.outputs, out, strict=True)}
            self.q = {k: q for k, (_, q) in zip(self.block.kind.outputs, out, strict=True)}
            self.utc += self.dt
            self.local += self.dt
        return self.out

    @property
    def why(self) -> str:
        return ctrl.modes.REASONS[int(self.out["why"])]


# ------------------------------------------------------------------------------------------------------------- pid
def pid(**changes: float) -> Rig:
    return Rig(K.kernel("pid", PI | changes))


def pins(y: float, r: float, /, **more: Pin) -> list[Pin]:
    rest = [more.get(k) for k in ("ff", "out_low", "out_high", "requires", "trip")]
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
    rig = Rig(K.kernel("setpoint_program", K.PROFILE, n_in=3), dt=10.0)
    rig(good(872.0, 1.0, 0.0))
    assert (rig.out["out"], rig.out["released"], rig.why) == (870.0, 0.0, "soaking before release")
    rig(good(872.0, 1.0, 0.0), n=59)
    assert rig.out["released"] == 0.0
    assert rig(good(872.0, 1.0, 0.0))["released"] == 1.0
    assert rig(good(872.0, 0.0, 1.0))["out"] == 820.0, "the first usable command decides"
    assert rig.out["released"] == 0.0


def test_setpoint_program_break_in_the_soak_starts_it_again() -> None:
    rig = Rig(K.kernel("setpoint_program", K.PROFILE, n_in=2), dt=10.0)
    rig(good(872.0, 1.0), n=55)
    rig(good(864.0, 1.0))
    assert rig(good(872.0, 1.0), n=60)["released"] == 0.0
    assert rig(good(872.0, 1.0))["released"] == 1.0


def test_setpoint_program_released_survives_short_excursions_only() -> None:
    rig = Rig(K.kernel("setpoint_program", K.PROFILE, n_in=2), dt=10.0)
    rig(good(870.0, 1.0), n=61)
    assert rig(good(856.0, 1.0), n=500)["released"] == 1.0, "inside three bands"
    assert rig(good(850.0, 1.0), n=60)["released"] == 1.0
    assert rig([(850.0, 0x10), (1.0, 0x80)], n=2)["released"] == 0.0, "a bad measure is no proof"


def test_setpoint_program_keeps_its_state_without_commands() -> None:
    rig = Rig(K.kernel("setpoint_program", K.PROFILE, n_in=3))
    rig([(820.0, 0x80), (1.0, 0x08), (1.0, 0x08)])
    assert (rig.out["out"], rig.q["out"]) == (820.0, 0x4C)
    rig([(820.0, 0x80), (1.0, 0x08), (1.0, 0x80)])
    assert rig.block.backward()[1:] == [(1.0, 0xD0), (1.0, 0xC0)]
    rig([(820.0, 0x80), (1.0, 0x08), (0.0, 0x18)])
    assert (rig.out["out"], rig.q["out"], rig.why) == (870.0, 0x44, "no valid setpoint")


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


def test_staging_rotates_by_run_hours() -> None:
    rig = stage(rotate=1.0)
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
    assert rig.out["reduce"] == 0.0, "at most reduce_for, then a break"
    assert rig.out["shed"] == 1.0, "the next action takes over"
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
