"""Time. The one module that reads a clock; everywhere else time is an argument.

Two scales:
- `boot_ns`, monotonic nanoseconds that also count while the machine sleeps (CLOCK_BOOTTIME): for grids and ages;
- `utc`, seconds since 1970: for calendars, meter windows and records. It may step when the machine is set right.

A plant clock runs `speed` times as fast as the machine. All processes of a run share its origin, so they agree on the
time of the plant without talking to each other. Limits of I/O and of solvers stay in wall time (`wall_mono`).
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

_CLOCK_BOOTTIME = time.CLOCK_BOOTTIME
_TIMEX_BYTES = 256  # room for struct timex, 208 bytes on 64-bit Linux
_TIME_ERROR = 5


class Clock(Protocol):
    """What the engine knows of time."""

    @property
    def speed(self) -> float:
        """Seconds of plant time in one second of the machine; 0 when the clock is moved by hand."""

    def boot_ns(self) -> int:
        """Monotonic time in ns; the difference of two readings is plant time."""

    def utc(self) -> float:
        """Seconds since 1970."""

    def wall_mono(self) -> float:
        """Monotonic seconds of the machine, for limits of I/O only."""


def system_boot_ns() -> int:
    """CLOCK_BOOTTIME of the machine in ns."""
    return time.clock_gettime_ns(_CLOCK_BOOTTIME)


def system_utc() -> float:
    """UTC of the machine in s since 1970; may step."""
    return time.time()


def system_synchronised() -> bool:
    """True while the kernel holds that a time service keeps its clock right; setting the clock by hand ends that.

    Source: adjtimex(2), which reports TIME_ERROR while STA_UNSYNC is set. False where it cannot be asked.
    """
    report = ctypes.create_string_buffer(_TIMEX_BYTES)  # zeros: ask, change nothing
    state: int = ctypes.CDLL(None).adjtimex(report)
    return 0 <= state < _TIME_ERROR


class LiveClock:
    """The clocks of the machine."""

    speed = 1.0

    def boot_ns(self) -> int:
        """CLOCK_BOOTTIME in ns."""
        return time.clock_gettime_ns(_CLOCK_BOOTTIME)

    def utc(self) -> float:
        """UTC of the machine in s since 1970."""
        return time.time()

    def wall_mono(self) -> float:
        """CLOCK_MONOTONIC in s."""
        return time.monotonic()


class VirtualClock:
    """A clock moved by hand: it stands still between two calls of `advance`.

    start_utc: s since 1970. Kept in whole nanoseconds, so a year of 10 ms steps adds up exactly.
    """

    speed = 0.0

    def __init__(self, start_utc: float) -> None:
        self._start_ns = round(start_utc * 1e9)
        self._ns = 0

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds` >= 0 (resolution 1 ns)."""
        if not seconds >= 0.0:
            raise ValueError(f"time runs forward only, not by {seconds} s")
        self._ns += round(seconds * 1e9)

    def advance_to(self, utc: float) -> None:
        """Move forward to `utc`; stays where it is when that is already past."""
        self._ns = max(self._ns, round(utc * 1e9) - self._start_ns)

    def boot_ns(self) -> int:
        """Nanoseconds since the start of the run."""
        return self._ns

    def utc(self) -> float:
        """Virtual time in s since 1970."""
        return (self._start_ns + self._ns) / 1e9

    def wall_mono(self) -> float:
        """Virtual seconds since the start: in virtual time no limit in wall time ever strikes."""
        return self._ns / 1e9


class PlantClock:
    """The clock of a simulated plant that runs `speed` times as fast as the machine.

    origin_mono_ns: CLOCK_BOOTTIME of the machine, in ns, at which the plant's time was start_utc (s since 1970).
    Every process that is given the same three numbers reads the same time. A step of the wall clock does not matter.
    `boot`: source of CLOCK_BOOTTIME, for tests.
    """

    def __init__(
        self, origin_mono_ns: int, start_utc: float, speed: float, boot: Callable[[], int] = system_boot_ns
    ) -> None:
        if not 0.0 < speed <= 1e6:
            raise ValueError(f"speed must be above 0 and at most 1e6, not {speed}")
        self._origin_ns = origin_mono_ns
        self._start_utc = start_utc
        self._boot = boot
        self.speed = speed

    def boot_ns(self) -> int:
        """CLOCK_BOOTTIME scaled from the origin on, in ns of plant time."""
        return self._origin_ns + round((self._boot() - self._origin_ns) * self.speed)

    def utc(self) -> float:
        """Plant time in s since 1970."""
        return self._start_utc + (self._boot() - self._origin_ns) * 1e-9 * self.speed

    def wall_mono(self) -> float:
        """CLOCK_MONOTONIC of the machine in s, not scaled."""
        return time.monotonic()


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """Time zone by its IANA name. Raises zoneinfo.ZoneInfoNotFoundError for a name that is none."""
    return ZoneInfo(name)


def local_day(utc: float, tz: str) -> tuple[float, float]:
    """UTC seconds at which the local day that holds `utc` begins and ends: 23, 24 or 25 h apart.

    Where a day has no midnight because the clocks go forward at that hour, the day begins at its first instant.
    """
    local = datetime.fromtimestamp(utc, zone(tz))
    following = local.replace(tzinfo=None) + timedelta(days=1)
    # fold 0: the earlier one of two midnights, and of a midnight that is jumped over the instant of the jump
    begin = datetime(local.year, local.month, local.day, tzinfo=zone(tz))
    end = datetime(following.year, following.month, following.day, tzinfo=zone(tz))
    return begin.timestamp(), end.timestamp()


def local_seconds(utc: float, tz: str) -> float:
    """Clock time of `utc` in the zone, as seconds since midnight: 17:00 is 61200 on every day, DST nights included."""
    local = datetime.fromtimestamp(utc, zone(tz))
    whole = local.hour * 3600 + local.minute * 60 + local.second
    return whole + local.microsecond * 1e-6


def iso(utc: float) -> str:
    """UTC seconds as 2018-03-05T06:00:00Z, for people and logs (whole seconds)."""
    return datetime.fromtimestamp(utc, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pause(seconds: float) -> None:
    """Wait `seconds` of wall time in a program without an event loop."""
    time.sleep(max(0.0, seconds))


async def sleep(seconds: float) -> None:
    """Wait `seconds` of wall time without holding the event loop."""
    await asyncio.sleep(max(0.0, seconds))
