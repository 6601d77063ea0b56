"""Input and output kernels: golden behaviour, step by step."""

import math

import pytest

import ext
from tests.reference.examples import arrange, block

GOOD, BAD, LAST, SUBST, RANGE, FROZEN, SENSOR, OOS = 0x80, 0x00, 0x44, 0x48, 0x54, 0x50, 0x10, 0x1C
OK, REFUSED, LOCAL, FAULT, LOW, HIGH, HELD = 0xC0, 0xCC, 0xD8, 0xDC, 1, 2, 3


def one(b: ext.SingleBlock, x: float, q: int = GOOD, **scan: float) -> tuple[float, int]:
    return b.step([(x, q)], 1.0, **scan)[0]


# ---------------------------------------------------------------- ai
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (0.0, (0.0, GOOD)),
        (100.0, (100.0, GOOD)),
        (101.9, (101.9, RANGE)),
        (-2.0, (-2.0, RANGE)),
        (102.1, (40.0, SENSOR)),
        (math.nan, (40.0, SENSOR)),
        (math.inf, (40.0, SENSOR)),
    ],
)
def test_ai_range(raw: float, expected: tuple[float, int]) -> None:
    b = block("ai", valid_lo=0, valid_hi=100)
    one(b, 40.0)
    assert one(b, raw) == expected


def test_ai_with_one_limit_has_no_margin() -> None:
    assert one(block("ai", valid_lo=0), -0.001) == (0.0, SENSOR)


def test_ai_bad_raw_passes_its_status_with_the_last_value() -> None:
    b = block("ai")
    assert one(b, 5.0, 0x14) == (0.0, 0x14)
    one(b, 7.0)
    assert one(b, 99.0, 0x18) == (7.0, 0x18)
    assert one(b, 8.0, 0x82) == (8.0, 0x82), "limit bits of a good sample pass"
    assert one(b, 8.0, LAST) == (8.0, LAST)


def test_ai_holds_one_jump_and_accepts_the_second() -> None:
    b = block("ai", max_rate=5)
    assert one(b, 10.0) == (10.0, GOOD)
    assert one(b, 15.0) == (15.0, GOOD)
    assert one(b, 60.0) == (15.0, LAST)
    assert one(b, 16.0) == (16.0, GOOD), "a single spike is gone"
    assert one(b, 60.0) == (16.0, LAST)
    assert one(b, 61.0) == (61.0, GOOD), "twice in a row is the truth"
    assert one(b, 0.0, fresh=1) == (0.0, GOOD), "a fresh scan starts anew"


def test_ai_polled_slower_than_scanned_judges_samples_not_scans() -> None:
    b = block("ai", max_rate=5)
    s = 1_000_000_000
    assert one(b, 10.0, now=10 * s) == (10.0, GOOD)
    assert one(b, 30.0, now=14 * s) == (30.0, GOOD), "20 units in 4 s"
    assert one(b, 90.0, now=18 * s) == (30.0, LAST)
    assert one(b, 90.0, now=18 * s) == (30.0, LAST), "the same sample seen again is no second witness"
    assert one(b, 90.0, now=22 * s) == (90.0, GOOD)


def test_ai_frozen() -> None:
    b = block("ai", freeze_eps=0.5, freeze_time=3)
    assert [one(b, x)[1] for x in (10.0, 10.1, 9.9, 10.2, 10.0)] == [GOOD, GOOD, GOOD, FROZEN, FROZEN]
    assert one(b, 10.6) == (10.6, GOOD)


@pytest.mark.parametrize("kind", ["ai", "di"])
def test_inputs_keep_the_time_of_the_sample(kind: str) -> None:
    slots = [ext.Slot("raw", ""), ext.Slot("out", "")]
    blocks = [ext.BlockSpec("b", kind, 0, (0,), (1,), tuple(arrange(kind, {})))]
    image = ext.Image(2)
    program = ext.Program(ext.pack(1.0, slots, [ext.Task("t", 1)], blocks), image)
    image.post(0, 1.0, GOOD, 123)
    image.latch(999)
    program.run(0, 1.0, 999, 0.0, 0.0, 0)
    assert image.get(1) == (1.0, GOOD, 123)


