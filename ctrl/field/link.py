"""Is the device there, and does its program follow us? Bad cycles, time to recover, echo of the heartbeat."""

from __future__ import annotations

from typing import Final

from ctrl.field.spec import DeviceSpec

N_BAD: Final = 3  # cycles in a row without all answers that make a lost link

Finding = tuple[str, str] | None  # event and text


class LinkWatch:
    """State of the link to one device; times are ns of CLOCK_BOOTTIME.

    good: commands may be written. It falls after three bad cycles in a row, a restart or a stalled program, and comes
    back after `recover_s` of complete reads; the first complete read after start is enough.
    count: the last heartbeat sent, 1..65535; 0 = none yet.
    """

    __slots__ = ("_ever", "_patience_ns", "_recover_ns", "_since", "_told", "bad", "count", "echo", "echo_ns", "good")

    def __init__(self, spec: DeviceSpec, recover_s: float) -> None:
        self.good = False
        self.bad = 0
        self.count = 0
        self.echo = 0
        self.echo_ns = 0
        self._recover_ns = round(1e9 * recover_s)
        self._patience_ns = round(1e9 * max(3.0 * spec.period_s, 0.5 * (spec.contract.dead_after_s or 0.0)))
        self._since: int | None = None
        self._ever = False
        self._told = False

    def lose(self) -> None:
        """Not good from now on; recovery counts from the next complete cycle."""
        self.good = False
        self._since = None

    def judge(self, complete: bool, now_ns: int) -> Finding:
        """End of a cycle's reads: did the link change?"""
        if not complete:
            self.bad += 1
            self._since = None
            if self.good and self.bad >= N_BAD:
                self.lose()
                return "LINK_LOST", f"{self.bad} cycles without all answers"
            return None
        self.bad = 0
        if self.good:
            return None
        if self._since is None:
            self._since = now_ns
        if self._ever and now_ns - self._since < self._recover_ns:
            return None
        event = "LINK_RECOVERED" if self._ever else "LINK_UP"
        self.good = self._ever = True
        return event, "all reads answered, outputs read back"

    def next_beat(self) -> int:
        """The next heartbeat; 0 is skipped, it means none."""
        self.count = self.count % 0xFFFF + 1
        return self.count

    def watch(self, echo: int, now_ns: int, beating: bool) -> Finding:
        """An echo that falls to 0 means restart or fallback; one that stands still, a program that does not run.

        Either loses the link. beating: heartbeats are being sent. A stall is told once until the echo moves again.
        """
        before, self.echo = self.echo, echo
        if echo != before:
            self.echo_ns, self._told = now_ns, False
        if self.count == 0:
            self.count = echo  # go on from where the device is, so that the first beat is a change
        if not (self.good and beating):
            self.echo_ns = now_ns
            return None
        if echo == 0 and before != 0:
            self.lose()
            return "DEVICE_RESTART", "the device does not hold our commands in force"
        if echo != self.count and now_ns - self.echo_ns > self._patience_ns:
            self.lose()
            told, self._told = self._told, True
            return None if told else ("ECHO_STALLED", "the device answers, but its program does not follow")
        return None
