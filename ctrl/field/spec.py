"""What a device is: its points, its contract, its timing. Frozen, checked, and carried to control as plain JSON.

Offsets count from 0 (the number on the wire). Tables are named as engineers write them: `ir` input registers,
`hr` holding registers, `di` discrete inputs, `co` coils. The Modbus limits are those of the Modbus Application
Protocol Specification V1.1b3, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

Table = Literal["ir", "hr", "di", "co"]
WordOrder = Literal["ABCD", "CDAB", "BADC", "DCBA"]

TABLES: Final = ("ir", "hr", "di", "co")
WORD_ORDERS: Final = ("ABCD", "CDAB", "BADC", "DCBA")
CONTRACTS: Final = ("heartbeat", "revert_timer", "none")
WORDS: Final = {"bool": 1, "u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4, "f64": 4}
MAX_REGISTERS: Final = 125
MAX_BITS: Final = 2000
MAX_NAME: Final = 40  # bytes of UTF-8: what one journal record holds


class SpecError(ValueError):
    """A device, a point or a contract is not of its form; the message names it."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SpecError(message)


def _finite(*values: float | None) -> bool:
    return all(v is None or math.isfinite(v) for v in values)


@dataclass(frozen=True, slots=True)
class PointSpec:
    """One point of a device.

    tag: tag of the process image: measurements are posted there, a command is taken from there; the read-back of a
    command is posted at `<tag>~readback`. value = raw * scale + offset_value, in `unit`. bit: number of the bit inside
    a register (bool in ir or hr). valid_lo/hi: outside them a measurement is bad. enum: (number, word) pairs.
    counter: wraps and only grows. write: this is a command, within lo..hi, moving at most `rate` per second.
    expires_after_s: the PLC drops this command when it is not refreshed. refresh_s: write again at least this often.
    max_age_s: a decision older than this is not written (None: one period of the device).
    fallback: what the PLC applies without us. deadband: smallest move that is written; applied by the output block,
    the gate only allows for it. max_writes_per_day: wear budget of a non-volatile register.
    """

    name: str
    tag: str
    table: Table
    offset: int
    type: str
    unit: str
    word_order: WordOrder = "ABCD"
    bit: int | None = None
    scale: float = 1.0
    offset_value: float = 0.0
    valid_lo: float | None = None
    valid_hi: float | None = None
    enum: tuple[tuple[int, str], ...] = ()
    counter: bool = False
    write: bool = False
    lo: float | None = None
    hi: float | None = None
    rate: float | None = None
    expires_after_s: float | None = None
    fallback: Literal["hold", "release"] | float = "hold"
    refresh_s: float | None = None
    max_age_s: float | None = None
    deadband: float = 0.0
    max_writes_per_day: int | None = None

    def __post_init__(self) -> None:
        where = f"point {self.name!r}"
        _require(0 < len(self.name.encode()) <= MAX_NAME, f"{where}: a name has 1 to {MAX_NAME} bytes")
        _require(bool(self.tag), f"{where}: no tag")
        _require(self.table in TABLES, f"{where}: table {self.table!r} is none of {', '.join(TABLES)}")
        _require(self.type in WORDS, f"{where}: type {self.type!r} is none of {', '.join(WORDS)}")
        _require(self.word_order in WORD_ORDERS, f"{where}: word order {self.word_order!r}")
        _require(self.offset >= 0 and self.offset + self.words <= 65536, f"{where}: outside the address range")
        bits = self.table in ("di", "co")
        _require(not bits or (self.type == "bool" and self.bit is None), f"{where}: di and co hold bool only")
        _require(bits or (self.bit is None) == (self.type != "bool"), f"{where}: a bool in a register needs its bit")
        _require(self.bit is None or 0 <= self.bit <= 15, f"{where}: a bit is 0 to 15")
        numbers = (self.scale, self.offset_value, self.valid_lo, self.valid_hi, self.lo, self.hi, self.deadband)
        _require(_finite(*numbers) and self.scale != 0.0, f"{where}: a number is not finite, or scale is 0")
        _require(
            self.valid_lo is None or self.valid_hi is None or self.valid_lo < self.valid_hi,
            f"{where}: valid range is empty",
        )
        _require(self.type != "bool" or (self.scale, self.offset_value) == (1.0, 0.0), f"{where}: a bool has no scale")
        for name in ("rate", "expires_after_s", "refresh_s", "max_age_s", "max_writes_per_day"):
            value = getattr(self, name)
            _require(value is None or (math.isfinite(value) and value > 0), f"{where}: {name} must be above 0")
        _require(self.deadband >= 0.0, f"{where}: deadband is negative")
        if self.write:
            self._check_command(where)

    def _check_command(self, where: str) -> None:
        _require(self.table in ("hr", "co"), f"{where}: only hr and co can be written")
        _require(self.bit is None, f"{where}: a single bit of a register cannot be written without touching the others")
        if self.type != "bool":
            _require(self.lo is not None and self.hi is not None, f"{where}: a command needs limits")
        lo, hi = self.limits
        _require(lo <= hi, f"{where}: limits are empty")
        if isinstance(self.fallback, str):
            _require(self.fallback in ("hold", "release"), f"{where}: fallback {self.fallback!r}")
        else:
            _require(_finite(self.fallback) and lo <= self.fallback <= hi, f"{where}: fallback outside the limits")

    @property
    def words(self) -> int:
        """Registers (or bits) that it takes on the wire."""
        return WORDS[self.type]

    @property
    def end(self) -> int:
        """First offset after it."""
        return self.offset + self.words

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value that may be written, in `unit`."""
        if self.type == "bool":
            return 0.0, 1.0
        return (-math.inf if self.lo is None else self.lo), (math.inf if self.hi is None else self.hi)

    @property
    def readback_tag(self) -> str:
        """Tag that carries what the device really holds for this command."""
        return f"{self.tag}~readback"


@dataclass(frozen=True, slots=True)
class ContractSpec:
    """What the PLC program promises when we fall silent.

    kind heartbeat: `write` is a counter we advance, `echo` shows it back; after dead_after_s without a change the PLC
    applies the fallbacks. revert_timer: each command falls back by itself dead_after_s after its last write.
    none: nothing is promised; such a device is advisory and cannot be armed.
    """

    kind: str
    write: tuple[Table, int] | None = None
    echo: tuple[Table, int] | None = None
    dead_after_s: float | None = None

    def __post_init__(self) -> None:
        _require(self.kind in CONTRACTS, f"contract kind {self.kind!r} is none of {', '.join(CONTRACTS)}")
        heartbeat = self.kind == "heartbeat"
        _require(heartbeat == (self.write is not None), "contract: `write` belongs to kind heartbeat, and it needs it")
        _require(self.echo is None or heartbeat, "contract: only a heartbeat has an echo")
        _require((self.kind == "none") == (self.dead_after_s is None), "contract: dead_after, except for kind none")
        _require(
            self.dead_after_s is None or (math.isfinite(self.dead_after_s) and self.dead_after_s > 0),
            "contract: dead_after must be above 0",
        )
        for place, tables in ((self.write, ("hr",)), (self.echo, ("ir", "hr"))):
            _require(
                place is None or (place[0] in tables and 0 <= place[1] <= 65535),
                f"contract: {place} is not a register of {' or '.join(tables)}",
            )


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One device: where it is, how it is polled, what it promises and what it holds.

    task: name of the task that polls it, every period_s. gap: unused registers that one read may span.
    owner: name of the engine that alone may write to it.
    """

    name: str
    host: str
    port: int
    unit_id: int
    timeout_s: float
    task: str
    period_s: float
    contract: ContractSpec
    points: tuple[PointSpec, ...]
    owner: str
    gap: int = 8
    max_registers: int = MAX_REGISTERS
    max_bits: int = MAX_BITS

    def __post_init__(self) -> None:
        where = f"device {self.name!r}"
        _require(0 < len(self.name.encode()) <= MAX_NAME, f"{where}: a name has 1 to {MAX_NAME} bytes")
        _require(0 < self.port < 65536, f"{where}: port {self.port}")
        _require(1 <= self.unit_id <= 247 or self.unit_id == 255, f"{where}: unit {self.unit_id}; 0 is broadcast")
        _require(math.isfinite(self.timeout_s) and self.timeout_s > 0, f"{where}: timeout must be above 0")
        _require(math.isfinite(self.period_s) and self.period_s > 0, f"{where}: period must be above 0")
        _require(bool(self.owner), f"{where}: no owner")
        _require(self.gap >= 0, f"{where}: gap is negative")
        _require(4 <= self.max_registers <= MAX_REGISTERS, f"{where}: 4 to {MAX_REGISTERS} registers a read")
        _require(1 <= self.max_bits <= MAX_BITS, f"{where}: 1 to {MAX_BITS} bits a read")
        names = [p.name for p in self.points]
        _require(len(set(names)) == len(names), f"{where}: two points of one name")
        taken = {self.contract.write: "the heartbeat"} if self.contract.write else {}
        for point in self.points:
            if point.write:
                for offset in range(point.offset, point.end):
                    other = taken.setdefault((point.table, offset), point.name)
                    _require(other == point.name, f"{where}: {point.name!r} and {other!r} write {point.table} {offset}")

    def point(self, name: str) -> PointSpec:
        """The point of that name, or KeyError."""
        for point in self.points:
            if point.name == name:
                return point
        raise KeyError(f"device {self.name!r} has no point {name!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers that `device_from_json` reads back to an equal device."""
        return asdict(self)


_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (float, int),
    "int | None": (int, type(None)),
    "float | None": (float, int, type(None)),
    "Table": (str,),
    "WordOrder": (str,),
    "Literal['hold', 'release'] | float": (str, float, int),
}


