"""Status byte of every value: FOUNDATION Fieldbus layout (bits 7-6 quality, 5-2 sub-status, 1-0 limits)."""

from __future__ import annotations

BAD = 0x00
BAD_CONFIG = 0x04
BAD_NOT_CONNECTED = 0x08
BAD_DEVICE = 0x0C
BAD_SENSOR = 0x10
BAD_NO_COMMS_LAST = 0x14
BAD_NO_COMMS = 0x18
BAD_OUT_OF_SERVICE = 0x1C
UNCERTAIN = 0x40
UNCERTAIN_LAST = 0x44
UNCERTAIN_SUBSTITUTED = 0x48
UNCERTAIN_INITIAL = 0x4C
UNCERTAIN_CONVERSION = 0x50
UNCERTAIN_RANGE = 0x54
UNCERTAIN_SUBNORMAL = 0x58
GOOD = 0x80
CASCADE_OK = 0xC0
CASCADE_INIT_REQUEST = 0xC8
CASCADE_NOT_INVITED = 0xCC
CASCADE_NOT_SELECTED = 0xD0
CASCADE_LOCAL_OVERRIDE = 0xD8
CASCADE_FAULT_STATE = 0xDC

_TEXT = {
    BAD: "bad",
    BAD_CONFIG: "configuration error",
    BAD_NOT_CONNECTED: "not connected",
    BAD_DEVICE: "device failure",
    BAD_SENSOR: "sensor failure or out of range",
    BAD_NO_COMMS_LAST: "no communication, last value shown",
    BAD_NO_COMMS: "no communication, no value yet",
    BAD_OUT_OF_SERVICE: "out of service",
    UNCERTAIN: "uncertain",
    UNCERTAIN_LAST: "last usable value",
    UNCERTAIN_SUBSTITUTED: "substituted",
    UNCERTAIN_INITIAL: "initial value",
    UNCERTAIN_CONVERSION: "not moving as expected",
    UNCERTAIN_RANGE: "near the end of its range",
    UNCERTAIN_SUBNORMAL: "fewer good sensors than wanted",
    GOOD: "good",
    CASCADE_OK: "good",
    CASCADE_INIT_REQUEST: "asks to initialise",
    CASCADE_NOT_INVITED: "not taking commands",
    CASCADE_NOT_SELECTED: "not selected",
    CASCADE_LOCAL_OVERRIDE: "local override",
    CASCADE_FAULT_STATE: "fault state",
}


def is_good(status: int) -> bool:
    """True for good values only."""
    return status >= GOOD


def is_usable(status: int) -> bool:
    """True for good and uncertain values."""
    return status >= UNCERTAIN


def word(status: int) -> str:
    """The word operators see: good, uncertain or bad."""
    return "good" if status >= GOOD else "uncertain" if status >= UNCERTAIN else "bad"


def text(status: int) -> str:
    """The reason in plain words."""
    return _TEXT.get(status & 0xFC, word(status))
