"""Checks of tasks, devices, points, registers, sources and names."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ctrl.config.checks import Checker
from ctrl.config.model_field import CsvSource, Device, Feed, HttpSource, Point
from ctrl.config.problems import did_you_mean
from ctrl.config.quantity import Address
from ctrl.config.reader import Loc
from ctrl.units import Quantity, parse_unit

_WIDTH = {"bool": 1, "u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4, "f64": 4}
_BITS = {"u16": 16, "i16": 16, "u32": 32, "i32": 32, "u64": 64, "i64": 64}
_F32_MAX = 3.4028234663852886e38
_LAST = 65535
_WATCHDOG_PERIODS = 5
_REFRESHES = 3
_DAY_S = 86_400.0
_ORDER_FIELDS = ("id", "due", "mass")


def check(checker: Checker) -> None:
    """All checks of this file."""
    _names(checker)
    _tasks(checker)
    for name, device in checker.draft.devices.items():
        _device(checker, name, device)
        _registers(checker, name, device)
        for point_name, point in device.points.items():
            _point(checker, ("devices", name, "points", point_name), device, point)
    for name, source in checker.draft.sources.items():
        _source(checker, name, source)


def _names(checker: Checker) -> None:
    first: dict[str, str] = {}
    for section in ("devices", "sources", "signals", "loops", "plans"):
        for name in getattr(checker.draft, section):
            if name in first:
                message = f"'{name}' is the name of a thing under {first[name]} too"
                checker.report("E207", (section, name), message, "Names are unique across the site")
            else:
                first[name] = section


def _tasks(checker: Checker) -> None:
    periods = {name: task.every.to("s") for name, task in checker.draft.tasks.items()}
    if not periods:
        return
    base = min(periods.values())
    for name, period in periods.items():
        if not math.isclose(period / base, round(period / base), rel_tol=1e-9):
            message = f"{period:g} s is not a whole multiple of the fastest task, {base:g} s"
            checker.report("E312", ("tasks", name, "every"), message, f"Use {math.ceil(period / base) * base:g} s")


def _device(checker: Checker, name: str, device: Device) -> None:
    loc: Loc = ("devices", name)
    checker.entry((*loc, "task"), device.task, list(checker.draft.tasks), "task")
    period = checker.period_s(device.task)
    if period is not None and device.timeout.to("s") >= period:
        message = f"{device.timeout} is not below the period of task {device.task}, {period:g} s"
        checker.report("E319", (*loc, "timeout"), message, f"Use {0.4 * period * 1000:g} ms")
    _contract(checker, (*loc, "contract"), device, period)


def _contract(checker: Checker, loc: Loc, device: Device, period: float | None) -> None:
    contract = device.contract
    commands = [name for name, point in device.points.items() if point.write]
    if contract.kind == "none":
        if commands:
            message = f"contract none with commands ({', '.join(commands[:3])}): this device cannot be armed"
            checker.report("W410", (*loc, "kind"), message, "Give the PLC a watchdog and declare it")
        return
    needed = ("write", "echo", "dead_after") if contract.kind == "heartbeat" else ("write", "dead_after")
    for key in needed:
        if getattr(contract, key) is None:
            checker.report("E311", loc, f"contract {contract.kind} needs '{key}'")
    if contract.write is not None and contract.write.table != "hr":
        checker.report("E332", (*loc, "write"), f"'{contract.write}' cannot be written as a register", "Use hr")
    if contract.echo is not None and contract.echo.table not in ("ir", "hr"):
        checker.report("E332", (*loc, "echo"), f"'{contract.echo}' is not a register", "Use ir or hr")
    if contract.dead_after is None:
        return
    dead = contract.dead_after.to("s")
    if period is not None and dead < _WATCHDOG_PERIODS * period:
        message = f"{contract.dead_after} is less than 5 periods of task {device.task} ({period:g} s)"
        checker.report("E311", (*loc, "dead_after"), message, f"Use {_WATCHDOG_PERIODS * period:g} s or more")
    failsafe = checker.draft.failsafe
    if failsafe is not None and dead <= failsafe.plc_lost.after.to("s"):
        message = f"{contract.dead_after} is not above failsafe.plc_lost.after ({failsafe.plc_lost.after})"
        checker.report("E311", (*loc, "dead_after"), message, "The engine must give up before the PLC does")


def _point(checker: Checker, loc: Loc, device: Device, point: Point) -> None:
    _type_and_table(checker, loc, point)
    checker.range_fits((*loc, "valid"), point.valid, point.unit)
    checker.rate((*loc, "rate"), point.rate, point.unit)
    if point.enum is not None and len(set(point.enum.values())) != len(point.enum):
        checker.report("E204", (*loc, "enum"), "two numbers have the same word")
    if point.write:
        _command(checker, loc, device, point)
        return
    for key in ("limits", "rate", "expires_after", "refresh", "max_writes_per_day", "fallback"):
        if getattr(point, key) is not None:
            checker.report("E304", (*loc, key), f"'{key}' is for commands", "Add 'write: true' or remove the key")


def _type_and_table(checker: Checker, loc: Loc, point: Point) -> None:
    table, bits = point.at.table, point.at.table in ("di", "co")
    if bits and point.type != "bool":
        checker.report("E332", (*loc, "type"), f"{table} holds bits, not {point.type}", "Use type: bool, or ir / hr")
    if not bits and point.type == "bool":
        checker.report("E332", (*loc, "type"), f"{table} holds registers, not bits", "Use di or co, or type: u16")
    if point.write and table in ("ir", "di"):
        writable = "hr" if table == "ir" else "co"
        checker.report("E304", (*loc, "at"), f"{table} can only be read", f"Use {writable} for a command")
    if point.at.offset + _WIDTH[point.type] - 1 > _LAST:
        checker.report("E332", (*loc, "at"), f"{point.type} at {point.at} goes beyond {_LAST}")
    if point.scale == 0:
        checker.report("E208", (*loc, "scale"), "a scale of 0 makes every value the same")
    if point.counter and point.type in ("bool", "i16"):
        checker.report("E332", (*loc, "type"), f"a counter cannot be {point.type}", "Use u32")


def _command(checker: Checker, loc: Loc, device: Device, point: Point) -> None:
    needed = ("fallback", "expires_after") if point.type == "bool" else ("limits", "fallback", "expires_after")
    for key in needed:
        if getattr(point, key) is None:
            hint = {
                "limits": "For example 'limits: 0 kW .. 100 kW'",
                "fallback": "What the PLC does when the command expires: a value, or hold",
                "expires_after": "After how long without refresh the PLC drops it, for example 10 s",
            }[key]
            checker.report("E306", loc, f"a command needs '{key}'", hint)
    if point.type == "bool":
        if point.limits is not None or point.rate is not None:
            checker.report("E203", loc, "a bool command has no limits or rate")
        if isinstance(point.fallback, Quantity):
            checker.report("E203", (*loc, "fallback"), f"'{point.fallback}' is not true, false or hold")
    else:
        _limits(checker, loc, point)
    _expiry(checker, loc, device, point)


def _limits(checker: Checker, loc: Loc, point: Point) -> None:
    if isinstance(point.fallback, bool):
        checker.report("E203", (*loc, "fallback"), "a number or hold expected, not true or false")
    limits = point.limits
    if limits is None or not checker.range_fits((*loc, "limits"), limits, point.unit):
        return
    low, high = limits.to(point.unit)
    least, most = _span(point)
    if low < least or high > most:
        message = f"{point.type} with scale {point.scale:g} holds {least:.6g} to {most:.6g} {point.unit}, not {limits}"
        checker.report("E307", (*loc, "limits"), message, "Check type, scale and limits")
    fallback = point.fallback
    if not isinstance(fallback, Quantity) or not checker.fits((*loc, "fallback"), fallback, point.unit):
        return
    if not low <= fallback.to(point.unit) <= high:
        checker.report("E305", (*loc, "fallback"), f"{fallback} is outside limits {limits}")


def _span(point: Point) -> tuple[float, float]:
    """Lowest and highest engineering value that the register can hold."""
    bits = _BITS.get(point.type)
    if bits is None:
        least, most = (-_F32_MAX, _F32_MAX) if point.type == "f32" else (-math.inf, math.inf)
    elif point.type.startswith("u"):
        least, most = 0.0, 2.0**bits - 1
    else:
        least, most = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    ends = sorted((least * point.scale + point.offset, most * point.scale + point.offset))
    return ends[0], ends[1]


def _expiry(checker: Checker, loc: Loc, device: Device, point: Point) -> None:
    if point.expires_after is None:
        return
    expires, period = point.expires_after.to("s"), checker.period_s(device.task)
    if point.refresh is not None and expires < _REFRESHES * point.refresh.to("s"):
        message = f"{point.expires_after} is less than 3 times refresh ({point.refresh})"
        checker.report("E308", (*loc, "expires_after"), message)
    if period is not None and expires < _REFRESHES * period:
        message = f"{point.expires_after} is less than 3 periods of task {device.task} ({period:g} s)"
        checker.report("E308", (*loc, "expires_after"), message, f"Use {_REFRESHES * period:g} s or more")
    if period is not None and point.refresh is not None and point.refresh.to("s") < period:
        message = f"{point.refresh} is below the period of task {device.task} ({period:g} s)"
        checker.report("E308", (*loc, "refresh"), message)
    # without `refresh` the engine repeats the command every third of expires_after
    contract = device.contract
    if contract.kind == "revert_timer" and contract.dead_after is not None:
        expires = min(expires, contract.dead_after.to("s"))
    every = point.refresh.to("s") if point.refresh is not None else expires / _REFRESHES
    if point.max_writes_per_day is not None and every > 0.0 and point.max_writes_per_day < _DAY_S / every:
        message = f"a refresh every {every:g} s takes {_DAY_S / every:.0f} writes a day, not {point.max_writes_per_day}"
        checker.report("E308", (*loc, "max_writes_per_day"), message, "A longer expires_after, or another register")


@dataclass(frozen=True, slots=True)
class _Block:
    name: str
    at: Address
    width: int
    loc: Loc
    text: str

    @property
    def last(self) -> int:
        return self.at.offset + self.width - 1

    def overlaps(self, other: _Block) -> bool:
        return self.at.table == other.at.table and self.at.offset <= other.last and other.at.offset <= self.last

    def __str__(self) -> str:
        first = f"{self.at}" if self.width == 1 else f"{self.at}-{self.last}"
        return f"{self.name} ({first})"


def _registers(checker: Checker, name: str, device: Device) -> None:
    """Report the point that overlaps most, without it look again: one mistake gives one problem."""
    loc: Loc = ("devices", name)
    blocks = [
        _Block(f"contract.{key}", at, 1, (*loc, "contract", key), "register")
        for key in ("write", "echo")
        if (at := getattr(device.contract, key)) is not None
    ]
    blocks += [
        _Block(point_name, point.at, _WIDTH[point.type], (*loc, "points", point_name), point.type)
        for point_name, point in device.points.items()
    ]
    while True:
        clashes = {
            block: [other for other in blocks if other is not block and block.overlaps(other)] for block in blocks
        }
        worst = max(range(len(blocks)), key=lambda i: (len(clashes[blocks[i]]), i), default=None)
        if worst is None or not clashes[blocks[worst]]:
            return
        block = blocks.pop(worst)
        others = " and ".join(str(other) for other in clashes[block])
        where = f"{block.at}" if block.width == 1 else f"{block.at}-{block.last}"
        hint = f"Next free: {_next_free(block, blocks)}"
        checker.report("E331", block.loc, f"{block.text} at {where} overlaps {others}", hint)


def _next_free(block: _Block, blocks: list[_Block]) -> Address:
    offset = block.at.offset
    for other in sorted((b for b in blocks if b.at.table == block.at.table), key=lambda b: b.at.offset):
        if other.at.offset <= offset + block.width - 1 and other.last >= offset:
            offset = other.last + 1
    return Address(block.at.table, offset)


def _http(checker: Checker, loc: Loc, source: HttpSource) -> None:
    if not source.url.startswith(("http://", "https://")):
        checker.report("E203", (*loc, "url"), f"'{source.url}' is not an http or https address")
    auth = source.auth
    if auth is not None and (auth.bearer is None) == (auth.header is None):
        checker.report("E203", (*loc, "auth"), "give either bearer or header")


def _source(checker: Checker, name: str, source: HttpSource | CsvSource) -> None:
    loc: Loc = ("sources", name)
    if isinstance(source, HttpSource):
        _http(checker, loc, source)
    for feed_name, feed in source.feeds.items():
        here: Loc = (*loc, "feeds", feed_name)
        if isinstance(source, CsvSource) and (feed.fields is not None or feed.horizon is None):
            message = "a feed of a csv source is a curve: it has value and horizon, no fields"
            checker.report("E203", here, message, "Lists of orders and single values come from http_json")
        if (feed.value is None) == (feed.fields is None):
            checker.report("E203", here, "give either value (one number a row) or fields (records)")
        _order_fields(checker, here, feed)
        if feed.stale_after.to("s") < feed.every.to("s"):
            message = f"{feed.stale_after} is below every ({feed.every}): the feed would always be stale"
            checker.report("E208", (*here, "stale_after"), message)


def _order_fields(checker: Checker, loc: Loc, feed: Feed) -> None:
    """A list of orders has number, due time and mass, and says the unit of the mass."""
    if feed.fields is None:
        if isinstance(feed.unit, dict):
            checker.report("E203", (*loc, "unit"), "a unit for each field belongs to a feed with fields")
        return
    for key in _ORDER_FIELDS:
        if key not in feed.fields:
            checker.report("E202", (*loc, "fields"), f"'{key}' is missing", "Orders have id, due and mass")
    for key in feed.fields:
        if key not in _ORDER_FIELDS:
            checker.report("E201", (*loc, "fields", key), f"unknown key '{key}'", did_you_mean(key, _ORDER_FIELDS))
    units = feed.unit if isinstance(feed.unit, dict) else {}
    if set(units) != {"mass"} or not parse_unit(units["mass"]).same_kind(parse_unit("t")):
        checker.report("E212", (*loc, "unit"), "the unit of the mass must be given", "Write 'unit: {mass: t}'")
