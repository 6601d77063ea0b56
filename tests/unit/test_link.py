import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ctrl.clock import VirtualClock
from ctrl.messages import MAX_BYTES, Command, Event, Profile, decode, encode
from ctrl.service import link
from ctrl.service.link import LinkClient, LinkError, LinkServer, ask

STATUS = Command("status", "plc_furnace", "eva", "")


def profile(tag: str = "plan.p", value: float = 1.0, at: float = 0.0) -> Profile:
    return Profile(tag, "kW", ((0.0, value),), 900.0, 0x80, "plan", f"{at}", "", at)


def event(n: int = 0) -> Event:
    return Event(float(n), "control", "alarm", "hot", {"n": n})


class Control:
    """The server side with a record of what arrived."""

    def __init__(self, path: Path) -> None:
        self.got: list[Profile | Event] = []
        self.commands: list[Command] = []
        self.server = LinkServer(path, VirtualClock(0.0), self.take, self.obey)

    def take(self, message: Profile | Event) -> None:
        if isinstance(message, Profile) and message.tag == "nobody":
            raise ValueError("nobody is not a declared feed or offer")
        self.got.append(message)

    def obey(self, command: Command) -> dict[str, Any]:
        self.commands.append(command)
        if command.verb == "arm":
            raise ValueError("not commissioned")
        if command.verb == "nan":
            return {"x": float("nan")}
        if command.verb == "big":
            return {"x": "y" * MAX_BYTES}
        return {"state": "armed", "ok": "cannot be overwritten"}


def serve(tmp_path: Path, use: Callable[[Control, Path], Awaitable[None]]) -> Control:
    path = tmp_path / "control.sock"
    control = Control(path)

    async def run() -> None:
        await control.server.start()
        try:
            async with asyncio.timeout(10):
                await use(control, path)
        finally:
            await control.server.close()
        assert not path.exists()

    asyncio.run(run())
    return control


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("did not happen")


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(path, limit=2 * MAX_BYTES)


def test_the_command_line_asks_and_gets_one_reply(tmp_path: Path) -> None:
    async def use(control: Control, path: Path) -> None:
        reply = await asyncio.to_thread(ask, path, STATUS)
        assert reply == {"kind": "reply", "ok": True, "state": "armed"}
        reply = await asyncio.to_thread(ask, path, Command("arm", "plc", "eva", "start of shift"))
        assert reply == {"kind": "reply", "ok": False, "error": "not commissioned"}
        assert control.commands[0] == STATUS
        for verb in ("nan", "big"):
            reply = await asyncio.to_thread(ask, path, Command(verb, "", "", ""))
            assert reply["ok"] is False

    serve(tmp_path, use)


def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="ctrl run"):
        ask(tmp_path / "none.sock", STATUS)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen()
        with pytest.raises(LinkError, match="no reply"):
            ask(tmp_path / "deaf.sock", STATUS, timeout_s=0.05)


def test_the_socket_is_for_this_user_alone_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def use(control: Control, path: Path) -> None:
        del control
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(LinkError, match="another control process"):
            await Control(path).server.start()
        await asyncio.to_thread(ask, path, STATUS)

    serve(tmp_path, use)
    with pytest.raises(LinkError, match="too long"):
        asyncio.run(Control(tmp_path / ("x" * 120)).server.start())
    with pytest.raises(LinkError, match="cannot be served"):
        asyncio.run(Control(tmp_path / "missing" / "x.sock").server.start())


def test_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(control: Control, path: Path) -> None:
        monkeypatch.setattr("ctrl.service.link.struct.unpack", lambda *_: (1, os.getuid() + 1000, 1000))
        with pytest.raises(LinkError):
            await asyncio.to_thread(ask, path, STATUS)
        assert control.server.refused == 1
        assert control.commands == []

    serve(tmp_path, use)


def test_profiles_and_events_cross_and_a_refused_one_comes_back(tmp_path: Path) -> None:
    async def use(control: Control, path: Path) -> None:
        events: list[Event] = []
        client = LinkClient(path, VirtualClock(77.0), events.append)
        task = asyncio.create_task(client.run())
        await until(lambda: client.connected)
        client.send(profile())
        client.send(event(7))
        client.send(profile("nobody"))
        await until(lambda: len(control.got) == 2 and bool(events))
        assert control.got == [profile(), event(7)]
        assert events == [Event(77.0, "link", "MESSAGE_REFUSED", "nobody is not a declared feed or offer", {})]
        assert (await client.request(STATUS))["state"] == "armed"
        control.server.publish(event(1))
        await until(lambda: len(events) == 2)
        assert events[1] == event(1)
        task.cancel()

    serve(tmp_path, use)


