import asyncio
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

import apscheduler.executors.base
import apscheduler.schedulers.base
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrl import clock as clocks
from ctrl.messages import Event
from ctrl.schedule import ClockedScheduler, Cron, Every, LiveSchedule, Rule, RuleError, ScheduleError

BERLIN = "Europe/Berlin"


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> float:
    return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()


def dates(rule: Rule, begin: float, end: float) -> list[float]:
    found, at = [], begin - 1e-6
    while (at := rule.after(at)) < end:
        found.append(at)
    return found


def local(times: list[float], tz: str = BERLIN) -> list[str]:
    return [datetime.fromtimestamp(t, clocks.zone(tz)).strftime("%d %H:%M%z") for t in times]


T0 = utc(2018, 3, 5)


# ---------------------------------------------------------------------------------------------------- rules


@given(st.floats(0.05, 1e6), st.floats(0, 4e9))
def test_every_is_strictly_after_and_within_one_period(period: float, now: float) -> None:
    due = Every(period).after(now)
    assert now < due <= now + period * (1 + 1e-9) + 1e-6


def test_every_has_one_grid_whoever_asks_and_counts_gaps_by_arithmetic() -> None:
    assert Every(900, 60).after(T0) == T0 + 60
    assert Every(900, 60).after(T0 + 60) == T0 + 960
    assert Every(1).last_due(T0, T0 + 30 * 86_400.5) == (T0 + 30 * 86_400 + 15, 30 * 86_400 + 15)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(RuleError, match="period"):
            Every(bad)
    with pytest.raises(RuleError, match="offset"):
        Every(10, 10)


def test_a_daily_job_runs_once_on_both_nights_the_clocks_change() -> None:
    rule = Cron("30 2 * * *", BERLIN)
    assert local(dates(rule, utc(2018, 3, 23, 12), utc(2018, 3, 27, 12))) == [
        "24 02:30+0100", "25 03:30+0200", "26 02:30+0200", "27 02:30+0200",
    ]  # fmt: skip
    assert local(dates(rule, utc(2018, 10, 26, 12), utc(2018, 10, 30, 12))) == [
        "27 02:30+0200", "28 02:30+0200", "29 02:30+0100", "30 02:30+0100",
    ]  # fmt: skip


@pytest.mark.parametrize("tz", [BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo"])
@pytest.mark.parametrize("expression", ["30 2 * * *", "15 1 * * *", "0 3 * * *", "59 23 * * *", "0 0 * * *"])
def test_a_daily_job_runs_once_for_each_local_date_of_a_year(tz: str, expression: str) -> None:
    found = dates(Cron(expression, tz), utc(2018, 1, 1, 12), utc(2019, 1, 1, 12))
    days = [datetime.fromtimestamp(t, clocks.zone(tz)).date() for t in found]
    assert len(found) == 365
    assert len(set(days)) == 365


def test_a_job_asked_in_the_hour_that_is_left_out_is_not_lost() -> None:
    rule = Cron("30 2 * * *", BERLIN)
    for minute in range(30):  # 03:00 .. 03:29 local, after the jump
        assert rule.after(utc(2018, 3, 25, 1, minute)) == utc(2018, 3, 25, 1, 30)
    assert rule.after(utc(2018, 3, 25, 1, 30)) == utc(2018, 3, 26, 0, 30)


def test_a_job_asked_in_the_doubled_hour_does_not_come_again() -> None:
    rule = Cron("30 2 * * *", BERLIN)
    for minute in range(60):
        assert rule.after(utc(2018, 10, 28, 1, minute)) == utc(2018, 10, 29, 1, 30)


@pytest.mark.parametrize(("day", "n"), [((2018, 3, 25), 92), ((2018, 10, 28), 100), ((2018, 6, 1), 96)])
def test_quarter_hours_follow_real_time(day: tuple[int, int, int], n: int) -> None:
    begin, end = clocks.local_day(utc(*day, 12), BERLIN)
    found = dates(Cron("*/15 * * * *", BERLIN), begin, end)
    assert found == [begin + 900 * i for i in range(n)]


def test_several_fixed_hours_on_the_short_night_merge_instead_of_running_twice_at_once() -> None:
    found = dates(Cron("30 2,3 * * *", BERLIN), utc(2018, 3, 25), utc(2018, 3, 25, 20))
    assert local(found) == ["25 03:30+0200"]


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("1", {"Mon"}),
        ("0", {"Sun"}),
        ("7", {"Sun"}),
        ("1-5", {"Mon", "Tue", "Wed", "Thu", "Fri"}),
        ("mon-fri", {"Mon", "Tue", "Wed", "Thu", "Fri"}),
        ("SAT,sun", {"Sat", "Sun"}),
        ("5-7", {"Fri", "Sat", "Sun"}),
        ("fri-mon", {"Fri", "Sat", "Sun", "Mon"}),
        ("*/2", {"Sun", "Tue", "Thu", "Sat"}),
        ("1/2", {"Mon", "Wed", "Fri"}),
    ],
)
def test_weekdays_are_those_of_crontab(field: str, days: set[str]) -> None:
    found = dates(Cron(f"0 6 * * {field}"), T0, T0 + 7 * 86_400)
    assert {datetime.fromtimestamp(t, UTC).strftime("%a") for t in found} == days


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * *", "4 fields"),
        ("0 0 31 2 *", "never comes"),
        ("61 * * * *", "61"),
        ("0 0 1 * 1", "give one"),
        ("0 0 * * 8", "not a weekday"),
        ("0 0 * * mon/0", "step"),
        ("", "0 fields"),
    ],
)
def test_a_rule_that_cannot_be_kept_says_so(expression: str, words: str) -> None:
    with pytest.raises(RuleError, match=words):
        Cron(expression, BERLIN)


