"""KPIs of a run, computed from the recorded inputs and outputs alone, never from the inside of a controller.

Every sample holds until the next one, the last until `KpiSpec.end_utc`; a gap longer than `max_gap_s`, and samples
with bad status, count as missing and are reported as hours, not filled in. Units are part of the names. Costs are
positive, income negative; powers follow the sign grid > 0 imports, battery > 0 delivers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ctrl import quality

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_HOUR: Final = 3600.0
_WINDOW_S: Final = 900.0
_WHOLE: Final = 0.99  # part of a window that must be recorded for its mean to count


@dataclass(frozen=True, slots=True)
class Series:
    """One recorded tag: t utc s ascending [n], v value [n], q status byte [n]."""

    t: Floats
    v: Floats
    q: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class EnergyKpi:
    """Tags and prices of the grid connection.

    grid: kW. buy, sell: EUR/MWh tags; sell may be a share of another tag by `sell_times`. demand_eur_kw_month: price
    of the highest 15-min mean of a billing month. co2: tag in g/kWh; co2_eur_t its price.
    """

    grid: str
    buy: str
    sell: str | None = None
    sell_times: float = 1.0
    demand_eur_kw_month: float | None = None
    co2: str | None = None
    co2_eur_t: float = 0.0


@dataclass(frozen=True, slots=True)
class BatteryKpi:
    """power: kW tag. soc: % tag. capacity_kwh. wear_eur_mwh of discharge. value_eur_kwh: worth of stored energy."""

    power: str
    soc: str
    capacity_kwh: float
    wear_eur_mwh: float
    value_eur_kwh: float


@dataclass(frozen=True, slots=True)
class StockKpi:
    """stock: t tag. holding_eur_t_d: cost of keeping it. value_eur_t: worth of a tonne at the end. low_t: stock-out."""

    stock: str
    holding_eur_t_d: float
    value_eur_t: float
    low_t: float = 0.0


@dataclass(frozen=True, slots=True)
class Order:
    """One firm order: due and completed (utc s; None = still open), mass in t."""

    due: float
    completed: float | None
    mass_t: float


@dataclass(frozen=True, slots=True)
class LoopKpi:
    """One loop: its tags and the units of PV and OP. Travel below `deadband` (OP unit) is not counted."""

    name: str
    pv: str
    sp: str
    op: str
    pv_unit: str
    op_unit: str
    deadband: float = 0.0


@dataclass(frozen=True, slots=True)
class KpiSpec:
    """What to compute. end_utc: end of the run. timezone: of the billing month. max_gap_s: longest hold of a sample.

    starts: bool tags of machines, with the cost of one start in EUR. rungs: source of a loop's setpoint, as
    {loop: (enum tag, {number: word})}. substitutes: tags whose status tells that a substitute is in use.
    """

    end_utc: float
    timezone: str
    max_gap_s: float
    energy: EnergyKpi | None = None
    battery: BatteryKpi | None = None
    stock: StockKpi | None = None
    orders: Sequence[Order] = ()
    lateness_eur_t_d: float = 0.0
    starts: Mapping[str, float] | None = None
    loops: Sequence[LoopKpi] = ()
    rungs: Mapping[str, tuple[str, Mapping[int, str]]] | None = None
    substitutes: Sequence[str] = ()


def kpis(series: Mapping[str, Series], spec: KpiSpec) -> dict[str, float]:
    """All KPIs that `spec` asks for, by name.

    `total_eur` is the sum of energy, demand, CO2, wear, starts, late orders, holding and the terminal valuation.
    A KPI that cannot be computed (no whole 15-min window, no usable sample) is absent. Raises KeyError for a tag that
    is not in `series`, ValueError when a series is not ascending in time or has arrays of different length.
    """
    record = _Record(series, spec)
    out: dict[str, float] = {"recorded_h": record.hours()}
    if spec.energy is not None:
        out |= _energy(record, spec.energy)
    if spec.battery is not None:
        out |= _battery(record, spec.battery)
    if spec.stock is not None:
        out |= _stock(record, spec.stock)
    if spec.orders:
        out |= _late(spec)
    for tag, cost in (spec.starts or {}).items():
        starts = float(np.count_nonzero(np.diff((record.good(tag)[1] > 0.5).astype(np.int8)) == 1))
        out[f"{_slug(tag)}_starts"] = starts
        out["starts_cost_eur"] = out.get("starts_cost_eur", 0.0) + starts * cost
    for loop in spec.loops:
        out |= _loop(record, loop)
    for loop_name, (tag, words) in (spec.rungs or {}).items():
        value, hold = record.value(tag), record.hold(tag)
        for number, word in words.items():
            out[f"{_slug(loop_name)}_on_{_slug(word)}_h"] = float(hold[np.rint(value) == number].sum()) / _HOUR
    for tag in spec.substitutes:
        status = series[tag].q & 0xFC
        hours = float(record.all_hold(tag)[status == quality.UNCERTAIN_SUBSTITUTED].sum()) / _HOUR
        out[f"{_slug(tag)}_substitute_h"] = hours
    costs = [name for name in out if name in _TOTAL]
    if costs:
        out["total_eur"] = math.fsum(out[name] for name in costs)
    return out


_TOTAL: Final = (
    "energy_cost_eur",
    "demand_cost_eur",
    "co2_cost_eur",
    "battery_wear_eur",
    "starts_cost_eur",
    "late_cost_eur",
    "holding_cost_eur",
    "terminal_stock_eur",
    "terminal_soc_eur",
)


class _Record:
    """The series with how long each sample counts; a sample with bad status counts for nothing."""

    def __init__(self, series: Mapping[str, Series], spec: KpiSpec) -> None:
        self._series = series
        self._spec = spec
        for name, s in series.items():
            if not (len(s.t) == len(s.v) == len(s.q)):
                raise ValueError(f"{name}: arrays of different length")
            if len(s.t) and (np.any(np.diff(s.t) <= 0) or s.t[-1] > spec.end_utc):
                raise ValueError(f"{name}: times are not ascending up to the end of the run")

    def hours(self) -> float:
        """Hours from the first sample of any series to the end."""
        first = [float(s.t[0]) for s in self._series.values() if len(s.t)]
        return (self._spec.end_utc - min(first)) / _HOUR if first else 0.0

    def time(self, tag: str) -> Floats:
        return self._series[tag].t

    def value(self, tag: str) -> Floats:
        return self._series[tag].v

    def all_hold(self, tag: str) -> Floats:
        """Seconds that each sample holds, whatever its status."""
        hold = np.diff(self._series[tag].t, append=self._spec.end_utc)
        return np.where(hold <= self._spec.max_gap_s, hold, 0.0)

    def usable(self, *tags: str) -> Mask:
        """Where all tags, sampled at the same times, have usable status. Raises ValueError if times differ."""
        first = self._series[tags[0]]
        mask = np.ones(len(first.t), np.bool_)
        for tag in tags:
            s = self._series[tag]
            if s.t is not first.t and not np.array_equal(s.t, first.t):
                raise ValueError(f"{tag} and {tags[0]} are not sampled at the same times")
            mask &= (s.q >= quality.UNCERTAIN) & np.isfinite(s.v)
        return mask

    def hold(self, *tags: str) -> Floats:
        """Seconds that each sample of tags[0] counts: zero where any of the tags is not usable."""
        return np.where(self.usable(*tags), self.all_hold(tags[0]), 0.0)

    def good(self, tag: str) -> tuple[Floats, Floats]:
        """(t, v) of the usable samples."""
        mask = self.usable(tag)
        return self.time(tag)[mask], self.value(tag)[mask]

    def missing_h(self, *tags: str) -> float:
        """Hours of the span of tags[0] for which no usable sample counts."""
        t = self.time(tags[0])
        span = self._spec.end_utc - float(t[0]) if len(t) else 0.0
        return max(0.0, span - float(self.hold(*tags).sum())) / _HOUR

    def month(self, utc: float) -> tuple[float, float]:
        """(start, end) in utc s of the local calendar month that holds `utc`."""
        zone = ZoneInfo(self._spec.timezone)
        start = datetime.fromtimestamp(utc, zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
        return start.astimezone(UTC).timestamp(), end.astimezone(UTC).timestamp()


def _energy(record: _Record, spec: EnergyKpi) -> dict[str, float]:
    tags = [spec.grid, spec.buy] + ([spec.sell] if spec.sell else [])
    hold_h = record.hold(*tags) / _HOUR
    grid = np.where(hold_h > 0, record.value(spec.grid), 0.0)
    bought, sold = np.maximum(grid, 0.0) * hold_h, np.maximum(-grid, 0.0) * hold_h
    price = np.where(hold_h > 0, record.value(spec.buy), 0.0)
    buy = float(np.sum(bought * price)) / 1000.0
    sell = 0.0
    if spec.sell:
        sell = float(np.sum(sold * np.where(hold_h > 0, record.value(spec.sell), 0.0))) * spec.sell_times / 1000.0
    out = {
        "import_kwh": float(bought.sum()),
        "export_kwh": float(sold.sum()),
        "energy_buy_eur": buy,
        "energy_sell_eur": sell,
        "energy_cost_eur": buy - sell,
        "energy_missing_h": record.missing_h(*tags),
    }
    if spec.co2:
        hold_h = record.hold(spec.grid, spec.co2) / _HOUR
        grams = np.where(hold_h > 0, record.value(spec.co2) * np.maximum(record.value(spec.grid), 0.0), 0.0) * hold_h
        out["co2_kg"] = float(grams.sum()) / 1000.0
        out["co2_cost_eur"] = out["co2_kg"] / 1000.0 * spec.co2_eur_t
    return out | _demand(record, spec)


def _demand(record: _Record, spec: EnergyKpi) -> dict[str, float]:
    """Highest 15-min mean, and its price: per calendar month, in proportion to the part of the month recorded."""
    start, mean = window_means(record.time(spec.grid), record.value(spec.grid), record.hold(spec.grid))
    out = {"peak_windows_n": float(len(start))}
    if not len(start):
        return out
    out["peak_kw"] = float(mean.max())
    out["peak_utc"] = float(start[int(np.argmax(mean))])
    if spec.demand_eur_kw_month is None:
        return out
    prorated = whole = share = 0.0
    at = 0
    while at < len(start):
        month_start, month_end = record.month(float(start[at]))
        stop = int(np.searchsorted(start, month_end))
        peak = max(0.0, float(mean[at:stop].max()))
        part = (stop - at) * _WINDOW_S / (month_end - month_start)
        whole += peak * spec.demand_eur_kw_month
        prorated += peak * spec.demand_eur_kw_month * part
        share += part
        at = stop
    return out | {"demand_cost_eur": prorated, "demand_unprorated_eur": whole, "demand_months": share}


def window_means(t: Floats, v: Floats, hold_s: Floats) -> tuple[Floats, Floats]:
    """15-min means on UTC quarter hours, as a billing meter forms them: (start utc s [k], mean [k]).

    t: sample times [n], v: values [n], hold_s: seconds each sample counts [n]. Samples are cut where they cross a
    quarter hour. Windows recorded to less than 99 % are left out.
    """
    use = hold_s > 0
    t, v, hold_s = t[use], v[use], hold_s[use]
    if not len(t):
        return np.empty(0), np.empty(0)
    first, last = math.floor(t[0] / _WINDOW_S), math.floor((t[-1] + hold_s[-1]) / _WINDOW_S)
    edges = np.arange(first, last + 2) * _WINDOW_S
    # The integrals of v and of 1 are piecewise linear; reading them at the edges cuts samples exactly.
    knots = np.column_stack((t, t + hold_s)).ravel()
    energy = np.cumsum(np.column_stack((np.zeros_like(t), v * hold_s)).ravel())
    covered = np.cumsum(np.column_stack((np.zeros_like(t), hold_s)).ravel())
    in_window = np.diff(np.interp(edges, knots, covered))
    total = np.diff(np.interp(edges, knots, energy))
    whole = in_window >= _WHOLE * _WINDOW_S
    return edges[:-1][whole], total[whole] / in_window[whole]


def _battery(record: _Record, spec: BatteryKpi) -> dict[str, float]:
    hold_h = record.hold(spec.power) / _HOUR
    power = np.where(hold_h > 0, record.value(spec.power), 0.0)
    discharged = float(np.sum(np.maximum(power, 0.0) * hold_h))
    out = {
        "battery_discharge_kwh": discharged,
        "battery_charge_kwh": float(np.sum(np.maximum(-power, 0.0) * hold_h)),
        "battery_full_cycles": discharged / spec.capacity_kwh,
        "battery_wear_eur": discharged / 1000.0 * spec.wear_eur_mwh,
    }
    soc = record.good(spec.soc)[1]
    if len(soc):
        out["soc_end_pct"] = float(soc[-1])
        stored = float(soc[-1] - soc[0]) / 100.0 * spec.capacity_kwh
        out["terminal_soc_eur"] = -stored * spec.value_eur_kwh
    return out


def _stock(record: _Record, spec: StockKpi) -> dict[str, float]:
    hold_h = record.hold(spec.stock) / _HOUR
    stock = record.good(spec.stock)[1]
    hours = float(hold_h.sum())
    if not len(stock) or hours <= 0:
        return {"stock_missing_h": record.missing_h(spec.stock)}
    tonne_hours = float(np.sum(np.where(hold_h > 0, record.value(spec.stock), 0.0) * hold_h))
    below = hold_h[(hold_h > 0) & (record.value(spec.stock) <= spec.low_t)]
    return {
        "stock_min_t": float(stock.min()),
        "stock_mean_t": tonne_hours / hours,
        "stock_max_t": float(stock.max()),
        "stock_out_h": float(below.sum()),
        "stock_missing_h": record.missing_h(spec.stock),
        "holding_cost_eur": tonne_hours / 24.0 * spec.holding_eur_t_d,
        "terminal_stock_eur": -float(stock[-1] - stock[0]) * spec.value_eur_t,
    }


def _late(spec: KpiSpec) -> dict[str, float]:
    """Late mass and time; an open order counts up to the end of the run."""
    late_h = [max(0.0, (spec.end_utc if o.completed is None else o.completed) - o.due) / _HOUR for o in spec.orders]
    tonne_hours = math.fsum(h * o.mass_t for h, o in zip(late_h, spec.orders, strict=True))
    return {
        "late_t_h": tonne_hours,
        "late_orders_n": float(sum(h > 0 for h in late_h)),
        "late_worst_h": max(late_h),
        "late_cost_eur": tonne_hours / 24.0 * spec.lateness_eur_t_d,
    }


def _loop(record: _Record, spec: LoopKpi) -> dict[str, float]:
    hold_h = record.hold(spec.pv, spec.sp) / _HOUR
    error = np.where(hold_h > 0, record.value(spec.sp) - record.value(spec.pv), 0.0)
    name = _slug(spec.name)
    moves = np.abs(np.diff(record.good(spec.op)[1]))
    out = {
        f"{name}_iae_{_slug(spec.pv_unit)}_h": float(np.sum(np.abs(error) * hold_h)),
        f"{name}_missing_h": record.missing_h(spec.pv, spec.sp),
    }
    hours = float(record.hold(spec.op).sum()) / _HOUR
    if hours > 0:
        out[f"{name}_travel_{_slug(spec.op_unit)}_per_h"] = float(moves[moves > spec.deadband].sum()) / hours
    return out


def _slug(text: str) -> str:
    """Text for a name: `m3/min` -> `m3_per_min`, `%` -> `pct`."""
    text = text.replace("%", "pct").replace("/", "_per_")
    return "".join(c if c.isalnum() else "_" for c in text)
