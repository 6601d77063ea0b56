"""Numbers of one plan: costs, bounds and right-hand sides from the state and the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ctrl.planning.grid import (
    Floats,
    TimeGrid,
    book_orders,
    expected_sales,
    lowest_on,
    make_grid,
    mean_on,
)
from ctrl.planning.problem import Layout, Problem, matrix_of, ramp_binds, step_hours
from ctrl.planning.spec import DispatchSpec
from ctrl.planning.state import PlanInputs, PlanState

# Prices of what must not be, as multiples of what it costs anyway; each rung dearer than the one before.
STOCK_SLACK: Final = 10.0  # of lateness, per t and h outside the stock limits
FIRM: Final = 30.0  # of lateness, once an order cannot be on time at any cost
CAPACITY: Final = 20.0  # EUR/kWh beyond the connection: far above any energy price, below nothing
END_BATTERY: Final = 1.0  # EUR/kWh missing at the end of the horizon
END_STOCK: Final = 100.0  # EUR/t missing at the end of the horizon
RESTORE: Final = 0.25  # share of battery power with which a broken reserve is filled again
TIE: Final = 2e-5  # EUR per kW of battery and per t/h, growing with time: of equal plans, the early and quiet one
TIE_ON: Final = 1e-3  # EUR per block that differs from the plan before
NONE: Final = np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What was read for one plan, on its grid: everything per step (n) and in kW, EUR/kWh, t.

    buy includes CO2 in `buy_all`. forced (blocks): 1 on, 0 off, -1 free. late_max: lateness that nothing can avoid.
    floors: peak already paid or expected, this and the next month, kW. soc_floor kWh.
    margin: kW left free below the peak.
    """

    spec: DispatchSpec
    state: PlanState
    grid: TimeGrid
    buy: Floats
    buy_all: Floats
    sell: Floats
    pv: Floats
    base: Floats
    cap: Floats
    due: Floats
    sales: Floats
    forced: Floats
    late_max: Floats
    floors: tuple[float, float]
    soc_floor: Floats
    margin: Floats

    @property
    def layout(self) -> Layout:
        """Where each variable stands."""
        return Layout(self.grid.n, len(self.grid.block_start))


def read_case(spec: DispatchSpec, state: PlanState, inputs: PlanInputs) -> Case:
    """Everything brought onto the grid of a plan asked for at state.utc."""
    grid, prices = make_grid(state.utc, spec), spec.prices
    market = mean_on(inputs.price, grid)
    buy = prices.buy_times * market + prices.buy_add
    buy_all = buy + prices.co2 * mean_on(inputs.co2, grid) / 1000.0
    # one meter cannot import and export at once, so what is sold never earns more than what is bought costs
    sell = np.minimum(prices.sell_times * market + prices.sell_add, buy_all)
    cap = np.full(grid.n, spec.grid.import_max)
    if inputs.import_cap is not None:
        cap = np.minimum(cap, np.maximum(lowest_on(inputs.import_cap, grid), 0.0))
    due = book_orders(inputs.orders, grid) if spec.production else np.zeros(grid.n)
    sales = expected_sales(inputs.sales, inputs.orders, grid, spec.timezone) if spec.production else np.zeros(grid.n)
    forced = forced_blocks(spec, state, grid)
    floors = (max(state.month_peak, prices.expected_peak), prices.expected_peak)
    pv, base = np.maximum(mean_on(inputs.pv, grid), 0.0), mean_on(inputs.base_load, grid)
    late = _unavoidable(spec, state, grid, due, forced)
    soc = _soc_floor(spec, state, grid)
    margin = np.maximum(mean_on(inputs.load_margin, grid), 0.0) if inputs.load_margin else np.zeros(grid.n)
    return Case(spec, state, grid, buy, buy_all, sell, pv, base, cap, due, sales, forced, late, floors, soc, margin)


