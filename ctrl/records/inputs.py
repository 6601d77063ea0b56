"""Input log: everything that entered the control program, so that a run can be replayed bit for bit.

    file    = MAGIC  version u16  frame(header JSON)  frame*
    frame   = length u32  kind u8  crc32(length, kind) u32  payload[length]  crc32(payload) u32
    cycle   = now_ns i64  utc f64  local_s f64  tasks u16  tasks*(task u16, points u32)  posts
    posts   = n u32  n*(slot u32)                     posted slots; n = 0xFFFFFFFF: the same ones as last time
              n u32  n*(slot u32, value f64, status u8)   those whose value or status is new
              n u32  n*(slot u32, time_ns i64)            those whose sample is not of now_ns
    message = one line of ctrl.messages

All numbers little-endian. The file only grows; a frame cut off by a crash at its end is a torn tail and is reported,
any other damage is an error.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from ctrl.messages import Message, decode, encode
from ctrl.quality import BAD_NOT_CONNECTED

MAGIC: Final = b"LWINPUTS"
VERSION: Final = 1
MAX_FRAME: Final = 16_777_216

_VERSION: Final = struct.Struct("<H")
_HEAD: Final = struct.Struct("<IB")
_CRC: Final = struct.Struct("<I")
_CYCLE: Final = struct.Struct("<qddH")
_TASK: Final = struct.Struct("<HI")
_COUNT: Final = struct.Struct("<I")
_CHANGE: Final = struct.Struct("<IdB")
_OLD: Final = struct.Struct("<Iq")
_SAME: Final = 0xFFFFFFFF
_KIND_HEADER, _KIND_CYCLE, _KIND_MESSAGE = 0, 1, 2


class InputLogError(Exception):
    """The file is not an input log, is of an unknown version, or is damaged before its end."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """One scan: its times, the tasks it ran, and what was posted before its latch.

    now_ns: CLOCK_BOOTTIME ns. utc: s since 1970. local_s: seconds of the local clock that the program was given.
    tasks: (task, grid points since it last ran). posts: (slot, value, status, time ns) of every slot that was posted.
    """

    now_ns: int
    utc: float
    local_s: float
    tasks: tuple[tuple[int, int], ...]
    posts: tuple[tuple[int, float, int, int], ...]


class InputLog:
    """Appends to a new log; an existing file is refused. `flush` hands the bytes to the operating system."""

    def __init__(self, path: Path | str, header: Mapping[str, Any]) -> None:
        try:
            self._file: BinaryIO = Path(path).open("xb")  # noqa: SIM115  # open for the run; `close` ends it
        except FileExistsError as error:
            raise InputLogError(f"{path} exists; one file holds one run") from error
        self._file.write(MAGIC + _VERSION.pack(VERSION))
        self._frame(_KIND_HEADER, json.dumps(header, sort_keys=True, allow_nan=False).encode())
        self.flush()

    def cycle(self, now_ns: int, utc: float, local_s: float, tasks: Sequence[tuple[int, int]], posts: bytes) -> None:
        """Append one scan; posts: what Image.pending_log gave just before the latch."""
        head = _CYCLE.pack(now_ns, utc, local_s, len(tasks))
        self._frame(_KIND_CYCLE, b"".join((head, *(_TASK.pack(*task) for task in tasks), posts)))

    def message(self, message: Message) -> None:
        """Append a profile, command or event that arrived before the next scan."""
        self._frame(_KIND_MESSAGE, encode(message))

    def flush(self) -> None:
        """Hand everything to the operating system: it survives the end of this process, not a power loss."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()

    def _frame(self, kind: int, payload: bytes) -> None:
        if len(payload) > MAX_FRAME:
            raise InputLogError(f"a frame of {len(payload)} bytes; at most {MAX_FRAME}")
        head = _HEAD.pack(len(payload), kind)
        self._file.write(head + _CRC.pack(zlib.crc32(head)) + payload + _CRC.pack(zlib.crc32(payload)))