# ---------------------------------------------------------------- di
def test_di_debounce_and_invert() -> None:
    b = block("di", debounce=3)
    assert [one(b, x)[0] for x in (0, 1, 1, 0, 1, 1, 1, 1, 0)] == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    b = block("di", invert=1)
    assert [one(b, x)[0] for x in (0, 1, 0)] == [1, 0, 1]
    assert one(b, 1.0, 0x18) == (1.0, 0x18)


# ---------------------------------------------------------------- ao
class Rig:
    """An ao or do with named pins."""

    def __init__(self, kind: str, wired: tuple[bool, ...] = (True, True, True, True), **params: float) -> None:
        self.block = ext.SingleBlock(kind, arrange(kind, params), 4, wired)
        self.wired = wired

    def scan(
        self, cmd: float, rb: float = 0.0, *, state: float = 2.0, link: float = 1.0, q: int = GOOD, rq: int = GOOD
    ) -> tuple[tuple[float, int], tuple[float, int], tuple[float, int]]:
        """Returns out, achieved, and the answer to cmd."""
        pins = [(cmd, q), (rb, rq), (state, GOOD), (link, GOOD)]
        out, achieved = self.block.step([p if w else None for p, w in zip(pins, self.wired, strict=True)], 1.0)
        return out, achieved, self.block.backward()[0]


LONE = (True, False, False, False)
LIMITS = {"lo": 0.0, "hi": 100.0, "fail_is_value": 0.0}


def test_ao_clamps_and_says_so() -> None:
    r = Rig("ao", LONE, **LIMITS)
    assert r.scan(40.0) == ((40.0, GOOD), (40.0, GOOD), (40.0, OK))
    assert r.scan(140.0) == ((100.0, GOOD), (100.0, GOOD), (100.0, OK | HIGH))
    assert r.scan(-1.0) == ((0.0, GOOD), (0.0, GOOD), (0.0, OK | LOW))


def test_ao_rate() -> None:
    r = Rig("ao", LONE, **LIMITS, rate=10)
    assert r.scan(40.0)[0] == (40.0, GOOD), "nothing is known before the first command: it is the start"
    assert [r.scan(65.0)[0][0] for _ in range(4)] == [50.0, 60.0, 65.0, 65.0]
    assert r.scan(0.0)[2] == (55.0, OK | LOW)
    assert r.scan(56.0)[2] == (56.0, OK)
    assert r.scan(900.0)[2] == (66.0, OK | HIGH)


def test_ao_deadband_keeps_the_last_value_but_end_stops_are_exact() -> None:
    r = Rig("ao", LONE, **LIMITS, deadband=2)
    assert [r.scan(x)[0][0] for x in (50.0, 51.0, 52.0, 52.1, 51.0, 99.0, 100.0, 1.0, 0.0)] == [
        *(50.0, 50.0, 50.0, 52.1, 52.1, 99.0, 100.0, 1.0, 0.0)
    ]


@pytest.mark.parametrize(("cmd", "out"), [(0.26, 0.3), (1.05, 1.0), (0.1, 0.1), (-5.0, 0.0), (0.74, 0.7), (1.04, 1.0)])
def test_ao_quantises_inside_its_limits(cmd: float, out: float) -> None:
    r = Rig("ao", LONE, lo=0, hi=1.05, fail_is_value=0, quantum=0.1)
    assert r.scan(cmd)[0][0] == pytest.approx(out, abs=1e-12)


