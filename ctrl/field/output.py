"""One output of a device: what was sent, what the register shows, and whose value that is.

A register that differs from what we sent is one of three things. It still holds one of our own earlier values, or it
stands still on its way: the device is slow, limits, or ignores us. Or it holds a value that we never sent: somebody
else writes it, and we yield. Two sightings decide for a stranger, three unchanged cycles for a mismatch.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final

from ctrl.field.codec import PointCodec
from ctrl.field.spec import ContractSpec, PointSpec

_LONG_AGO: Final = -(1 << 62)
_NEVER: Final = 1 << 62
_SPAN_TOLERANCE: Final = 0.005
_MISMATCH_CYCLES: Final = 3
_STRANGER_SIGHTINGS: Final = 2
_OWN_VALUES: Final = 8  # earlier values of ours that a slow device may still show

Words = tuple[int, ...]


class Finding(Enum):
    """What a read-back says."""

    CONFIRMED = "confirmed"
    PENDING = "pending"
    MISMATCH = "mismatch"
    NOT_EXECUTED = "not executed"
    STRANGER = "stranger"
    CONFLICT = "conflict"


class Output:
    """State of one writable point. Times: ns of CLOCK_BOOTTIME. slot -1: nobody commands it, it is only read back."""

    __slots__ = (
        "codec", "exact", "foreign", "held", "history", "limited", "point", "readback_slot", "refresh_ns", "seen_value",
        "seen_words", "sent", "sent_ns", "sent_value", "shed_until_ns", "shown", "slot", "still", "told", "tolerance",
        "uncertain", "would", "yielded",
    )  # fmt: skip

    def __init__(self, point: PointSpec, contract: ContractSpec, slot: int, readback_slot: int) -> None:
        self.point = point
        self.codec = PointCodec(point)
        self.slot = slot
        self.readback_slot = readback_slot
        lo, hi = point.limits
        # states are equal or they are not; a number may be rounded by the device
        self.exact = point.type == "bool" or bool(point.enum)
        self.tolerance = _SPAN_TOLERANCE * (hi - lo)
        self.refresh_ns = _refresh_ns(point, contract)
        self.held = 0.0
        self.shown: Words = ()
        self.seen_value: float | None = None
        self.seen_words: Words = ()
        self.history: deque[Words] = deque(maxlen=_OWN_VALUES)
        self.reset()

    def reset(self) -> None:
        """Forget what was sent: the next read-back is the truth to start from."""
        self.sent: Words | None = None
        self.sent_value = 0.0
        self.sent_ns = _LONG_AGO
        self.would: Words | None = None
        self.shed_until_ns = _LONG_AGO
        self.yielded = False
        self._settle()

    def _settle(self) -> None:
        self.history.clear()
        self.still = 0
        self.foreign = 0
        self.limited = 0
        self.uncertain = False
        self.told = False

    def adopt(self, words: Words, value: float) -> None:
        """Take the register as it is for what was last sent; a point that expires is refreshed at once."""
        self.sent, self.sent_value, self.sent_ns = words, value, _LONG_AGO
        self.shown = words
        self.foreign = 0
        self.uncertain = False
        self.history.clear()

    def wrote(self, words: Words, value: float, now_ns: int, uncertain: bool) -> None:
        """A write was sent; `uncertain`: nobody knows whether it arrived."""
        if self.sent is not None and self.sent != words:
            self.history.append(self.sent)
        self.sent, self.sent_value, self.sent_ns, self.uncertain = words, value, now_ns, uncertain

    def paused(self, now_ns: int) -> bool:
        """True while nothing may be written here: a stranger was seen, or the device ignored us a moment ago."""
        return self.yielded or self.foreign > 0 or now_ns < self.shed_until_ns

    def confirmed(self, words: Words) -> None:
        """The register shows what was sent."""
        self.shown = words
        self._settle()

    def compare(self, words: Words, value: float, usable: bool) -> Finding:
        """Judge a register that does not hold the very words that were sent. `usable`: they decode to a number."""
        before, self.shown = self.shown, words
        if usable and not self.exact and abs(value - self.sent_value) <= max(self.tolerance, self.codec.step(value)):
            self._settle()
            return Finding.CONFIRMED
        own = words in self.history
        if self.uncertain and own:
            self.adopt(words, value)
            return Finding.NOT_EXECUTED
        if not (own or (usable and words == before and self.foreign == 0) or (usable and self._on_the_way(value))):
            self.foreign += 1
            return Finding.CONFLICT if self.foreign >= _STRANGER_SIGHTINGS else Finding.STRANGER
        self.foreign = 0
        self.still = self.still + 1 if words == before else 1
        self.limited = 0 if own else (1 if value > self.sent_value else 2)
        return Finding.MISMATCH if self.still >= _MISMATCH_CYCLES else Finding.PENDING

    def _on_the_way(self, value: float) -> bool:
        """Between where the register was and where it was sent to; nothing is, once it had arrived."""
        if not self.history and not self.limited:
            return False
        low, high = min(self.held, self.sent_value), max(self.held, self.sent_value)
        return low <= value <= high


def _refresh_ns(point: PointSpec, contract: ContractSpec) -> int:
    """Longest time without a write: `refresh_s`, else a third of the time after which the device drops the command."""
    expires = [point.expires_after_s, contract.dead_after_s if contract.kind == "revert_timer" else None]
    thirds = [t / 3.0 for t in expires if t is not None]
    chosen = point.refresh_s if point.refresh_s is not None else min(thirds, default=None)
    return _NEVER if chosen is None else round(1e9 * chosen)
