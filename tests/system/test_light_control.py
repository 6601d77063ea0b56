"""The control process stays light: it loads the bundle, and none of what belongs to the IT side."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "scipy", "control", "highspy", "daqp", "matplotlib", "pandas", "pydantic", "ruamel", "fastapi", "starlette",
    "uvicorn", "httpx2", "rich", "click", "sqlite3", "ctrl.config", "ctrl.planning", "ctrl.hmi",
)  # fmt: skip


def test_the_control_process_imports_nothing_of_the_it_side() -> None:
    code = "import sys, ctrl.app.control_process; print('\\n'.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = [name for name in HEAVY if any(m == name or m.startswith(name + ".") for m in found)]
    assert not heavy, f"imported by the control process: {', '.join(heavy)}"
    assert "ext" in found
    assert "pymodbus" in found
    assert "apscheduler" in found
