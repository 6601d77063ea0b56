"""Loopwright: closed-loop automation and energy control, from price signal to PLC register.

The public face. Everything is imported when it is first used: the control process imports this package too, and must
stay free of YAML, solvers and plotting.

    site = ctrl.load("site.yaml")
    run = ctrl.simulate(site, days=1, wire="memory", seed=7)
    run.kpis, run.frame(), run.save("folder")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctrl.app.simulate import simulate
    from ctrl.config.loader import load
    from ctrl.config.problems import ConfigError

__all__ = ["ConfigError", "load", "simulate"]

_HOMES = {
    "ConfigError": "ctrl.config.problems",
    "load": "ctrl.config.loader",
    "simulate": "ctrl.app.simulate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ctrl' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next look finds it at once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
