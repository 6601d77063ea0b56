"""Priority of a process: control and what plays a PLC before people's work, the IT side after it."""

from __future__ import annotations

import ctypes
import os
import signal

CONTROL = -10
BACKGROUND = 5
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Get SIGTERM when the process that started this one ends: a supervisor that is killed leaves nobody behind.

    parent: process id of the one that started this one; if it is gone already, the signal comes at once.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def prefer(nice: int) -> bool:
    """Set the nice value of this process; False where the system does not permit it, and nothing has changed."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        return False
    return True
