"""The socket between the processes of one machine, and of `ctrl arm|disarm|status`.

Control serves; the site process and the command line connect. One message is one line (ctrl.messages). Who connects
must be this user or root, by the kernel's word (SO_PEERCRED, unix(7)). A client may send garbage, stop reading or
vanish: it is told or dropped, and neither the cycle nor the other clients notice.

    profile, event       ->   nothing, or {"kind": "refused", "ok": false, "error": ...}
    command              ->   exactly one line, {"kind": "reply", "ok": true | false, ...}, in the order of the commands
    command `subscribe`  ->   a reply, and from then on every event of control
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ctrl.clock import Clock
from ctrl.messages import MAX_BYTES, Command, Event, Message, MessageError, Profile, decode, encode

SUBSCRIBE: Final = "subscribe"
_QUEUE: Final = 1_024  # events that wait for one slow reader
_CLIENTS: Final = 16
_BAD_LINES: Final = 5
_BATCH: Final = 32  # messages of one client before it pauses, so that a flood is a small load
_PAUSE_S: Final = 0.01
_STUCK_S: Final = 5.0  # a client that takes nothing for so long is dropped
_OPEN_REPLIES: Final = 16  # a server that owes so many hangs
_TOLD: Final = 256  # refusals that a client remembers, since it sends the same profiles in each connection
_SHOWN: Final = 120  # bytes of a line that cannot be decoded
_WAITS_S: Final = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)


class LinkError(OSError):
    """No connection, no reply in time, or a reply that is none."""


class _Lines:
    """Lines waiting for one reader. Of lines with a key the newest is kept; of the others the oldest are dropped."""

    def __init__(self) -> None:
        self._newest: dict[str, bytes] = {}
        self._lines: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self.dropped = 0

    def put(self, line: bytes) -> None:
        if len(self._lines) >= _QUEUE:
            self._lines.popleft()
            self.dropped += 1
        self._lines.append(line)
        self._ready.set()

    def put_newest(self, key: str, line: bytes) -> None:
        self._newest[key] = line
        self._ready.set()

    async def take(self) -> list[bytes]:
        await self._ready.wait()
        lines = [*self._newest.values(), *self._lines]
        self._newest.clear()
        self._lines.clear()
        self._ready.clear()
        return lines


class LinkServer:
    """Control's end.

    on_message: takes a profile or an event; raises ValueError with the reason to refuse it. on_command: gives the
    fields of the reply. Both run in the event loop and must be short.
    """

    def __init__(
        self, path: Path, clock: Clock, on_message: Callable[[Profile | Event], None],
        on_command: Callable[[Command], Mapping[str, Any]],
    ) -> None:  # fmt: skip
        self._path = path
        self._clock = clock
        self._on_message = on_message
        self._on_command = on_command
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], _Lines] = {}
        self._subscribers: list[_Lines] = []
        self.refused = 0

    async def start(self) -> None:
        """Serve. Raises LinkError when another process serves there, or the path is too long for a socket."""
        if len(os.fsencode(self._path)) > 107:
            raise LinkError(f"{self._path} is too long for a socket (107 bytes)")
        if self._path.is_socket():
            _remove_dead(self._path)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.bind(str(self._path))
            self._path.chmod(0o600)  # before it listens: nobody else, from the first moment on
            self._server = await asyncio.start_unix_server(self._accept, sock=sock, limit=MAX_BYTES + 1)
        except OSError as error:
            sock.close()
            raise LinkError(f"{self._path} cannot be served: {error}") from error

    async def close(self) -> None:
        """Stop serving and drop all clients."""
        if self._server is None:
            return
        self._server.close()
        clients = list(self._clients)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def publish(self, event: Event) -> None:
        """Send an event to every subscriber; never waits."""
        if self._subscribers:
            line = encode(event)
            for lines in self._subscribers:
                lines.put(line)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not _is_own(writer) or len(self._clients) >= _CLIENTS:
            self.refused += 1
            writer.close()
            return
        lines = _Lines()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._clients[task] = lines
        sender = asyncio.create_task(self._send(lines, writer))
        sender.add_done_callback(lambda _: writer.transport.abort())  # wakes the reader below
        try:
            await self._receive(reader, lines)
            await asyncio.sleep(_PAUSE_S)  # let the last reply out
        except (ConnectionError, asyncio.CancelledError):
            return  # gone, or the server closes: nothing to tell
        finally:
            sender.cancel()
            del self._clients[task]
            if lines in self._subscribers:
                self._subscribers.remove(lines)

    async def _receive(self, reader: asyncio.StreamReader, lines: _Lines) -> None:
        bad = count = 0
        while bad < _BAD_LINES:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:  # the end, perhaps in the middle of a line
                return
            except asyncio.LimitOverrunError:
                lines.put(_line("refused", False, error=f"a line is longer than {MAX_BYTES} bytes"))
                return
            try:
                self._handle(decode(line), lines)
            except ValueError as error:
                bad += isinstance(error, MessageError)
                lines.put(_line("refused", False, error=_refusal(error, line)))
            count += 1
            await asyncio.sleep(_PAUSE_S if count % _BATCH == 0 else 0)

    def _handle(self, message: Message, lines: _Lines) -> None:
        if not isinstance(message, Command):
            self._on_message(message)
        elif message.verb == SUBSCRIBE:
            if lines not in self._subscribers:
                self._subscribers.append(lines)
            lines.put(_line("reply", True))
        else:
            lines.put(self._obey(message))

    def _obey(self, command: Command) -> bytes:
        try:
            return _line("reply", True, **self._on_command(command))
        except ValueError as error:
            return _line("reply", False, error=str(error)[:1000])

    async def _send(self, lines: _Lines, writer: asyncio.StreamWriter) -> None:
        told = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            while True:
                batch = await lines.take()
                if lines.dropped > told:
                    text = f"{lines.dropped - told} lines dropped: this client reads too slowly"
                    data: dict[str, float | int | str | bool | None] = {"dropped": lines.dropped - told}
                    batch.insert(0, encode(Event(self._clock.utc(), "link", "events_dropped", text, data)))
                    told = lines.dropped
                for line in batch:
                    writer.write(line)
                    async with asyncio.timeout(_STUCK_S):
                        await writer.drain()


def _refusal(error: ValueError, line: bytes) -> str:
    """Why a line is refused. The reason for one that cannot be decoded does not name it: its beginning does."""
    begins = f"; it begins {line[:_SHOWN].decode(errors='replace')}" if isinstance(error, MessageError) else ""
    return str(error)[:800] + begins


def _line(kind: str, ok: bool, /, **fields: Any) -> bytes:
    try:
        body = json.dumps({**fields, "kind": kind, "ok": ok}, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        return _line(kind, False, error=f"the reply cannot be sent: {error}")
    if len(body) >= MAX_BYTES:
        return _line(kind, False, error=f"the reply is longer than {MAX_BYTES} bytes")
    return body.encode() + b"\n"


def _is_own(writer: asyncio.StreamWriter) -> bool:
    sock = writer.get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid in (0, os.getuid())


def _remove_dead(path: Path) -> None:
    """Remove the socket of a process that has died; never of one that lives."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise LinkError(f"{path} cannot be used: {error}") from error
    raise LinkError(f"{path} is served already: another control process runs")


