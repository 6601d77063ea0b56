"""Kernels beside their twins: named parameters, example sites, one call for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ctrl.modes
from ext import SingleBlock, kinds
from tests.reference.energy import PeakLimiter, PowerFollow, ProductionRules
from tests.reference.regulatory import Pid, Pin, RateControl, SetpointProgram, Twin
from tests.reference.staging import Staging

# the loops of a heat-treatment site
FURNACE = {
    "kp": 15.0, "ki": 15.0 / 1620.0, "kd": 0.0, "b": 0.6, "lo": 0.0, "hi": 320.0, "hold_time": 60.0,
    "requires_hold": 2.0, "bad_action": 1.0, "bad_output": 60.0, "safe_output": 0.0,
}  # fmt: skip
PROFILE = {"holding": 820.0, "running": 870.0, "soak_within": 5.0, "soak_for": 600.0}
AIR = {"trim_capacity": 16.0, "trim_min": 0.25, "rotate": 1.0, "n_units": 2.0}
AIR_UNITS = [(10.4, 180.0, 120.0, 6.0, 1.0), (10.4, 180.0, 120.0, 6.0, 2.0)]
RATE = {"ramp": 0.1 / 60.0, "lo": 0.0, "hi": 1.1, "run_min": 0.55, "allow_hold": 3.0}
PEAK = {
    "limit_fallback": 340.0, "reduce_max": 60.0, "reduce_for": 1200.0, "reduce_min_off": 600.0, "shed_kw": 65.0,
    "shed_min_off": 180.0,
}  # fmt: skip
BATTERY = {
    "ramp": 100.0, "p_max": 200.0, "soc_min": 8.0, "soc_max": 95.0, "capacity": 400.0, "reserve": 12.0,
}  # fmt: skip
RULES = {
    "reorder_below": 10.0, "fill_to": 26.0, "rate": 0.95, "cheapest_hours": 16.0, "min_run": 7200.0,
    "min_stop": 7200.0, "charge_below": 85.0, "discharge_above": 115.0, "bat_power_max": 200.0, "soc_lo": 20.0,
    "soc_hi": 90.0, "charge_power": 100.0,
}  # fmt: skip
AVOID = [(17 * 3600.0, 20 * 3600.0)]


def parameters(kind: str, changes: dict[str, float]) -> dict[str, float]:
    """All fixed parameters by name: defaults of the kind, then `changes`. KeyError if one is unknown or missing."""
    known = kinds()[kind].params
    unknown = set(changes) - {name for name, _ in known}
    if unknown:
        raise KeyError(f"{kind}: unknown parameters {sorted(unknown)}")
    full: dict[str, float] = {}
    for name, default in known:
        value = changes.get(name, default)
        if value is None:
            raise KeyError(f"{kind}: {name} is required")
        full[name] = float(value)
    return full


def kernel(
    kind: str, changes: dict[str, float], extra: list[float] | None = None, n_in: int | None = None, **kw: Any
) -> SingleBlock:
    """The compiled block with named parameters; `extra` = repeated parameters at the end."""
    return SingleBlock(kind, list(parameters(kind, changes).values()) + (extra or []), n_in=n_in, **kw)


def both(kind: str, changes: dict[str, float], n_in: int, **lists: Any) -> tuple[SingleBlock, Twin]:
    """Kernel and twin with the same parameters; lists = units of staging or avoid of production_rules."""
    full = parameters(kind, changes)
    extra = [float(x) for group in lists.values() for item in group for x in item]
    twins = {
        "pid": Pid, "setpoint_program": SetpointProgram, "rate_control": RateControl, "staging": Staging,
        "peak_limiter": PeakLimiter, "power_follow": PowerFollow, "production_rules": ProductionRules,
    }  # fmt: skip
    return SingleBlock(kind, [*full.values(), *extra], n_in=n_in), twins[kind](**lists, **full)


def good(*values: float | None) -> list[Pin]:
    return [None if v is None else (v, 0x80) for v in values]


class Rig:
    """A block whose outputs are read by name and answered by a perfect consumer unless told otherwise."""

    def __init__(self, block: SingleBlock, dt: float = 1.0) -> None:
        self.block, self.dt, self.utc, self.local = block, dt, 0.0, 0.0
        self.out: dict[str, float] = {}
        self.q: dict[str, int] = {}

    def __call__(self, pins: Sequence[Pin], n: int = 1, **answers: tuple[float, int]) -> dict[str, float]:
        for _ in range(n):
            back = [answers.get(name, (self.out.get(name, 0.0), 0xC0)) for name in self.block.kind.outputs]
            out = self.block.step(pins, self.dt, utc=self.utc, local=self.local, back=back)
            self.out = {k: v for k, (v, _) in zip(self.block.kind.outputs, out, strict=True)}
            self.q = {k: q for k, (_, q) in zip(self.block.kind.outputs, out, strict=True)}
            self.utc += self.dt
            self.local += self.dt
        return self.out

    @property
    def why(self) -> str:
        return ctrl.modes.REASONS[int(self.out["why"])]