def device_from_json(raw: Any) -> DeviceSpec:
    """A device from its JSON form. Raises SpecError for anything missing, unknown or of the wrong type."""
    body = _object(raw, DeviceSpec, "device")
    where = f"device {body.get('name')!r}"
    if not isinstance(body["points"], list | tuple):
        raise SpecError(f"{where}: points is not a list")
    points = []
    for item in body["points"]:
        point = _object(item, PointSpec, f"{where}, a point")
        point["enum"] = _pairs(point.get("enum", ()), f"{where}, point {point['name']!r}")
        points.append(PointSpec(**point))
    contract = _object(body["contract"], ContractSpec, f"{where}, contract")
    for name in ("write", "echo"):
        contract[name] = _place(contract.get(name), f"{where}, contract {name}")
    return DeviceSpec(**{**body, "points": tuple(points), "contract": ContractSpec(**contract)})


def _object(raw: Any, cls: type, where: str) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise SpecError(f"{where}: not an object")
    known = {f.name: f for f in fields(cls)}
    unknown = [key for key in raw if key not in known]
    if unknown:
        raise SpecError(f"{where}: unknown {', '.join(map(str, unknown))}")
    body: dict[str, Any] = {}
    for name, f in known.items():
        if name not in raw:
            if repr(f.default).startswith("<dataclasses._MISSING"):
                raise SpecError(f"{where}: no {name}")
            continue
        kinds = _KINDS.get(str(f.type).replace('"', "'"))
        value = raw[name]
        # bool is an int to Python, never to a PLC engineer
        if kinds is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise SpecError(f"{where}: {name} is {value!r}, wanted {f.type}")
        body[name] = value
    return body


def _pairs(raw: Any, where: str) -> tuple[tuple[int, str], ...]:
    if not isinstance(raw, list | tuple):
        raise SpecError(f"{where}: enum is not a list of [number, word]")
    pairs = []
    for pair in raw:
        if not (
            isinstance(pair, list | tuple) and len(pair) == 2 and type(pair[0]) is int and isinstance(pair[1], str)
        ):
            raise SpecError(f"{where}: enum holds {pair!r}, wanted [number, word]")
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


def _place(raw: Any, where: str) -> tuple[Any, int] | None:
    if raw is None:
        return None
    if not (isinstance(raw, list | tuple) and len(raw) == 2 and raw[0] in TABLES and type(raw[1]) is int):
        raise SpecError(f"{where}: {raw!r} is not [table, offset]")
    return raw[0], raw[1]
