"""A plan as offers to the loops: one profile per output, with an end."""

from __future__ import annotations

from ctrl.messages import Profile
from ctrl.planning.plan import Plan, PlanStep
from ctrl.planning.spec import DispatchSpec
from ctrl.quality import GOOD, UNCERTAIN_SUBSTITUTED

OUTPUTS = (("bat_power", "kW"), ("rate", "t/h"), ("line_on", "bool"), ("peak_target", "kW"))


def offers(plan: Plan, spec: DispatchSpec) -> tuple[Profile, ...]:
    """Profiles `<plan>.bat_power`, `.rate`, `.line_on`, `.peak_target`; none for a failed plan.

    The first step takes effect a latency after the plan was asked for, the others a handover after their time: the next
    plan is made on the edge of a step, and this one does not reach into that step while it is on its way. Nothing
    holds longer than plan.valid_until. A plan made with substituted inputs, or an older plan shifted, has the status
    "substituted".
    """
    if not plan.steps or plan.status == "failed":
        return ()
    doubtful = bool(plan.substitutes) or plan.status == "shifted"
    status = UNCERTAIN_SUBSTITUTED if doubtful else GOOD
    begin, found = plan.utc + spec.latency_s, []
    for name, unit in OUTPUTS:
        values = [(step.utc + spec.handover_s, _value(step, name)) for step in plan.steps]
        values[0] = (begin, values[0][1])
        steps = tuple((utc, value) for utc, value in values if utc < plan.valid_until)
        if steps:
            tag = f"{spec.name}.{name}"
            found.append(
                Profile(tag, unit, steps, plan.valid_until, status, spec.name, plan.id, plan.message, plan.utc)
            )
    return tuple(found)


def _value(step: PlanStep, name: str) -> float:
    return float(getattr(step, name))
