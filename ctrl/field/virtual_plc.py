"""A PLC in memory, made from the points of a device alone: registers, watchdog, fallbacks. No sockets, no clock.

It keeps the promises of the contract the way the PLC program must: a heartbeat that stops changing for `dead_after`,
or a command that is not refreshed for `expires_after`, brings the fallbacks. Command registers always show what is in
force, so a reader sees the fallback, the operator's value or its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ctrl.field.codec import PointCodec
from ctrl.field.spec import TABLES, DeviceSpec, PointSpec, Table
from ctrl.field.transport import ILLEGAL_ADDRESS, ILLEGAL_VALUE

_NOTHING: Final[tuple[float, tuple[int, ...]]] = (math.nan, ())
_LIMIT: Final = {"ir": 125, "hr": 125, "di": 2000, "co": 2000}


class PlcException(Exception):  # noqa: N818 - the protocol's word
    """The request is answered with this exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


class _Command:
    """A writable point inside the PLC: its register, the value in force, and when it was last written."""

    __slots__ = ("codec", "in_force", "local", "point", "shown", "taken", "words", "written_s")

    def __init__(self, point: PointSpec) -> None:
        self.codec = PointCodec(point)
        self.point = point
        lo, hi = point.limits
        rest = min(max(0.0, lo), hi) if isinstance(point.fallback, str) else point.fallback
        self.in_force = self.codec.decode(self.codec.encode(rest))
        self.local: float | None = None
        self.written_s = -math.inf
        self.shown = math.nan  # the value whose words are `words`
        self.words: tuple[int, ...] = ()
        self.taken: list[int] = []  # words of the register that brought the value in force


