"""The archive of writes: the journal's records as JSON lines, for people and for the wear budget after a restart.

A record is in the archive before the journal may forget it, so a crash can repeat the last second, never lose it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from ctrl.field.journal import Record

_BLOCK: Final = 65_536


def append(path: Path, records: Sequence[Record]) -> None:
    """Put records at the end of the archive. Raises OSError."""
    lines = [json.dumps(asdict(r), separators=(",", ":"), allow_nan=False).encode() + b"\n" for r in records]
    with path.open("ab") as file:
        if file.tell() and _ends_torn(path):
            file.write(b"\n")
        file.writelines(lines)


def since(path: Path, utc: float) -> list[Record]:
    """Records from `utc` (s since 1970) on, oldest first, read from the end; none when there is no archive yet.

    A line that a crash tore is left out: its record is still in the journal. Raises OSError.
    """
    found: list[Record] = []
    if not path.exists():
        return found
    for line in _backwards(path):
        try:
            fields = json.loads(line)
            record = Record(**{**fields, "words": tuple(fields["words"])})
        except (ValueError, TypeError, KeyError):
            continue
        if record.utc < utc:
            break
        found.append(record)
    return found[::-1]


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _backwards(path: Path) -> Iterator[bytes]:
    """Lines that are not empty, last first."""
    with path.open("rb") as file:
        at, rest = file.seek(0, os.SEEK_END), b""
        while at > 0:
            size = min(_BLOCK, at)
            at -= size
            file.seek(at)
            first, *lines = (file.read(size) + rest).split(b"\n")
            yield from (line for line in reversed(lines) if line)
            rest = first
        if rest:
            yield rest
