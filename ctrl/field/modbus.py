"""Modbus/TCP through pymodbus, with our own deadline, our own checks and our own reconnecting.

pymodbus 3.16 accepts answers of another function, length or transaction 0, does not compare write echoes, and keeps
the connection after a timeout. Here its raw bytes are checked first (`frame.check_reply`), it sees only what passed,
and a connection lives until the first timeout or wrong byte: a late answer then meets a closed socket.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import socket
from collections.abc import Awaitable, Callable, Sequence
from struct import unpack_from
from typing import Any, Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from ctrl.field.frame import check_reply
from ctrl.field.read_plan import ReadBlock
from ctrl.field.spec import Table
from ctrl.field.transport import (
    ConnectionLost,
    DeadlinePassed,
    DeviceException,
    NotConnected,
    ProtocolError,
    Reconnect,
    Timeout,
    TransportError,
)

# its log history is global to the process and mixes devices; faults are reported by typed errors instead
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

_MAX_WRITE_REGISTERS: Final = 123
_MAX_WRITE_BITS: Final = 1968
_READS: Final = {
    "co": "read_coils",
    "di": "read_discrete_inputs",
    "hr": "read_holding_registers",
    "ir": "read_input_registers",
}


class _Link:
    """One TCP connection. The first wrong byte kills it, and the waiting request with it."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.reply = b""
        self.alive = False
        self._sent = b""
        self.client = AsyncModbusTcpClient(
            host,
            port=port,
            timeout=2.0 * timeout_s,  # never reached: our deadline is always earlier
            retries=0,
            reconnect_delay=0,
            trace_packet=self._packet,
            trace_connect=self._connection,
        )

    def tune(self, timeout_s: float) -> None:
        """Small frames leave at once; a dead peer is noticed by the kernel, too."""
        sock = self.client.ctx.transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(1000 * timeout_s)))

    def close(self) -> None:
        """Drop the connection now; what was not sent is never sent."""
        self.alive = False
        self._sent = b""
        transport = self.client.ctx.transport
        if isinstance(transport, asyncio.Transport):
            transport.abort()
        self.client.close()

    def _packet(self, sending: bool, data: bytes) -> bytes:
        if sending:
            self._sent, self.reply = data, b""
            return data
        try:
            if not self._sent:
                raise ProtocolError("bytes that nobody asked for")
            reply = check_reply(self._sent, data)
        except ProtocolError as error:
            self._fail(error)
            return b""
        if reply is None:
            return b""  # pymodbus keeps the bytes and shows them again with the next ones
        self.reply, self._sent = reply, b""
        return data

    def _connection(self, connected: bool) -> None:
        self.alive = connected
        if not connected:
            self._fail(ConnectionLost("closed by the peer"))

    def _fail(self, error: TransportError) -> None:
        # pymodbus leaves its request waiting when the connection is gone: end it here
        waiting = self.client.ctx.response_future
        if self._sent and not waiting.done():
            waiting.set_exception(error)
        self.close()


