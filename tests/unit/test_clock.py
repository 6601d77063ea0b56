import asyncio
from datetime import UTC, datetime

import pytest

from ctrl import clock as c

BERLIN = "Europe/Berlin"


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> float:
    return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()


def test_virtual_clock_adds_up_exactly_over_a_year_of_fine_steps() -> None:
    clock = c.VirtualClock(utc(2018, 3, 5))
    for _ in range(100_000):
        clock.advance(0.01)
    assert clock.boot_ns() == 1_000_000_000_000
    assert clock.utc() == utc(2018, 3, 5) + 1000.0


def test_virtual_clock_never_runs_back() -> None:
    clock = c.VirtualClock(1000.0)
    clock.advance_to(1010.0)
    clock.advance_to(1005.0)
    assert clock.utc() == 1010.0
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1.0)
    with pytest.raises(ValueError, match="forward"):
        clock.advance(float("nan"))


def test_plant_clocks_with_one_origin_agree_and_scale_both_times() -> None:
    now = [5_000_000_000]
    a = c.PlantClock(3_000_000_000, 1_000.0, 60.0, lambda: now[0])
    b = c.PlantClock(3_000_000_000, 1_000.0, 60.0, lambda: now[0])
    assert a.utc() == b.utc() == 1_120.0
    before = a.boot_ns()
    now[0] += 1_000_000_000
    assert a.boot_ns() - before == 60_000_000_000
    assert a.utc() == 1_180.0
    with pytest.raises(ValueError, match="speed"):
        c.PlantClock(0, 0.0, 0.0)


def test_live_clock_is_monotonic_and_near_the_machine() -> None:
    clock = c.LiveClock()
    first = clock.boot_ns()
    assert clock.boot_ns() >= first
    assert abs(clock.utc() - c.system_utc()) < 1.0
    assert clock.wall_mono() > 0.0


@pytest.mark.parametrize(
    ("day", "hours"), [((2018, 3, 25), 23), ((2018, 10, 28), 25), ((2018, 6, 1), 24), ((2020, 2, 29), 24)]
)
def test_local_day_has_23_24_or_25_hours(day: tuple[int, int, int], hours: int) -> None:
    begin, end = c.local_day(utc(*day, 12), BERLIN)
    assert (end - begin) / 3600 == hours
    assert c.local_seconds(begin, BERLIN) == 0.0
    assert c.local_day(begin, BERLIN) == (begin, end)
    assert c.local_day(end - 1, BERLIN) == (begin, end)
    assert c.local_day(end, BERLIN)[0] == end


def test_day_without_midnight_begins_at_its_first_instant() -> None:
    # clocks in Sao Paulo went from 2018-11-04 00:00 to 01:00
    begin, end = c.local_day(utc(2018, 11, 4, 12), "America/Sao_Paulo")
    assert begin == utc(2018, 11, 4, 3)
    assert (end - begin) / 3600 == 23
    assert c.local_day(utc(2018, 11, 3, 12), "America/Sao_Paulo")[1] == begin


def test_clock_time_is_right_on_both_dst_nights() -> None:
    # 17:00 in Berlin is 16:00 UTC in winter and 15:00 UTC in summer, also on the days the clocks change
    assert c.local_seconds(utc(2018, 3, 25, 15), BERLIN) == 61_200
    assert c.local_seconds(utc(2018, 10, 28, 16), BERLIN) == 61_200
    # the doubled hour: 02:30 twice
    assert c.local_seconds(utc(2018, 10, 28, 0, 30), BERLIN) == 9_000
    assert c.local_seconds(utc(2018, 10, 28, 1, 30), BERLIN) == 9_000
    assert c.local_seconds(utc(2018, 3, 5) + 0.25, "UTC") == pytest.approx(0.25, abs=1e-6)


def test_iso() -> None:
    assert c.iso(utc(2018, 3, 5, 6)) == "2018-03-05T06:00:00Z"


def test_waits_are_in_wall_time() -> None:
    async def run() -> None:
        clock = c.PlantClock(c.system_boot_ns(), 0.0, 1000.0)
        await c.sleep(0.02)
        assert 20.0 <= clock.utc() < 400.0
        await c.sleep(-1.0)

    asyncio.run(run())
