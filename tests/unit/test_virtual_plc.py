"""The virtual PLC keeps the contract: watchdog, expiry, fallbacks, local operation, exceptions."""

import pytest

from ctrl.field.codec import CodecError, PointCodec
from ctrl.field.spec import ContractSpec
from ctrl.field.virtual_plc import PlcException, VirtualPlc
from tests.fieldkit import furnace


def words(plc: VirtualPlc, point: str, value: float) -> tuple[int, ...]:
    return PointCodec(plc.spec.point(point)).encode(value)


def alive(now: float = 1.0) -> VirtualPlc:
    plc = VirtualPlc(furnace())
    plc.write("hr", 0, [1])
    plc.step(now)
    return plc


@pytest.mark.parametrize(
    ("table", "start", "count", "code"),
    [("ir", 0, 0, 3), ("ir", 0, 126, 3), ("di", 0, 2001, 3), ("ir", 100, 15, 2), ("hr", 13, 1, 2), ("di", 1, 1, 2)],
)
def test_reads_outside_the_map(table, start, count, code):
    with pytest.raises(PlcException) as caught:
        VirtualPlc(furnace()).read(table, start, count)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("table", "start", "words_", "code"),
    [
        ("ir", 100, [1], 2), ("hr", 5, [1], 2), ("hr", 12, [1, 2], 2), ("hr", 12, [], 3), ("hr", 12, [70000], 3),
        ("hr", 12, [1.0], 3), ("co", 0, [2], 3), ("co", 1, [1], 2),
    ],
)  # fmt: skip
def test_writes_outside_the_map_change_nothing(table, start, words_, code):
    plc = alive()
    before = plc.read("hr", 0, 13)
    with pytest.raises(PlcException) as caught:
        plc.write(table, start, words_)
    assert caught.value.code == code
    assert plc.read("hr", 0, 13) == before


def test_unused_places_between_points_read_zero():
    assert VirtualPlc(furnace()).read("ir", 104, 2) == [0, 0]


def test_measurements_are_encoded():
    plc = VirtualPlc(furnace())
    plc.set_measures({"temp": 870.5, "pressure": -1.5, "door": 1.0})
    assert plc.read("ir", 100, 2) == [0x4459, 0xA000]
    assert plc.read("ir", 111, 1) == [0xFF6A]
    assert plc.read("di", 0, 1) == [1]
    with pytest.raises(CodecError):
        plc.set_measure("temp", float("nan"))


def test_starts_in_fallback_and_the_first_heartbeat_makes_it_remote():
    plc = VirtualPlc(furnace())
    plc.step(0.0)
    assert (plc.state, plc.command("power_cmd"), plc.boots) == ("fallback", 60.0, 1)
    plc.write("hr", 10, words(plc, "power_cmd", 100.0))
    plc.step(1.0)
    assert plc.command("power_cmd") == 60.0, "without a heartbeat nothing comes into force"
    assert tuple(plc.read("hr", 10, 2)) == words(plc, "power_cmd", 60.0), "and the register says so"
    plc.write("hr", 10, words(plc, "power_cmd", 100.0))
    plc.write("hr", 0, [7])
    plc.step(2.0)
    assert (plc.state, plc.command("power_cmd"), plc.read("ir", 0, 1)) == ("remote", 100.0, [7])


def test_watchdog_brings_the_fallback_of_each_point():
    plc = alive()
    plc.write("hr", 10, words(plc, "power_cmd", 100.0))
    plc.write("hr", 12, words(plc, "speed_cmd", 33.0))
    plc.step(2.0)
    for t in (3.0, 7.0):
        plc.write("hr", 10, words(plc, "power_cmd", 100.0))
        plc.step(t)
        assert plc.command("power_cmd") == 100.0
    plc.step(7.1)
    assert (plc.state, plc.read("ir", 0, 1)) == ("fallback", [0])
    assert plc.commands() == {"power_cmd": 60.0, "speed_cmd": pytest.approx(33.0), "run_cmd": 0.0}


def test_a_command_that_is_not_refreshed_expires_alone():
    plc = alive()
    plc.write("hr", 10, words(plc, "power_cmd", 100.0))
    plc.write("co", 0, [1])
    for t in range(2, 9):
        plc.write("hr", 0, [t])
        plc.step(float(t))
    assert plc.state == "remote"
    assert plc.command("power_cmd") == 60.0, "expires after 6 s"
    assert plc.command("run_cmd") == 1.0, "expires after 30 s, and holds then"


def test_local_operation_wins_until_it_is_given_back():
    plc = alive()
    plc.override("power_cmd", 250.0)
    plc.write("hr", 10, words(plc, "power_cmd", 100.0))
    plc.step(2.0)
    assert plc.command("power_cmd") == 250.0
    assert tuple(plc.read("hr", 10, 2)) == words(plc, "power_cmd", 250.0)
    plc.override("power_cmd", None)
    plc.write("hr", 10, words(plc, "power_cmd", 100.0))
    plc.step(3.0)
    assert plc.command("power_cmd") == 100.0


@pytest.mark.parametrize("raw", [(0x7FC0, 0), (0x7F80, 0), (0x43A1, 0)])  # NaN, infinity, 322 kW
def test_the_plc_takes_no_value_outside_its_limits(raw):
    plc = alive()
    plc.write("hr", 10, raw)
    plc.step(2.0)
    assert plc.command("power_cmd") == 60.0


def test_reboot_counts_and_forgets():
    plc = alive()
    plc.write("hr", 10, words(plc, "power_cmd", 100.0))
    plc.step(2.0)
    plc.reboot()
    assert (plc.boots, plc.state, plc.command("power_cmd"), plc.read("hr", 0, 1)) == (2, "fallback", 60.0, [0])
    plc.write("hr", 10, words(plc, "power_cmd", 110.0))
    plc.write("hr", 0, [9])
    plc.step(3.0)
    assert plc.command("power_cmd") == 110.0


def test_preset_and_stopped_and_forced_exception():
    plc = VirtualPlc(furnace())
    plc.preset("power_cmd", 200.0)
    assert plc.command("power_cmd") == 200.0
    plc.exception = 6
    with pytest.raises(PlcException):
        plc.read("ir", 0, 1)


def test_revert_timer_and_advisory_devices():
    plc = VirtualPlc(furnace(contract=ContractSpec("revert_timer", dead_after_s=4.0)))
    plc.write("hr", 12, words(plc, "speed_cmd", 20.0))
    plc.write("co", 0, [1])
    plc.step(1.0)
    assert (plc.state, plc.command("run_cmd")) == ("remote", 1.0)
    advisory = VirtualPlc(furnace(contract=ContractSpec("none")))
    advisory.write("hr", 12, words(advisory, "speed_cmd", 20.0))
    advisory.step(0.0)
    assert advisory.command("speed_cmd") == pytest.approx(20.0)
