"""Fewest reads that cover all points of a device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ctrl.field.spec import TABLES, DeviceSpec, PointSpec, Table

ECHO: Final = "(heartbeat echo)"  # no name of a point in a site file can look like this


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """One read request: `count` registers or bits of `table` from `start`, and the points inside it by offset."""

    table: Table
    start: int
    count: int
    points: tuple[PointSpec, ...]


def plan(device: DeviceSpec) -> tuple[ReadBlock, ...]:
    """Reads of one cycle: measurements, read-back of every command, and the heartbeat's echo."""
    points = list(device.points)
    if device.contract.echo is not None:
        table, offset = device.contract.echo
        points.append(PointSpec(name=ECHO, tag=ECHO, table=table, offset=offset, type="u16", unit=""))
    return plan_points(points, device.gap, device.max_registers, device.max_bits)


def plan_points(points: Iterable[PointSpec], gap: int, max_registers: int, max_bits: int) -> tuple[ReadBlock, ...]:
    """Fewest blocks: no point is split, at most `gap` unused places in a row, at most max_* places a block.

    Left to right, each block takes all it can. That is optimal: a block that starts at the leftmost uncovered point
    and reaches as far as it may leaves a subset of what any other first block would leave.
    """
    blocks: list[ReadBlock] = []
    rows = sorted(points, key=lambda p: (TABLES.index(p.table), p.offset, p.end, p.name))
    for table in TABLES:
        limit = max_bits if table in ("di", "co") else max_registers
        taken: list[PointSpec] = []
        start = end = 0
        for point in (p for p in rows if p.table == table):
            if taken and (point.offset - end > gap or max(end, point.end) - start > limit):
                blocks.append(ReadBlock(table, start, end - start, tuple(taken)))
                taken = []
            if not taken:
                start, end = point.offset, point.end
            taken.append(point)
            end = max(end, point.end)
        if taken:
            blocks.append(ReadBlock(table, start, end - start, tuple(taken)))
    return tuple(blocks)