def test_leap_day() -> None:
    assert dates(Cron("0 0 29 2 *"), utc(2018, 1, 1), utc(2025, 1, 1)) == [utc(2020, 2, 29), utc(2024, 2, 29)]


# ---------------------------------------------------------------------------------------------------- virtual time


class Task:
    def __init__(self) -> None:
        self.running: bool = False
        self.starts = 0

    def start(self) -> None:
        self.starts += not self.running
        self.running = True

    def park(self) -> None:
        self.running = False

    def statistics(self) -> dict[str, float | int | str | bool | None]:
        return {"cycles": 7}


def virtual(start: float = T0) -> tuple[ClockedScheduler, list[tuple[str, float]], list[Event]]:
    log: list[tuple[str, float]] = []
    events: list[Event] = []
    schedule = ClockedScheduler(clocks.VirtualClock(start), lambda id, due: log.append((id, due - start)))
    schedule.subscribe(events.append)
    return schedule, log, events


def test_jobs_fire_in_the_order_of_date_and_id_at_their_dates() -> None:
    schedule, log, _ = virtual()
    seen: list[float] = []
    schedule.add("b", lambda: seen.append(schedule.clock.utc() - T0), Every(10), misfire_grace_s=1)
    schedule.add("a", lambda: None, Every(5), misfire_grace_s=1, at_start=True)
    schedule.add("c", lambda: None, Cron("*/1 * * * *"), misfire_grace_s=1)
    assert schedule.run_until(T0 + 20) == 7
    assert log == [("a", 0), ("a", 5), ("a", 10), ("b", 10), ("a", 15), ("a", 20), ("b", 20)]
    assert seen == [10, 20]
    assert schedule.clock.utc() == T0 + 20
    schedule.run_until(T0 + 60)
    assert log[-3:] == [("a", 60), ("b", 60), ("c", 60)]


def test_coroutines_run_when_everything_is_ready_and_are_refused_when_not() -> None:
    schedule, _, _ = virtual()
    done: list[int] = []

    async def ready() -> None:
        done.append(1)

    async def waits() -> None:
        await asyncio.sleep(0)

    schedule.add("ready", ready, Every(1), misfire_grace_s=1)
    schedule.run_until(T0 + 3)
    assert done == [1, 1, 1]
    schedule.add("waits", waits, Every(1), misfire_grace_s=1)
    with pytest.raises(ScheduleError, match="ready at once"):
        schedule.run_until(T0 + 4)


def test_real_awaits_are_possible_in_virtual_time_when_asked_for() -> None:
    schedule, log, _ = virtual()
    schedule.add("x", lambda: asyncio.sleep(0), Every(1), misfire_grace_s=1)
    assert asyncio.run(schedule.advance(T0 + 2)) == 2
    assert log == [("x", 1), ("x", 2)]