def forced_blocks(spec: DispatchSpec, state: PlanState, grid: TimeGrid) -> Floats:
    """What the minimum times leave no choice in: 1 on, 0 off, -1 free, per block."""
    forced = np.full(len(grid.block_start), -1.0)
    if spec.line is None or not state.line_available:
        return np.zeros_like(forced)
    least = spec.line.min_run if state.line_on else spec.line.min_stop
    until = state.utc + 3600.0 * least - 60.0 * state.line_minutes
    forced[grid.block_start < until] = float(state.line_on)
    return forced


def _unavoidable(spec: DispatchSpec, state: PlanState, grid: TimeGrid, due: Floats, forced: Floats) -> Floats:
    """Lateness of firm orders, t at the end of each step, with the line at its highest rate whenever it may run."""
    rate = spec.line.rate_max if spec.line else 0.0
    made = np.cumsum(np.where(forced[grid.block] != 0, rate, 0.0) * grid.left)
    return np.asarray(np.maximum(0.0, np.cumsum(due) + state.backlog - state.stock - made))


def _soc_floor(spec: DispatchSpec, state: PlanState, grid: TimeGrid) -> Floats:
    """Lowest energy in the battery, kWh; from below the reserve it climbs back at a part of the power."""
    battery = spec.battery
    if battery is None:
        return np.zeros(grid.n)
    floor, now = battery.floor * battery.capacity / 100, state.soc * battery.capacity / 100
    power = battery.power * RESTORE * battery.efficiency if state.battery_available else 0.0
    return np.asarray(np.minimum(floor, now + power * np.cumsum(grid.left)))


def build(case: Case, before: Floats) -> Problem:
    """The problem with every on/off decision free within `forced`. before (blocks): decisions of the last plan."""
    lay, grid = case.layout, case.grid
    lo, hi = np.zeros(lay.size), np.full(lay.size, NONE)
    _bounds(case, lo, hi)
    matrix = matrix_of(case.spec, grid)
    row_lo, row_hi = np.zeros(matrix.start.size - 1), np.zeros(matrix.start.size - 1)
    _sides(case, matrix.rows, row_lo, row_hi)
    offset = -case.spec.prices.demand * sum(case.floors)
    return Problem(lay, matrix, _costs(case, before), lo, hi, row_lo, row_hi, lay.cols("on"), offset)


def _costs(case: Case, before: Floats) -> Floats:
    lay, grid, spec = case.layout, case.grid, case.spec
    cost, dt = np.zeros(lay.size), grid.left
    early = TIE * (1.0 + np.arange(grid.n) / grid.n)
    cost[lay.of("imp")] = case.buy_all * dt
    cost[lay.of("exp")] = -case.sell * dt
    cost[lay.of("over")] = (case.buy_all + CAPACITY) * dt
    cost[lay.of("spill")] = CAPACITY * dt
    cost[lay.of("chg")] = early
    cost[lay.of("dis")] = early + (spec.battery.wear * dt if spec.battery else 0.0)
    cost[lay.of("rate")] = early
    cost[lay.of("start")] = spec.line.start_cost if spec.line else 0.0
    cost[lay.of("on")] = TIE_ON * (0.5 - before)
    for month in (0, 1):
        cost[lay.of(f"peak{month}")] = spec.prices.demand
    cost[lay.of("end_soc")] = END_BATTERY
    if spec.production is not None:
        # what is late or in stock at the end of a step was so for half of it, and is for half of the next
        span = dt / 2 + np.append(dt[1:], dt[-1]) / 2
        cost[lay.of("net")] = spec.production.holding * span
        cost[lay.of("late")] = spec.production.lateness * FIRM * span
        for side in ("low", "high"):
            cost[lay.of(side)] = spec.production.lateness * STOCK_SLACK * span
        cost[lay.of("end_stock")] = END_STOCK
    return cost


