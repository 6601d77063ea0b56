"""Pins of the loops by type: what each is called, its unit and type. Documentation and checks read this one table.

Unit rules: "measure" and "output" mean the unit of the tag under that key, "measure difference" the unit of a
difference of two of them, "demand_unit" the key itself; anything else is a unit.
Type: float, bool or state (a number with words).
Direction: out (the loop gives it), in (another loop commands it; read that loop's out, or achieved_demand), limit (a
peak guard may lower it; a tag only where one does).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PinType = Literal["float", "bool", "state", "list"]
Direction = Literal["out", "in", "limit"]


@dataclass(frozen=True, slots=True)
class Pin:
    """One pin of a loop type."""

    unit: str
    type: PinType = "float"
    direction: Direction = "out"
    text: str = ""


_EVERY = {
    "mode": Pin("1", "state", text="off, initialising, local, manual, auto, cascade or plan"),
    "why": Pin("1", "state", text="reason for the mode or output"),
}

PINS: dict[str, dict[str, Pin]] = {
    "pid": {
        **_EVERY,
        "out": Pin("output", text="output"),
        "setpoint": Pin("measure", text="setpoint in use, after limits and ramp"),
        "target": Pin("measure", text="setpoint after the ramp, before tracking"),
        "error": Pin("measure difference", text="setpoint minus measure"),
        "out_high": Pin("output", direction="limit", text="upper output limit in force"),
        "feedforward": Pin("output", text="sum of the feed-forward paths, where there are any"),
        "ramping": Pin("1", "bool", text="the setpoint is on its way"),
    },
    "setpoint_program": {
        **_EVERY,
        "out": Pin("measure", text="setpoint of the state"),
        "released": Pin("1", "bool", text="the measure has soaked long enough"),
        "state": Pin("1", "state", text="number of the state, in the order of the file from 0"),
    },
    "staging": {
        **_EVERY,
        "demand": Pin("demand_unit", direction="in", text="wanted sum of all units"),
        "capacity": Pin("demand_unit", text="capacity of what is running"),
        "achieved_demand": Pin("demand_unit", text="what is really served"),
        "trim": Pin("%", text="command of the trim unit"),
    },
    "peak_limiter": {
        **_EVERY,
        "forecast": Pin("kW", text="mean of the window if nothing changes"),
        "limit": Pin("kW", text="limit in force"),
        "average": Pin("kW", text="mean of the window so far"),
        "battery_request": Pin("kW", text="power asked of the battery"),
        "allow": Pin("kW", text="mean power that the rest of the window allows"),
        "excess": Pin("kW", text="power above what is allowed"),
        "reduce": Pin("kW", text="power taken from the limit of a loop"),
        "shed": Pin("1", "bool", text="a unit is blocked"),
    },
    "power_follow": {
        **_EVERY,
        "out": Pin("kW", text="command"),
        "setpoint": Pin("kW", text="setpoint in use"),
        "source": Pin("kW", text="setpoint of the chosen source"),
        "rung": Pin("1", "state", text="which source of the setpoint is in use, from 0"),
    },
    "rate_control": {
        **_EVERY,
        "out": Pin("output", text="command"),
        "setpoint": Pin("output", text="setpoint in use"),
        "source": Pin("output", text="setpoint of the chosen source"),
        "run": Pin("1", "bool", text="run command"),
        "rung": Pin("1", "state", text="which source of the setpoint is in use, from 0"),
    },
    "production_rules": {
        **_EVERY,
        "rate": Pin("t/h", text="rate"),
        "line_on": Pin("1", "bool", text="the line should run"),
        "bat_power": Pin("kW", text="battery power, + = discharge"),
        "stock_est": Pin("t", text="stock, carried on while its feed is stale"),
    },
}
DEVICE_PINS: dict[str, Pin] = {
    "state": Pin("1", "state", text="disarmed, shadow or armed"),
    "link": Pin("1", "bool", text="the device answers"),
}
WINDOW_PINS: dict[str, Pin] = {
    "forecast": Pin("measure", text="mean of the window if nothing changes"),
    "elapsed": Pin("s", text="time since the window began"),
}
SELECT_PINS: dict[str, Pin] = {
    "index": Pin("1", "state", text="which measurement is in use, from 0"),
    "disagree": Pin("1", "bool", text="the measurements differ by more than max_difference"),
}
# what a plan of each type can give, and its dimension
GIVES: dict[str, dict[str, str]] = {
    "economic_dispatch": {"bat_power": "kW", "rate": "t/h", "line_on": "bool", "peak_target": "kW"},
    "production_rules": {"rate": "t/h", "line_on": "bool", "bat_power": "kW"},
}