def test_a_failing_job_goes_on_and_is_reported_once_an_episode() -> None:
    schedule, _, events = virtual()
    fail = [True]

    def job() -> None:
        if fail[0]:
            raise RuntimeError("no route")

    schedule.add("poll", job, Every(1), misfire_grace_s=1)
    schedule.run_until(T0 + 3)
    fail[0] = False
    schedule.run_until(T0 + 5)
    fail[0] = True
    schedule.run_until(T0 + 6)
    assert [e.event for e in events] == ["job_error", "job_recovered", "job_error"]
    assert "no route" in events[0].text
    info = schedule.jobs()[0]
    assert (info.runs, info.errors, info.missed, info.last_run_utc) == (2, 4, 0, T0 + 6)
    assert info.next_run_utc == T0 + 7


def test_pause_resume_remove() -> None:
    schedule, log, _ = virtual()
    schedule.add("x", lambda: None, Every(10), misfire_grace_s=1)
    schedule.run_until(T0 + 10)
    schedule.pause("x")
    schedule.run_until(T0 + 35)
    assert schedule.jobs()[0].paused
    schedule.resume("x")
    schedule.resume("x")
    schedule.run_until(T0 + 40)
    schedule.remove("x")
    schedule.run_until(T0 + 100)
    assert log == [("x", 10), ("x", 40)]
    with pytest.raises(ScheduleError, match="no job 'x'"):
        schedule.pause("x")


def test_a_job_may_add_pause_and_remove_jobs_even_itself() -> None:
    schedule, log, _ = virtual()
    schedule.add("once", lambda: schedule.remove("once"), Every(1), misfire_grace_s=1)
    schedule.add("a", lambda: schedule.pause("b"), Every(2), misfire_grace_s=1)
    schedule.add("b", lambda: None, Every(2), misfire_grace_s=1)
    schedule.run_until(T0 + 4)
    assert log == [("once", 1), ("a", 2), ("a", 4)]


def test_a_task_is_started_parked_and_resumed_without_dates_in_the_log() -> None:
    schedule, log, _ = virtual()
    task = Task()
    schedule.add_task("regulatory", task)
    schedule.run_until(T0 + 100)
    states = [task.running]
    assert log == []
    schedule.pause("regulatory")
    states.append(task.running)
    assert schedule.jobs()[0].paused
    schedule.resume("regulatory")
    states.append(task.running)
    assert states == [True, False, True]
    assert schedule.jobs()[0].statistics == {"cycles": 7}
    assert task.starts == 2


def test_ids_and_graces_are_checked() -> None:
    schedule, _, _ = virtual()
    schedule.add("x", lambda: None, Every(1), misfire_grace_s=1)
    with pytest.raises(ScheduleError, match="exists"):
        schedule.add("x", lambda: None, Every(1), misfire_grace_s=1)
    with pytest.raises(ScheduleError, match="grace"):
        schedule.add("y", lambda: None, Every(1), misfire_grace_s=0)


# ---------------------------------------------------------------------------------------------------- live


class Wall:
    """The wall clock of the machine, which a test may step; APScheduler reads the same one."""

    offset = 0.0

    def utc(self) -> float:
        return clocks.system_utc() + self.offset


class SteppedClock(clocks.LiveClock):
    def __init__(self, wall: Wall) -> None:
        self._wall = wall

    def utc(self) -> float:
        return self._wall.utc()


class Hand(clocks.LiveClock):
    """Clocks of a machine, moved by hand. pauses: s that pass just before the n-th reading from now on, by n."""

    def __init__(self) -> None:
        self.now, self._boot_ns, self._readings = T0, 10**12, 0
        self.pauses: dict[int, float] = {}

    def utc(self) -> float:
        self._read()
        return self.now

    def boot_ns(self) -> int:
        self._read()
        return self._boot_ns

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        self._boot_ns += round(seconds * 1e9)

    def pause(self, pauses: dict[int, float]) -> None:
        self.pauses, self._readings = dict(pauses), 0

    def _read(self) -> None:
        self.go_on(self.pauses.pop(self._readings, 0.0))
        self._readings += 1