def test_a_profile_that_control_cannot_decode_is_told_once_with_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    events: list[Event] = []

    def backwards(id: str) -> Profile:
        return Profile("plan.q", "kW", ((9.0, 1.0), (0.0, 1.0)), 900.0, 0x80, "plan", id, "", 0.0)

    async def run() -> None:
        client = LinkClient(path, VirtualClock(0.0), events.append)
        client.send(backwards("run 41"))
        task = asyncio.create_task(client.run())
        for n in range(1, 3):
            control = Control(path)
            await control.server.start()
            await until(lambda: client.connected)
            await client.request(STATUS)
            assert len(events) == 1, "the new connection sends it again; that is no news"
            if n == 2:
                client.send(backwards("run 42"))
                await until(lambda: len(events) == 2)
            assert control.got == []
            await control.server.close()
            await until(lambda: not client.connected)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert [e.event for e in events] == ["MESSAGE_REFUSED"] * 2
    for e, id in zip(events, ("run 41", "run 42"), strict=True):
        assert e.text.startswith('steps are not in ascending time; it begins {"id":"' + id)
        assert len(e.text) < 250


def test_the_client_comes_back_and_sends_the_newest_of_each_tag_again(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    links: list[bool] = []

    async def run() -> None:
        client = LinkClient(path, VirtualClock(0.0), lambda _: None, links.append)
        client.send(profile("a", 1.0))
        client.send(profile("a", 2.0, 1.0))
        client.send(profile("b", 3.0))
        task = asyncio.create_task(client.run())
        for _ in range(2):
            control = Control(path)
            await control.server.start()
            await until(lambda control=control: len(control.got) == 2)  # type: ignore[misc]
            assert control.got == [profile("a", 2.0, 1.0), profile("b", 3.0)]
            await control.server.close()
            await until(lambda: not client.connected)
            with pytest.raises(LinkError, match="not connected"):
                await client.request(STATUS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert links == [True, False, True, False]


def test_a_request_whose_connection_goes_fails_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "x.sock"

        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            await reader.readline()
            await asyncio.sleep(0.1)
            writer.close()

        server = await asyncio.start_unix_server(deaf, path)
        client = LinkClient(path, VirtualClock(0.0), lambda _: None)
        task = asyncio.create_task(client.run())
        await until(lambda: client.connected)
        with pytest.raises(LinkError, match="within"):
            await client.request(STATUS, 0.02)
        with pytest.raises(LinkError, match="lost"):
            await client.request(STATUS, 5.0)
        task.cancel()
        server.close()

    asyncio.run(run())


def test_control_that_hangs_is_given_up_after_sixteen_open_replies(tmp_path: Path) -> None:
    links: list[bool] = []

    async def run() -> None:
        path = tmp_path / "x.sock"
        lines: list[list[bytes]] = []

        async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            lines.append([])
            while line := await reader.readline():
                lines[-1].append(line)
            writer.close()

        server = await asyncio.start_unix_server(hangs, path)
        client = LinkClient(path, VirtualClock(0.0), lambda _: None, links.append)
        task = asyncio.create_task(client.run())
        await until(lambda: client.connected)
        for _ in range(14):  # requests that nobody waits for any more, beside the subscription and one that waits
            with pytest.raises(LinkError, match="within"):
                await client.request(STATUS, 0.001)
        waits = asyncio.create_task(client.request(STATUS, 5.0))
        await asyncio.sleep(0)
        with pytest.raises(LinkError, match="owes 16 replies"):
            await client.request(STATUS, 5.0)
        with pytest.raises(LinkError, match="lost"):
            await waits
        await until(lambda: links == [True, False, True])
        with pytest.raises(LinkError, match="within"):
            await client.request(STATUS, 0.001)
        await until(lambda: [len(n) for n in lines] == [16, 2])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()

    asyncio.run(run())


def test_a_reply_that_nobody_waits_for_ends_the_connection(tmp_path: Path) -> None:
    links: list[bool] = []

    async def run() -> None:
        path = tmp_path / "x.sock"

        async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b'{"kind":"reply","ok":true}\n' * (2 if links == [True] else 1))
            await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(talks, path)
        client = LinkClient(path, VirtualClock(0.0), lambda _: None, links.append)
        task = asyncio.create_task(client.run())
        await until(lambda: links == [True, False, True])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\n" * 20,
        b"\x00\xff" * 5000 + b"\n",
        b'{"kind":"command"}\n' * 20,
        b'{"kind":"profile","tag":NaN}\n' * 20,
        b"[" * 100_000 + b"\n",
        b"x" * (MAX_BYTES + 10_000),
        b'{"kind":"command","verb":"sta',
        b"\n" * 50,
        b"",
    ],
)
def test_a_bad_client_is_told_or_dropped_and_harms_nobody(tmp_path: Path, data: bytes) -> None:
    async def use(control: Control, path: Path) -> None:
        good, good_writer = await connect(path)
        reader, writer = await connect(path)
        writer.write(data)
        writer.write_eof()
        try:
            lines = (await reader.read()).splitlines()
        except ConnectionError:
            lines = []
        assert all(json.loads(line)["kind"] == "refused" for line in lines)
        assert len(lines) <= 6
        writer.close()
        good_writer.write(encode(STATUS))
        assert json.loads(await good.readline())["ok"] is True
        assert control.commands == [STATUS]
        good_writer.close()

    assert serve(tmp_path, use).got == []


