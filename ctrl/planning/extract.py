"""From the solver's vector to a plan: steps, costs and what was relaxed."""

from __future__ import annotations

from typing import Final

import numpy as np

from ctrl.planning.grid import Floats
from ctrl.planning.model import Case
from ctrl.planning.plan import Costs, PlanStep, Relaxed
from ctrl.planning.state import Order, PlanInputs

DIGITS: Final = 6  # far below what any device resolves; the solver's last bits are no information
PUNCTUAL_S: Final = 30.0
_TOLERANCE: Final = {"kW": 0.05, "t": 1e-3, "%": 0.05}
_END_TOLERANCE: Final = {"t": 0.1, "%": 1.0}  # a wish for two days ahead, worth less than the gap of the search


def _tidy(value: float | Floats) -> float:
    return round(float(value), DIGITS) + 0.0  # + 0.0: no minus zero


def steps_of(case: Case, x: Floats, reasons: tuple[str, ...]) -> tuple[PlanStep, ...]:
    """Steps that are not over, with one reason each."""
    lay, grid, spec = case.layout, case.grid, case.spec
    capacity = spec.battery.capacity if spec.battery else 1.0
    bat = x[lay.of("dis")] - x[lay.of("chg")]
    flow = x[lay.of("imp")] + x[lay.of("over")] - x[lay.of("exp")] - x[lay.of("spill")]
    on, rate = x[lay.of("on")][grid.block] > 0.5, x[lay.of("rate")]
    peaks = (float(x[lay.of("peak0")][0]), float(x[lay.of("peak1")][0]))
    soc, net = x[lay.of("soc")] * 100 / capacity, x[lay.of("net")]
    due, steps = case.due + case.sales, []
    for k in range(grid.first, grid.n):
        steps.append(
            PlanStep(
                utc=float(max(grid.edges[k], grid.now)),
                hours=float(grid.left[k]),
                bat_power=_tidy(bat[k]),
                rate=_tidy(rate[k]) if on[k] else 0.0,
                line_on=bool(on[k]),
                peak_target=_tidy(peaks[int(grid.window_month[grid.window[k]])]),
                soc=_tidy(soc[k]),
                stock=_tidy(net[k]),
                grid=_tidy(flow[k]),
                buy=_tidy(case.buy[k]),
                pv=_tidy(case.pv[k]),
                base_load=_tidy(case.base[k]),
                due=_tidy(due[k]),
                reason=reasons[k - grid.first],
            )
        )
    return tuple(steps)


def costs_of(case: Case, x: Floats) -> Costs:
    """Cost by kind, from the same prices the problem has, without those of slack and ties."""
    lay, spec, dt = case.layout, case.spec, case.grid.left
    brought = (x[lay.of("imp")] + x[lay.of("over")]) * dt
    sold = (x[lay.of("exp")] + x[lay.of("spill")]) * dt
    span = dt / 2 + np.append(dt[1:], dt[-1]) / 2
    made = spec.production
    peak = sum(max(0.0, float(x[lay.of(f"peak{m}")][0]) - case.floors[m]) for m in (0, 1))
    return Costs(
        energy=_tidy(brought @ case.buy),
        export=_tidy(-(sold @ case.sell)),
        co2=_tidy(brought @ (case.buy_all - case.buy)),
        peak=_tidy(peak * spec.prices.demand),
        wear=_tidy(x[lay.of("dis")] @ dt * (spec.battery.wear if spec.battery else 0.0)),
        starts=_tidy(x[lay.of("start")].sum() * (spec.line.start_cost if spec.line else 0.0)),
        holding=_tidy(np.maximum(x[lay.of("net")], 0.0) @ span * (made.holding if made else 0.0)),
        late=_tidy(x[lay.of("late")] @ span * (made.lateness if made else 0.0)),
    )


def relaxed_of(case: Case, x: Floats, inputs: PlanInputs) -> tuple[Relaxed, ...]:
    """Every rule the plan breaks, the worst of it and when."""
    lay, spec, made = case.layout, case.spec, case.spec.production
    found = list(late_orders(case, x[lay.of("rate")], inputs.orders))
    if made is not None:
        found += _worst(case, f"stock below {made.stock_min:g} t", x[lay.of("low")], "t")
        found += _worst(case, f"stock above {made.stock_max:g} t", x[lay.of("high")], "t")
        found += _last(case, f"stock at the end below {spec.end.stock_min:g} t", x[lay.of("end_stock")][0], "t")
    if spec.battery is not None:
        percent = 100 / spec.battery.capacity
        short = (spec.battery.floor - x[lay.of("soc")] * percent) * (case.grid.left > 0)
        found += _worst(case, f"battery below {spec.battery.floor:g} % (kept for peaks)", short, "%")
        end = x[lay.of("end_soc")][0] * percent
        found += _last(case, f"battery at the end below {spec.end.battery_min:g} %", end, "%")
    found += _worst(case, "import limit", x[lay.of("over")], "kW")
    found += _worst(case, "export limit", x[lay.of("spill")], "kW")
    return tuple(found)


def _worst(case: Case, what: str, amounts: Floats, unit: str) -> list[Relaxed]:
    k = int(np.argmax(amounts))
    if amounts[k] <= _TOLERANCE[unit]:
        return []
    return [Relaxed(what, _tidy(amounts[k]), unit, _tidy(max(case.grid.edges[k], case.grid.now)))]


def _last(case: Case, what: str, amount: float, unit: str) -> list[Relaxed]:
    if amount <= _END_TOLERANCE[unit]:
        return []
    return [Relaxed(what, _tidy(amount), unit, _tidy(case.grid.edges[-1]))]


def late_orders(case: Case, rate: Floats, orders: tuple[Order, ...]) -> tuple[Relaxed, ...]:
    """Firm orders that are not complete when due, first due first served; hours late, `when` it is due."""
    grid, found, need = case.grid, [], case.state.backlog
    made = np.concatenate(([0.0], np.cumsum(rate * grid.left))) + case.state.stock
    times = np.maximum(grid.edges, grid.now)
    for order in sorted(orders, key=lambda o: (o.due, o.id)):
        if order.due > times[-1]:
            break
        need += order.mass
        done = _reached(times, made, need)
        if done > max(order.due, grid.now) + PUNCTUAL_S or (order.due < grid.now and done > grid.now):
            more = "" if np.isfinite(done) else " (not complete within the horizon)"
            hours = (min(done, float(times[-1])) - order.due) / 3600.0
            found.append(Relaxed(f"order {order.id} late{more}", _tidy(hours), "h", order.due))
    return tuple(found)


def _reached(times: Floats, made: Floats, need: float) -> float:
    """When the cumulative curve reaches `need`, inf when it does not."""
    if made[0] >= need - 1e-6:
        return float(times[0])
    k = int(np.searchsorted(made, need - 1e-6))
    if k >= made.size:
        return float("inf")
    share = (need - made[k - 1]) / (made[k] - made[k - 1])
    return float(times[k - 1] + min(share, 1.0) * (times[k] - times[k - 1]))
