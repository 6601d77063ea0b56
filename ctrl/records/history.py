"""Historian: every tag of every row, in one SQLite file per run.

A block is up to `BLOCK_ROWS` rows. Its times are stored once, and each tag has one chunk in it: the values as XOR
with their predecessor, bytes shuffled (a constant becomes zeros, a slow signal nearly so), then the status bytes;
both packed by zlib. XOR coding after Pelkonen et al., "Gorilla: a fast, scalable, in-memory time series database",
VLDB 8 (2015) 1816; byte shuffle as in HDF5.

The digest does not depend on SQLite, on zlib, or on when `flush` was called: it is SHA-256 over a canonical stream of
the tag list, the rows and the events in the order they came.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
import threading
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ctrl import quality

if TYPE_CHECKING:
    import pandas as pd

FORMAT: Final = "loopwright history"
VERSION: Final = 1
BLOCK_ROWS: Final = 600
_ZLIB_LEVEL: Final = 1  # level 6 saves 4 % of the space for three times the time

_SCHEMA: Final = """
create table meta (key text primary key, value text not null) without rowid;
create table tag (id integer primary key, name text not null unique, unit text not null, kind text not null);
create table block (id integer primary key, t_min real not null, t_max real not null, n integer not null,
                    times blob not null);
create table chunk (tag integer not null, block integer not null, data blob not null,
                    primary key (tag, block)) without rowid;
