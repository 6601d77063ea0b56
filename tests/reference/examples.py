"""Example parameters of every block kind, for the suites that run over all kinds (tests/unit/test_block_contract.py).

Every kind that `ext` registers needs an entry. `params` holds what has no default and what makes the block do
something; `n_in` is the number of inputs of kinds with repeated inputs, `var` their repeated parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import ext
from ext.opcodes import OPCODES


@dataclass(frozen=True)
class Example:
    params: Mapping[str, float] = field(default_factory=dict)
    n_in: int | None = None
    var: tuple[float, ...] = ()


def code(*words: str | float) -> tuple[float, ...]:
    """Postfix code from the names of operations and their operands."""
    return tuple(float(OPCODES[w] if isinstance(w, str) else w) for w in words)


# the first is above 0, and the second by the third below 3 or the first not above 5
_EXPRESSION = code(
    *("input", 0, "const", 0, "gt"),
    *("input", 1, "input", 2, "div", "const", 3, "lt"),
    *("input", 0, "const", 5, "gt", "not", "or", "and"),
)

EXAMPLES: dict[str, Example] = {
    # input and output
    "ai": Example(
        {"valid_lo": -50.0, "valid_hi": 150.0, "max_rate": 20.0, "freeze_eps": 0.01, "freeze_time": 5.0},
    ),
    "di": Example({"debounce": 2.0}),
    "ao": Example(
        {"lo": 0.0, "hi": 100.0, "rate": 5.0, "deadband": 0.5, "quantum": 0.1, "fail_is_value": 1.0, "fail_value": 20.0}
    ),
    "do": Example({"fail_is_value": 1.0, "fail_value": 1.0}),
    # signals
    "select": Example({"mode": 0.0, "max_difference": 5.0}, n_in=3),
    "source": Example({"fallback_is_value": 1.0, "fallback_value": 7.0}, n_in=3),
    "filter": Example({"tau": 3.0, "kind": 1.0}),
    "linear_sum": Example({"bias": 1.0}, n_in=3, var=(1.0, -2.0, 0.5)),
    "ratio": Example(),
    "scale": Example({"a": -1.8, "b": 32.0}),
    "ramp": Example({"up": 2.0, "down": 1.0, "lo": -80.0, "hi": 80.0}),
    "window_average": Example({"length": 30.0, "filter": 4.0}),
    "expr": Example({}, n_in=3, var=_EXPRESSION),
    "alarm": Example({"on_delay": 2.0, "off_delay": 1.0, "latch_trip": 1.0}),
    "series": Example({"t0": 0.0, "step": 10.0, "hold": 0.0, "repeat": 1.0}, var=(1.0, 4.0, -2.0)),
    # control
    "pid": Example(
        {"kp": 15.0, "ki": 0.01, "kd": 20.0, "b": 0.6, "pv_filter": 2.0, "lo": 0.0, "hi": 320.0, "safe_output": 0.0}
        | {"hold_time": 3.0, "bad_action": 1.0, "bad_output": 60.0}
    ),
    "setpoint_program": Example({"holding": 820.0, "running": 870.0, "soak_within": 5.0, "soak_for": 10.0}, n_in=4),
    "staging": Example(
        {"trim_capacity": 16.0, "trim_min": 0.25, "up_for": 3.0, "down_for": 5.0, "rotate": 1.0, "n_units": 2.0},
        n_in=6,
        var=(10.4, 8.0, 6.0, 60.0, 1.0, 10.4, 8.0, 6.0, 0.0, 2.0),
    ),
    "rate_control": Example({"ramp": 0.1, "lo": 0.0, "hi": 1.1, "run_min": 0.5}, n_in=4),
    # energy and production
    "peak_limiter": Example(
        {"length": 60.0, "limit_fallback": 340.0, "reduce_max": 60.0, "reduce_for": 20.0, "reduce_min_off": 10.0}
        | {"shed_kw": 65.0, "shed_min_off": 10.0}
    ),
    "power_follow": Example(
        {"ramp": 100.0, "p_max": 200.0, "soc_min": 8.0, "soc_max": 95.0, "capacity": 400.0, "reserve": 12.0}
    ),
    "production_rules": Example(
        {
            "reorder_below": 10.0,
            "fill_to": 26.0,
            "rate": 0.95,
            "cheapest_hours": 16.0,
            "min_run": 20.0,
            "min_stop": 30.0,
        }
        | {"charge_below": 85.0, "discharge_above": 115.0, "bat_power_max": 200.0, "charge_power": 100.0},
        var=(61200.0, 72000.0),
    ),
}


def example(kind: str) -> Example:
    """Example of a kind. Raises AssertionError that names the table to extend."""
    assert kind in EXAMPLES, f"block kind {kind!r} has no example parameters: add it to EXAMPLES in {__file__}"
    return EXAMPLES[kind]


def arrange(kind: str, params: Mapping[str, float], var: Sequence[float] = ()) -> list[float]:
    """All parameters of a kind in their order: given, else default; then the repeated ones.

    Raises AssertionError for an unknown name or a required one that is missing.
    """
    declared = ext.kinds()[kind].params
    unknown = sorted(set(params) - {name for name, _ in declared})
    assert not unknown, f"{kind} has no parameter {unknown}"
    values = []
    for name, default in declared:
        value = params.get(name, default)
        assert value is not None, f"{kind}: parameter {name} is required"
        values.append(float(value))
    return values + [float(x) for x in var]


def block(kind: str, /, n_in: int | None = None, var: Sequence[float] = (), **params: float) -> ext.SingleBlock:
    """One block by parameter names."""
    return ext.SingleBlock(kind, arrange(kind, params, var), n_in)
