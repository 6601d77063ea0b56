"""The result of one plan run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["optimal", "relaxed", "shifted", "failed"]


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step from utc for hours h.

    bat_power kW (> 0 delivers), rate t/h, line_on, peak_target kW; soc % and stock t (less backlog) at its end;
    grid kW (> 0 imports), its mean; buy EUR/kWh without CO2, pv and base_load kW as expected; due t that orders and
    expected sales take; reason in plain words.
    """

    utc: float
    hours: float
    bat_power: float
    rate: float
    line_on: bool
    peak_target: float
    soc: float
    stock: float
    grid: float
    buy: float
    pv: float
    base_load: float
    due: float
    reason: str


@dataclass(frozen=True, slots=True)
class Relaxed:
    """A rule the plan breaks: which, by at most how much, and when that is (utc s)."""

    what: str
    amount: float
    unit: str
    when: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Cost of the plan by kind, EUR; sales of energy count negative. `late` is at the price of lateness."""

    energy: float
    export: float
    co2: float
    peak: float
    wear: float
    starts: float
    holding: float
    late: float

    @property
    def total(self) -> float:
        """Sum of all kinds, EUR."""
        return self.energy + self.export + self.co2 + self.peak + self.wear + self.starts + self.holding + self.late


@dataclass(frozen=True, slots=True)
class Solved:
    """Work of the solver. committed: on/off was decided anew; gap: relative, of that decision.

    stopped_by: why it ended. objective: of the last LP, EUR, with the prices of what is relaxed and of ties.
    owed: on/off was to be decided anew, the search found nothing, and the last decisions were kept.
    """

    committed: bool
    nodes: int
    iterations: int
    gap: float
    stopped_by: str
    objective: float
    owed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do from `utc` s on, until `valid_until` s; a failed plan has no steps. Costs are those of the steps.

    substitutes: what stands in for something better while the plan is valid, inputs and on/off decisions; outlook:
    inputs that do so later.
    """

    id: str
    utc: float
    valid_until: float
    status: Status
    steps: tuple[PlanStep, ...]
    costs: Costs
    relaxed: tuple[Relaxed, ...]
    substitutes: tuple[str, ...]
    outlook: tuple[str, ...]
    solved: Solved
    message: str


NO_COSTS = Costs(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