class VirtualPlc:
    """Registers of one device, its watchdog and its fallbacks.

    offline: it does not answer. stopped: it answers, but its program does not run (writes are forgotten at the next
    step). exception: every request is answered with this code. boots: how often it has started. traffic: set it to a
    list to get every answered request as (operation, table, offset, words).
    Reads may span unused places between defined ones (they hold 0); anything outside is exception 2.
    """

    def __init__(self, spec: DeviceSpec) -> None:
        self.spec = spec
        self.offline = False
        self.stopped = False
        self.exception: int | None = None
        self.boots = 0
        self.traffic: list[tuple[str, str, int, tuple[int, ...]]] | None = None
        self._base: dict[str, int] = {}
        self._cells: dict[str, list[int]] = {}
        self._writable: dict[str, frozenset[int]] = {}
        self._layout()
        self._codecs = {p.name: PointCodec(p) for p in spec.points}
        self._measured: dict[str, tuple[float, tuple[int, ...]]] = {}  # the last value of each, and its words
        self._commands = {p.name: _Command(p) for p in spec.points if p.write}
        self._by_place = {
            (c.point.table, offset): c for c in self._commands.values() for offset in range(c.point.offset, c.point.end)
        }
        self._now = 0.0
        self.reboot()

    def _layout(self) -> None:
        contract = self.spec.contract
        places = [(p.table, p.offset, p.end, p.write) for p in self.spec.points]
        places += [(t, o, o + 1, w) for (t, o), w in self._contract_places(contract.write, contract.echo)]
        for table in TABLES:
            spans = [(start, end) for t, start, end, _ in places if t == table]
            low = min((s for s, _ in spans), default=0)
            self._base[table] = low
            self._cells[table] = [0] * (max((e for _, e in spans), default=low) - low)
            self._writable[table] = frozenset(o for t, s, e, w in places if t == table and w for o in range(s, e))

    @staticmethod
    def _contract_places(
        write: tuple[Table, int] | None, echo: tuple[Table, int] | None
    ) -> list[tuple[tuple[Table, int], bool]]:
        return [(place, writable) for place, writable in ((write, True), (echo, False)) if place is not None]

    def reboot(self) -> None:
        """Start again: measurements stay, commands are at their fallbacks, the heartbeat is forgotten."""
        self.boots += 1
        self._remote = self.spec.contract.kind != "heartbeat"
        self._heartbeat = 0
        self._beat_s = -math.inf
        for place in (self.spec.contract.write, self.spec.contract.echo):
            if place is not None:
                self._put(place[0], place[1], (0,))
        for name, command in self._commands.items():
            self._commands[name] = fresh = _Command(command.point)
            for offset in range(fresh.point.offset, fresh.point.end):
                self._by_place[fresh.point.table, offset] = fresh
            self._show(fresh)

    @property
    def state(self) -> str:
        """`remote` while the engine's commands are in force, else `fallback`."""
        return "remote" if self._remote else "fallback"

    # ---------------------------------------------------------------------------------------------- the wire's side
    def read(self, table: Table, start: int, count: int) -> list[int]:
        """Registers or bits. Raises PlcException 2 outside the map and 3 for a count no request may have."""
        self._answerable()
        first = start - self._base[table]
        if not 1 <= count <= _LIMIT[table]:
            raise PlcException(ILLEGAL_VALUE)
        if first < 0 or first + count > len(self._cells[table]):
            raise PlcException(ILLEGAL_ADDRESS)
        words = self._cells[table][first : first + count]
        if self.traffic is not None:
            self.traffic.append(("read", table, start, tuple(words)))
        return words

    def write(self, table: Table, start: int, words: Sequence[int]) -> None:
        """Write registers or bits. Raises PlcException 2 unless every place is writable, 3 for words that are none."""
        self._answerable()
        highest = 0xFFFF if table in ("ir", "hr") else 1
        if not words or any(type(w) is not int or not 0 <= w <= highest for w in words):
            raise PlcException(ILLEGAL_VALUE)
        places = range(start, start + len(words))
        if not self._writable[table].issuperset(places):
            raise PlcException(ILLEGAL_ADDRESS)
        if self.traffic is not None:
            self.traffic.append(("write", table, start, tuple(words)))
        self._put(table, start, words)
        for offset in places:
            command = self._by_place.get((table, offset))
            if command is not None:
                command.written_s = self._now

    def _answerable(self) -> None:
        if self.exception is not None:
            raise PlcException(self.exception)

    # ---------------------------------------------------------------------------------------------- the plant's side
    def step(self, now_s: float) -> None:
        """One scan of the PLC program at `now_s` (s, any monotonic origin): watchdog, expiry, then the commands."""
        self._now = now_s
        if self.stopped:
            for command in self._commands.values():
                self._show(command)
            return
        self._watch(now_s)
        revert = self.spec.contract.dead_after_s if self.spec.contract.kind == "revert_timer" else None
        for command in self._commands.values():
            limit = command.point.expires_after_s or revert
            expired = limit is not None and now_s - command.written_s > limit
            if command.local is not None:
                command.in_force = command.local
            elif self._remote and not expired:
                self._take(command)
                continue
            elif not isinstance(command.point.fallback, str):
                command.in_force = command.point.fallback
            self._show(command)

    def _watch(self, now_s: float) -> None:
        contract = self.spec.contract
        if contract.kind != "heartbeat" or contract.write is None or contract.dead_after_s is None:
            return
        beat = self._cells[contract.write[0]][contract.write[1] - self._base[contract.write[0]]]
        if beat != self._heartbeat:
            self._heartbeat, self._beat_s = beat, now_s
        self._remote = beat != 0 and now_s - self._beat_s <= contract.dead_after_s
        if contract.echo is not None:
            # 0 tells the engine that its commands are not in force
            self._put(contract.echo[0], contract.echo[1], (beat if self._remote else 0,))

    def _take(self, command: _Command) -> None:
        """The register comes into force if it holds a value within the limits; else it shows the old one again."""
        point = command.point
        first = point.offset - self._base[point.table]
        words = self._cells[point.table][first : first + point.words]
        if words == command.taken:
            return
        try:
            value = command.codec.decode(words)
        except ValueError:
            self._show(command)
            return
        lo, hi = point.limits
        step = command.codec.step(value)
        if lo - step <= value <= hi + step:
            command.in_force, command.taken = value, words
        else:
            self._show(command)

    def command(self, point: str) -> float:
        """Value in force, in the point's unit."""
        return self._commands[point].in_force

    def commands(self) -> dict[str, float]:
        """All values in force."""
        return {name: command.in_force for name, command in self._commands.items()}

    def preset(self, point: str, value: float) -> None:
        """Put a command in force before the engine comes, as an operator at the panel would leave it."""
        command = self._commands[point]
        command.in_force = command.codec.decode(command.codec.encode(value))
        self._show(command)

    def override(self, point: str, value: float | None) -> None:
        """Local operation: this value is in force whatever is written, until None returns the point to remote."""
        command = self._commands[point]
        command.local = None if value is None else command.codec.decode(command.codec.encode(value))
        if command.local is not None:
            command.in_force = command.local
            self._show(command)

    def set_measure(self, point: str, value: float) -> None:
        """Put a measurement into its register. Raises CodecError when it does not fit."""
        codec = self._codecs[point]
        spec = codec.point
        known, words = self._measured.get(point, _NOTHING)
        if value != known:
            words = codec.encode(value)
            self._measured[point] = value, words
        if spec.bit is None:
            self._put(spec.table, spec.offset, words)
            return
        cells, i = self._cells[spec.table], spec.offset - self._base[spec.table]
        cells[i] = cells[i] & ~(1 << spec.bit) | words[0] << spec.bit

    def set_measures(self, values: Mapping[str, float]) -> None:
        """Put several measurements."""
        for point, value in values.items():
            self.set_measure(point, value)

    def set_words(self, table: Table, start: int, words: Sequence[int]) -> None:
        """Put raw words anywhere in the map: for tests of what a device should never send."""
        self._put(table, start, words)

    def _show(self, command: _Command) -> None:
        if command.shown != command.in_force:
            command.words, command.shown = command.codec.encode(command.in_force), command.in_force
        command.taken = list(command.words)
        self._put(command.point.table, command.point.offset, command.words)

    def _put(self, table: str, start: int, words: Sequence[int]) -> None:
        first = start - self._base[table]
        self._cells[table][first : first + len(words)] = words
