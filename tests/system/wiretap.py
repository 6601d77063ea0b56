"""A tap on the wire between the engine and a PLC: forwards every byte, and keeps every write it sees.

It decodes Modbus/TCP by itself, from the specification (Modbus Application Protocol V1.1b3, sections 6.5, 6.6, 6.11,
6.12), and shares no code with the engine: what it shows is what a PLC would have been told.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Write:
    """One write request. at: s on the event loop's clock. registers: words of hr, or bits of co as 0 and 1."""

    at: float
    unit: int
    table: str
    address: int
    registers: tuple[int, ...]

    def f32(self) -> float:
        """Value of two registers, high word first."""
        return float(struct.unpack(">f", struct.pack(">HH", *self.registers))[0])

    def i16(self) -> int:
        """Value of one register."""
        return int(struct.unpack(">h", struct.pack(">H", self.registers[0]))[0])


class Tap:
    """One tapped device; `port` is where the engine connects."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.writes: list[Write] = []
        self.cut = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def last(self, table: str, address: int) -> Write | None:
        """Newest write of an address."""
        return next((w for w in reversed(self.writes) if (w.table, w.address) == (table, address)), None)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError):
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
                with contextlib.closing(up_writer):
                    await asyncio.gather(
                        self._copy(reader, up_writer, look=True), self._copy(up_reader, writer, look=False)
                    )
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: bool) -> None:
        pending = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if look:
                    pending = self._look(pending + data)
                writer.write(data)
                await writer.drain()
        writer.close()

    def _look(self, data: bytes) -> bytes:
        """Take whole frames off the front; returns the rest."""
        while len(data) >= 8:
            length = int.from_bytes(data[4:6], "big")
            if len(data) < 6 + length:
                break
            self._frame(data[6], data[7 : 6 + length])
            data = data[6 + length :]
        return data

    def _frame(self, unit: int, pdu: bytes) -> None:
        function = pdu[0]
        if function not in (5, 6, 15, 16):
            return
        address = int.from_bytes(pdu[1:3], "big")
        if function == 5:
            table, values = "co", (int(pdu[3] == 0xFF),)
        elif function == 6:
            table, values = "hr", (int.from_bytes(pdu[3:5], "big"),)
        else:
            count = int.from_bytes(pdu[3:5], "big")
            body = pdu[6:]
            if function == 16:
                table, values = "hr", struct.unpack(f">{count}H", body)
            else:
                table, values = "co", tuple(body[i // 8] >> i % 8 & 1 for i in range(count))
        self.writes.append(Write(asyncio.get_running_loop().time(), unit, table, address, tuple(values)))