def test_ao_tracks_while_disarmed_and_starts_at_the_readback() -> None:
    r = Rig("ao", **LIMITS, rate=5)
    assert r.scan(80.0, 30.0, state=0) == ((30.0, OOS), (30.0, GOOD), (30.0, REFUSED))
    assert r.scan(80.0, 33.0, state=0, rq=BAD) == ((80.0, OOS), (80.0, OOS), (80.0, REFUSED)), "else the command"
    assert r.scan(80.0, 33.0, state=0)[0] == (33.0, OOS)
    assert r.scan(80.0, 34.0) == ((34.0, GOOD), (34.0, GOOD), (34.0, OK | HELD))
    assert r.scan(80.0, 34.0) == ((39.0, GOOD), (34.0, GOOD), (34.0, OK | HIGH))
    assert r.scan(80.0, math.nan) == ((44.0, GOOD), (44.0, GOOD), (44.0, OK | HIGH)), "no readback: own out"


def test_ao_never_writes_before_the_first_good_readback() -> None:
    r = Rig("ao", **LIMITS)
    for _ in range(5):
        assert r.scan(80.0, 30.0, rq=BAD) == ((80.0, OOS), (80.0, OOS), (80.0, REFUSED))
    assert r.scan(80.0, 30.0)[0] == (30.0, GOOD)
    assert r.scan(80.0, 30.0)[0] == (80.0, GOOD)


def test_ao_link_lost_tracks_and_comes_back_at_the_readback() -> None:
    r = Rig("ao", **LIMITS)
    r.scan(50.0, 50.0)
    assert r.scan(60.0, 50.0)[0] == (60.0, GOOD)
    assert r.scan(60.0, 60.0, link=0) == ((60.0, 0x14), (60.0, GOOD), (60.0, REFUSED))
    assert r.scan(60.0, 20.0)[0] == (20.0, GOOD), "the PLC went to its own fail-safe meanwhile"


@pytest.mark.parametrize(("kind", "held", "old"), [("ao", 20.0, 60.0), ("do", 0.0, 1.0)])
def test_a_command_older_than_the_return_is_not_written(kind: str, held: float, old: float) -> None:
    """A slower task has not seen yet what the device holds: its last command is from before the device went away."""
    b = block(kind, n_in=4, **(LIMITS if kind == "ao" else {"fail_is_value": 0.0}))
    gate = [(2.0, GOOD), (1.0, GOOD)]
    for now in (1000, 1000, 1000):
        assert b.step([(old, GOOD), (held, OK), *gate], 1.0, now=now)[0] == (held, GOOD)
    assert b.step([(old, GOOD), (held, OK), *gate], 1.0, now=2000)[0] == (old, GOOD)


@pytest.mark.parametrize("status", [REFUSED, LOCAL])
def test_ao_follows_a_device_that_does_not_take_its_command(status: int) -> None:
    r = Rig("ao", **LIMITS, rate=5)
    r.scan(50.0, 50.0)
    r.scan(50.0, 50.0)
    assert r.scan(50.0, 20.0, rq=status) == ((20.0, OOS), (20.0, status), (20.0, status))
    assert r.scan(50.0, 30.0, rq=status)[0] == (30.0, OOS)
    assert r.scan(50.0, 30.0, rq=status, state=0)[2] == (30.0, REFUSED)
    assert r.scan(50.0, 30.0, rq=OK) == ((30.0, GOOD), (30.0, OK), (30.0, OK | HELD)), "taken again: no step"
    assert r.scan(50.0, 30.0, rq=OK)[0] == (35.0, GOOD)
    assert r.scan(50.0, 30.0, rq=status, state=1)[0] == (40.0, GOOD), "in shadow nothing is written, nor refused"


def test_ao_shadow_is_virtual_and_armed_starts_at_the_real_position() -> None:
    r = Rig("ao", **LIMITS)
    r.scan(50.0, 20.0, state=0)
    assert r.scan(50.0, 20.0, state=1) == ((20.0, GOOD), (20.0, GOOD), (20.0, OK | HELD))
    assert r.scan(50.0, 20.0, state=1) == ((50.0, GOOD), (50.0, GOOD), (50.0, OK))
    assert r.scan(50.0, 20.0) == ((20.0, GOOD), (20.0, GOOD), (20.0, OK | HELD))