def give_time(monkeypatch: pytest.MonkeyPatch, machine: Wall | Hand) -> None:
    class Given(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Given":
            return datetime.fromtimestamp(machine.utc(), tz)  # type: ignore[return-value]

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Given)
    monkeypatch.setattr(apscheduler.executors.base, "datetime", Given)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    give_time(monkeypatch, wall)
    return wall


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    give_time(monkeypatch, hand)
    return hand


async def look(schedule: LiveSchedule) -> None:
    """Let the scheduler look at its clocks and run what is due by them."""
    schedule._scheduler.wakeup()
    for _ in range(10):  # a step found in this round makes another one
        await asyncio.sleep(0)


def live(clock: clocks.Clock, use: Callable[[LiveSchedule], object], wall: Wall | Hand | None = None) -> list[Event]:
    events: list[Event] = []

    async def run() -> None:
        boot = wall.boot_ns if isinstance(wall, Hand) else clocks.system_boot_ns
        schedule = LiveSchedule(clock, wall=wall.utc if wall else clocks.system_utc, boot=boot)
        schedule.subscribe(events.append)
        schedule.start()
        result = use(schedule)
        if asyncio.iscoroutine(result):
            await result
        await schedule.close()

    asyncio.run(run())
    return events


def test_live_and_virtual_runs_have_the_same_dates_at_plant_speed() -> None:
    start = T0 + 7
    rules: list[tuple[str, Rule]] = [("a", Every(60)), ("b", Cron("*/2 * * * *")), ("c", Cron("3 1 * * *", BERLIN))]
    log: list[tuple[str, float]] = []
    clock = clocks.PlantClock(clocks.system_boot_ns(), start, 600.0)

    async def run() -> None:
        schedule = LiveSchedule(clock, lambda id, due: log.append((id, due)))
        schedule.start()
        for id, rule in rules:
            schedule.add(id, lambda: None, rule, misfire_grace_s=60)
        while (left := start + 270 - clock.utc()) > 0.0:  # 23 s, 38 ms of the machine, before the next date
            await asyncio.sleep(left / clock.speed)
        await schedule.close()

    asyncio.run(run())
    simulated: list[tuple[str, float]] = []
    virtual = ClockedScheduler(clocks.VirtualClock(start), lambda id, due: simulated.append((id, due)))
    for id, rule in rules:
        virtual.add(id, lambda: None, rule, misfire_grace_s=60)
    virtual.run_until(start + 270)
    assert sorted(log) == sorted(simulated)
    assert len(log) == 7


@pytest.mark.parametrize("step", [-3600.0, -1.0, 3600.0, 30 * 86_400.0, -1.5e9, 5.7e9])
def test_a_step_of_the_wall_clock_neither_stalls_nor_bursts(wall: Wall, step: float) -> None:
    clock = SteppedClock(wall)
    ticks: list[float] = []

    async def use(schedule: LiveSchedule) -> None:
        schedule.add("tick", lambda: ticks.append(clock.wall_mono()), Every(0.1), misfire_grace_s=5)
        await asyncio.sleep(0.25)
        wall.offset += step
        await asyncio.sleep(0.35)

    events = live(clock, use, wall)
    gaps = [b - a for a, b in itertools.pairwise(ticks)]
    assert max(gaps) <= 0.1 * 1.5 + 0.05
    assert min(gaps) >= 0.1 * 0.5 - 0.05
    assert 4 <= len(ticks) <= 7
    assert [e.event for e in events] == ["clock_step"]
    assert events[0].data["step_s"] == pytest.approx(step, abs=0.3)
    assert events[0].data["plant_step_s"] == pytest.approx(step, abs=0.3)


