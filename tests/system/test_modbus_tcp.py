"""The real client on real sockets: against our server, against servers that lie, and against the memory wire."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
from pymodbus.client import AsyncModbusTcpClient

from ctrl.field.modbus import ModbusTcp
from ctrl.field.modbus_server import ModbusServer
from ctrl.field.read_plan import ReadBlock
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
from ctrl.field.virtual_plc import VirtualPlc
from tests.fieldkit import Bench, furnace, seeded

pytestmark = pytest.mark.system

BLOCK = ReadBlock("ir", 100, 2, ())
Reply = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def client(port: int, timeout_s: float = 0.15, unit: int = 1, clock=None) -> ModbusTcp:
    return ModbusTcp("127.0.0.1", port, unit, timeout_s, Reconnect(seeded(1), 0.0, 0.0), clock=clock)


class Liar:
    """Answers each request frame with what `reply` makes of it."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.connections = 0
        self.open = 0
        self.requests: list[bytes] = []

    async def __aenter__(self) -> Liar:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = await reader.readexactly(6)
                frame = head + await reader.readexactly(int.from_bytes(head[4:6], "big"))
                self.requests.append(frame)
                await self.reply(frame, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


def answer(frame: bytes, words: tuple[int, ...] = (0x3F80, 0)) -> bytes:
    pdu = struct.pack(f">BB{len(words)}H", frame[7], 2 * len(words), *words)
    return frame[:4] + struct.pack(">HB", 1 + len(pdu), frame[6]) + pdu


def spoil(place: int, value: int) -> Callable[[bytes], bytes]:
    return lambda good: good[:place] + bytes([value]) + good[place + 1 :]


READ_LIES = {
    "transaction": spoil(1, 0x55),
    "transaction 0": lambda good: b"\0\0" + good[2:],
    "transaction swapped": lambda good: good[1::-1] + good[2:],
    "protocol": spoil(3, 1),
    "unit": spoil(6, 2),
    "function": spoil(7, 3),
    "exception of another function": lambda good: good[:4] + b"\0\x03\x01\x83\x02",
    "length too long": spoil(5, 9),
    "length too short": spoil(5, 5),
    "byte count": spoil(8, 2),
    "one register of two": lambda good: good[:4] + b"\0\x05\x01\x04\x02\x3f\x80",
    "three registers for two": lambda good: good[:4] + b"\0\x09\x01\x04\x06" + bytes(6),
    "two answers": lambda good: good + good,
    "garbage": lambda _: b"\xff" * 40,
    "too much": lambda _: b"\x00" * 4000,
}


@pytest.mark.parametrize("lie", READ_LIES.values(), ids=READ_LIES.keys())
def test_no_lie_is_read_and_the_connection_is_closed(lie):
    async def play() -> None:
        async def reply(frame: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(lie(answer(frame)))

        async with Liar(reply) as liar:
            wire = client(liar.port)
            with pytest.raises((ProtocolError, Timeout)):
                await wire.read(BLOCK)
            await asyncio.sleep(0.02)
            assert liar.open == 0
            liar.reply = _honest
            assert list(await wire.read(BLOCK)) == [0x3F80, 0]
            assert liar.connections == 2
            await wire.close()

    asyncio.run(play())


async def _honest(frame: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(frame) if frame[7] in (3, 4) else frame[:4] + b"\0\x06" + frame[6:12])


WRITE_LIES = {
    "address": lambda good: good[:9] + b"\x63" + good[10:],
    "value": lambda good: good[:11] + b"\x63" + good[12:],
    "read answer to a write": lambda good: good[:4] + b"\0\x05\x01\x03\x02\0\0",
    "long echo": lambda good: good[:4] + b"\0\x08" + good[6:] + b"\0\0",
}


@pytest.mark.parametrize("words", [(7,), (7, 8)])
@pytest.mark.parametrize("lie", WRITE_LIES.values(), ids=WRITE_LIES.keys())
def test_a_wrong_write_echo_is_uncertain_and_closes(lie, words):
    async def play() -> None:
        async def reply(frame: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(lie(frame[:4] + b"\0\x06" + frame[6:12]))

        async with Liar(reply) as liar:
            wire = client(liar.port)
            with pytest.raises((ProtocolError, Timeout)) as caught:
                await wire.write("hr", 10, words)
            assert caught.value.may_have_executed
            await asyncio.sleep(0.02)
            assert liar.open == 0
            await wire.close()

    asyncio.run(play())


def test_a_late_answer_meets_nobody():
    async def play() -> None:
        async def late(frame: bytes, writer: asyncio.StreamWriter) -> None:
            if len(liar.requests) == 1:
                await asyncio.sleep(0.2)
                writer.write(answer(frame, (0xDEAD, 0xDEAD)))
            else:
                await _honest(frame, writer)

        async with Liar(late) as liar:
            wire = client(liar.port, timeout_s=0.1)
            with pytest.raises(Timeout):
                await wire.read(BLOCK)
            for _ in range(20):
                assert list(await wire.read(BLOCK)) == [0x3F80, 0]
                await asyncio.sleep(0.01)
            assert (liar.connections, liar.open) == (2, 1)
            await wire.close()

    asyncio.run(play())


def test_half_a_frame_whose_tail_looks_like_the_next_answer():
    """The rest of a cut frame, forged as an answer to the next transaction, is what naive clients accept."""

    async def play() -> None:
        rest = b""

        async def cut(frame: bytes, writer: asyncio.StreamWriter) -> None:
            nonlocal rest
            tail = struct.pack(">HHHBBBHH", 2, 0, 7, 1, 4, 4, 0xDEAD, 0xDEAD)
            if len(liar.requests) == 1:
                whole = answer(frame, (0,) * 2)
                writer.write(whole[:10])
                rest = whole[10:] + tail
            else:
                writer.write(rest)

        async with Liar(cut) as liar:
            wire = client(liar.port, timeout_s=0.1)
            for _ in range(3):
                with pytest.raises((Timeout, ProtocolError)):
                    await wire.read(BLOCK)
            await wire.close()

    asyncio.run(play())


def test_one_byte_a_segment_is_put_together():
    async def play() -> None:
        async def drip(frame: bytes, writer: asyncio.StreamWriter) -> None:
            for byte in answer(frame):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.001)

        async with Liar(drip) as liar:
            wire = client(liar.port, timeout_s=1.0)
            assert list(await wire.read(BLOCK)) == [0x3F80, 0]
            await wire.close()

    asyncio.run(play())


def test_bytes_between_requests_cost_the_connection():
    async def play() -> None:
        async def twice(frame: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(frame))
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(answer(frame))

        async with Liar(twice) as liar:
            wire = client(liar.port)
            assert list(await wire.read(BLOCK)) == [0x3F80, 0]
            await asyncio.sleep(0.05)
            assert liar.open == 0
            await wire.close()

    asyncio.run(play())


def test_peer_that_closes_mid_request_is_noticed_before_the_deadline():
    async def play() -> None:
        async def hang_up(_: bytes, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with Liar(hang_up) as liar:
            wire = client(liar.port, timeout_s=5.0)
            async with asyncio.timeout(1.0):
                with pytest.raises(ConnectionLost) as caught:
                    await wire.write("hr", 10, (1,))
            assert caught.value.may_have_executed
            await wire.close()

    asyncio.run(play())


def test_exception_answers_keep_the_connection():
    async def play() -> None:
        async def refuse(frame: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(frame[:4] + bytes((0, 3, frame[6], frame[7] | 0x80, 2)))

        async with Liar(refuse) as liar:
            wire = client(liar.port)
            for _ in range(3):
                with pytest.raises(DeviceException) as caught:
                    await wire.read(BLOCK)
                assert (caught.value.code, caught.value.may_have_executed) == (2, False)
            assert liar.connections == 1
            await wire.close()

    asyncio.run(play())


def test_bytes_after_an_exception_answer_are_a_fault():
    async def play() -> None:
        async def refuse(frame: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(frame[:4] + bytes((0, 3, frame[6], frame[7] | 0x80, 2)) + b"\0")

        async with Liar(refuse) as liar:
            wire = client(liar.port)
            with pytest.raises(ProtocolError):
                await wire.read(BLOCK)
            await wire.close()

    asyncio.run(play())


def test_reconnecting_backs_off_and_holds_one_socket():
    async def play() -> None:
        async def mute(*_: object) -> None:
            return None

        now = 0.0
        async with Liar(mute) as liar:
            wire = ModbusTcp("127.0.0.1", liar.port, 1, 0.01, Reconnect(seeded(5)), clock=lambda: now)
            most = 0
            for step in range(600):
                now = step * 0.1
                with pytest.raises(TransportError):
                    await wire.read(BLOCK)
                most = max(most, liar.open)
            # 0.2, 0.4 .. 5 s, then every 5 s for a minute
            assert 12 <= liar.connections <= 20
            assert most <= 1
            await wire.close()

    asyncio.run(play())


def test_nobody_there():
    async def play() -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        wire = client(port)
        with pytest.raises(NotConnected) as caught:
            await wire.connect()
        assert not caught.value.may_have_executed
        await wire.close()

    asyncio.run(play())


def test_what_the_client_refuses_to_do():
    with pytest.raises(ValueError, match="does not appear"):
        ModbusTcp("plc.example", 502, 1, 1.0, Reconnect(seeded(1)))
    with pytest.raises(ValueError, match="broadcast"):
        ModbusTcp("127.0.0.1", 502, 0, 1.0, Reconnect(seeded(1)))

    async def play() -> None:
        wire = client(1)
        for table, offset, words in (("hr", 0, [0] * 124), ("hr", 65535, [1, 2]), ("ir", 0, [1]), ("co", 0, [])):
            with pytest.raises(ValueError, match="cannot write"):
                await wire.write(table, offset, words)
        wire.deadline = asyncio.get_running_loop().time()
        with pytest.raises(DeadlinePassed):
            await wire.read(BLOCK)

    asyncio.run(play())


def test_small_frames_leave_at_once():
    async def play() -> None:
        async with Liar(_honest) as liar:
            wire = client(liar.port)
            await wire.connect()
            assert wire._link is not None
            sock = wire._link.client.ctx.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            await wire.close()

    asyncio.run(play())


# ----------------------------------------------------------------------------------------------------- our server
def test_pymodbus_reads_and_writes_our_server():
    async def play() -> None:
        plc = VirtualPlc(furnace())
        plc.set_measures({"temp": 1.0, "door": 1.0})
        server = ModbusServer({1: plc})
        port = await server.start()
        async with AsyncModbusTcpClient("127.0.0.1", port=port, retries=0, timeout=1) as peer:
            assert (await peer.read_input_registers(100, count=2)).registers == [0x3F80, 0]
            assert (await peer.read_discrete_inputs(0, count=1)).bits[0] is True
            assert not (await peer.write_registers(10, [0x42C8, 0])).isError()
            assert not (await peer.write_register(12, 55)).isError()
            assert not (await peer.write_coil(0, True)).isError()
            assert not (await peer.write_coils(0, [True])).isError()
            assert (await peer.read_coils(0, count=1)).bits[0] is True
            assert (await peer.read_holding_registers(10, count=3)).registers == [0x42C8, 0, 55]
            assert (await peer.read_holding_registers(500, count=1)).exception_code == 2
            assert (await peer.write_register(500, 1)).exception_code == 2
            assert (await peer.read_input_registers(100, count=1, device_id=9)).exception_code == 0x0B
            assert (await peer.read_exception_status()).exception_code == 1
        await server.stop()

    asyncio.run(play())


async def raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    got = b""
    try:
        while chunk := await asyncio.wait_for(reader.read(4096), 0.15):
            got += chunk
    except TimeoutError:
        pass
    except ConnectionError:
        got += b"(reset)"
    writer.close()
    return got


def ask(transaction: int, pdu: str, unit: int = 1) -> bytes:
    body = bytes.fromhex(pdu)
    return struct.pack(">HHHB", transaction, 0, 1 + len(body), unit) + body


def test_pipelined_requests_are_all_answered_in_order():
    async def play() -> None:
        server = ModbusServer({1: VirtualPlc(furnace())})
        port = await server.start()
        got = await raw(port, b"".join(ask(i, "04 0064 0001") for i in range(1, 9)))
        assert [int.from_bytes(got[i : i + 2], "big") for i in range(0, len(got), 11)] == list(range(1, 9))
        await server.stop()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("pdu", "answer_"),
    [
        ("04 0064 0000", "84 03"), ("04 0064 007e", "84 03"), ("04 0064", "84 03"), ("04", "84 03"),
        ("04 0064 0001 00", "84 03"), ("05 0000 1234", "85 03"), ("10 000a 0002 03 000000", "90 03"),
        ("10 000a 0002 04 0000", "90 03"), ("10 000a 0000 00", "90 03"), ("0f 0000 0001 02 01", "8f 03"),
        ("10 000a 0002 04 42c8 0000", "10 000a 0002"), ("0f 0000 0001 01 01", "0f 0000 0001"), ("2b 0e 01 00", "ab 01"),
        ("06 000c 0037", "06 000c 0037"), ("05 0000 ff00", "05 0000 ff00"), ("01 0000 0001", "01 01 00"),
    ],
)  # fmt: skip
def test_server_pdus(pdu, answer_):
    async def play() -> None:
        server = ModbusServer({1: VirtualPlc(furnace())})
        port = await server.start()
        assert (await raw(port, ask(1, pdu)))[7:] == bytes.fromhex(answer_)
        await server.stop()

    asyncio.run(play())


def test_frames_that_are_none_close_the_connection():
    async def play() -> None:
        server = ModbusServer({1: VirtualPlc(furnace())})
        port = await server.start()
        for bad in ("0001 0001 0006 01 04 0064 0001", "0001 0000 0001 01 04", "0001 0000 ffff 01 04 0064 0001"):
            assert await raw(port, bytes.fromhex(bad) + ask(2, "04 0064 0001")) in (b"", b"(reset)")
        assert server.requests == 0
        with pytest.raises(ValueError, match="loopback"):
            await ModbusServer({}).start(host="0.0.0.0")
        await server.stop()
        await server.stop()

    asyncio.run(play())


def test_offline_is_silence():
    async def play() -> None:
        plc = VirtualPlc(furnace())
        server = ModbusServer({1: plc})
        wire = client(await server.start(), timeout_s=0.05)
        await wire.read(BLOCK)
        plc.offline = True
        with pytest.raises(Timeout):
            await wire.read(BLOCK)
        await wire.close()
        await server.stop()

    asyncio.run(play())


# ------------------------------------------------------------------------------------------- one script, two wires
SCRIPT: list[dict[str, float]] = (
    [{"power_cmd": 60.0, "speed_cmd": 0.0, "run_cmd": 0.0}] * 3
    + [{"power_cmd": 60.0 + 10.0 * i, "speed_cmd": -1.7 * i, "run_cmd": float(i % 2)} for i in range(10)]
    + [{"power_cmd": 150.0}] * 30
)


async def _script(bench: Bench) -> list:
    for k, commands in enumerate(SCRIPT):
        bench.plc.offline = 18 <= k < 25
        bench.plc.exception = 6 if k == 28 else None
        bench.plc.set_measures({"temp": 800.0 + k, "door": float(k % 2), "energy": 0.1 * k})
        await bench.acycle(**commands)
        if k == 1:
            bench.arm()
    return [bench.plc.traffic, bench.image.now, bench.events, bench.driver.counters, bench.journal.records()]


def test_memory_and_modbus_wires_carry_identical_traffic():
    async def over_tcp() -> list:
        bench = Bench(furnace())
        server = ModbusServer({1: bench.plc})
        port = await server.start()
        wire = ModbusTcp("127.0.0.1", port, 1, 0.1, Reconnect(seeded(1)), clock=lambda: float(bench.k))
        bench.driver._transport = wire
        result = await _script(bench)
        await wire.close()
        await server.stop()
        return result

    memory = asyncio.run(_script(Bench(furnace())))
    assert asyncio.run(over_tcp()) == memory
    assert {"LINK_LOST", "LINK_RECOVERED"} <= set(memory[2])


def test_write_whose_answer_is_lost_is_settled_by_the_read_back():
    async def play() -> None:
        bench = Bench(furnace())
        server = ModbusServer({1: bench.plc})
        port = await server.start()
        bench.driver._transport = client(port, timeout_s=0.05, clock=lambda: float(bench.k))
        await bench.acycle()
        await bench.acycle()
        bench.arm()
        await bench.acycle(power_cmd=60.0)
        answer_, lost = server.answer, []

        def swallow(unit: int, pdu: bytes) -> bytes | None:
            reply = answer_(unit, pdu)
            if pdu[:3] == b"\x10\x00\x0a" and not lost:
                lost.append(pdu)
                return None
            return reply

        server.answer = swallow  # type: ignore[method-assign]
        beats = bench.driver.counters["heartbeats"]
        await bench.acycle(power_cmd=90.0)
        assert bench.events[-1] == "WRITE_UNCERTAIN"
        assert bench.driver.counters["heartbeats"] == beats
        bench.writes()
        await bench.acycle(power_cmd=90.0)
        assert bench.writes() == [], "the read-back shows 90: nothing to repeat"
        assert bench.driver.counters["heartbeats"] == beats + 1
        assert bench.plc.command("power_cmd") == 90.0
        await bench.driver._transport.close()
        await server.stop()

    asyncio.run(play())