@pytest.mark.parametrize(("is_value", "end"), [(0.0, 50.0), (1.0, 30.0)])
def test_ao_bad_command_holds_then_fails(is_value: float, end: float) -> None:
    r = Rig("ao", LONE, lo=0, hi=100, rate=10, fail_is_value=is_value, fail_value=30, fault_time=3)
    r.scan(50.0)
    assert [r.scan(9.0, q=BAD) for _ in range(2)] == [((50.0, LAST), (50.0, LAST), (50.0, OK | HELD))] * 2
    out, _, answer = r.scan(math.nan)
    assert out == (40.0 if is_value else 50.0, SUBST)
    assert answer == (out[0], FAULT)
    r.scan(9.0, q=BAD)
    assert r.scan(9.0, q=BAD)[0] == (end, SUBST)
    assert r.scan(end + 50)[0] == (end + 10, GOOD), "back at the rate, from where it is"


def test_ao_that_knows_nothing_writes_nothing() -> None:
    r = Rig("ao", LONE, lo=10, hi=100, fail_is_value=0)
    assert [r.scan(50.0, q=BAD) for _ in range(9)] == [((10.0, OOS), (10.0, OOS), (10.0, REFUSED))] * 9
    r = Rig("ao", LONE, lo=10, hi=100, fail_is_value=1, fail_value=40, fault_time=2)
    assert [r.scan(50.0, q=BAD)[0] for _ in range(2)] == [(10.0, OOS), (40.0, SUBST)]


def test_an_unreadable_gate_state_counts_as_disarmed() -> None:
    r = Rig("ao", **LIMITS)
    r.scan(50.0, 50.0)
    assert r.scan(60.0, 50.0, state=math.nan)[0] == (50.0, OOS)
    assert r.scan(60.0, 50.0, link=math.nan)[0] == (50.0, 0x14)


# ---------------------------------------------------------------- do
def test_do_follows_tracks_and_fails() -> None:
    r = Rig("do", fail_is_value=1, fail_value=0, fault_time=2)
    assert r.scan(0.0, 1.0, state=0) == ((1.0, OOS), (1.0, GOOD), (1.0, REFUSED))
    assert r.scan(0.0, 1.0) == ((1.0, GOOD), (1.0, GOOD), (1.0, OK | HELD))
    assert r.scan(0.0, 1.0) == ((0.0, GOOD), (1.0, GOOD), (1.0, OK))
    assert r.scan(1.0, 0.0) == ((1.0, GOOD), (0.0, GOOD), (0.0, OK))
    assert r.scan(1.0, 1.0, q=BAD) == ((1.0, LAST), (1.0, GOOD), (1.0, OK | HELD))
    assert r.scan(1.0, 1.0, q=BAD) == ((0.0, SUBST), (1.0, GOOD), (1.0, FAULT))
    assert r.scan(1.0, 0.0, link=0) == ((0.0, 0x14), (0.0, GOOD), (0.0, REFUSED))


@pytest.mark.parametrize("status", [REFUSED, LOCAL])
def test_do_follows_a_device_that_does_not_take_its_command(status: int) -> None:
    r = Rig("do", fail_is_value=0)
    r.scan(1.0, 1.0)
    assert r.scan(1.0, 0.0, rq=status) == ((0.0, OOS), (0.0, status), (0.0, status))
    assert r.scan(1.0, 0.0, rq=OK) == ((0.0, GOOD), (0.0, OK), (0.0, OK | HELD))
    assert r.scan(1.0, 0.0, rq=OK)[0] == (1.0, GOOD)


def test_do_that_knows_nothing_writes_nothing() -> None:
    r = Rig("do", LONE, fail_is_value=0)
    assert [r.scan(1.0, q=BAD)[0] for _ in range(5)] == [(0.0, OOS)] * 5
    assert r.scan(1.0)[0] == (1.0, GOOD)
