"""An independent check of a plan: plain arithmetic, step by step, that shares nothing with the optimiser.

A plan that fails is never offered.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from ctrl.planning.plan import Plan, PlanStep
from ctrl.planning.spec import DispatchSpec
from ctrl.planning.state import Curve, PlanInputs, PlanState

KW: Final = 0.01
TONNES: Final = 1e-3
PERCENT: Final = 0.01
NUMBERS: Final = (
    "utc",
    "hours",
    "bat_power",
    "rate",
    "peak_target",
    "soc",
    "stock",
    "grid",
    "buy",
    "pv",
    "base_load",
    "due",
)


def check(plan: Plan, spec: DispatchSpec, state: PlanState, inputs: PlanInputs) -> list[str]:
    """Everything wrong with the plan, in plain words; empty when it can be followed.

    Limits that the plan says it relaxes may be broken by as much as it says.
    """
    if not plan.steps:
        return ["the plan has no steps"]
    if not all(math.isfinite(getattr(s, name)) for s in plan.steps for name in NUMBERS):
        return ["a number in the plan is not finite"]
    return [
        *_times(plan, spec, state),
        *_battery(plan, spec, state),
        *_line(plan, spec, state),
        *_stock(plan, spec, state),
        *_power(plan, spec, state, inputs),
        *_peaks(plan, spec, state),
    ]


def _allowed(plan: Plan, what: str) -> float:
    return sum(r.amount for r in plan.relaxed if r.what.startswith(what))


def _at(step: PlanStep) -> str:
    return f"at utc {step.utc:.0f}"


def _times(plan: Plan, spec: DispatchSpec, state: PlanState) -> Iterator[str]:
    if not 0 <= plan.steps[0].utc - state.utc < 1.0:
        yield f"the plan starts at utc {plan.steps[0].utc:.0f}, not now"
    for a, b in pairwise(plan.steps):
        if abs(a.utc + a.hours * 3600 - b.utc) > 0.01:
            yield f"steps do not meet {_at(b)}"
    if plan.valid_until > plan.utc + spec.valid_s + 1e-6:
        yield "the plan is valid for too long"


def _battery(plan: Plan, spec: DispatchSpec, state: PlanState) -> Iterator[str]:
    if spec.battery is None:
        if any(abs(s.bat_power) > KW for s in plan.steps):
            yield "battery power without a battery"
        return
    b = spec.battery
    energy, power = state.soc / 100 * b.capacity, b.power if state.battery_available else 0.0
    lowest = min(b.soc_min + b.reserve, b.soc_max, state.soc)
    highest = max(b.soc_max, state.soc)
    for s in plan.steps:
        if abs(s.bat_power) > power + KW:
            yield f"battery at {s.bat_power:.1f} kW {_at(s)}, at most {power:g}"
        flow = -s.bat_power / b.efficiency if s.bat_power > 0 else -s.bat_power * b.efficiency
        energy += flow * s.hours
        soc = 100 * energy / b.capacity
        if abs(soc - s.soc) > PERCENT:
            yield f"state of charge {s.soc:.2f} % {_at(s)} replays as {soc:.2f} %"
            return
        if not lowest - PERCENT <= soc <= highest + PERCENT:
            yield f"state of charge {soc:.2f} % {_at(s)}, outside {lowest:g} to {highest:g}"


def _line(plan: Plan, spec: DispatchSpec, state: PlanState) -> Iterator[str]:
    line = spec.line
    if line is None:
        if any(s.rate > 1e-6 or s.line_on for s in plan.steps):
            yield "the line runs without a line"
        return
    on, since = state.line_on, state.utc - 60.0 * state.line_minutes
    above = max(0.0, state.rate - line.rate_min) if on else 0.0
    for s in plan.steps:
        if s.line_on and not state.line_available:
            yield f"the line runs {_at(s)} and is not available"
        if s.line_on != on:
            least = line.min_run if on else line.min_stop
            if s.utc - since < 3600 * least - 1 and state.line_available:
                yield f"the line {'stops' if on else 'starts'} {_at(s)}, less than {least:g} h after its last change"
            on, since = s.line_on, s.utc
        if s.line_on and not line.rate_min - 1e-5 <= s.rate <= line.rate_max + 1e-5:
            yield f"rate {s.rate:.3f} t/h {_at(s)}, outside {line.rate_min:g} to {line.rate_max:g}"
        if not s.line_on and s.rate != 0.0:
            yield f"rate {s.rate:.3f} t/h {_at(s)} with the line off"
        now_above = s.rate - line.rate_min if s.line_on else 0.0
        first = s is plan.steps[0]
        if now_above - above > line.ramp * s.hours + 1e-4 or (
            not first and above - now_above > line.ramp * s.hours + 1e-4
        ):
            yield f"the rate changes too fast {_at(s)}"
        above = now_above


def _stock(plan: Plan, spec: DispatchSpec, state: PlanState) -> Iterator[str]:
    made = spec.production
    if made is None:
        return
    stock = state.stock - state.backlog
    low = made.stock_min - _allowed(plan, "stock below")
    high = made.stock_max + _allowed(plan, "stock above")
    for s in plan.steps:
        stock += s.rate * s.hours - s.due
        if abs(stock - s.stock) > TONNES:
            yield f"stock {s.stock:.3f} t {_at(s)} replays as {stock:.3f} t"
            return
        if not low - 2 * TONNES <= stock <= high + 2 * TONNES:
            yield f"stock {stock:.2f} t {_at(s)}, outside {low:.2f} to {high:.2f}"


def _mean(curve: Curve, start: float, end: float) -> float:
    """Time-weighted mean of a step-wise curve, piece by piece."""
    first = bisect.bisect_right(curve.steps, (start, math.inf))
    last = bisect.bisect_left(curve.steps, (end, -math.inf))
    cuts = [start, *(t for t, _ in curve.steps[first:last]), end]
    return sum(curve.at(a) * (b - a) for a, b in pairwise(cuts)) / (end - start)


def _power(plan: Plan, spec: DispatchSpec, state: PlanState, inputs: PlanInputs) -> Iterator[str]:
    over, spill = _allowed(plan, "import limit"), _allowed(plan, "export limit")
    line = spec.line
    for s in plan.steps:
        end = s.utc + s.hours * 3600
        load = _mean(inputs.base_load, s.utc, end) - max(0.0, _mean(inputs.pv, s.utc, end))
        if line is not None:
            load += line.fixed + line.per_rate * s.rate if s.line_on else line.holding
        if abs(load - s.bat_power - s.grid) > KW + 1e-4 * abs(load):
            yield f"grid {s.grid:.1f} kW {_at(s)} replays as {load - s.bat_power:.1f} kW"
        most = spec.grid.import_max
        if inputs.import_cap is not None:
            inside = [v for t, v in inputs.import_cap.steps if s.utc < t < end]
            most = min(most, inputs.import_cap.at(s.utc), *inside)
        most = max(most, 0.0)
        if s.grid > most + over + KW:
            yield f"import {s.grid:.1f} kW {_at(s)}, at most {most + over:g}"
        if -s.grid > spec.grid.export_max + spill + KW:
            yield f"export {-s.grid:.1f} kW {_at(s)}, at most {spec.grid.export_max + spill:g}"
    del state


def _peaks(plan: Plan, spec: DispatchSpec, state: PlanState) -> Iterator[str]:
    zone, window = ZoneInfo(spec.timezone), spec.prices.window_s
    this = datetime.fromtimestamp(state.utc, zone).month
    energy: dict[int, float] = {int(state.utc // window): state.window_energy}
    for s in plan.steps:
        same = datetime.fromtimestamp(s.utc, zone).month == this
        floor = max(spec.prices.expected_peak, state.month_peak if same else 0.0)
        if s.peak_target < floor - KW:
            yield f"peak target {s.peak_target:.1f} kW {_at(s)}, below the {floor:.1f} kW already paid or expected"
        if s.hours * 3600 > window:
            mean = max(s.grid, 0.0)
        else:
            key = int((s.utc + 1e-3) // window)
            energy[key] = energy.get(key, 0.0) + max(s.grid, 0.0) * s.hours
            mean = energy[key] * 3600 / window
        if mean > s.peak_target + 2 * KW:
            yield f"import of {mean:.1f} kW over a billing window {_at(s)}, target {s.peak_target:.1f}"