def test_a_small_step_back_does_not_repeat_a_date_and_a_jump_over_one_runs_it_once(wall: Wall) -> None:
    clock = SteppedClock(wall)
    now = datetime.fromtimestamp(clocks.system_utc(), UTC)
    next_hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    runs: list[float] = []
    rule = Cron("0 * * * *")
    wall.offset = next_hour.timestamp() - clocks.system_utc() - 0.2

    async def use(schedule: LiveSchedule) -> None:
        schedule.add("often", lambda: None, Every(0.05), misfire_grace_s=9)  # so that the clock is looked at often
        schedule.add("hourly", lambda: runs.append(wall.utc()), rule, misfire_grace_s=120)
        await asyncio.sleep(0.5)
        assert len(runs) == 1
        wall.offset -= 60  # back over the date: not again
        await asyncio.sleep(0.3)
        assert len(runs) == 1
        assert schedule.jobs()[0].next_run_utc == next_hour.timestamp() + 3600
        wall.offset += 3660  # over the next date, still within its grace
        await asyncio.sleep(0.3)
        assert len(runs) == 2
        wall.offset += 3 * 3600 + 600  # over three dates, the last too long ago
        await asyncio.sleep(0.3)
        assert len(runs) == 2
        assert schedule.jobs()[0].missed == 3

    events = live(clock, use, wall)
    assert [e.event for e in events if e.source == "hourly"] == ["job_missed"]


def test_a_date_that_a_long_step_back_repeats_is_a_run_of_its_own(hand: Hand) -> None:
    hourly: list[float] = []

    async def use(schedule: LiveSchedule) -> None:
        schedule.add("hourly", lambda: hourly.append(hand.now - T0), Cron("0 * * * *"), misfire_grace_s=120)
        hand.go_on(3600)
        await look(schedule)
        hand.now -= 2400  # more than half the time to the next date: the date comes again, to the microsecond
        await look(schedule)
        assert schedule.jobs()[0].next_run_utc == T0 + 3600
        hand.go_on(2400)
        await look(schedule)
        assert schedule.jobs()[0].next_run_utc == T0 + 7200
        hand.go_on(3600)
        await look(schedule)
        assert (schedule.jobs()[0].runs, schedule.jobs()[0].missed) == (3, 0)

    assert [e.event for e in live(hand, use, hand)] == ["clock_step"]
    assert hourly == [3600, 3600, 7200]


@pytest.mark.parametrize("step", [3660.0, -3660.0])
def test_a_step_between_the_pick_of_a_run_and_the_run_is_not_lateness(hand: Hand, step: float) -> None:
    steps = [step]

    def set_clock() -> None:
        hand.now += steps.pop() if steps else 0.0

    async def use(schedule: LiveSchedule) -> None:
        schedule.add("a", set_clock, Every(1.0), misfire_grace_s=9)
        schedule.add("b", lambda: None, Every(1.0), misfire_grace_s=9)
        hand.go_on(1.0)
        await look(schedule)  # both are picked; a sets the clock; b begins
        await look(schedule)
        hand.go_on(1.0)
        await look(schedule)
        assert [(job.runs, job.missed) for job in schedule.jobs()] == [(2, 0), (2, 0)]

    assert [e.event for e in live(hand, use, hand)] == ["clock_step"]


def test_a_run_that_waits_behind_another_job_beyond_its_grace_is_missed_and_counted_once(hand: Hand) -> None:
    blocks = [10.0]

    async def use(schedule: LiveSchedule) -> None:
        schedule.add("a", lambda: hand.go_on(blocks.pop() if blocks else 0.0), Every(1.0), misfire_grace_s=5)
        schedule.add("b", lambda: None, Every(1.0), misfire_grace_s=5)
        hand.go_on(1.0)
        await look(schedule)
        assert [(job.runs, job.missed) for job in schedule.jobs()] == [(1, 0), (0, 1)]
        await look(schedule)  # of the dates 2 .. 11 s the last one is run
        assert [(job.runs, job.missed) for job in schedule.jobs()] == [(2, 9), (1, 10)]

    events = live(hand, use, hand)
    assert [(e.source, e.event) for e in events] == [("b", "job_missed"), ("a", "job_missed")]
    assert events[0].data["late_s"] == 10.0


@pytest.mark.parametrize(
    "pauses",
    [
        *({n: 0.6} for n in range(5)),
        {1: 0.6, 6: 0.6, 11: 0.6, 16: 0.6},  # one in each attempt but the last
        {1: 0.6, 6: 0.6, 11: 0.1, 16: 0.6, 21: 0.6},  # one in each attempt: the closest readings count
    ],
)
@pytest.mark.parametrize("step", [0.0, 5.0])
def test_a_pause_between_two_readings_of_the_clocks_is_not_a_step(
    hand: Hand, pauses: dict[int, float], step: float
) -> None:
    async def use(schedule: LiveSchedule) -> None:
        schedule.add("hourly", lambda: None, Cron("0 * * * *"), misfire_grace_s=120)
        hand.now += step
        hand.pause(pauses)
        await look(schedule)
        assert hand.pauses == {}, "all have come to pass"

    events = live(hand, use, hand)
    assert [e.event for e in events] == ["clock_step"] * (step > 0.0)
    for event in events:
        assert event.data["step_s"] == pytest.approx(step, abs=0.11)
        assert event.data["plant_step_s"] == pytest.approx(step, abs=0.11)