class InputReader:
    """Reads a log by frames. `header` is there at once; `torn` tells, after the last frame, if its tail was cut."""

    def __init__(self, path: Path | str) -> None:
        self._data = Path(path).read_bytes()
        start = len(MAGIC) + _VERSION.size
        if self._data[: len(MAGIC)] != MAGIC or len(self._data) < start:
            raise InputLogError(f"{path} is not an input log")
        (version,) = _VERSION.unpack_from(self._data, len(MAGIC))
        if version != VERSION:
            raise InputLogError(f"{path} is version {version}; this program reads version {VERSION}")
        self.torn = False
        first = self._next(start)
        if first is None or first[0] != _KIND_HEADER:
            raise InputLogError(f"{path} has no header")
        self.header: dict[str, Any] = json.loads(first[1])
        self._body = first[2]

    def __iter__(self) -> Iterator[Cycle | Message]:
        """Scans and messages in the order they were latched. Raises InputLogError where the log is damaged."""
        at, unpack = self._body, _Posts()
        while (frame := self._next(at)) is not None:
            kind, payload, at = frame
            if kind == _KIND_CYCLE:
                yield _cycle(payload, unpack)
            elif kind == _KIND_MESSAGE:
                yield decode(payload)
            else:
                raise InputLogError(f"unknown frame kind {kind} before byte {at}")

    def _next(self, at: int) -> tuple[int, bytes, int] | None:
        """(kind, payload, offset of the next frame); None at the end and at a torn tail."""
        data, body = self._data, at + _HEAD.size + _CRC.size
        if at == len(data):
            return None
        if body > len(data) or not any(data[at:body]):  # a file system may leave zeros after a power loss
            self._tail(at)
            return None
        length, kind = _HEAD.unpack_from(data, at)
        (check,) = _CRC.unpack_from(data, at + _HEAD.size)
        if check != zlib.crc32(data[at : at + _HEAD.size]):
            raise InputLogError(f"damaged frame head at byte {at}")
        end = body + length + _CRC.size
        if end > len(data):
            self._tail(at)
            return None
        payload = data[body : body + length]
        if _CRC.unpack_from(data, body + length)[0] != zlib.crc32(payload):
            if end == len(data):
                self._tail(at)
                return None
            raise InputLogError(f"damaged frame at byte {at}")
        return kind, payload, end

    def _tail(self, at: int) -> None:
        if len(self._data) - at > MAX_FRAME + 64:
            raise InputLogError(f"nothing readable from byte {at} on")
        self.torn = True


class _Posts:
    """Unpacks posts, which refer to the scan before: the slots, and each slot's value and status."""

    def __init__(self) -> None:
        self._slots: tuple[int, ...] = ()
        self._values: dict[int, tuple[float, int]] = {}

    def unpack(self, data: bytes, now_ns: int) -> tuple[tuple[int, float, int, int], ...]:
        try:
            (count,) = _COUNT.unpack_from(data)
            at = _COUNT.size
            if count != _SAME:
                self._slots = struct.unpack_from(f"<{count}I", data, at)
                at += 4 * count
            changes, at = _rows(_CHANGE, data, at)
            old, at = _rows(_OLD, data, at)
        except struct.error as error:
            raise InputLogError(f"posts are cut short: {error}") from error
        if at != len(data):
            raise InputLogError("a cycle frame is not as long as it says")
        self._values |= {slot: (value, status) for slot, value, status in changes}
        times = dict(old)
        # a slot that was never listed as changed still holds what an image begins with
        return tuple((s, *self._values.get(s, (0.0, BAD_NOT_CONNECTED)), times.get(s, now_ns)) for s in self._slots)


def _rows(row: struct.Struct, data: bytes, at: int) -> tuple[list[Any], int]:
    (count,) = _COUNT.unpack_from(data, at)
    start = at + _COUNT.size
    end = start + count * row.size
    if end > len(data):
        raise InputLogError("posts are cut short")
    return list(row.iter_unpack(data[start:end])), end


def _cycle(payload: bytes, posts: _Posts) -> Cycle:
    if len(payload) < _CYCLE.size:
        raise InputLogError("a cycle frame is not as long as it says")
    now_ns, utc, local_s, n_tasks = _CYCLE.unpack_from(payload)
    posts_at = _CYCLE.size + n_tasks * _TASK.size
    if len(payload) < posts_at:
        raise InputLogError("a cycle frame is not as long as it says")
    tasks = tuple(_TASK.iter_unpack(payload[_CYCLE.size : posts_at]))
    return Cycle(now_ns, utc, local_s, tasks, posts.unpack(payload[posts_at:], now_ns))