class LinkClient:
    """The site's end: connects, subscribes to events, and connects again for as long as it runs.

    What waits while there is no connection: the newest profile of each tag, and the newest events. After each new
    connection every profile is sent again, since control may have started anew.

    on_event: takes every event of control, and MESSAGE_REFUSED for each line that control could not use. clock: dates
    the latter. on_link: told whether there is a connection.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        on_event: Callable[[Event], None],
        on_link: Callable[[bool], None] | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._on_event = on_event
        self._on_link = on_link or (lambda _: None)
        self._profiles: dict[str, bytes] = {}
        self._lines = _Lines()
        self._replies: deque[asyncio.Future[dict[str, Any]]] = deque()
        self._writer: asyncio.StreamWriter | None = None
        self._told: deque[str] = deque(maxlen=_TOLD)

    @property
    def dropped(self) -> int:
        """Events dropped because too many waited for control."""
        return self._lines.dropped

    @property
    def connected(self) -> bool:
        """True while there is a connection."""
        return self._writer is not None

    def send(self, message: Profile | Event) -> None:
        """Pass on a profile or an event; never waits. Raises MessageError for one that cannot be sent."""
        line = encode(message)
        if isinstance(message, Profile):
            self._profiles[message.tag] = line
            self._lines.put_newest(message.tag, line)
        else:
            self._lines.put(line)

    async def request(self, command: Command, timeout_s: float = 2.0) -> dict[str, Any]:
        """The reply to a command. Raises LinkError without a connection or a reply within timeout_s of wall time.

        Control that owes 16 replies hangs: the request is refused and the connection is given up and made again.
        """
        if self._writer is None:
            raise LinkError("control is not connected")
        if len(self._replies) >= _OPEN_REPLIES:
            self._writer.transport.abort()  # wakes run()
            raise LinkError(f"control owes {len(self._replies)} replies; connecting again")
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies.append(reply)
        self._writer.write(encode(command))
        try:
            async with asyncio.timeout(timeout_s):
                # shielded: the place in the queue must stay until its reply arrives
                return await asyncio.shield(reply)
        except TimeoutError as error:
            raise LinkError(f"no reply to {command.verb} within {timeout_s:g} s") from error

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        attempt = 0
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path, limit=MAX_BYTES + 1)
            except OSError:  # not there yet, or just gone: on_link told it already
                await asyncio.sleep(_WAITS_S[min(attempt, len(_WAITS_S) - 1)])
                attempt += 1
                continue
            attempt = 0
            try:
                await self._talk(reader, writer)
            finally:
                self._lost(writer)
            await asyncio.sleep(_WAITS_S[0])

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        writer.write(encode(Command(SUBSCRIBE, "", "site", "events")))
        self._replies.append(asyncio.get_running_loop().create_future())
        for tag, line in self._profiles.items():
            self._lines.put_newest(tag, line)
        self._on_link(True)
        sender = asyncio.create_task(self._send(writer))
        try:
            while True:
                self._received(await reader.readuntil(b"\n"))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, MessageError):
            return
        finally:
            sender.cancel()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                for line in await self._lines.take():
                    writer.write(line)
                await writer.drain()

    def _received(self, line: bytes) -> None:
        reply = _parse_reply(line)
        if reply is None:
            message = decode(line)
            if isinstance(message, Event):
                self._on_event(message)
        elif reply["kind"] == "refused":
            self._refused(str(reply.get("error", "no reason given")))
        elif not self._replies:
            raise MessageError("a reply that nobody waits for")  # which reply belongs to whom is not known any more
        else:
            waiting = self._replies.popleft()
            if not waiting.done():
                waiting.set_result(reply)

    def _refused(self, text: str) -> None:
        if text not in self._told:
            self._told.append(text)
            self._on_event(Event(self._clock.utc(), "link", "MESSAGE_REFUSED", text, {}))

    def _lost(self, writer: asyncio.StreamWriter) -> None:
        self._writer = None
        writer.close()
        while self._replies:
            waiting = self._replies.popleft()
            if not waiting.done():
                waiting.set_exception(LinkError("the connection to control is lost"))
                waiting.exception()  # nobody may be waiting any more
        self._on_link(False)


def _parse_reply(line: bytes) -> dict[str, Any] | None:
    """The reply in a line, or None for another message. Raises MessageError for a line that is neither."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not JSON: {error}") from error
    if not isinstance(body, dict) or body.get("kind") not in ("reply", "refused"):
        return None
    if not isinstance(body.get("ok"), bool):
        raise MessageError("not a reply")
    return body


def ask(path: Path, command: Command, timeout_s: float = 2.0) -> dict[str, Any]:
    """One command, one reply, for the command line; blocks for at most timeout_s each way. Raises LinkError."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(path))
            sock.sendall(encode(command))
            with sock.makefile("rb") as lines:
                line = lines.readline(MAX_BYTES + 1)
        except (FileNotFoundError, ConnectionError) as error:
            raise LinkError(f"nobody answers at {path}: is `ctrl run` running?") from error
        except OSError as error:
            raise LinkError(f"no reply at {path}: {error}") from error
    if not line:
        raise LinkError(f"{path} closed the connection without a reply: not this user's, or too many clients")
    reply = _parse_reply(line)
    if reply is None:
        raise LinkError(f"{path} sent something that is no reply")
    return reply