def _bounds(case: Case, lo: Floats, hi: Floats) -> None:
    lay, spec, state, active = case.layout, case.spec, case.state, case.grid.left > 0
    power = spec.battery.power if spec.battery and state.battery_available else 0.0
    hi[lay.of("imp")] = np.where(active, case.cap, 0.0)
    hi[lay.of("exp")] = np.where(active, spec.grid.export_max, 0.0)
    hi[lay.of("chg")] = hi[lay.of("dis")] = np.where(active, power, 0.0)
    hi[lay.of("over")] = hi[lay.of("spill")] = 0.0
    hi[lay.of("rate")] = np.where(active, spec.line.rate_max if spec.line else 0.0, 0.0)
    now = state.soc / 100 * spec.battery.capacity if spec.battery else 0.0
    top = max(now, spec.battery.soc_max / 100 * spec.battery.capacity) if spec.battery else 0.0
    lo[lay.of("soc")], hi[lay.of("soc")] = np.where(active, case.soc_floor, -NONE), top
    lo[lay.of("net")] = -NONE
    hi[lay.of("late")] = np.where(active, case.late_max, 0.0)
    for name in ("low", "high"):
        priced = spec.production is not None and "relax_stock" in spec.when_infeasible
        hi[lay.of(name)] = np.where(active, NONE if priced else 0.0, 0.0)
    lo[lay.of("on")] = np.where(case.forced < 0, 0.0, case.forced)
    hi[lay.of("on")] = np.where(case.forced < 0, 1.0, case.forced)
    hi[lay.of("start")] = hi[lay.of("stop")] = 1.0
    for month in (0, 1):
        lo[lay.of(f"peak{month}")] = case.floors[month]


def _sides(case: Case, rows: dict[str, slice], lo: Floats, hi: Floats) -> None:
    spec, state, grid = case.spec, case.state, case.grid
    active = grid.left > 0

    def put(name: str, low: Floats | float, high: Floats | float) -> None:
        lo[rows[name]], hi[rows[name]] = low, high

    need = case.base + (spec.line.holding if spec.line else 0.0) - case.pv
    put("balance", np.where(active, need, -NONE), np.where(active, need, NONE))
    first = np.zeros(grid.n)
    first[0] = state.soc / 100 * spec.battery.capacity if spec.battery else 0.0
    put("soc", first, first)
    put("rate_max", -NONE, 0.0)
    put("rate_min", np.where(active, 0.0, -NONE), NONE)
    was = np.zeros(len(grid.block_start))
    was[0] = float(state.line_on)
    put("switch", was, was)
    put("min_run", -NONE, 0.0)
    put("min_stop", -NONE, 1.0)
    change = -case.due - case.sales
    change[0] += state.stock - state.backlog
    put("stock", change, change)
    limited = active & (spec.production is not None)
    limits = (spec.production.stock_min, spec.production.stock_max) if spec.production else (0.0, 0.0)
    put("limits", np.where(limited, limits[0], -NONE), np.where(limited, limits[1], NONE))
    # firm orders are served before expected sales
    put("firm", np.where(limited, -np.cumsum(case.sales), -NONE), NONE)
    put("peak", _window_sides(case), NONE)
    put("end_soc", spec.end.battery_min / 100 * spec.battery.capacity if spec.battery else -NONE, NONE)
    put("end_stock", spec.end.stock_min if spec.production else -NONE, NONE)
    if ramp_binds(spec) and spec.line is not None:
        reach = spec.line.ramp * step_hours(grid)
        down, up = np.where(active, -reach, -NONE), np.where(active, reach, NONE)
        above = max(0.0, state.rate - spec.line.rate_min) if state.line_on else 0.0
        down[grid.first], up[grid.first] = -NONE, above + reach[grid.first]
        put("ramp", down, up)


def _window_sides(case: Case) -> Floats:
    """Mean import the running window already has, kW; windows that are over count nothing."""
    grid, hours = case.grid, case.spec.prices.window_s / 3600.0
    steps = np.bincount(grid.window)
    margin = np.bincount(grid.window, case.margin) / steps
    side = np.where(grid.window_end > case.state.utc, margin, -NONE)
    running = grid.window[grid.first]
    begun = grid.edges[grid.first] <= case.state.utc
    if begun and case.spec.prices.window_s >= grid.hours[grid.first] * 3600:
        side[running] += case.state.window_energy / hours
    return side
