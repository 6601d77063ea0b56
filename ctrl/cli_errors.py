"""Exit codes, and the way from an exception to one: a user's mistake is one line, a bug is never hidden."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INVALID: Final = 3
UNREACHABLE: Final = 4
REFUSED: Final = 5
INTERRUPTED: Final = 130
TERMINATED: Final = 143

# By name, so that nothing need be imported to report what cannot have happened.
_EXPECTED: Final = {
    "ctrl.config.problems.ConfigError": INVALID,
    "ctrl.simulation.plant_side.SimulationError": INVALID,
    "plant_models.base.PlantError": INVALID,
    "ctrl.field.spec.SpecError": INVALID,
    "ctrl.schedule.rules.RuleError": INVALID,
    "ctrl.app.explain.UnknownNameError": USAGE,
    "ctrl.app.plan.PlanError": FAILED,
    "ctrl.app.run.RunError": FAILED,
    "ctrl.app.remote.UnknownDeviceError": USAGE,
    "ctrl.app.remote.RefusedError": REFUSED,
    "ctrl.service.link.LinkError": UNREACHABLE,
    "ctrl.field.transport.TransportError": UNREACHABLE,
    "ctrl.signals.base.FeedError": UNREACHABLE,
    "ctrl.records.history.HistoryError": FAILED,
    "ctrl.records.inputs.InputLogError": FAILED,
}


_OF_EXTRA_HMI: Final = frozenset({"fastapi", "starlette", "uvicorn"})


def expected(error: Exception) -> int | None:
    """Exit code of an error that is not a bug: of the site, the command, the network or the disk. None for a bug."""
    for cls in type(error).__mro__:
        code = _EXPECTED.get(f"{cls.__module__}.{cls.__qualname__}")
        if code is not None:
            return code
    return FAILED if isinstance(error, OSError) or _lacks_hmi(error) else None


def sentence(error: Exception) -> str:
    """What to tell the user: problems one a line, a file error as `file: reason`, else the text of the error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if _lacks_hmi(error):
        return f'{error}: this command needs an extra: pip install "loopwright[hmi]"'
    return str(error) or type(error).__name__


def _lacks_hmi(error: Exception) -> bool:
    return isinstance(error, ModuleNotFoundError) and error.name in _OF_EXTRA_HMI


def report(error: Exception, *, debug: bool) -> int:
    """Tell on stderr what happened; the exit code. A bug leaves its traceback in a file, with `debug` on stderr."""
    code = expected(error)
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if code is not None:
        print(sentence(error), file=sys.stderr)
        return code
    line = " ".join(f"internal error: {type(error).__name__}: {error}".split())
    print(line if debug else f"{line[:300]} ({_kept(error)})", file=sys.stderr)
    return FAILED


def _kept(error: Exception) -> str:
    """Write the traceback to a file of its own; where it is."""
    try:
        handle, path = tempfile.mkstemp(prefix="loopwright-error-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError as disk:
        return f"its traceback could not be written: {disk.strerror}; run again with --debug"
    return f"traceback in {path}"
