"""What a plan starts from: the plant now, and what IT expects."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Curve:
    """Values over time, step-wise: steps[i] = (utc s, value) holds until the next one, the last until `end`.

    source: who says so. substituted_from: utc s from which the values are a substitute, None when none is;
    note: plain words for what stands in. Before the first step its value holds, after `end` the last one does.
    Raises ValueError for an empty, unordered or non-finite curve.
    """

    steps: tuple[tuple[float, float], ...]
    end: float
    source: str
    substituted_from: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError(f"{self.source}: no values")
        for (t0, v0), (t1, _) in zip(self.steps, (*self.steps[1:], (math.inf, 0.0)), strict=True):
            if not (math.isfinite(t0) and math.isfinite(v0)):
                raise ValueError(f"{self.source}: not a finite number at {t0}")
            if t1 <= t0:
                raise ValueError(f"{self.source}: times are not ascending at {t1}")
        if not math.isfinite(self.end) or self.end <= self.steps[-1][0]:
            raise ValueError(f"{self.source}: ends before its last step")

    @property
    def substituted(self) -> bool:
        """True when any part of it is a substitute."""
        return self.substituted_from is not None

    def at(self, utc: float) -> float:
        """Value that holds at `utc`."""
        index = bisect.bisect_right(self.steps, (utc, math.inf)) - 1
        return self.steps[max(index, 0)][1]


@dataclass(frozen=True, slots=True)
class Order:
    """A firm order: `mass` t to be in stock at `due` utc s."""

    id: str
    due: float
    mass: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.due) and math.isfinite(self.mass) and self.mass >= 0):
            raise ValueError(f"order {self.id}: due and mass must be finite, mass >= 0")


@dataclass(frozen=True, slots=True)
class PlanState:
    """The plant at `utc` s.

    soc %; stock and backlog (orders already late and not in the order list) t; line_on for line_minutes; rate t/h as
    the plant accepted it. month_peak: highest billing window of this month so far, kW. window_energy kWh imported in
    the current billing window, window_elapsed s of it. An asset that refuses its setpoints is not available.
    """

    utc: float
    soc: float
    stock: float
    backlog: float
    line_on: bool
    line_minutes: float
    rate: float
    month_peak: float
    window_energy: float = 0.0
    window_elapsed: float = 0.0
    battery_available: bool = True
    line_available: bool = True

    def __post_init__(self) -> None:
        for name in ("utc", "soc", "stock", "backlog", "rate", "month_peak", "window_energy", "window_elapsed"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"state: {name} is not a finite number")
        if math.isnan(self.line_minutes) or self.line_minutes < 0 or self.backlog < 0 or self.window_elapsed < 0:
            raise ValueError("state: line_minutes, backlog and window_elapsed are not negative")


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """What is expected: market price EUR/kWh, CO2 g/kWh, PV kW, base load kW (without line and battery), sales t/d.

    orders: firm, in any order. import_cap: kW the grid operator allows, over time (None: no limit but the connection).
    load_margin: kW by which the load may exceed what is expected, left free below the peak target (None: nothing).
    notes: further substitutes in plain words. remarks: what the plan assumes on the safe side and tells, no reason to
    doubt what it offers.
    """

    price: Curve
    co2: Curve
    pv: Curve
    base_load: Curve
    sales: Curve
    orders: tuple[Order, ...] = ()
    import_cap: Curve | None = None
    load_margin: Curve | None = None
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def substitutes(self, start: float, end: float) -> tuple[str, ...]:
        """One line for every input whose substitute begins in [start, end) utc s.

        Beyond what a market has published every plan lives on forecasts; what counts as doubtful is a substitute
        for something that the steps of the plan in force depend on.
        """
        return tuple(
            f"{name}: {curve.note or curve.source}"
            for name, curve in (
                ("price", self.price),
                ("co2", self.co2),
                ("pv", self.pv),
                ("base_load", self.base_load),
                ("sales", self.sales),
            )
            if curve.substituted_from is not None and start <= curve.substituted_from < end
        )
