"""Where a running site keeps its socket and what else lives as long as the process."""

from __future__ import annotations

import os
from pathlib import Path

CONTROL_SOCKET = "control.sock"


def default_runtime() -> Path:
    """Folder of the running service: systemd's RuntimeDirectory, else the user's, else one in /tmp.

    systemd may name several, separated by colons (systemd.exec(5)); the first counts. The folder need not exist.
    """
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if session:
        return Path(session) / "loopwright"
    return Path("/tmp") / f"loopwright-{os.getuid()}"  # noqa: S108 - made 0700; the socket checks who asks


def control_socket(runtime: Path | None = None) -> Path:
    """Socket of the control process in a runtime folder (None: the default one)."""
    return (default_runtime() if runtime is None else runtime) / CONTROL_SOCKET
