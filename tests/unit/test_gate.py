"""The gate refuses, the journal remembers, the driver writes only what was decided now, by us, with reason."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ctrl.field.codec import PointCodec
from ctrl.field.gate import ARMED, DISARMED, SHADOW, Allowed, GateState, Outcome, Request, WriteGate, decide, is_finite
from ctrl.field.journal import Journal, JournalError, JournalFull, recover
from ctrl.field.spec import ContractSpec, PointSpec
from ctrl.field.transport import BUSY, DeviceException, Timeout
from ctrl.quality import (
    BAD_OUT_OF_SERVICE,
    CASCADE_LOCAL_OVERRIDE,
    CASCADE_NOT_INVITED,
    CASCADE_OK,
    UNCERTAIN_SUBSTITUTED,
)
from tests.fieldkit import UTC0, Bench, S, furnace, run

POINT = PointSpec(
    "p", "d.p", "hr", 10, "f32", "kW", write=True, lo=0.0, hi=320.0, rate=40.0, fallback=0.0, max_writes_per_day=3
)


def state(**more) -> GateState:
    allowed = Allowed(POINT, PointCodec(POINT), S, last_value=100.0, last_ns=9 * S)
    return replace(GateState("d", "engine", 1.0, {"p": allowed}, mode=ARMED), **more)


def request(value: float = 110.0, **more) -> Request:
    words = PointCodec(POINT).encode(value) if math.isfinite(value) else (0x7FC0, 0)
    base = {"point": "p", "table": "hr", "offset": 10, "value": value, "words": words, "owner": "engine"}
    return Request(**{**base, "decided_ns": 10 * S, "utc": UTC0, "reason": "change", **more})


def code(req: Request, st: GateState | None = None, now_ns: int = 10 * S) -> str | None:
    refusal = decide(req, st or state(), now_ns)
    return None if refusal is None else refusal.code


@pytest.mark.parametrize(
    ("req", "st", "expected"),
    [
        (request(), state(), None),
        (request(), state(mode=DISARMED), "STATE"),
        (request(), state(mode=SHADOW), "STATE"),
        (request(owner="other"), state(), "OWNER"),
        (request(point="q"), state(), "NOT_ALLOWED"),
        (request(offset=12), state(), "NOT_ALLOWED"),
        (request(table="co"), state(), "NOT_ALLOWED"),
        (request(math.nan), state(), "NOT_FINITE"),
        (request(math.inf), state(), "NOT_FINITE"),
        (request(-math.inf), state(), "NOT_FINITE"),
        (request(words=()), state(), "ENCODING"),
        (request(words=PointCodec(POINT).encode(111.0)), state(), "ENCODING"),
        (request(320.5), state(), "LIMITS"),
        (request(-0.001), state(), "LIMITS"),
        (request(140.0), state(), None),
        (request(140.1), state(), "RATE"),
        (request(59.0), state(), "RATE"),
        (request(59.0, reason="fail_action"), state(), None),
        (request(decided_ns=9 * S - 1), state(), "AGE"),
        (request(decided_ns=10 * S + 1), state(), "AGE"),
    ],
)
def test_each_reason(req, st, expected):
    assert code(req, st) == expected


def test_first_reason_in_order_wins():
    req = request(math.nan, owner="other", point="q", decided_ns=0)
    assert code(req, state(mode=DISARMED)) == "STATE"
    assert code(req) == "OWNER"
    assert code(replace(req, owner="engine")) == "NOT_ALLOWED"
    assert code(replace(req, owner="engine", point="p")) == "NOT_FINITE"


def test_a_long_silence_earns_no_larger_step():
    st = state()
    st.points["p"].last_ns = -1000 * S
    assert code(request(100.0 + 3 * 40.0), st) is None
    assert code(request(100.0 + 3 * 40.0 + 0.1), st) == "RATE"


def test_finite_by_bits():
    assert all(is_finite(x) for x in (0.0, -0.0, 5e-324, 1.7976931348623157e308))
    assert not any(is_finite(x) for x in (math.nan, -math.nan, math.inf, -math.inf))
    assert not is_finite(3)  # type: ignore[arg-type]


class Wire:
    """Accepts writes, or fails them as told."""

    deadline = math.inf
    latency_ms = 0.0

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.sent: list[tuple] = []

    async def write(self, table, offset, words):
        self.sent.append((table, offset, tuple(words)))
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error


def armed_gate(journal: Journal | None = None, **changes) -> WriteGate:
    spec = furnace(name="d", points=(replace(POINT, **changes),))
    gate = WriteGate(spec, journal or Journal(None, 100))
    gate.state.link_good = True
    assert gate.arm("test", "me", UTC0) is None
    return gate


def test_starts_disarmed_and_disarm_always_works():
    gate = WriteGate(furnace(), Journal(None, 10))
    assert gate.state.mode == DISARMED
    assert gate.arm("go", "me", 0.0).code == "LINK"
    gate.state.link_good = True
    assert gate.arm("go", "me", 0.0) is None
    gate.disarm("stop", "me", 0.0)
    gate.disarm("stop", "me", 0.0)
    assert gate.state.mode == DISARMED
    assert [e.event for e in gate.events] == ["ARM_REFUSED", "ARMED", "DISARMED", "DISARMED"]


def test_a_device_that_promises_nothing_cannot_be_armed():
    gate = WriteGate(furnace(contract=ContractSpec("none")), Journal(None, 10))
    gate.state.link_good = True
    assert gate.arm("go", "me", 0.0).code == "CONTRACT"


@pytest.mark.parametrize("exception", [1, 2, 3])
def test_a_map_that_is_not_ours_latches(exception):
    gate, wire = armed_gate(), Wire(DeviceException(exception))
    assert run(gate.write(request(), wire, 10 * S, UTC0)) is Outcome.FAILED
    assert run(gate.write(request(), wire, 10 * S, UTC0)) is Outcome.REFUSED
    assert len(wire.sent) == 1
    assert gate.arm("again", "me", UTC0).code == "LATCHED"
    gate.reset("map repaired", "me", UTC0)
    assert gate.arm("again", "me", UTC0) is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.WRITTEN), (DeviceException(4), Outcome.UNCERTAIN), (DeviceException(5), Outcome.UNCERTAIN),
        (DeviceException(BUSY), Outcome.BUSY), (DeviceException(10), Outcome.FAILED),
        (DeviceException(11), Outcome.UNCERTAIN), (Timeout("late"), Outcome.UNCERTAIN),
    ],
)  # fmt: skip
def test_was_it_executed(error, outcome):
    assert run(armed_gate().write(request(), Wire(error), 10 * S, UTC0)) is outcome


def test_wear_budget_counts_days_and_survives_a_restart():
    journal = Journal(None, 100)
    gate, wire = armed_gate(journal), Wire()
    outcomes = [run(gate.write(request(), wire, 10 * S, UTC0)) for _ in range(4)]
    assert outcomes == [Outcome.WRITTEN] * 3 + [Outcome.REFUSED]
    assert "WEAR_BUDGET" in [e.event for e in gate.events]
    again = armed_gate()
    again.load_wear(journal.records(), UTC0)
    assert run(again.write(request(), wire, 10 * S, UTC0)) is Outcome.REFUSED
    assert run(again.write(request(utc=UTC0 + 86400), wire, 10 * S, UTC0 + 86400)) is Outcome.WRITTEN


def test_a_lasting_refusal_is_one_event():
    gate, wire = armed_gate(), Wire()
    for _ in range(5):
        run(gate.write(request(400.0), wire, 10 * S, UTC0))
    assert [e.event for e in gate.events].count("WRITE_REFUSED") == 1
    assert gate.state.counters["refused"] == 5
    assert wire.sent == []


def test_the_record_is_there_before_the_send():
    journal = Journal(None, 10)

    class Peek(Wire):
        async def write(self, *_):
            self.sent.append([r.value for r in journal.records()])

    wire = Peek()
    run(armed_gate(journal).write(request(), wire, 10 * S, UTC0))
    assert wire.sent == [[110.0]]


def test_a_full_journal_disarms(tmp_path):
    journal = Journal(tmp_path / "j", 2)
    gate, wire = armed_gate(journal, max_writes_per_day=None), Wire()
    outcomes = [run(gate.write(request(), wire, 10 * S, UTC0)) for _ in range(3)]
    assert outcomes == [Outcome.WRITTEN, Outcome.WRITTEN, Outcome.REFUSED]
    assert gate.state.mode == DISARMED
    assert len(wire.sent) == 2
    journal.release(2)
    assert gate.arm("records archived", "me", UTC0) is None
    assert run(gate.write(request(), wire, 10 * S, UTC0)) is Outcome.WRITTEN
    journal.close()


def test_nobody_else_writes_to_a_wire():
    """No way round the gate: no other module of the engine calls write() of a transport."""
    for path in sorted(Path("ctrl").rglob("*.py")):
        if path.name != "gate.py":
            assert not re.search(
                r"(transport|wire)\w*\.write\(", path.read_text().replace("self._transport.write(b", "")
            )


# --------------------------------------------------------------------------------------------------------- journal
def fill(journal: Journal, n: int) -> None:
    for i in range(n):
        where = {"device": "d", "point": "p", "table": "hr", "offset": 10}
        journal.append(utc=UTC0 + i, boot_ns=i, words=(1, i), value=float(i), reason="change", **where)


def test_journal_goes_on_after_a_restart(tmp_path):
    journal = Journal(tmp_path / "j", 4)
    fill(journal, 3)
    assert journal.sync() == 3
    journal.release(2)
    journal.close()
    journal.close()
    again = Journal(tmp_path / "j", 4)
    fill(again, 3)  # sequences 4, 5 and 6; records 1 and 2 make room
    with pytest.raises(JournalFull):
        fill(again, 1)
    assert [r.sequence for r in recover(tmp_path / "j")] == [3, 4, 5, 6]
    with pytest.raises(ValueError, match="does not exist"):
        again.release(7)
    again.close()


def test_torn_tail_is_left_out_and_its_place_used_again(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path, 8)
    fill(journal, 3)
    journal.close()
    intact = path.read_bytes()
    for cut in (1, 50, 159):
        last = 64 + 2 * 160
        path.write_bytes(intact[: last + cut] + bytes(160 - cut) + intact[last + 160 :])
        records = recover(path)
        assert [r.sequence for r in records] == ([1, 2] if cut < 152 else [1, 2, 3])
    path.write_bytes(intact[: 64 + 2 * 160 + 50] + bytes(110) + intact[64 + 3 * 160 :])
    again = Journal(path, 8)
    fill(again, 1)
    again.close()
    assert [(r.sequence, r.words) for r in recover(path)] == [(1, (1, 0)), (2, (1, 1)), (3, (1, 0))]


def test_journal_bytes_depend_on_nothing_but_the_records(tmp_path):
    for name in ("a", "b"):
        journal = Journal(tmp_path / name, 8)
        fill(journal, 5)
        journal.close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    path = tmp_path / "notes"
    path.write_bytes(b"x" * (64 + 160))
    with pytest.raises(JournalError):
        Journal(path, 1)
    with pytest.raises(JournalError):
        recover(path)
    assert path.read_bytes() == b"x" * 224
    Journal(tmp_path / "j", 2).close()
    with pytest.raises(JournalError):
        Journal(tmp_path / "j", 3)
    with pytest.raises(JournalError):
        Journal(tmp_path / "missing" / "j", 3)


# ---------------------------------------------------------------------------------------------------------- driver
def started(**commands: float) -> Bench:
    """Armed, in control, and with the given commands written."""
    bench = Bench()
    bench.cycle(2)
    bench.arm()
    bench.cycle(**{"power_cmd": 60.0, "speed_cmd": 0.0, "run_cmd": 0.0, **commands})
    bench.cycle()
    bench.writes()
    bench.events.clear()
    return bench


def test_nothing_is_written_while_disarmed():
    bench = Bench()
    bench.cycle(20, power_cmd=60.0)
    assert [t for t in bench.plc.traffic if t[0] == "write"] == []
    assert bench.image.value("plc.state") == 0.0
    assert bench.image.value("plc.link") == 1.0
    assert bench.image.status("plc.power_cmd~readback") == CASCADE_NOT_INVITED


def test_shadow_records_and_writes_nothing():
    bench = Bench()
    bench.cycle(2)
    bench.gate.shadow("trial", "me", bench.utc)
    bench.cycle(3, power_cmd=70.0)
    bench.cycle(power_cmd=400.0)
    assert [t for t in bench.plc.traffic if t[0] == "write"] == []
    assert bench.events.count("SHADOW_WRITE") == 2
    assert bench.image.value("plc.state") == 1.0


def test_write_on_change_and_refresh_at_a_third():
    bench = started()
    bench.cycle(6)
    power = [w for w in bench.writes() if w[:2] == ("hr", 10)]
    assert len(power) == 3, "every 2 s: a third of 6 s"
    bench.cycle(power_cmd=80.0)
    assert ("hr", 10, (0x42A0, 0)) in bench.writes()
    assert bench.plc.command("power_cmd") == 80.0
    bench.cycle()
    assert bench.image.value("plc.power_cmd~readback") == 80.0


def test_one_record_for_each_write():
    bench = started()
    before = len(bench.journal.records())
    bench.cycle(5, power_cmd=90.0, speed_cmd=12.3)
    assert len(bench.journal.records()) - before == len(bench.writes())
    assert bench.journal.records()[before].point == "power_cmd"


def test_held_and_fail_action_values_go_out_and_bad_ones_do_not():
    bench = started()
    bench.cycle()
    slot = bench.image.slots["plc.power_cmd"]
    for status, expected in ((UNCERTAIN_SUBSTITUTED, 75.0), (BAD_OUT_OF_SERVICE, 75.0)):
        bench.k += 1
        run(bench.driver.read(bench.now_ns))
        bench.image.post(slot, 75.0 if status == UNCERTAIN_SUBSTITUTED else 85.0, status, bench.now_ns)
        run(bench.driver.write(bench.now_ns, bench.utc))
        bench.plc.step(float(bench.k))
        assert bench.plc.command("power_cmd") == expected


def test_nan_from_the_program_is_refused_and_stops_the_heartbeat():
    bench = started()
    beat = bench.driver.counters["heartbeats"]
    bench.cycle(3, power_cmd=math.nan)
    assert [w for w in bench.writes() if w[:2] == ("hr", 10)] == []
    assert bench.driver.counters["heartbeats"] == beat
    assert bench.events == ["WRITE_REFUSED"]


def test_a_decision_of_the_past_is_refused():
    bench = started()
    bench.k += 3
    run(bench.driver.read(bench.now_ns))
    bench.image.post(bench.image.slots["plc.power_cmd"], 70.0, 0x80, bench.now_ns - 2 * S)
    run(bench.driver.write(bench.now_ns, bench.utc))
    assert bench.driver.drain_events()[0].data["code"] == "AGE"


def test_heartbeat_freezes_when_a_read_fails_and_the_plc_falls_back():
    bench = started(power_cmd=100.0)
    bench.cycle(power_cmd=100.0)
    beats = bench.driver.counters["heartbeats"]
    read = bench.plc.read
    bench.plc.read = lambda t, s, c: (_ for _ in ()).throw(_exception(4)) if t == "di" else read(t, s, c)
    bench.cycle(8)
    assert bench.driver.counters["heartbeats"] == beats
    assert bench.events[-1] == "LINK_LOST"
    assert bench.image.status("plc.door") == 0x14
    assert bench.image.status("plc.temp") >= 0x40, "the other tables answer"
    assert bench.plc.state == "fallback"
    assert bench.plc.command("power_cmd") == 60.0


def _exception(number: int) -> Exception:
    from ctrl.field.virtual_plc import PlcException

    return PlcException(number)


def test_outage_statuses_recovery_and_bumpless_return():
    bench = started(power_cmd=100.0)
    bench.plc.set_measure("temp", 850.0)
    bench.cycle()
    bench.plc.offline = True
    bench.cycle()
    assert (bench.image.value("plc.temp"), bench.image.status("plc.temp")) == (850.0, 0x14)
    bench.cycle(9)
    assert bench.events == ["READ_FAILED", "LINK_LOST"]
    assert bench.image.value("plc.link") == 0.0
    bench.plc.offline = False
    bench.writes()
    while bench.image.value("plc.link") == 0.0:
        assert bench.writes() == []
        bench.cycle(power_cmd=60.0)
    assert bench.image.value("plc.power_cmd~readback") == 60.0, "what the PLC fell back to"
    bench.cycle(2)
    assert bench.plc.state == "remote"
    assert bench.events[-1] == "LINK_RECOVERED"


def test_never_heard_is_another_status_than_not_heard_now():
    bench = Bench()
    bench.plc.offline = True
    bench.cycle()
    assert bench.image.status("plc.temp") == 0x18


def test_device_restart_is_seen_by_its_echo():
    bench = started(power_cmd=100.0)
    bench.cycle(2)
    bench.plc.reboot()
    bench.writes()
    bench.cycle(5)
    assert bench.events == ["DEVICE_RESTART"]
    assert bench.writes() == [], "read, do not push the last setpoint"
    bench.cycle(2, power_cmd=60.0)
    assert bench.plc.boots == 2
    assert bench.events[-1] == "LINK_RECOVERED"


def test_a_plc_whose_program_stands_is_found_by_its_echo():
    bench = started()
    bench.plc.stopped = True
    bench.cycle(6)
    assert bench.events == ["ECHO_STALLED"]


def test_writes_that_are_ignored_are_a_mismatch_after_three_cycles():
    bench = started()
    bench.plc.stopped = True
    bench.cycle(3, power_cmd=90.0)
    assert bench.events == []
    bench.cycle()
    assert bench.events == ["READBACK_MISMATCH"]
    bench.writes()
    bench.cycle(2)
    assert [w for w in bench.writes() if w[:2] == ("hr", 10)] == []
    assert bench.image.status("plc.power_cmd~readback") == CASCADE_NOT_INVITED


def test_a_limit_inside_the_plc_is_tracked_with_its_limit_bit():
    bench = started()

    def clamped(n: int, command: float) -> None:
        for _ in range(n):
            bench.cycle(power_cmd=command)
            top = PointCodec(bench.spec.point("power_cmd")).encode(min(command, 100.0))
            bench.plc.set_words("hr", 10, top)

    for command in (90.0, 120.0):
        clamped(1, command)
    clamped(4, 130.0)
    assert bench.events == ["READBACK_MISMATCH"]
    assert bench.image.value("plc.power_cmd~readback") == 100.0
    assert bench.image.status("plc.power_cmd~readback") == CASCADE_OK | 2, "cannot go higher"
    bench.writes()
    clamped(1, 80.0)
    assert ("hr", 10, (0x42A0, 0)) in bench.writes(), "and commands go on"
    bench.cycle(power_cmd=80.0)
    assert bench.image.status("plc.power_cmd~readback") == CASCADE_OK


def test_a_second_master_makes_us_yield():
    bench = started()
    for foreign in (200.0, 210.0, 220.0):
        bench.plc.write("hr", 10, PointCodec(bench.spec.point("power_cmd")).encode(foreign))
        bench.cycle(power_cmd=80.0)
    bench.writes()
    bench.cycle(5, power_cmd=90.0)
    assert bench.events.count("OWNER_CONFLICT") == 1
    assert [w for w in bench.writes() if w[:2] == ("hr", 10)] == []
    assert bench.image.status("plc.power_cmd~readback") == CASCADE_LOCAL_OVERRIDE
    assert bench.image.value("plc.power_cmd~readback") == 220.0


def test_local_operation_is_tracked_and_rearming_takes_over_bumplessly():
    bench = started()
    bench.plc.override("speed_cmd", 50.0)
    bench.cycle(3)
    assert "OWNER_CONFLICT" in bench.events
    assert bench.image.value("plc.speed_cmd~readback") == 50.0
    bench.plc.override("speed_cmd", None)
    bench.arm()
    bench.cycle(2, speed_cmd=50.0)
    assert bench.plc.command("speed_cmd") == 50.0


def test_a_write_that_was_executed_unseen_is_not_repeated():
    bench = started()
    write = bench.plc.write

    def answer_lost(table, start, words):
        write(table, start, words)
        if (table, start) == ("hr", 10):
            raise _exception(4)

    bench.plc.write = answer_lost
    bench.cycle(power_cmd=90.0)
    bench.plc.write = write
    assert bench.events == ["WRITE_UNCERTAIN"]
    bench.cycle()
    assert [w for w in bench.writes() if w[:2] == ("hr", 10)] == [("hr", 10, (0x42B4, 0))]
    assert bench.plc.command("power_cmd") == 90.0


def test_a_write_that_was_lost_gives_way_to_the_current_decision():
    bench = started()
    write, sent = bench.plc.write, []

    def request_lost(table, start, words):
        if (table, start) == ("hr", 10):
            raise _exception(11)
        write(table, start, words)

    bench.plc.write = request_lost
    bench.cycle(power_cmd=90.0)
    bench.plc.write = write
    bench.cycle(power_cmd=95.0)
    sent = [w for w in bench.writes() if w[:2] == ("hr", 10)]
    assert bench.events == ["WRITE_UNCERTAIN", "WRITE_NOT_EXECUTED"]
    assert sent == [("hr", 10, (0x42BE, 0))], "95, never the old 90"


def test_busy_is_tried_once_more_in_the_cycle():
    bench = started()
    read, calls = bench.plc.read, []

    def busy_once(table, start, count):
        calls.append(table)
        if table == "hr" and calls.count("hr") == 1:
            raise _exception(BUSY)
        return read(table, start, count)

    bench.plc.read = busy_once
    bench.cycle()
    assert calls == ["ir", "hr", "di", "co", "hr"]
    assert bench.driver.counters["bad_cycles"] == 0


def test_a_read_that_the_map_refuses_is_not_repeated_and_latches():
    bench = started()
    read, calls = bench.plc.read, []

    def refuse(table, start, count):
        calls.append(table)
        if table == "di":
            raise _exception(2)
        return read(table, start, count)

    bench.plc.read = refuse
    bench.cycle(4)
    assert calls.count("di") == 1
    assert bench.image.status("plc.door") == 0x04
    assert bench.gate.state.mode == DISARMED
    assert bench.gate.arm("go", "me", 0.0).code == "LINK" or bench.gate.state.latched


def test_fail_action_writes_fallbacks_once_and_falls_silent():
    bench = started(power_cmd=100.0)
    bench.cycle(power_cmd=100.0)
    run(bench.driver.fail_action(bench.now_ns, bench.utc))
    run(bench.driver.fail_action(bench.now_ns, bench.utc))
    assert [w for w in bench.writes() if w[:2] == ("hr", 10)][-1:] == [("hr", 10, (0x4270, 0))]
    bench.plc.traffic.clear()
    bench.cycle(8)
    assert [t for t in bench.plc.traffic if t[0] == "write"] == []
    assert bench.plc.state == "fallback"


def test_disarming_stops_command_and_heartbeat_at_once():
    bench = started()
    bench.gate.disarm("stop", "me", bench.utc)
    bench.plc.traffic.clear()
    bench.cycle(3, power_cmd=90.0)
    assert [t for t in bench.plc.traffic if t[0] == "write"] == []


def test_heartbeat_skips_zero():
    bench = started()
    bench.driver.link.count = 0xFFFE
    bench.plc.traffic.clear()
    bench.cycle(3)
    assert [w for op, t, o, w in bench.plc.traffic if (op, t, o) == ("write", "hr", 0)] == [(0xFFFF,), (1,), (2,)]
