"""The binary program: what the loader makes of a site's YAML and the control process loads.

Layout, little-endian: magic 8 bytes, version u32, manifest length u32, sha256 of the rest (32 bytes), manifest (JSON),
pad to 8, pins i32[...] (inputs then outputs of each block in order), pad to 8, parameters f64[...].
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

MAGIC = b"LWPROGRM"
VERSION = 1
_HEAD = struct.Struct("<8sII32s")


class ProgramError(ValueError):
    """The program is damaged, of another version, or one of its blocks is broken."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One tag: its name, unit and initial value (status starts as bad, not connected, unless `constant`)."""

    name: str
    unit: str
    initial: float = 0.0
    constant: bool = False


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One block: kind, task number, slots of its inputs (-1 = not wired) and outputs, parameters."""

    name: str
    kind: str
    task: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    params: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """A cyclic task: its period is `divider` times the base period of the grid."""

    name: str
    divider: int


def pack(base_period_s: float, slots: Sequence[Slot], tasks: Sequence[Task], blocks: Sequence[BlockSpec]) -> bytes:
    """The program's bytes. Raises ProgramError for a slot out of range or a number that is not finite."""
    for block in blocks:
        if any(not -1 <= s < len(slots) for s in block.inputs) or any(not 0 <= s < len(slots) for s in block.outputs):
            raise ProgramError(f"{block.name}: a pin points outside the image")
        if not all(math.isfinite(p) for p in block.params):
            raise ProgramError(f"{block.name}: a parameter is not finite")
        if not 0 <= block.task < len(tasks):
            raise ProgramError(f"{block.name}: no task {block.task}")
    manifest = {
        "base_period_s": base_period_s,
        "slots": [asdict(s) for s in slots],
        "tasks": [asdict(t) for t in tasks],
        "blocks": [[b.name, b.kind, b.task, len(b.inputs), len(b.outputs), len(b.params)] for b in blocks],
    }
    text = json.dumps(manifest, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()
    pins = array("i", [s for b in blocks for s in (*b.inputs, *b.outputs)]).tobytes()
    params = array("d", [p for b in blocks for p in b.params]).tobytes()
    body = _pad(text) + _pad(pins) + params
    return _HEAD.pack(MAGIC, VERSION, len(text), hashlib.sha256(body).digest()) + body


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A program read back: see pack()."""

    base_period_s: float
    slots: tuple[Slot, ...]
    tasks: tuple[Task, ...]
    blocks: tuple[BlockSpec, ...]
    digest: bytes


def unpack(data: bytes) -> Unpacked:
    """Read and verify a program. Raises ProgramError when it is not whole."""
    if len(data) < _HEAD.size:
        raise ProgramError("not a program: too short")
    magic, version, length, digest = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise ProgramError("not a program")
    if version != VERSION:
        raise ProgramError(f"program version {version}; this engine runs {VERSION}")
    body = data[_HEAD.size :]
    if hashlib.sha256(body).digest() != digest:
        raise ProgramError("the program is damaged: its checksum does not fit")
    manifest: dict[str, Any] = json.loads(body[:length])
    heads = manifest["blocks"]
    n_pins = sum(h[3] + h[4] for h in heads)
    start = length + (-length % 8)
    pins = array("i")
    pins.frombytes(body[start : start + 4 * n_pins])
    start += 4 * n_pins + (-4 * n_pins % 8)
    params = array("d")
    params.frombytes(body[start:])
    blocks, p, k = [], 0, 0
    for name, kind, task, n_in, n_out, n_par in heads:
        inputs, outputs = tuple(pins[p : p + n_in]), tuple(pins[p + n_in : p + n_in + n_out])
        blocks.append(BlockSpec(name, kind, task, inputs, outputs, tuple(params[k : k + n_par])))
        p, k = p + n_in + n_out, k + n_par
    return Unpacked(
        manifest["base_period_s"],
        tuple(Slot(**s) for s in manifest["slots"]),
        tuple(Task(**t) for t in manifest["tasks"]),
        tuple(blocks),
        digest,
    )