class ModbusTcp:
    """Transport to one unit behind one Modbus/TCP address, with at most one socket.

    host: an IP address (a name would put DNS on the control path). timeout_s: of connecting and request together.
    clock: seconds for the waits of `reconnect`; None = the event loop's clock. `deadline` is in the loop's time.
    Raises ValueError for a host that is no address, and for unit 0 (broadcast: nobody would confirm it).
    """

    def __init__(
        self,
        host: str,
        port: int,
        unit_id: int,
        timeout_s: float,
        reconnect: Reconnect,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        ipaddress.ip_address(host)
        if not (1 <= unit_id <= 247 or unit_id == 255):
            raise ValueError(f"unit {unit_id}; 1 to 247 or 255, and 0 is broadcast")
        self.deadline = math.inf
        self.latency_ms = 0.0
        self._address = (host, port)
        self._unit = unit_id
        self._timeout = timeout_s
        self._reconnect = reconnect
        self._clock = clock
        self._link: _Link | None = None
        self._busy = False

    async def connect(self) -> None:
        """Open the connection. Raises NotConnected when it fails or when it is too early to try again."""
        await self._open(self._budget())

    async def close(self) -> None:
        """Close the connection and let the loop release the socket."""
        if self._link is not None:
            self._link.close()
            self._link = None
            await asyncio.sleep(0)

    async def read(self, block: ReadBlock) -> Sequence[int]:
        """Registers or bits of the block, from an answer that was checked to the last byte."""
        method = _READS[block.table]
        reply = await self._request(
            lambda client: getattr(client, method)(block.start, count=block.count, device_id=self._unit)
        )
        if block.table in ("ir", "hr"):
            return unpack_from(f">{block.count}H", reply, 2)
        return [reply[2 + i // 8] >> i % 8 & 1 for i in range(block.count)]

    async def write(self, table: Table, offset: int, words: Sequence[int]) -> None:
        """Write with function 5, 6, 15 or 16. Raises ValueError for what no request can carry."""
        limit = {"hr": _MAX_WRITE_REGISTERS, "co": _MAX_WRITE_BITS}.get(table, 0)
        if not (1 <= len(words) <= limit and offset >= 0 and offset + len(words) <= 65536):
            raise ValueError(f"cannot write {len(words)} places at {table} {offset}")
        await self._request(lambda client: self._send(client, table, offset, words))

    def _send(self, client: AsyncModbusTcpClient, table: Table, offset: int, words: Sequence[int]) -> Awaitable[Any]:
        if table == "hr":
            if len(words) == 1:
                return client.write_register(offset, words[0], device_id=self._unit)
            return client.write_registers(offset, list(words), device_id=self._unit)
        if len(words) == 1:
            return client.write_coil(offset, bool(words[0]), device_id=self._unit)
        return client.write_coils(offset, [bool(w) for w in words], device_id=self._unit)

    def _budget(self) -> float:
        budget = min(self._timeout, self.deadline - asyncio.get_running_loop().time())
        if budget <= 0.0:
            raise DeadlinePassed("no time left in this cycle")
        return budget

    def _now(self) -> float:
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()

    async def _request(self, call: Callable[[AsyncModbusTcpClient], Awaitable[Any]]) -> bytes:
        """PDU of the checked answer. Any failure but a device exception closes the connection."""
        if self._busy:
            raise RuntimeError("one request at a time")
        self._busy = True
        try:
            return await self._exchange(call, self._budget())
        finally:
            self._busy = False

    async def _exchange(self, call: Callable[[AsyncModbusTcpClient], Awaitable[Any]], budget: float) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        link = await self._open(budget)
        try:
            async with asyncio.timeout_at(began + budget):
                await call(link.client)
        except TimeoutError as error:
            self._drop()
            raise Timeout(f"no complete answer in {budget:.3f} s") from error
        except ModbusException as error:
            self._drop()
            raise ConnectionLost(str(error)) from error
        except BaseException:
            # a checked fault, or a cancelled request whose answer may still be on its way
            self._drop()
            raise
        self.latency_ms = 1000.0 * (loop.time() - began)
        reply = link.reply
        if reply[0] & 0x80:
            raise DeviceException(reply[1])
        return reply

    async def _open(self, budget: float) -> _Link:
        if self._link is not None:
            if self._link.alive:
                return self._link
            self._drop()  # it died between two requests
        if not self._reconnect.ready(self._now()):
            raise NotConnected("waiting before the next attempt")
        host, port = self._address
        link = _Link(host, port, self._timeout)
        try:
            async with asyncio.timeout(budget):
                connected = await link.client.connect()
        except TimeoutError:
            connected = False
        except BaseException:
            link.close()
            raise
        if not connected or not link.alive:
            link.close()
            self._reconnect.lost(self._now())
            raise NotConnected(f"cannot connect to {host}:{port}")
        link.tune(self._timeout)
        self._reconnect.opened(self._now())
        self._link = link
        return link

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
            self._reconnect.lost(self._now())
