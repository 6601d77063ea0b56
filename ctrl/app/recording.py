"""Records of a run: rows and events into the historian, inputs into the input log, one digest over all of it."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ctrl.messages import Event
from ctrl.records.history import AsyncHistory, HistoryWriter, TagMeta
from ctrl.records.inputs import InputLog

HISTORY_FILE = "history.sqlite"
INPUTS_FILE = "inputs.log"


def tag_meta(manifest: Mapping[str, Any]) -> list[TagMeta]:
    """The recorded tags of a bundle, in the order of a row."""
    units, words = manifest["units"], manifest["words"]
    return [
        TagMeta(tag, units[tag], "bool" if units[tag] == "bool" else "enum" if tag in words else "float")
        for tag in manifest["records"]["tags"]
    ]


def run_meta(manifest: Mapping[str, Any], start_utc: float) -> dict[str, Any]:
    """What a reader of the records needs beside them."""
    return {"site": manifest["site"], "loops": manifest["loops"], "words": manifest["words"], "start_utc": start_utc}


class FileRecorder:
    """Rows, events and inputs to files in a folder; `listen` also sees every event.

    history: a writer of this thread (simulation) or of its own (live, so that control never waits for a disk).
    """

    def __init__(
        self,
        history: HistoryWriter | AsyncHistory,
        inputs: InputLog | None,
        listen: Callable[[Event], None] | None = None,
    ) -> None:
        self._history, self._inputs, self._listen = history, inputs, listen
        self.events = 0

    def row(self, utc: float, values: array[float], statuses: bytearray) -> None:
        """One row; copied, since the cycle goes on using its arrays."""
        self._history.row(utc, values[:], bytes(statuses))

    def event(self, event: Event) -> None:
        """One event."""
        self.events += 1
        self._history.event(asdict(event))
        if self._listen is not None:
            self._listen(event)

    def inputs(self, now_ns: int, utc: float, local: float, ran: Sequence[tuple[int, int]], posted: bytes) -> None:
        """One line of the input log."""
        if self._inputs is not None:
            self._inputs.cycle(now_ns, utc, local, ran, posted)

    def close(self) -> str:
        """Write everything; returns the digest of rows and events."""
        if self._inputs is not None:
            self._inputs.close()
        return self._history.close()


def digest_of(folder: Path, history_digest: str) -> str:
    """One digest of a run: rows, events and inputs."""
    whole = hashlib.sha256(history_digest.encode())
    log = folder / INPUTS_FILE
    if log.exists():
        whole.update(hashlib.sha256(log.read_bytes()).digest())
    return whole.hexdigest()
