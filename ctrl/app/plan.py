"""One plan of a site, made once, from the state its scenario starts in: what `ctrl plan` shows."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ctrl.app.scenario import FIRST_PLAN_CYCLE
from ctrl.app.simulate import Simulation
from ctrl.config.model import Site
from ctrl.config.problems import did_you_mean
from ctrl.planning.plan import Plan


class PlanError(ValueError):
    """There is no such plan, or it could not be made; the text says why."""


def plan_site(site: Site, name: str | None = None) -> tuple[str, Plan]:
    """Name and result of one solve at the start of the scenario, after the first cycles have measured the plant.

    name: of the plan; needed only when the site has several. A plan whose status is "failed" is returned as well.
    Raises PlanError, and what the simulation of the site raises (SimulationError, PlantError).
    """
    chosen = _choose(site, name)
    with tempfile.TemporaryDirectory(prefix="loopwright-plan-") as folder:
        simulation = Simulation(site, Path(folder))
        try:
            while simulation.k < FIRST_PLAN_CYCLE and chosen not in simulation.side.plans:
                simulation.cycle()
        finally:
            simulation.recorder.close()
        plan = simulation.side.plans.get(chosen)
        reasons = [event.text for event in simulation.events if event.source == chosen]
    if plan is None:
        raise PlanError(f"{chosen}: no plan could be made: {reasons[-1] if reasons else 'no reason was given'}")
    return chosen, plan


def plan_json(site: Site, name: str, plan: Plan) -> dict[str, Any]:
    """The plan as `ctrl plan --json` prints it. Times UTC s; units as in ctrl.planning.plan.PlanStep."""
    return {
        "site": site.site.name,
        "plan": name,
        "id": plan.id,
        "utc": plan.utc,
        "valid_until": plan.valid_until,
        "status": plan.status,
        "message": plan.message,
        "costs": {**asdict(plan.costs), "total": plan.costs.total},
        "steps": [asdict(step) for step in plan.steps],
        "relaxed": [asdict(rule) for rule in plan.relaxed],
        "substitutes": list(plan.substitutes),
        "outlook": list(plan.outlook),
        "solver": asdict(plan.solved),
    }


def _choose(site: Site, name: str | None) -> str:
    if not site.plans:
        raise PlanError("the site has no `plans:`")
    if name is None:
        if len(site.plans) > 1:
            raise PlanError(f"the site has several plans, name one: {', '.join(site.plans)}")
        return next(iter(site.plans))
    if name not in site.plans:
        raise PlanError(f"the site has no plan '{name}'. {did_you_mean(name, site.plans)}".rstrip())
    return name
