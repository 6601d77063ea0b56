"""Modes and reasons as operators read them. The numbers are the enums of ext/abi.pxd."""

from __future__ import annotations

MODES = {
    0: "off",
    1: "initialising",
    2: "local",
    3: "manual",
    4: "auto",
    5: "cascade",
    6: "plan",
}

REASONS = {
    0: "normal",
    1: "tracking: the output below does not take commands now",
    2: "measurement is bad",
    3: "a required condition is false",
    4: "tripped by an alarm",
    5: "output at its low limit",
    6: "output at its high limit",
    7: "no valid setpoint",
    8: "holding the last value",
    9: "the peak guard asks",
    10: "battery charge limit",
    11: "price",
    12: "stock is low",
    13: "stock is full",
    14: "avoided hours",
    15: "minimum run or stop time",
    16: "running on a substituted input",
    17: "setpoint is ramping",
    18: "soaking before release",
    19: "fail action",
    20: "not allowed now",
}
