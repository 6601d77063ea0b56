"""Each type of loop in plain words: what it measures and commands, who tells it, what holds when something fails.

The sentences state what the kernels do; a change of a kernel's behaviour is a change here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ctrl.app.explain_words import Words, listed, span
from ctrl.config.model import (
    BatteryAction,
    PeakLimiter,
    Pid,
    PowerFollow,
    ProductionRules,
    RateControl,
    ReduceAction,
    SetpointProgram,
    Staging,
)
from ctrl.units import Quantity

Section = tuple[str, list[str]]
DOES, MEASURES, COMMANDS, SETPOINT, LIMITS, TROUBLE, ALARMS = (
    "What it does",
    "What it measures",
    "What it commands",
    "Where the setpoint comes from",
    "Limits and times",
    "When something fails",
    "Alarms that watch it",
)


def loop_sections(words: Words, name: str) -> list[Section]:
    """Everything there is to say about one loop, in the order an operator asks."""
    loop = words.site.loops[name]
    sections = _SECTIONS[loop.type](words, name, loop)
    watched = [ref for key in ("measure", "meter", "stock") if (ref := getattr(loop, key, None)) is not None]
    tags = [tag for ref in watched for tag in words.sources(ref)]
    sections.append((ALARMS, words.watched(tags, name)))
    period = words.site.tasks[loop.task].every
    sections[0][1].append(f"It runs every {period}, in the task {loop.task}.")
    return [(heading, lines) for heading, lines in sections if lines]


def _pid(words: Words, name: str, loop: Pid) -> list[Section]:
    turn = "raises" if loop.action == "reverse" else "lowers"
    does = [f"It keeps {loop.measure} at its setpoint: when {loop.measure} is too low it {turn} {loop.output}."]
    tuning = loop.tuning
    times = [f"gain {tuning.gain}"]
    times += [f"integral time {tuning.integral}"] if tuning.integral is not None else []
    times += [f"derivative time {tuning.derivative}"] if tuning.derivative is not None else []
    limits = [f"Output {loop.out_low} to {loop.out_high}.", f"Tuning: {listed(times)}."]
    limits += [
        f"{ff.from_} acts ahead of the measurement: {ff.gain}" + (f", delayed by {ff.lag}." if ff.lag else ".")
        for ff in loop.feedforward
    ]
    return [
        (DOES, does),
        (MEASURES, [f"It measures {words.origin(loop.measure)}."]),
        (COMMANDS, words.command(loop.output)),
        (SETPOINT, _pid_setpoint(words, loop)),
        (LIMITS, limits + words.limiters(name)),
        (TROUBLE, _pid_trouble(words, name, loop)),
    ]


def _pid_setpoint(words: Words, loop: Pid) -> list[str]:
    sp = loop.setpoint
    lines = [words.setpoint(sp)]
    program = words.site.loops.get((sp.from_ or "").partition(".")[0])
    if isinstance(program, SetpointProgram):
        states = listed(f"{value} when {state}" for state, value in program.states.items())
        lines.append(f"It is {states}; the state follows {listed(program.follow, 'then')}.")
    if sp.limits is not None:
        lines.append(f"It stays within {span(sp.limits)}.")
    ramps = [f"rises by at most {sp.ramp_up}"] if sp.ramp_up is not None else []
    ramps += [f"falls by at most {sp.ramp_down}"] if sp.ramp_down is not None else []
    if ramps:
        lines.append(f"It {listed(ramps)}.")
    if sp.from_ is not None:
        lines.append("When its source is bad, the last setpoint holds.")
    return lines


def _pid_trouble(words: Words, name: str, loop: Pid) -> list[str]:
    bad = loop.when_measure_bad
    if bad is None:
        lines = [f"If {loop.measure} is bad, the output is held until it is good again."]
    else:
        lines = [
            f"If {loop.measure} is bad, the output is held for {bad.hold}; after that it goes to {bad.then_output}."
        ]
    tripped = [a for a, alarm in words.site.alarms.items() if alarm.trip == name]
    lines += [f"While {c} is false or unknown, the output is {loop.out_low}." for c in loop.requires]
    lines += [f"When {a} trips it, the output is {loop.out_low} until the alarm is gone and reset." for a in tripped]
    lines.append("Back in control it starts from what the output really does: no bump.")
    return lines + words.device_lost(words.outputs(name))


def _program(words: Words, name: str, loop: SetpointProgram) -> list[Section]:
    first, last = (list(loop.states.items())[i] for i in (0, -1))
    followers = [n for n, other in words.site.loops.items() if name + ".out" == _setpoint_of(other)]
    does = [f"It gives the setpoint of {listed(followers) or 'no loop'}: {last[1]} {last[0]}, {first[1]} {first[0]}."]
    soak = loop.soak_before_release
    limits = []
    if soak is not None:
        limits = [
            (
                f"Production is released once {loop.measure} was within {soak.within} of {last[1]} for {soak.for_} "
                "without a break."
            ),
            f"The release ends when {loop.measure} is more than {_times(soak.within, 3)} away for over {soak.for_}.",
        ]
    return [
        (DOES, does),
        (MEASURES, [f"It measures {words.origin(loop.measure)}."]),
        (COMMANDS, [f"It commands no output itself: {name}.out is a setpoint, {name}.released a permission."]),
        (
            "Who decides the state",
            [
                "The first of these that is valid:",
                *(f"  {i}. {words.origin(ref)}" for i, ref in enumerate(loop.follow, 1)),
                f"True means {last[0]}, false means {first[0]}.",
            ],
        ),
        (LIMITS, limits),
        (
            TROUBLE,
            [
                f"If none of them is valid, the last state stays; if there never was one, it is {first[0]}.",
                f"If {loop.measure} is bad, it counts as away from the setpoint: nothing new is released.",
            ],
        ),
    ]


def _staging(words: Words, name: str, loop: Staging) -> list[Section]:
    masters = [n for n, other in words.site.loops.items() if getattr(other, "output", "") == f"{name}.demand"]
    trim = loop.trim
    does = [
        (
            f"It serves the demand of {listed(masters)} in {loop.demand_unit}: {listed(loop.units)} go on and off, "
            f"{trim.name} runs at variable speed and takes the rest."
        )
    ]
    commands = [words.command(ref)[0] for ref in words.outputs(name)]
    limits = [f"{trim.name}: {trim.capacity} at full speed, never below {trim.min}."]
    for unit_name, unit in loop.units.items():
        lim = unit.limits
        limits.append(
            f"{unit_name}: {unit.capacity}; on for at least {lim.min_on}, off for at least {lim.min_off}, at most "
            f"{lim.starts_per_hour} starts an hour."
        )
    up, down = loop.stage_up, loop.stage_down
    order = {"run_hours": "the one with the fewest run hours", "starts": "the one with the fewest starts"}
    limits += [
        (
            f"One more unit ({order.get(loop.rotate_by, 'the next in order')}) when the demand is above "
            f"{up.above_capacity} of the capacity for {up.for_}."
        ),
        f"One unit less when the spare is above {down.spare_over_next} of the unit to be stopped, for {down.for_}.",
    ]
    return [
        (DOES, does),
        (MEASURES, [f"It sees whether {unit} runs at {u.running}." for unit, u in loop.units.items()]),
        (COMMANDS, commands),
        (SETPOINT, [f"The demand is the output of {listed(masters)}."]),
        (LIMITS, limits + words.limiters(name)),
        (
            TROUBLE,
            [
                "If the demand is bad, every unit stays as it is.",
                (
                    "A unit that is commanded on and does not run within 10 s has failed: it is stopped, the next "
                    "one starts at once, and it is left alone for 10 min."
                ),
                *words.device_lost(words.outputs(name)),
            ],
        ),
    ]


def _peak(words: Words, _name: str, loop: PeakLimiter) -> list[Section]:
    window = loop.window
    sync = f"in step with {window.sync}" if window.sync is not None else "in step with the clock"
    does = [
        (
            f"It keeps the mean of {loop.meter} over every {window.length} below a limit, {sync}. "
            "When the window is about to exceed it, it acts in this order, and gives back in reverse:"
        )
    ]
    for i, action in enumerate(loop.actions, 1):
        does.append(f"  {i}. {_peak_action(action)}")
    where = loop.limit.ref
    limit = [f"The limit is fixed: {loop.limit.value}."]
    if where is not None:
        plan = where.partition(".")[0]
        life = f" ({words.offer_life(plan)})" if plan in words.site.plans else ""
        limit = [f"The limit is {where}{life}.", f"While that gives none, the limit is {loop.limit_fallback}."]
    return [
        (DOES, does),
        (MEASURES, [f"It measures {words.origin(loop.meter)}."]),
        (COMMANDS, ["It commands no device itself: it asks the loops above."]),
        ("Where the limit comes from", limit),
        (
            LIMITS,
            [
                f"It aims {loop.margin} below the limit.",
                (
                    f"However little was used, power is held below {loop.near_end_cap} of the limit, in the last "
                    "60 s below 102 %."
                ),
            ],
        ),
        (
            TROUBLE,
            [
                f"If {loop.meter} is bad, it goes on with the last power and aims 2 points lower.",
                *(
                    [f"If {window.sync} is bad or stands still, windows follow the clock."]
                    if window.sync is not None
                    else []
                ),
                "A request that its loop cannot serve passes to the next action.",
            ],
        ),
    ]


def _peak_action(action: Any) -> str:
    if isinstance(action, BatteryAction):
        return f"{action.battery} discharges more; its setpoints leave {action.reserve} of the charge for that."
    if isinstance(action, ReduceAction):
        times = f"for at most {action.at_most_for}, then not for {action.min_off}"
        return f"{action.reduce} is lowered by up to {action.by} {times}."
    return f"{action.shed} is blocked, for at least {action.min_off}."


def _battery(words: Words, name: str, loop: PowerFollow) -> list[Section]:
    soc = loop.soc
    return [
        (DOES, [f"It makes the battery follow a power: {loop.output}, + discharges, - charges."]),
        (MEASURES, [f"It measures {words.origin(loop.measure)}.", f"Charge: {words.origin(soc.measure)}."]),
        (COMMANDS, words.command(loop.output)),
        (SETPOINT, words.ladder(loop.setpoint, loop.when_setpoint_expires, "bat_power", "0 kW")),
        (
            LIMITS,
            [
                (
                    f"Charge stays within {soc.min} to {soc.max} of {soc.capacity}; power goes back over the last "
                    f"{loop.derate_band}."
                ),
                f"Power changes by at most {loop.ramp}.",
                *words.limiters(name),
            ],
        ),
        (
            TROUBLE,
            [
                *words.plan_lost(loop.setpoint),
                f"If {soc.measure} is bad, the battery goes to 0 kW: neither plan nor peak guard may use it.",
                *words.device_lost(words.outputs(name)),
            ],
        ),
    ]


def _rate(words: Words, name: str, loop: RateControl) -> list[Section]:
    run = words.command(loop.run_output)[:1] if loop.run_output is not None else []
    allow = listed(loop.allow_when)
    return [
        (DOES, ["It sets how fast the line produces, and starts and stops it: a setpoint of 0 means stop."]),
        (COMMANDS, words.command(loop.output) + run),
        (SETPOINT, words.ladder(loop.setpoint, loop.when_setpoint_expires, "rate", "stop")),
        (
            LIMITS,
            [
                f"The rate changes by at most {loop.ramp}.",
                *([f"The line may run only while {allow}."] if allow else []),
            ],
        ),
        (
            TROUBLE,
            [
                *words.plan_lost(loop.setpoint),
                *(["If one of these conditions is false or unknown, the line stops."] if allow else []),
                *words.device_lost(words.outputs(name)),
            ],
        ),
    ]


def _rules(words: Words, name: str, loop: ProductionRules) -> list[Section]:
    stock, battery = loop.stock, loop.battery
    users = [f"{name}.{pin}" for pin in loop.gives]
    rules = [f"Stock at {loop.fill_to} or more: the line stops."]
    if loop.avoid_hours:
        hours = listed(f"{_clock(h.start)} and {_clock(h.end)}" for h in loop.avoid_hours)
        rules.append(f"Between {hours} local time: it stops, unless stock is below half of {loop.reorder_below}.")
    rules.append(f"Stock below {loop.reorder_below}: it runs, whatever the price.")
    if loop.price is not None:
        rules.append(
            f"Else it runs in the {loop.cheapest_hours.to('h/d'):g} cheapest hours of the day by {loop.price}."
        )
    rules.append(f"It makes what sells and fills the stock up within a day, at most {loop.rate}.")
    rules += [
        f"Once started it runs for at least {line.min_run}, once stopped it rests for at least {line.min_stop}."
        for plan in words.site.plans.values()
        if (line := plan.assets.line) is not None
    ]
    if battery is not None:
        rules.append(
            f"{battery.loop} charges below {battery.charge_below} and discharges above {battery.discharge_above}."
        )
    measures = [f"Stock: {words.origin(stock)}."]
    measures += [f"Sales: {words.origin(loop.sales)}."] if loop.sales is not None else []
    measures += [f"Price: {words.origin(loop.price)}."] if loop.price is not None else []
    made = loop.when_stock_stale.integrate if loop.when_stock_stale is not None else "the rate it asked for"
    trouble = [
        f"If {stock} is not fresh, it is carried on from {made} less sales.",
        "If no stock was ever known, the rules give nothing and the next source of each setpoint takes over.",
    ]
    if loop.price is not None:
        trouble.append("Without a price the avoided hours alone count, and the battery stays at 0 kW.")
    return [
        (DOES, ["It runs line and battery by stock, price and clock when there is no plan. The first rule decides:",
                *(f"  - {rule}" for rule in rules)]),
        (MEASURES, measures),
        (COMMANDS, [f"It commands nothing itself: it gives {listed(users)} to the loops that follow it."]),
        (TROUBLE, trouble),
    ]  # fmt: skip


def _times(quantity: Quantity, factor: float) -> str:
    return str(Quantity(quantity.value * factor, quantity.unit))


def _clock(seconds: float) -> str:
    return f"{int(seconds // 3600):02d}:{int(seconds % 3600 // 60):02d}"


def _setpoint_of(loop: Any) -> str | None:
    setpoint = getattr(loop, "setpoint", None)
    return None if setpoint is None else setpoint.from_


_SECTIONS: Final[dict[str, Callable[[Words, str, Any], list[Section]]]] = {
    "pid": _pid,
    "setpoint_program": _program,
    "staging": _staging,
    "peak_limiter": _peak,
    "power_follow": _battery,
    "rate_control": _rate,
    "production_rules": _rules,
}
