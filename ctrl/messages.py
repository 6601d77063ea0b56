"""What crosses between the processes: strict, serialisable messages, even inside one process.

Profiles carry everything that IT says about a tag over time: prices, forecasts, and the offers of plans.
One message is one line of JSON, at most MAX_BYTES long; unknown keys, wrong types and non-finite numbers are refused.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

MAX_BYTES: Final = 262_144
MAX_STEPS: Final = 4_096


class MessageError(ValueError):
    """The message is not of its form; it was not used."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Values of one tag over time, step-wise: each holds from its time until the next one's.

    steps: (utc s, value) ascending. valid_until: utc s, after which nothing of it may be used.
    status: status byte the values carry (see ctrl.quality). issuer: a plan, a source, an operator.
    """

    tag: str
    unit: str
    steps: tuple[tuple[float, float], ...]
    valid_until: float
    status: int
    issuer: str
    id: str
    reason: str
    issued_at: float

    def value_at(self, utc: float) -> float | None:
        """Value that holds at `utc`, or None outside the profile."""
        if not self.steps or utc < self.steps[0][0] or utc >= self.valid_until:
            return None
        lo, hi = 0, len(self.steps)
        while hi - lo > 1:
            mid = (lo + hi) // 2
            if self.steps[mid][0] <= utc:
                lo = mid
            else:
                hi = mid
        return self.steps[lo][1]


@dataclass(frozen=True, slots=True)
class Command:
    """An order of a person or of the supervisor: arm, disarm, shadow, status, stop."""

    verb: str
    device: str
    user: str
    reason: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: alarms, state changes, refused writes, late cycles."""

    utc: float
    source: str
    event: str
    text: str
    data: dict[str, float | int | str | bool | None] = field(default_factory=dict)


Message = Profile | Command | Event
_KINDS: Final[dict[str, type[Profile] | type[Command] | type[Event]]] = {
    "profile": Profile,
    "command": Command,
    "event": Event,
}
_NAMES: Final = {cls: name for name, cls in _KINDS.items()}


def encode(message: Message) -> bytes:
    """One line of JSON, newline included.

    Raises MessageError when the message is too long or holds a number that is not finite.
    """
    body = {"kind": _NAMES[type(message)], **asdict(message)}
    try:
        line = json.dumps(body, allow_nan=False, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    except ValueError as error:
        raise MessageError(f"not finite: {error}") from error
    if len(line) > MAX_BYTES:
        raise MessageError(f"{len(line)} bytes; at most {MAX_BYTES}")
    return line


def decode(line: bytes) -> Message:
    """The message in one line. Raises MessageError, with the reason, for anything that is not exactly one."""
    if len(line) > MAX_BYTES:
        raise MessageError(f"{len(line)} bytes; at most {MAX_BYTES}")
    try:
        body = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise MessageError("not an object")
    cls = _KINDS.get(body.pop("kind", None))
    if cls is None:
        raise MessageError("unknown kind")
    wanted = {f.name for f in fields(cls)}
    if set(body) != wanted:
        raise MessageError(f"keys {sorted(set(body) ^ wanted)} do not fit {_NAMES[cls]}")
    for name in wanted:
        _check(name, body[name])
    if cls is Profile:
        body["steps"] = _steps(body["steps"])
    return cls(**body)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


_TEXT: Final = frozenset({"tag", "unit", "issuer", "id", "reason", "verb", "device", "user", "source", "event", "text"})
_NUMBERS: Final = frozenset({"valid_until", "issued_at", "utc"})


def _check(name: str, value: Any) -> None:
    if name in _TEXT and not (isinstance(value, str) and len(value) <= 4096):
        raise MessageError(f"{name} is not text of at most 4096 characters")
    if name in _NUMBERS and not _is_number(value):
        raise MessageError(f"{name} is not a finite number")
    if name == "status" and not (type(value) is int and 0 <= value <= 255):
        raise MessageError("status is not a byte")
    if name == "data" and not (
        isinstance(value, dict)
        and len(value) <= 64
        and all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    ):
        raise MessageError("data is not a small flat object")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or _is_number(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _steps(raw: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(raw, list) or len(raw) > MAX_STEPS:
        raise MessageError(f"steps is not a list of at most {MAX_STEPS}")
    steps: list[tuple[float, float]] = []
    for item in raw:
        if not (isinstance(item, list) and len(item) == 2 and _is_number(item[0]) and _is_number(item[1])):
            raise MessageError("a step is not [utc s, value]")
        if steps and item[0] <= steps[-1][0]:
            raise MessageError("steps are not in ascending time")
        steps.append((float(item[0]), float(item[1])))
    return tuple(steps)
