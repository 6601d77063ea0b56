"""Read plans of real maps, and the strict form of a device."""

import json
from dataclasses import replace

import pytest

from ctrl.field.read_plan import ECHO, plan, plan_points
from ctrl.field.spec import ContractSpec, DeviceSpec, PointSpec, SpecError, device_from_json
from tests.fieldkit import furnace


def ir(offset: int, type_: str = "u16") -> PointSpec:
    return PointSpec(f"p{offset}", f"d.p{offset}", "ir", offset, type_, "1")


def spans(points, gap=8, registers=125, bits=2000):
    return [(b.table, b.start, b.count) for b in plan_points(points, gap, registers, bits)]


def test_gap_of_eight_is_merged_and_nine_is_not():
    assert spans([ir(0), ir(9)]) == [("ir", 0, 10)]
    assert spans([ir(0), ir(10)]) == [("ir", 0, 1), ("ir", 10, 1)]


def test_a_pair_is_never_split_at_the_limit():
    points = [ir(2 * i, "f32") for i in range(70)]
    assert spans(points) == [("ir", 0, 124), ("ir", 124, 16)]


def test_tables_are_apart_and_echo_and_read_back_are_in():
    blocks = plan(furnace(gap=8))
    assert [(b.table, b.start, b.count) for b in blocks] == [
        ("ir", 0, 1), ("ir", 100, 14), ("hr", 10, 3), ("di", 0, 1), ("co", 0, 1),
    ]  # fmt: skip
    assert [p.name for p in blocks[0].points] == [ECHO]
    assert [p.name for p in blocks[2].points] == ["power_cmd", "speed_cmd"]


def test_no_points_no_reads():
    assert plan_points([], 8, 125, 2000) == ()


def test_bits_of_one_register_are_one_read():
    bits = [PointSpec(f"b{i}", f"d.b{i}", "hr", 4, "bool", "", bit=i) for i in range(16)]
    assert spans(bits) == [("hr", 4, 1)]


def test_device_survives_json():
    spec = furnace()
    assert device_from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(colour="red"),
        lambda d: d.pop("host"),
        lambda d: d.update(port="502"),
        lambda d: d.update(unit_id=True),
        lambda d: d.update(points={}),
        lambda d: d["points"][0].update(offset=1.5),
        lambda d: d["points"][0].update(enum=[[True, "on"]]),
        lambda d: d["contract"].update(write="hr 0"),
        lambda d: d["contract"].update(echo=["hr", "0"]),
        lambda d: d.update(contract=None),
        lambda d: d["points"].append(3),
    ],
)
def test_json_of_another_form_is_refused(spoil):
    body = json.loads(json.dumps(furnace().to_json()))
    spoil(body)
    with pytest.raises(SpecError):
        device_from_json(body)


GOOD_COMMAND = PointSpec("c", "d.c", "hr", 0, "f32", "kW", write=True, lo=0.0, hi=10.0, fallback=0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"table": "ir"}, {"lo": None}, {"lo": 11.0}, {"fallback": 11.0}, {"fallback": "zero"}, {"scale": 0.0},
        {"offset": 65535}, {"offset": -1}, {"type": "u8"}, {"word_order": "ACBD"}, {"bit": 3}, {"rate": 0.0},
        {"hi": float("nan")}, {"name": ""}, {"name": "n" * 41}, {"valid_lo": 5.0, "valid_hi": 5.0}, {"tag": ""},
        {"deadband": -1.0}, {"type": "bool", "bit": 2}, {"type": "bool"},
    ],
)  # fmt: skip
def test_bad_points_are_refused(change):
    with pytest.raises(SpecError):
        replace(GOOD_COMMAND, **change)


@pytest.mark.parametrize(
    "contract",
    [
        {"kind": "heartbeat"}, {"kind": "heartbeat", "write": ("hr", 0)}, {"kind": "none", "dead_after_s": 5.0},
        {"kind": "block", "dead_after_s": 5.0}, {"kind": "heartbeat", "write": ("ir", 0), "dead_after_s": 5.0},
        {"kind": "revert_timer", "echo": ("ir", 0), "dead_after_s": 5.0},
    ],
)  # fmt: skip
def test_bad_contracts_are_refused(contract):
    with pytest.raises(SpecError):
        ContractSpec(**contract)


@pytest.mark.parametrize(
    "change",
    [
        {"unit_id": 0}, {"unit_id": 248}, {"port": 0}, {"timeout_s": 0.0}, {"max_registers": 126}, {"owner": ""},
        {"points": (GOOD_COMMAND, GOOD_COMMAND)}, {"points": (GOOD_COMMAND, replace(GOOD_COMMAND, name="x", offset=1))},
        {"points": (GOOD_COMMAND,)},
    ],
)  # fmt: skip
def test_bad_devices_are_refused(change):
    with pytest.raises(SpecError):
        furnace(**change)


def test_point_by_name():
    spec: DeviceSpec = furnace()
    assert spec.point("door").table == "di"
    with pytest.raises(KeyError):
        spec.point("window")
