"""What the engine asks of a wire, and what can go wrong on it.

Whether a failed write may have been executed follows the Modbus Application Protocol Specification V1.1b3, section 7:
an exception raised before execution (illegal function, address or value; busy; no gateway path) means "not executed",
everything else is unknown until the register is read back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Final, Protocol

from ctrl.field.read_plan import ReadBlock
from ctrl.field.spec import Table

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
BUSY: Final = 6
GATEWAY_PATH: Final = 0x0A
GATEWAY_TARGET: Final = 0x0B

MISMATCH: Final = frozenset({ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE})
_NOT_EXECUTED: Final = MISMATCH | {BUSY, GATEWAY_PATH}


class TransportError(Exception):
    """A request brought no valid answer. may_have_executed: a write may nevertheless have reached the register."""

    may_have_executed: bool = True


class Timeout(TransportError):  # noqa: N818 - names of the field
    """No complete answer in time; the connection was closed, so that a late answer meets nobody."""


class DeadlinePassed(Timeout):
    """The cycle's time was used up before the request was sent."""

    may_have_executed = False


class ConnectionLost(TransportError):  # noqa: N818
    """The peer closed or reset the connection with a request under way."""


class NotConnected(ConnectionLost):
    """There is no connection, and it is not yet time to try again; nothing was sent."""

    may_have_executed = False


class ProtocolError(TransportError):
    """The answer does not fit the request; it was not used and the connection was closed."""


class DeviceException(TransportError):  # noqa: N818
    """The device answered with an exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"device exception {code}")
        self.code = code
        self.may_have_executed = code not in _NOT_EXECUTED


class Transport(Protocol):
    """A wire to one device. One request at a time; every failure is a TransportError.

    deadline: no request may last beyond it (seconds on the wire's own clock; inf = its timeout alone counts).
    latency_ms: how long the last answer took.
    """

    deadline: float
    latency_ms: float

    async def connect(self) -> None:
        """Open the wire. Raises TransportError."""

    async def close(self) -> None:
        """Close it; safe to call twice."""

    async def read(self, block: ReadBlock) -> Sequence[int]:
        """Registers, or 0 and 1 for bits: exactly `block.count` of them."""

    async def write(self, table: Table, offset: int, words: Sequence[int]) -> None:
        """Write registers (hr) or bits (co) in one request; returns when the device confirmed exactly that."""


class Reconnect:
    """When to try again: 0.2 s after a loss, doubling to 5 s, each with +-20 % of jitter.

    The wait starts again at 0.2 s only after a connection that held for as long as the longest wait, so that a peer
    that accepts and closes is not hammered. Times are seconds on any one monotonic clock; jitter is from `rng`.
    """

    __slots__ = ("_delay", "_first", "_last", "_next", "_opened", "_rng")

    def __init__(self, rng: Random, first_s: float = 0.2, last_s: float = 5.0) -> None:
        self._rng = rng
        self._first = first_s
        self._last = last_s
        self._delay = first_s
        self._next = -math.inf
        self._opened = math.inf

    def ready(self, now_s: float) -> bool:
        """True when a connection may be tried."""
        return now_s >= self._next

    def opened(self, now_s: float) -> None:
        """A connection stands."""
        self._opened = now_s

    def lost(self, now_s: float) -> None:
        """The connection, or the attempt at one, ended."""
        if now_s - self._opened >= self._last:
            self._delay = self._first
        self._opened = math.inf
        self._next = now_s + self._delay * self._rng.uniform(0.8, 1.2)
        self._delay = min(2.0 * self._delay, self._last)