def test_a_slow_reader_loses_the_oldest_events_is_told_and_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_QUEUE", 50)

    async def use(control: Control, path: Path) -> None:
        slow, slow_writer = await connect(path)
        fast, fast_writer = await connect(path)
        for writer, reader in ((slow_writer, slow), (fast_writer, fast)):
            writer.write(encode(Command(link.SUBSCRIBE, "", "", "")))
            assert json.loads(await reader.readline())["ok"] is True
        # asyncio reads ahead into its own buffer: stop that, as a process that hangs would
        slow_writer.transport.pause_reading()  # type: ignore[attr-defined]
        big = Event(0.0, "control", "alarm", "x" * 4000, {})
        seen = 0
        for n in range(2000):
            control.server.publish(big)
            if n % 20 == 0:
                while seen <= n:
                    seen += (await fast.readline()).startswith(b'{"data"')
        slow_writer.transport.resume_reading()  # type: ignore[attr-defined]
        told, received = 0, 0
        while received + told < 2000:
            message = decode(await slow.readline())
            assert isinstance(message, Event)
            if message.event == "events_dropped":
                told += int(message.data["dropped"] or 0)
            else:
                received += 1
        assert told > 0
        assert received + told == 2000

    serve(tmp_path, use)


def test_a_client_that_takes_nothing_for_long_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_STUCK_S", 0.05)

    async def use(control: Control, path: Path) -> None:
        reader, writer = await connect(path)
        writer.write(encode(Command(link.SUBSCRIBE, "", "", "")))
        await reader.readline()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        subscribers = control.server._subscribers
        for _ in range(500):
            control.server.publish(Event(0.0, "control", "alarm", "x" * 4000, {}))
        await until(lambda: not subscribers)
        await asyncio.to_thread(ask, path, STATUS)
        writer.close()

    serve(tmp_path, use)


FLOOD = """
import socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
lines = bytes.fromhex(sys.argv[2]) * 50
while True:
    sock.sendall(lines)
"""


def test_a_flood_leaves_the_loop_free(tmp_path: Path) -> None:
    async def use(control: Control, path: Path) -> None:
        flood = subprocess.Popen([sys.executable, "-S", "-c", FLOOD, str(path), encode(profile()).hex()])
        try:
            await until(lambda: len(control.got) > 32)
            loop, late, before = asyncio.get_running_loop(), [], len(control.got)
            begin = loop.time()
            for _ in range(60):
                due = loop.time() + 0.005
                await asyncio.sleep(0.005)
                late.append(loop.time() - due)
            # 32 messages, then a pause of 10 ms: whatever a client does, this is its share
            assert len(control.got) - before <= 32 * ((loop.time() - begin) / 0.01 + 2)
            assert sorted(late)[30] < 0.01  # the median, since the machine may have other work
        finally:
            flood.kill()
            flood.wait()

    serve(tmp_path, use)


def test_too_many_clients_are_refused_and_places_are_freed(tmp_path: Path) -> None:
    async def use(control: Control, path: Path) -> None:
        writers = [(await connect(path))[1] for _ in range(16)]
        await until(lambda: len(control.server._clients) == 16)
        with pytest.raises(LinkError):
            await asyncio.to_thread(ask, path, STATUS)
        for writer in writers:
            writer.close()
        await until(lambda: not control.server._clients)
        await asyncio.to_thread(ask, path, STATUS)

    serve(tmp_path, use)