def test_clocks_that_never_can_be_read_at_once_do_not_hold_the_scheduler(hand: Hand) -> None:
    runs: list[int] = []

    async def use(schedule: LiveSchedule) -> None:
        schedule.add("tick", lambda: runs.append(1), Every(60.0), misfire_grace_s=30)
        hand.go_on(60.0)
        hand.pause(dict.fromkeys(range(1000), 0.02))
        await look(schedule)

    assert live(hand, use, hand) == []
    assert runs == [1]


def test_an_overrun_is_counted_and_never_queued() -> None:
    runs: list[int] = []

    async def slow() -> None:
        runs.append(1)
        await asyncio.sleep(0.25)

    async def use(schedule: LiveSchedule) -> None:
        schedule.add("slow", slow, Every(0.1), misfire_grace_s=5, at_start=True)
        await asyncio.sleep(0.7)
        info = schedule.jobs()[0]
        assert info.overruns >= 2
        assert len(runs) <= 4

    events = live(clocks.LiveClock(), use)
    assert [e.event for e in events].count("job_overrun") >= 1


def test_a_blocked_loop_misses_dates_by_number_and_runs_once_after() -> None:
    runs: list[int] = []

    async def use(schedule: LiveSchedule) -> None:
        schedule.add("tick", lambda: runs.append(1), Every(0.05), misfire_grace_s=0.04)
        await asyncio.sleep(0.12)
        before = len(runs)
        time.sleep(0.4)
        await asyncio.sleep(0.12)
        assert 7 <= schedule.jobs()[0].missed <= 9
        assert len(runs) - before <= 4

    live(clocks.LiveClock(), use)


def test_errors_do_not_remove_a_job_and_it_can_be_paused_resumed_removed() -> None:
    runs: list[int] = []

    def bad() -> None:
        runs.append(1)
        raise ValueError("broken")

    async def use(schedule: LiveSchedule) -> None:
        schedule.add("bad", bad, Every(0.05), misfire_grace_s=1)
        await asyncio.sleep(0.22)
        assert schedule.jobs()[0].errors >= 3
        schedule.pause("bad")
        assert schedule.jobs()[0].paused
        await asyncio.sleep(0)
        n = len(runs)
        await asyncio.sleep(0.15)
        assert len(runs) == n
        schedule.resume("bad")
        await asyncio.sleep(0.12)
        assert len(runs) > n
        schedule.remove("bad")
        assert schedule.jobs() == []

    assert [e.event for e in live(clocks.LiveClock(), use)] == ["job_error"]


def test_a_task_that_died_is_started_again_and_a_parked_one_stays_parked() -> None:
    task = Task()

    async def use(schedule: LiveSchedule) -> None:
        schedule.add_task("regulatory", task)
        states = [task.running]
        await asyncio.sleep(0.05)
        task.running = False
        await asyncio.sleep(0.2)
        states.append(task.running)
        assert schedule.jobs()[0].statistics == {"cycles": 7}
        schedule.pause("regulatory")
        await asyncio.sleep(0.2)
        states.append(task.running)
        schedule.resume("regulatory")
        states.append(task.running)
        assert states == [True, True, False, True]

    clock = clocks.PlantClock(clocks.system_boot_ns(), T0, 10.0)  # supervised every 0.1 s of wall time
    assert [e.event for e in live(clock, use)] == ["task_restarted"]


def test_close_cancels_what_runs() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    async def use(schedule: LiveSchedule) -> None:
        schedule.add("x", forever, Every(60), misfire_grace_s=1, at_start=True)
        await asyncio.sleep(0.05)

    live(clocks.LiveClock(), use)
    assert ended == ["cancelled"]
