"""A plan as offers to the loops: one profile per output, with an end."""

from __future__ import annotations

from ctrl.messages import Profile
from ctrl.planning.plan import Plan, PlanStep
from ctrl.planning.spec import DispatchSpec
from ctrl.quality import GOOD, UNCERTAIN_SUBSTITUTED

OUTPUTS = (("bat_power", "kW"), ("rate", "t/h"), ("line_on", "bool"), ("peak_target", "kW"))


def offers(plan: Plan, spec: DispatchSpec) -> tuple[Profile, ...]:
    """Profiles `<plan>.bat_power`, `.rate`, `.line_on`, `.peak_target`; none for a failed plan.

    They take effect at plan.utc + latency and hold no longer than plan.valid_until. A plan made with substituted
    inputs, or an older plan shifted, has the status "substituted".
    """
    if not plan.steps or plan.status == "failed":
        return ()
    begin = plan.utc + spec.latency_s
    doubtful = bool(plan.substitutes) or plan.status == "shifted"
    status = UNCERTAIN_SUBSTITUTED if doubtful else GOOD
    found = []
    for name, unit in OUTPUTS:
        steps = _from(begin, [(step.utc, _value(step, name)) for step in plan.steps if step.utc < plan.valid_until])
        if steps and plan.valid_until > begin:
            tag = f"{spec.name}.{name}"
            found.append(
                Profile(tag, unit, steps, plan.valid_until, status, spec.name, plan.id, plan.message, plan.utc)
            )
    return tuple(found)


def _value(step: PlanStep, name: str) -> float:
    return float(getattr(step, name))


def _from(begin: float, steps: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Steps from `begin` on; the one that holds then starts there."""
    before = [value for utc, value in steps if utc <= begin]
    after = [(utc, value) for utc, value in steps if utc > begin]
    return tuple(([(begin, before[-1])] if before else []) + after)
