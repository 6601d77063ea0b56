"""A wire without sockets: requests go straight to a virtual PLC, with the reconnect rules of the real one.

Nothing here ever waits, so its coroutines also run without an event loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ctrl.field.read_plan import ReadBlock
from ctrl.field.spec import Table
from ctrl.field.transport import DeviceException, NotConnected, Reconnect, Timeout
from ctrl.field.virtual_plc import PlcException, VirtualPlc


class MemoryTransport:
    """Transport to `plc`. clock: seconds, for the waits of `reconnect` alone (virtual time in a simulation)."""

    def __init__(self, plc: VirtualPlc, reconnect: Reconnect, clock: Callable[[], float]) -> None:
        self.deadline = math.inf
        self.latency_ms = 0.0
        self._plc = plc
        self._reconnect = reconnect
        self._clock = clock
        self._connected = False

    async def connect(self) -> None:
        """Open the wire. Raises NotConnected while it is too early to try again."""
        self._open()

    async def close(self) -> None:
        """Close it."""
        self._connected = False

    async def read(self, block: ReadBlock) -> Sequence[int]:
        """Registers or bits of the block."""
        if not self._connected or self._plc.offline:
            self._reach()
        try:
            return self._plc.read(block.table, block.start, block.count)
        except PlcException as error:
            raise DeviceException(error.code) from error

    async def write(self, table: Table, offset: int, words: Sequence[int]) -> None:
        """Write registers or bits."""
        if not self._connected or self._plc.offline:
            self._reach()
        try:
            self._plc.write(table, offset, words)
        except PlcException as error:
            raise DeviceException(error.code) from error

    def _open(self) -> None:
        now = self._clock()
        if not self._reconnect.ready(now):
            raise NotConnected("waiting before the next attempt")
        self._connected = True
        self._reconnect.opened(now)

    def _reach(self) -> None:
        if not self._connected:
            self._open()
        if self._plc.offline:
            self._connected = False
            self._reconnect.lost(self._clock())
            raise Timeout("no answer")
