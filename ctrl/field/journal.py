"""Every write is on record before it is on the wire.

A preallocated file, mapped, of fixed records with a CRC each: appending costs microseconds, needs no allocation and no
system call, and cannot fail for want of disk space. Another thread calls `sync`; what a power cut can take is what was
appended since the last sync. A record counts as room again once `release` says that the audit trail holds it; with
nobody releasing, the file fills up and the gate disarms.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

MAGIC: Final = b"LWJRNL1\x00"
_HEADER: Final = Struct("<8sIIQI")  # magic, record size, capacity, first sequence not yet released, CRC
_BODY: Final = Struct("<QdqdHBB4H40s40s24s")  # see Record
_CRC: Final = Struct("<I")
_RECORD: Final = 160
_FIRST: Final = 64
_TABLES: Final = ("hr", "co")


class JournalError(OSError):
    """The file is no journal of this form, or it could not be made."""


class JournalFull(Exception):  # noqa: N818 - the condition's name
    """No record is free; the write must not happen."""


@dataclass(frozen=True, slots=True)
class Record:
    """One write: sequence from 1, utc s, boot_ns of CLOCK_BOOTTIME, where, what, and why (at most 24 bytes)."""

    sequence: int
    utc: float
    boot_ns: int
    device: str
    point: str
    table: str
    offset: int
    words: tuple[int, ...]
    value: float
    reason: str


class Journal:
    """Ring of `capacity` records in the file `path`; None = in memory, releasing itself (keeps the last ones).

    A file that exists is continued: its sequence goes on, and what was not released stays.
    Raises JournalError for a file of another form or capacity, or when there is no room on the disk.
    """

    def __init__(self, path: Path | None, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a journal holds at least one record")
        self.capacity = capacity
        self._memory_only = path is None
        size = _FIRST + capacity * _RECORD
        self._fd = -1 if path is None else _open(path, size)
        try:
            self._map = mmap.mmap(self._fd, size)
            self._sequence, self._released = 1, 1
            if self._map[: len(MAGIC)] == MAGIC:
                self._resume(path)
            self._write_header()
        except BaseException:
            if self._fd >= 0:
                os.close(self._fd)
            raise

    def _resume(self, path: Path | None) -> None:
        self._released = _released(self._map[:_FIRST], self.capacity, str(path))
        records = _intact(self._map[:], self.capacity)
        self._sequence = max(records[-1].sequence + 1 if records else 1, self._released)

    def append(
        self,
        *,
        utc: float,
        boot_ns: int,
        device: str,
        point: str,
        table: str,
        offset: int,
        words: tuple[int, ...],
        value: float,
        reason: str,
    ) -> int:
        """Put one record into the mapped file; returns its sequence. Raises JournalFull when none is free."""
        sequence = self._sequence
        if sequence - self._released >= self.capacity:
            if not self._memory_only:
                raise JournalFull(f"{self.capacity} records are not released")
            self._released = sequence - self.capacity + 1
        four = (*words, 0, 0, 0)[:4]
        texts = (device.encode(), point.encode(), reason.encode())
        body = _BODY.pack(sequence, utc, boot_ns, value, offset, _TABLES.index(table), len(words), *four, *texts)
        first = _FIRST + (sequence - 1) % self.capacity * _RECORD
        self._map[first : first + len(body) + 4] = body + _CRC.pack(crc32(body))
        self._sequence = sequence + 1
        return sequence

    def release(self, sequence: int) -> None:
        """Records up to and with `sequence` are held elsewhere; their places may be used again."""
        if not 0 <= sequence < self._sequence:
            raise ValueError(f"record {sequence} does not exist")
        self._released = max(self._released, sequence + 1)
        self._write_header()

    def sync(self) -> int:
        """Force the file to the disk, for a thread of its own; returns the last sequence that is surely on it."""
        durable = self._sequence - 1
        if self._fd >= 0:
            os.fsync(self._fd)  # also writes the dirty pages of the map, and unlike mmap.flush without the GIL
        return durable

    def records(self) -> list[Record]:
        """All intact records, oldest first."""
        return _intact(self._map[:], self.capacity)

    @property
    def last(self) -> int:
        """Sequence of the newest record; 0 when there is none."""
        return self._sequence - 1

    def unreleased(self) -> list[Record]:
        """Intact records that were not released, oldest first: what the archive has not seen, also after a crash."""
        numbers = range(self._released, self._sequence)
        places = (_FIRST + (n - 1) % self.capacity * _RECORD for n in numbers)
        held = (self._map[at : at + _RECORD] for at in places)
        records = (_record(data) for data in held if _is_intact(data))
        # the place of a torn record may still show the one from a round before
        return [r for r in records if r.sequence >= self._released]

    def close(self) -> None:
        """Force to disk and close; safe to call twice."""
        if self._map.closed:
            return
        self.sync()
        self._map.close()
        if self._fd >= 0:
            os.close(self._fd)

    def _write_header(self) -> None:
        body = _HEADER.pack(MAGIC, _RECORD, self.capacity, self._released, 0)[:-4]
        self._map[: len(body) + 4] = body + _CRC.pack(crc32(body))


def recover(path: Path) -> list[Record]:
    """Intact records of a journal file, oldest first; a record torn by a crash is left out.

    Raises JournalError when the file is no journal.
    """
    data = path.read_bytes()
    if len(data) < _FIRST or data[: len(MAGIC)] != MAGIC:
        raise JournalError(f"{path}: not a journal")
    capacity = int(_HEADER.unpack_from(data)[2])
    _released(data[:_FIRST], capacity, str(path))
    return _intact(data, capacity)


def _open(path: Path, size: int) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as failed:
        raise JournalError(f"{path}: {failed}") from failed
    try:
        present = os.fstat(fd).st_size
        if present not in (0, size):
            raise JournalError(f"{path}: {present} bytes, wanted {size}")
        # real blocks, not a hole: a full disk shows here and never as SIGBUS in a cycle
        os.posix_fallocate(fd, 0, size)
        head = os.pread(fd, len(MAGIC), 0)
        if head not in (MAGIC, bytes(len(MAGIC))):
            raise JournalError(f"{path}: not a journal")
    except OSError as failed:
        os.close(fd)
        raise failed if isinstance(failed, JournalError) else JournalError(f"{path}: {failed}") from failed
    return fd


def _released(header: bytes, capacity: int, path: str) -> int:
    _, record, present, released, crc = _HEADER.unpack_from(header)
    if crc != crc32(header[: _HEADER.size - 4]) or record != _RECORD or present != capacity:
        raise JournalError(f"{path}: header is damaged or of another form")
    return int(released)


def _intact(data: bytes, capacity: int) -> list[Record]:
    places = (_FIRST + i * _RECORD for i in range(min(capacity, (len(data) - _FIRST) // _RECORD)))
    records = [_record(data[at : at + _RECORD]) for at in places if _is_intact(data[at : at + _RECORD])]
    return sorted(records, key=lambda r: r.sequence)


def _is_intact(data: bytes) -> bool:
    body = data[: _BODY.size]
    used = int.from_bytes(body[:8], "little") > 0
    return bool(used and _CRC.unpack_from(data, _BODY.size)[0] == crc32(body))


def _record(data: bytes) -> Record:
    sequence, utc, boot_ns, value, offset, table, count, *rest = _BODY.unpack_from(data)
    device, point, reason = (text.rstrip(b"\0").decode() for text in rest[4:])
    return Record(sequence, utc, boot_ns, device, point, _TABLES[table], offset, tuple(rest[:count]), value, reason)
