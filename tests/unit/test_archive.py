"""What a restart of control must know: the archive of writes, the wear budget; and what a step of the clock does."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ctrl.app.control_process import restore_wear
from ctrl.app.control_side import ControlSide, build
from ctrl.clock import VirtualClock
from ctrl.config import load
from ctrl.cycle import one_by_one
from ctrl.field import archive
from ctrl.field.journal import Journal, Record
from ctrl.loops.compile import compile_site
from ctrl.messages import Event
from ctrl.records.inputs import InputLog, InputReader
from ctrl.service import control
from ctrl.service.control import ControlService, LiveRecorder
from ext import Image

NOON = 1_520_337_600.0 + 43_200.0  # 2018-03-06 12:00 UTC
SITE = Path("configs/minimal/site.yaml")
PLACE = {"device": "plc_oven", "point": "power_cmd", "table": "hr", "offset": 10}


def write(journal: Journal, utc: float) -> None:
    journal.append(utc=utc, boot_ns=1, words=(1, 2), value=1.0, reason="change", **PLACE)


def records(n: int, first: int = 1, step_s: float = 1.0) -> list[Record]:
    return [
        Record(i, NOON + (i - first) * step_s, 1, "plc_oven", "power_cmd", "hr", 10, (1, 2), 1.0, "change")
        for i in range(first, first + n)
    ]


@pytest.mark.parametrize("block", [1, 7, 200, 65_536])
def test_archive_gives_back_what_was_put_in_from_a_time_on(tmp_path, monkeypatch, block):
    monkeypatch.setattr(archive, "_BLOCK", block)
    path = tmp_path / "writes.jsonl"
    assert archive.since(path, 0.0) == []
    archive.append(path, records(3))
    archive.append(path, records(2, first=4, step_s=10.0))
    assert [r.sequence for r in archive.since(path, 0.0)] == [1, 2, 3, 4, 5]
    assert archive.since(path, NOON + 10.0) == records(2, first=4, step_s=10.0)[1:]
    assert archive.since(path, NOON + 99.0) == []


def test_a_line_torn_by_a_crash_spoils_no_other(tmp_path):
    path = tmp_path / "writes.jsonl"
    archive.append(path, records(2))
    path.write_bytes(path.read_bytes()[:-20])
    archive.append(path, records(2, first=2))
    assert [r.sequence for r in archive.since(path, 0.0)] == [1, 2, 3]


def test_a_restart_archives_only_what_was_not_yet(tmp_path):
    journal = Journal(tmp_path / "j", 4)
    for i in range(3):
        write(journal, NOON + i)
    journal.release(2)
    journal.close()
    again = Journal(tmp_path / "j", 4)
    write(again, NOON + 9.0)
    assert [r.sequence for r in again.unreleased()] == [3, 4]
    again.release(4)
    assert again.unreleased() == []
    again.close()


def test_a_torn_record_is_not_archived(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path, 4)
    for i in range(6):
        write(journal, NOON + i)
        if i < 4:
            journal.release(i + 1)
    journal.close()
    raw = bytearray(path.read_bytes())
    place = 64 + 0 * 160  # record 5 lies where record 1 was
    raw[place + 30 : place + 160] = bytes(130)
    path.write_bytes(raw)
    again = Journal(path, 4)
    assert [r.sequence for r in again.unreleased()] == [6]
    again.close()


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def event(self, event: Event) -> None:
        self.events.append(event)

    def row(self, *_: object) -> None: ...

    def inputs(self, *_: object) -> None: ...


def minimal(tmp_path: Path, budget: str, journal: Journal, recorder: object = None) -> ControlSide:
    text = SITE.read_text()
    assert text.count("expires_after: 6 s, rate") == 1
    file = tmp_path / "site.yaml"
    file.write_text(text.replace("expires_after: 6 s, rate", f"{budget}expires_after: 6 s, rate"))

    def no_wire(_: object) -> None: ...

    return build(
        compile_site(load(file)),
        clock=VirtualClock(NOON),
        transport=no_wire,  # type: ignore[arg-type]
        gather=one_by_one,
        recorder=recorder or Recorder(),  # type: ignore[arg-type]
        journal=journal,
    )


def test_the_wear_budget_of_the_site_file_counts_across_a_restart(tmp_path):
    path = tmp_path / "writes.jsonl"
    yesterday = [replace(r, utc=r.utc - 86_400.0) for r in records(5)]
    archive.append(path, [*yesterday, *records(3, first=6)])
    journal = Journal(tmp_path / "j", 16)
    for i in range(10):
        write(journal, NOON + i)
    journal.release(7)  # 8 is in both: it counts once
    side = minimal(tmp_path, "max_writes_per_day: 50000, ", journal)
    restore_wear(side, path)
    allowed = side.devices["plc_oven"].gate.state.points["power_cmd"]
    assert allowed.spec.max_writes_per_day == 50_000
    assert allowed.writes_today == 5  # 6, 7 and 8 of the archive, 9 and 10 of the journal
    journal.close()


def test_without_a_wear_budget_nobody_reads_the_archive(tmp_path):
    journal = Journal(None, 4)
    side = minimal(tmp_path, "", journal)
    restore_wear(side, tmp_path)  # a folder: reading it would raise


def test_the_input_log_ends_at_its_first_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "QUEUE", 2)
    went_on = threading.Event()

    class Slow(InputLog):
        def cycle(self, *line) -> None:
            went_on.wait(10.0)
            super().cycle(*line)

    image = Image(1)
    recorder = LiveRecorder(Slow(tmp_path / "inputs.log", {}))
    for k in range(20):
        recorder.inputs(k, NOON + k, 0.0, [], image.pending_log(k))
    went_on.set()
    while recorder._queue:
        pass
    recorder.inputs(20, NOON + 20, 0.0, [], image.pending_log(20))
    recorder.close()
    logged = [line.now_ns for line in InputReader(tmp_path / "inputs.log")]
    assert logged == list(range(len(logged))), "what is logged has no gap"
    assert recorder.dropped == 21 - len(logged) > 0
    assert recorder.error is None


def test_a_step_of_the_clock_is_doubted_until_a_time_service_is_back(tmp_path):
    heard: list[Event] = []
    synchronised = False

    async def use() -> None:
        nonlocal synchronised
        recorder = LiveRecorder(InputLog(tmp_path / "inputs.log", {}))
        recorder.listeners.append(heard.append)
        side = minimal(tmp_path, "", Journal(None, 4), recorder)
        service = ControlService(
            side,
            recorder,
            socket=tmp_path / "s",
            archive=tmp_path / "w",
            period_s=1.0,
            synchronised=lambda: synchronised,
        )
        step = Event(NOON, "clock", "clock_step", "", {"step_s": 3600.0, "plant_step_s": 0.0})
        service._scheduled(step)
        assert not side.status()["clock_suspect"], "the clock of a simulated plant does not step"
        service._scheduled(replace(step, data={"step_s": 3600.0, "plant_step_s": 3600.0}))
        await service._believe_clock()
        assert side.status()["clock_suspect"]
        synchronised = True
        await service._believe_clock()
        await service._believe_clock()
        assert not side.status()["clock_suspect"]
        recorder.close()

    asyncio.run(use())
    assert [e.event for e in heard] == ["clock_step", "clock_step", "CLOCK_SUSPECT", "CLOCK_BELIEVED"]
