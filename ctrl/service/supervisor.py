"""The supervisor: starts control and site, keeps them running, ends them in order. It does nothing else.

A site process that dies is started again with back-off. A control process that dies is started again disarmed: until
then the PLC contract acts. Three deaths of control in ten minutes end the run.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ctrl.clock import LiveClock

CRASHES = 3
CRASH_WINDOW_S = 600.0
BACK_OFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
STEADY_S = 60.0  # a process that lived so long starts at the first back-off again
END_S = 10.0


@dataclass(slots=True)
class Child:
    """One process: its command, the descriptors it inherits, and how often it died."""

    name: str
    command: Sequence[str]
    fds: Sequence[int]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    next_start: float = 0.0
    deaths: int = 0
    crashes: deque[float] = field(default_factory=deque)


class Supervisor:
    """Control and site of one run. say: one line for people."""

    def __init__(self, control: Child, site: Child, say: Callable[[str], None]) -> None:
        self.control, self.site, self._say = control, site, say
        self._clock = LiveClock()
        self.stopping = False

    def start(self, child: Child) -> None:
        """Start a process in its own session, so that a Ctrl-C at the terminal reaches the supervisor alone."""
        child.process = subprocess.Popen(child.command, pass_fds=child.fds, start_new_session=True)  # noqa: S603
        child.started = self._clock.wall_mono()

    def poll(self) -> int | None:
        """Look after both. An exit code when the run is over, else None. Call it a few times a second."""
        for child in (self.control, self.site):
            self._look_after(child)
        if len(self.control.crashes) >= CRASHES:
            self._say(f"control died {CRASHES} times in {CRASH_WINDOW_S / 60:.0f} minutes; giving up, disarmed")
            return 1
        return None

    def _look_after(self, child: Child) -> None:
        now = self._clock.wall_mono()
        if child.process is None:
            if now >= child.next_start:
                self._say(f"{child.name}: starting again")
                self.start(child)
            return
        code = child.process.poll()
        if code is None:
            return
        child.process = None
        child.deaths = 1 if now - child.started > STEADY_S else child.deaths + 1
        child.crashes.append(now)
        while now - child.crashes[0] > CRASH_WINDOW_S:
            child.crashes.popleft()
        wait = BACK_OFF_S[min(child.deaths, len(BACK_OFF_S)) - 1]
        child.next_start = now + wait
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        self._say(f"{child.name}: {how}; starting again in {wait:g} s" + _meaning(child.name))

    def end(self) -> bool:
        """End both: control first, with its fail action; then the site. True when control ended by itself."""
        self.stopping = True
        clean = True
        for child in (self.control, self.site):
            process = child.process
            if process is None or process.poll() is not None:
                clean = clean and child is not self.control
                continue
            process.send_signal(signal.SIGTERM)
            try:
                clean = process.wait(END_S) == 0 and clean
            except subprocess.TimeoutExpired:
                self._say(f"{child.name}: does not end, killed")
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                clean = False
        return clean


def _meaning(name: str) -> str:
    return "; the PLCs are on their own until then" if name == "control" else "; control goes on"
