"""Why a plan does what it does, in plain words, one line a step."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from ctrl.planning.grid import Floats, Ints
from ctrl.planning.model import Case
from ctrl.planning.state import Order, PlanInputs

MOVES_KW: Final = 0.5


def reasons_of(case: Case, x: Floats, inputs: PlanInputs) -> tuple[str, ...]:
    """One reason per step that is not over: the line's, then the battery's."""
    return tuple(
        "; ".join(part for part in (line, battery) if part)
        for line, battery in zip(_line(case, x, inputs.orders), _battery(case, x), strict=True)
    )


def _clock(case: Case, utc: float) -> str:
    """Local weekday and time, the weekday only for another day than today."""
    zone = ZoneInfo(case.spec.timezone)
    then, now = datetime.fromtimestamp(utc, zone), datetime.fromtimestamp(case.grid.now, zone)
    return f"{then:%H:%M}" if then.date() == now.date() else f"{then:%a %H:%M}"


def _mwh(price: float) -> str:
    return f"{price * 1000:.0f}"


def _ordinal(n: int) -> str:
    if 10 <= n % 100 <= 20:
        return f"{n}th"
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th') }"


def _line(case: Case, x: Floats, orders: tuple[Order, ...]) -> list[str]:
    grid, lay = case.grid, case.layout
    if case.spec.line is None:
        return [""] * (grid.n - grid.first)
    on = x[lay.of("on")] > 0.5
    serves = _served(case, x[lay.of("rate")], orders)
    words, hours = [], _hours(case)
    for k in range(grid.first, grid.n):
        block = int(grid.block[k])
        if not case.state.line_available:
            words.append("line off: not available")
        elif case.forced[block] >= 0:
            least = case.spec.line.min_run if case.state.line_on else case.spec.line.min_stop
            kind = "run" if case.state.line_on else "stop"
            words.append(f"line {'runs' if on[block] else 'off'}: shortest {kind} of {least:g} h")
        elif on[block]:
            words.append(_why_running(case, k, serves[k], hours))
        else:
            words.append(_why_off(case, x, k, serves[k]))
    return words


def _served(case: Case, rate: Floats, orders: tuple[Order, ...]) -> list[Order | None]:
    """For each step the order that what is made from then on serves: the first one the stock till then does not."""
    grid, stock = case.grid, case.state.stock - case.state.backlog
    queue = sorted((o for o in orders if o.due <= grid.edges[-1]), key=lambda o: (o.due, o.id))
    need = np.cumsum([order.mass for order in queue])
    made = stock + np.concatenate(([0.0], np.cumsum(rate * grid.left)))[:-1]
    found: list[Order | None] = []
    for k in range(grid.n):
        open_ = [order for order, mass in zip(queue, need, strict=True) if mass > made[k] + 1e-6]
        found.append(open_[0] if open_ else None)
    return found


def _hours(case: Case) -> tuple[Ints, Floats]:
    """For each step the number of its clock hour, counted from 0, and the mean price of that hour, EUR/kWh."""
    grid = case.grid
    hour = np.floor_divide(grid.edges[:-1], 3600).astype(np.int64)
    _, index = np.unique(hour, return_inverse=True)
    weight = np.maximum(grid.left, 1e-9)
    return index, np.bincount(index, weight * case.buy_all) / np.bincount(index, weight)


def _rank(case: Case, k: int, until: float, hours: tuple[Ints, Floats]) -> tuple[int, int]:
    """Place of the hour of step k among the hours from now to `until` by price, and their number."""
    index, price = hours
    first, last = index[case.grid.first], index[np.searchsorted(case.grid.edges[:-1], until) - 1]
    among = price[first : max(last, index[k]) + 1]
    return 1 + int(np.sum(among < price[index[k]] - 1e-9)), among.size


def _why_running(case: Case, k: int, order: Order | None, hours: tuple[Ints, Floats]) -> str:
    if order is not None and order.due <= case.grid.now:
        return f"line runs: order {order.id} is late"
    until = order.due if order else float(case.grid.edges[-1])
    place, count = _rank(case, k, until, hours)
    goal = f"order {order.id} due {_clock(case, order.due)}" if order else "stock for expected sales"
    cheap = "cheapest" if place == 1 else f"{_ordinal(place)} cheapest"
    if 2 * place <= count + 1:
        return f"line runs: {cheap} of {count} hours before {goal}" if order else f"line runs: {cheap} of {count} hours"
    return f"line runs: needed for {goal}, price {_mwh(case.buy[k])} EUR/MWh"


def _why_off(case: Case, x: Floats, k: int, order: Order | None) -> str:
    lay, grid = case.layout, case.grid
    on = x[lay.of("on")][grid.block] > 0.5
    later = np.flatnonzero(on & (np.arange(grid.n) > k))
    stock = f"stock {round(float(x[lay.of('net')][k]), 1) + 0.0:.1f} t"  # + 0.0: no minus zero
    if not later.size:
        return f"line off: {stock} is enough"
    then = int(later[0])
    mean = float(np.mean(case.buy[later[: max(1, int(np.sum(np.diff(later) == 1)))]]))
    cheaper = f", at {_mwh(mean)} instead of {_mwh(case.buy[k])} EUR/MWh" if mean < case.buy[k] else ""
    before = f" in time for order {order.id} due {_clock(case, order.due)}" if order else ""
    return f"line off: {stock}, starts again {_clock(case, grid.edges[then])}{before}{cheaper}"


def _battery(case: Case, x: Floats) -> list[str]:
    grid, lay = case.grid, case.layout
    if case.spec.battery is None:
        return [""] * (grid.n - grid.first)
    chg, dis = x[lay.of("chg")], x[lay.of("dis")]
    if not case.state.battery_available:
        return ["battery rests: not available"] * (grid.n - grid.first)
    words = []
    for k in range(grid.first, grid.n):
        if chg[k] > MOVES_KW:
            words.append(_why_charging(case, x, k))
        elif dis[k] > MOVES_KW:
            words.append(_why_discharging(case, x, k))
        else:
            words.append("battery rests")
    return words


def _why_charging(case: Case, x: Floats, k: int) -> str:
    grid, lay = case.grid, case.layout
    surplus = x[lay.of("imp")][k] < MOVES_KW
    source = f"surplus worth {_mwh(case.sell[k])}" if surplus else f"price {_mwh(case.buy[k])}"
    later = np.flatnonzero((x[lay.of("dis")] > MOVES_KW) & (np.arange(grid.n) > k))
    if not later.size:
        return f"battery charges: {source} EUR/MWh, kept for the end of the horizon"
    use = int(later[np.argmax(_worth(case, x)[later])])
    return f"battery charges: {source} EUR/MWh, used {_clock(case, grid.edges[use])} at {_mwh(_worth(case, x)[use])}"


def _why_discharging(case: Case, x: Floats, k: int) -> str:
    grid, lay = case.grid, case.layout
    window = grid.window[k]
    target = float(x[lay.of(f"peak{int(grid.window_month[window])}")][0])
    inside = (grid.window == window) & (grid.left > 0)
    limit = target * (1 - case.spec.prices.peak_margin) - float(np.mean(case.margin[grid.window == window]))
    if target > 0 and float(np.mean(x[lay.of("imp")][inside])) > limit - MOVES_KW:
        return f"battery discharges: keeps the import at the peak target of {target:.0f} kW"
    earlier = np.flatnonzero((x[lay.of("chg")] > MOVES_KW) & (np.arange(grid.n) < k))
    worth = f"price {_mwh(_worth(case, x)[k])} EUR/MWh"
    if not earlier.size:
        return f"battery discharges: {worth}"
    source = int(earlier[np.argmin(case.buy[earlier])])
    return f"battery discharges: {worth}, charged {_clock(case, grid.edges[source])} at {_mwh(case.buy[source])}"


def _worth(case: Case, x: Floats) -> Floats:
    """What a kWh from the battery saves or earns, EUR."""
    return np.where(x[case.layout.of("exp")] > MOVES_KW, case.sell, case.buy)