create table event (id integer primary key, utc real not null, body text not null);
"""

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Keep = NDArray[np.bool_]


class HistoryError(Exception):
    """The file is not a history of a version this program reads, or what was given cannot be recorded."""


@dataclass(frozen=True, slots=True)
class TagMeta:
    """One recorded tag: name, unit as text ("" for none), and kind (float, bool, enum ...)."""

    name: str
    unit: str
    kind: str


class HistoryWriter:
    """Writes one run into a new file; one thread uses it. Holds one block in memory, whatever the run's length.

    path: the file to create; an existing one is refused. tags: the columns, in the order of `row`'s values.
    meta: JSON-able facts of the run (site, seed, configuration hash); they are not part of the digest.
    """

    def __init__(self, path: Path | str, tags: Sequence[TagMeta], meta: Mapping[str, Any]) -> None:
        if len({tag.name for tag in tags}) != len(tags):
            raise HistoryError("two tags have the same name")
        if Path(path).exists():
            raise HistoryError(f"{path} exists; one file holds one run")
        n = len(tags)
        self._row_type = np.dtype([("kind", "S1"), ("utc", "<f8"), ("v", "<f8", (n,)), ("q", "u1", (n,))])
        self._rows = np.zeros(BLOCK_ROWS, self._row_type)
        self._rows["kind"] = b"R"
        self._utc, self._v, self._q = self._rows["utc"], self._rows["v"], self._rows["q"]
        self._n = n
        self._fill = 0  # rows in the open block
        self._hashed = 0  # of these, rows already in the digest
        self._block = 0
        self._total = 0
        self._digest = hashlib.sha256(canonical([FORMAT, VERSION, [asdict(tag) for tag in tags]]))
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=normal")
        self._db.executescript(_SCHEMA)
        self._db.execute("begin")
        self._db.executemany(
            "insert into meta values (?, ?)",
            [("format", FORMAT), ("version", str(VERSION)), ("meta", json.dumps(meta, sort_keys=True))],
        )
        self._db.executemany(
            "insert into tag values (?, ?, ?, ?)", [(i, t.name, t.unit, t.kind) for i, t in enumerate(tags)]
        )
        self._db.execute("commit")
        self._db.execute("begin")

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return self._total

    def row(self, utc_s: float, values: Sequence[float], statuses: bytes) -> None:
        """Record one row: a value and a status byte for each tag, at `utc_s` (s since 1970).

        Raises ValueError when the lengths do not fit the tag list.
        """
        if len(values) != self._n or len(statuses) != self._n:
            raise ValueError(f"{len(values)} values and {len(statuses)} statuses for {self._n} tags")
        i = self._fill
        self._utc[i] = utc_s
        self._v[i] = values
        self._q[i] = np.frombuffer(statuses, np.uint8)
        self._filled(1)

    def rows_of(self, utc_s: Floats, values: Floats, statuses: Bytes) -> None:
        """Record n rows at once: `utc_s` [n], `values` [n, tags], `statuses` [n, tags]. As n calls of `row`."""
        if values.shape != (len(utc_s), self._n) or statuses.shape != values.shape:
            raise ValueError(f"values {values.shape} and statuses {statuses.shape} for {len(utc_s)} x {self._n}")
        at = 0
        while at < len(utc_s):
            i, n = self._fill, min(BLOCK_ROWS - self._fill, len(utc_s) - at)
            self._utc[i : i + n] = utc_s[at : at + n]
            self._v[i : i + n] = values[at : at + n]
            self._q[i : i + n] = statuses[at : at + n]
            self._filled(n)
            at += n

    def _filled(self, n: int) -> None:
        self._fill += n
        self._total += n
        if self._fill == BLOCK_ROWS:
            self._store()
            self._block += 1
            self._fill = self._hashed = 0
            self._commit()

    def event(self, event: Mapping[str, Any]) -> None:
        """Record one event: a JSON-able mapping with a finite `utc` (s since 1970).

        Raises HistoryError when it is not that.
        """
        utc = event.get("utc")
        if not isinstance(utc, int | float) or not math.isfinite(utc):
            raise HistoryError("an event needs a finite utc")
        try:
            body = canonical(dict(event))
        except (TypeError, ValueError) as error:
            raise HistoryError(f"event {event.get('event')!r} is not plain JSON: {error}") from error
        self._hash_rows()
        self._digest.update(b"E" + len(body).to_bytes(4, "little") + body)
        self._db.execute("insert into event (utc, body) values (?, ?)", (float(utc), body.decode()))

    def flush(self) -> None:
        """Everything given so far is in the file when this returns; a killed process cannot lose it."""
        if self._fill:
            self._store()
        self._commit()

    def close(self) -> str:
        """Finish the file and return the digest: 64 hex digits, equal for equal rows and events."""
        if self._fill:
            self._store()
        digest = self._digest.hexdigest()
        self._db.executemany("insert into meta values (?, ?)", [("digest", digest), ("rows", str(self._total))])
        self._db.execute("commit")
        with contextlib.suppress(sqlite3.OperationalError):  # somebody reads it now: it stays in WAL mode
            self._db.execute("pragma journal_mode=delete")  # else one file to copy, no -wal beside it
        self._db.close()
        return digest

    def _commit(self) -> None:
        self._db.execute("commit")
        self._db.execute("begin")

    def _hash_rows(self) -> None:
        fresh = self._rows[self._hashed : self._fill]
        values = fresh["v"]
        values[np.isnan(values)] = np.nan  # one bit pattern, on every processor
        self._digest.update(fresh.tobytes())
        self._hashed = self._fill

    def _store(self) -> None:
        """Write the open block; a block already flushed in part is replaced by its longer self."""
        self._hash_rows()
        n = self._fill
        utc = self._utc[:n]
        times = zlib.compress(_shuffle(utc.reshape(n, 1))[0].tobytes(), _ZLIB_LEVEL)
        values = _shuffle(self._v[:n])
        statuses = np.ascontiguousarray(self._q[:n].T)
        self._db.execute(
            "insert or replace into block values (?, ?, ?, ?, ?)",
            (self._block, float(utc.min()), float(utc.max()), n, times),
        )
        self._db.executemany(
            "insert or replace into chunk values (?, ?, ?)",
            [
                (tag, self._block, zlib.compress(values[tag].tobytes() + statuses[tag].tobytes(), _ZLIB_LEVEL))
                for tag in range(self._n)
            ],
        )


class AsyncHistory:
    """A HistoryWriter in a thread of its own, so that control never waits for a disk.

    At most `limit` items wait; when the disk is slower, the oldest are dropped, counted, and the gap is recorded as
    an event. Putting takes no lock: `deque` with a length drops by itself, and the numbers of the items tell how many.
    error: what ended the thread, None while it records. Nothing else tells so before `close`: the owner must look.
    """

    def __init__(
        self,
        path: Path | str,
        tags: Sequence[TagMeta],
        meta: Mapping[str, Any],
        *,
        limit: int = 3600,
        flush_every: int = 30,
    ) -> None:
        self._queue: deque[tuple[int, float, Sequence[float] | Mapping[str, Any], bytes | None]] = deque(maxlen=limit)
        self._put = 0
        self._expected = 0
        self._flush_every = flush_every
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._digest: str | None = None
        self.dropped = 0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(path, tags, meta), name="history", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self.error is not None:
            raise HistoryError(f"cannot record to {path}: {self.error}") from self.error

    def row(self, utc_s: float, values: Sequence[float], statuses: bytes) -> None:
        """Hand over one row; `values` is not copied, so it must not change afterwards."""
        self._queue.append((self._put, utc_s, values, statuses))
        self._put += 1

    def event(self, event: Mapping[str, Any]) -> None:
        """Hand over one event (see HistoryWriter.event)."""
        self._queue.append((self._put, 0.0, event, None))
        self._put += 1

    def close(self) -> str:
        """Write what waits, end the thread, return the digest. Raises HistoryError if recording failed before."""
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise HistoryError(f"recording stopped: {self.error}") from self.error
        if self._digest is None:
            raise HistoryError("recording stopped without a digest")
        return self._digest

    def _run(self, path: Path | str, tags: Sequence[TagMeta], meta: Mapping[str, Any]) -> None:
        try:
            writer = HistoryWriter(path, tags, meta)  # a connection belongs to the thread that opened it
            self._ready.set()
            unflushed = 0
            while not (self._stop.is_set() and not self._queue):
                taken = self._drain(writer)
                unflushed += taken
                if unflushed >= self._flush_every:
                    writer.flush()
                    unflushed = 0
                if not taken:
                    self._stop.wait(0.05)
            self._digest = writer.close()
        except Exception as error:  # noqa: BLE001 - whatever ends this thread, its owner must hear of it
            self.error = error
        finally:
            self._ready.set()

    def _drain(self, writer: HistoryWriter) -> int:
        taken = 0
        while taken < self._flush_every:
            try:
                number, utc, body, statuses = self._queue.popleft()
            except IndexError:
                break
            lost = number - self._expected
            self._expected = number + 1
            if isinstance(body, Mapping):
                utc = float(body["utc"]) if "utc" in body else utc
            if lost:
                self.dropped += lost
                writer.event({"utc": utc, "source": "history", "event": "dropped", "data": {"items": lost}})
            if statuses is None:
                writer.event(body)  # type: ignore[arg-type]  # an item without statuses is an event
            else:
                writer.row(utc, body, statuses)  # type: ignore[arg-type]
            taken += 1
        return taken


class HistoryReader:
    """Reads a history file, also while it is being written (then up to the last flush); any thread may use it."""

    def __init__(self, path: Path | str) -> None:
        if not Path(path).is_file():
            raise HistoryError(f"{path} does not exist")
        self._db = sqlite3.connect(f"file:{Path(path).resolve()}?mode=ro", uri=True, check_same_thread=False)
        try:
            facts = dict(self._db.execute("select key, value from meta"))
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise HistoryError(f"{path} is not a history file: {error}") from error
        if facts.get("format") != FORMAT or facts.get("version") != str(VERSION):
            self._db.close()
            found = f"{facts.get('format')!r} version {facts.get('version')}"
            raise HistoryError(f"{path} is {found}; this program reads {FORMAT!r} version {VERSION}")
        self.meta: dict[str, Any] = json.loads(facts["meta"])
        self.digest: str | None = facts.get("digest")  # None: the run did not end in order
        rows = self._db.execute("select id, name, unit, kind from tag order by id").fetchall()
        self._tags = [TagMeta(name, unit, kind) for _, name, unit, kind in rows]
        self._ids = {name: number for number, name, _, _ in rows}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def tags(self) -> list[TagMeta]:
        """The recorded tags in column order."""
        return list(self._tags)

    def series(self, tag: str, t0: float = -math.inf, t1: float = math.inf) -> tuple[Floats, Floats, Bytes]:
        """(utc s, value, status byte) of one tag for t0 <= utc <= t1, each an array [n]. Raises KeyError."""
        blocks = self._blocks(t0, t1)
        return (_join([t[keep] for _, t, keep in blocks], np.float64), *self._column(tag, blocks))

    def frame(self, tags: Sequence[str] | None = None, t0: float = -math.inf, t1: float = math.inf) -> pd.DataFrame:
        """A pandas DataFrame: index UTC time, one float column a tag; a value with bad status is NaN.

        `attrs["units"]` maps the columns to their units. Needs the extra `frames`.
        """
        import pandas as pd  # noqa: PLC0415  # optional, and slow to import

        names = [tag.name for tag in self._tags] if tags is None else list(tags)
        columns: dict[str, Floats] = {}
        blocks = self._blocks(t0, t1)
        for name in names:
            values, statuses = self._column(name, blocks)
            columns[name] = np.where(statuses >= quality.UNCERTAIN, values, np.nan)
        index = pd.to_datetime(_join([t[keep] for _, t, keep in blocks], np.float64), unit="s", utc=True)
        frame = pd.DataFrame(columns, index=index)
        frame.index.name = "utc"
        frame.attrs["units"] = {tag.name: tag.unit for tag in self._tags if tag.name in columns}
        return frame

    def events(self, t0: float = -math.inf, t1: float = math.inf) -> list[dict[str, Any]]:
        """The recorded events with t0 <= utc <= t1 in the order they came."""
        rows = self._db.execute("select body from event where utc between ? and ? order by id", (t0, t1))
        return [json.loads(body) for (body,) in rows]

    def _blocks(self, t0: float, t1: float) -> list[tuple[int, Floats, Keep]]:
        """(block, its times [n], which of its rows are wanted) of the blocks that touch t0 .. t1."""
        rows = self._db.execute(
            "select id, n, times from block where t_max >= ? and t_min <= ? order by id", (t0, t1)
        ).fetchall()
        blocks: list[tuple[int, Floats, Keep]] = []
        for number, n, packed in rows:
            t = _unshuffle(zlib.decompress(packed), n)
            blocks.append((number, t, (t >= t0) & (t <= t1)))
        return blocks

    def _column(self, tag: str, blocks: Sequence[tuple[int, Floats, Keep]]) -> tuple[Floats, Bytes]:
        """(value, status byte) of one tag in the wanted rows of some blocks."""
        number = self._ids[tag]
        values: list[Floats] = []
        statuses: list[Bytes] = []
        for block, t, keep in blocks:
            n = len(t)
            (packed,) = self._db.execute(
                "select data from chunk where tag = ? and block = ?", (number, block)
            ).fetchone()
            data = zlib.decompress(packed)
            m = len(data) // 9  # a writer may have made the block longer since its times were read
            values.append(_unshuffle(data[: 8 * m], m)[:n][keep])
            statuses.append(np.frombuffer(data, np.uint8, m, 8 * m)[:n][keep])
        return _join(values, np.float64), _join(statuses, np.uint8)


def canonical(body: Any) -> bytes:
    """JSON with sorted keys, no spaces and ASCII only: equal content gives equal bytes.

    Raises TypeError or ValueError for what is not plain finite JSON.
    """
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _join(parts: Sequence[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _shuffle(values: Floats) -> Bytes:
    """[n, tags] floats -> [tags, 8, n] bytes: XOR with the row before, then all first bytes, all second bytes ..."""
    bits = np.ascontiguousarray(values).view("<u8")
    coded = bits.copy()
    coded[1:] ^= bits[:-1]
    n, tags = coded.shape
    return np.ascontiguousarray(coded.view(np.uint8).reshape(n, tags, 8).transpose(1, 2, 0))


def _unshuffle(data: bytes, n: int) -> Floats:
    """The floats [n] of one column of `_shuffle`."""
    planes = np.frombuffer(data, np.uint8, 8 * n).reshape(8, n)
    coded = np.ascontiguousarray(planes.T).view("<u8").reshape(n)
    return np.bitwise_xor.accumulate(coded).view("<f8")
