"""Priority of a process: control and what plays a PLC before people's work, the IT side after it."""

from __future__ import annotations

import os

CONTROL = -10
BACKGROUND = 5


def prefer(nice: int) -> bool:
    """Set the nice value of this process; False where the system does not permit it, and nothing has changed."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        return False
    return True
