"""A small Modbus/TCP server in front of virtual PLCs: an independent peer for the client, on loopback only.

Frames after MODBUS Messaging on TCP/IP Implementation Guide V1.0b, functions after MODBUS Application Protocol
Specification V1.1b3. Several requests in one segment are all answered, in order.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from struct import Struct, error, pack, unpack_from
from typing import Final, cast

from ctrl.field.spec import Table
from ctrl.field.transport import GATEWAY_TARGET, ILLEGAL_FUNCTION, ILLEGAL_VALUE
from ctrl.field.virtual_plc import PlcException, VirtualPlc

_MBAP: Final = Struct(">HHHB")
_TABLE: Final[dict[int, Table]] = {1: "co", 2: "di", 3: "hr", 4: "ir", 5: "co", 6: "hr", 15: "co", 16: "hr"}
_MAX_LENGTH: Final = 254  # unit and PDU
_MAX_CONNECTIONS: Final = 64


class ModbusServer:
    """Serves virtual PLCs by unit id. An offline PLC stays silent; an unknown unit is answered with exception 0x0B."""

    def __init__(self, units: Mapping[int, VirtualPlc]) -> None:
        self.units = dict(units)
        self.requests = 0
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Listen; returns the port. Raises ValueError for an address that other machines could reach."""
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"{host} is not a loopback address")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.drop()
        await self._server.wait_closed()
        self._server = None

    def admit(self, connection: _Connection) -> bool:
        """Count a connection in; False when there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= _MAX_CONNECTIONS

    def forget(self, connection: _Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """PDU of the answer, or None for silence."""
        self.requests += 1
        plc = self.units.get(unit)
        if plc is None:
            return bytes((pdu[0] | 0x80, GATEWAY_TARGET))
        if plc.offline:
            return None
        try:
            return _serve(plc, pdu)
        except PlcException as refused:
            return bytes((pdu[0] | 0x80, refused.code))
        except error:  # the PDU is shorter than its function needs
            return bytes((pdu[0] | 0x80, ILLEGAL_VALUE))


class _Connection(asyncio.Protocol):
    """One client. A frame that is none closes it; at most one chunk of input and its answers are held."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.admit(self):
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the interface's
        self._server.forget(self)

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        # a client that does not read its answers may not send more requests
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers, used = [], 0
        while len(self._buffer) - used >= 8:
            transaction, protocol, length, unit = _MBAP.unpack_from(self._buffer, used)
            if protocol != 0 or not 2 <= length <= _MAX_LENGTH:
                self.drop()
                return
            if len(self._buffer) - used < 6 + length:
                break
            pdu = bytes(self._buffer[used + 7 : used + 6 + length])
            used += 6 + length
            answer = self._server.answer(unit, pdu)
            if answer is not None:
                answers.append(_MBAP.pack(transaction, 0, 1 + len(answer), unit) + answer)
        del self._buffer[:used]
        if answers and self._transport is not None:
            self._transport.write(b"".join(answers))


def _serve(plc: VirtualPlc, pdu: bytes) -> bytes:
    function = pdu[0]
    if function not in _TABLE:
        raise PlcException(ILLEGAL_FUNCTION)
    table = _TABLE[function]
    start, second = unpack_from(">HH", pdu, 1)
    if function in (15, 16):
        _write_many(plc, table, start, second, pdu)
        return pdu[:5]
    if len(pdu) != 5:
        raise PlcException(ILLEGAL_VALUE)
    if function in (3, 4):
        words = plc.read(table, start, second)
        return pack(f">BB{second}H", function, 2 * second, *words)
    if function in (1, 2):
        bits = plc.read(table, start, second)
        packed = sum(1 << i for i, bit in enumerate(bits) if bit).to_bytes((second + 7) // 8, "little")
        return bytes((function, len(packed))) + packed
    if function == 5 and second not in (0x0000, 0xFF00):
        raise PlcException(ILLEGAL_VALUE)
    plc.write(table, start, [second if function == 6 else int(second == 0xFF00)])
    return pdu


def _write_many(plc: VirtualPlc, table: Table, start: int, count: int, pdu: bytes) -> None:
    most, size = (123, 2 * count) if table == "hr" else (1968, (count + 7) // 8)
    if not 1 <= count <= most or len(pdu) != 6 + size or pdu[5] != size:
        raise PlcException(ILLEGAL_VALUE)
    if table == "hr":
        plc.write(table, start, list(unpack_from(f">{count}H", pdu, 6)))
    else:
        plc.write(table, start, [pdu[6 + i // 8] >> i % 8 & 1 for i in range(count)])
