"""Builder of programs: tags become slots, blocks are wired by pin names, tasks are sorted, bytes come out.

The loader, the simulation (plants are blocks of the same kind) and tests use it. Names instead of numbers keep a
kernel's pin order out of everybody else's code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ext import BlockSpec, Kind, ProgramError, Slot, Task, kinds, pack


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of the image: name, unit and slot."""

    name: str
    unit: str
    slot: int


@dataclass(frozen=True, slots=True)
class _Wire:
    name: str
    kind: Kind
    task: int
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    params: tuple[float, ...]


class Builder:
    """Collects tags, tasks and blocks of one program.

    base_period_s: s, period of the grid; task periods are integer multiples of it.
    """

    def __init__(self, base_period_s: float = 1.0) -> None:
        self.base_period_s = base_period_s
        self.tags: dict[str, Tag] = {}
        self._slots: list[Slot] = []
        self._tasks: list[Task] = []
        self._wires: list[_Wire] = []
        self._kinds = kinds()

    def task(self, name: str, divider: int = 1) -> int:
        """Add a cyclic task of `divider` base periods; returns its number. Fast tasks are added first."""
        self._tasks.append(Task(name, divider))
        return len(self._tasks) - 1

    def tag(self, name: str, unit: str = "", initial: float = 0.0) -> int:
        """Slot of a tag, made when it is new. A known tag keeps its unit; another unit is an error."""
        known = self.tags.get(name)
        if known is not None:
            if unit and known.unit and unit != known.unit:
                raise ProgramError(f"tag {name} has unit {known.unit}, not {unit}")
            return known.slot
        slot = len(self._slots)
        self._slots.append(Slot(name, unit, initial))
        self.tags[name] = Tag(name, unit, slot)
        return slot

    def constant(self, value: float, unit: str = "") -> str:
        """Name of a tag that always holds `value`, good."""
        name = f"#{value!r}{unit}"
        if name not in self.tags:
            self.tags[name] = Tag(name, unit, len(self._slots))
            self._slots.append(Slot(name, unit, value, constant=True))
        return name

    def block(
        self,
        kind: str,
        name: str,
        *,
        inputs: Mapping[str, str | None] | None = None,
        var_inputs: Sequence[str | None] = (),
        outputs: Mapping[str, str] | None = None,
        params: Mapping[str, float] | None = None,
        var_params: Iterable[float] = (),
        task: int = 0,
        units: Mapping[str, str] | None = None,
    ) -> None:
        """Add a block. Pins are wired to tags by name; an output that is not named becomes the tag `name.pin`.

        inputs   pin -> tag name; an optional pin ("x?" in the kind) may be left out or None
        outputs  pin -> tag name for those that do not keep the name `name.pin`
        params   name -> value; required ones must be given
        units    unit of an output pin's tag, by pin
        Raises ProgramError for an unknown kind, pin or parameter, or a missing one.
        """
        spec = self._kinds.get(kind)
        if spec is None:
            raise ProgramError(f"unknown block kind {kind!r}; known: {', '.join(sorted(self._kinds))}")
        given = dict(inputs or {})
        wires: list[str | None] = []
        for pin in spec.inputs:
            tag = given.pop(pin.rstrip("?"), None)
            if tag is None and not pin.endswith("?"):
                raise ProgramError(f"{name}: input {pin} of {kind} must be wired")
            wires.append(tag)
        wires += var_inputs
        chosen = dict(outputs or {})
        outs = tuple(chosen.pop(pin, f"{name}.{pin}") for pin in spec.outputs)
        values = self._params(spec, name, dict(params or {}), tuple(var_params))
        for what, rest in (("inputs", given), ("outputs", chosen)):
            if rest:
                raise ProgramError(f"{name}: {kind} has no {what} {', '.join(sorted(rest))}")
        for pin, tag in zip(spec.outputs, outs, strict=True):
            self.tag(tag, (units or {}).get(pin, ""))
        self._wires.append(_Wire(name, spec, task, tuple(wires), outs, values))

    @staticmethod
    def _params(spec: Kind, name: str, given: dict[str, float], rest: tuple[float, ...]) -> tuple[float, ...]:
        values = []
        for key, default in spec.params:
            value = given.pop(key, default)
            if value is None:
                raise ProgramError(f"{name}: parameter {key} of {spec.name} is required")
            values.append(float(value))
        if given:
            raise ProgramError(f"{name}: {spec.name} has no parameters {', '.join(sorted(given))}")
        return (*values, *(float(x) for x in rest))

    def to_bytes(self) -> bytes:
        """The program. Blocks of a task are sorted so that producers run before consumers.

        Raises ProgramError when two blocks write one tag, when a tag is read that nobody made, or when the wiring of a
        task has a forward cycle; the message names the blocks of the cycle.
        """
        writers: dict[str, _Wire] = {}
        for wire in self._wires:
            for tag in wire.outputs:
                if tag in writers:
                    raise ProgramError(f"{tag} has two writers: {writers[tag].name} and {wire.name}")
                writers[tag] = wire
        blocks = []
        for wire in self._sorted(writers):
            slots = []
            for tag_name in wire.inputs:
                if tag_name is not None and tag_name not in self.tags:
                    raise ProgramError(f"{wire.name}: there is no tag {tag_name!r}")
                slots.append(-1 if tag_name is None else self.tags[tag_name].slot)
            outs = tuple(self.tags[o].slot for o in wire.outputs)
            blocks.append(BlockSpec(wire.name, wire.kind.name, wire.task, tuple(slots), outs, wire.params))
        return pack(self.base_period_s, self._slots, self._tasks or [Task("task", 1)], blocks)

    def _sorted(self, writers: Mapping[str, _Wire]) -> list[_Wire]:
        """Depth-first by forward edges inside a task, in the order of adding where there is no edge."""
        done: dict[str, bool] = {}
        order: list[_Wire] = []

        def visit(wire: _Wire, path: list[str]) -> None:
            state = done.get(wire.name)
            if state:
                return
            if state is False:
                loop = [*path[path.index(wire.name) :], wire.name]
                raise ProgramError(f"forward cycle: {' -> '.join(loop)}")
            done[wire.name] = False
            for tag in wire.inputs:
                source = writers.get(tag) if tag is not None else None
                if source is not None and source.task == wire.task and source is not wire:
                    visit(source, [*path, wire.name])
            done[wire.name] = True
            order.append(wire)

        for wire in self._wires:
            visit(wire, [])
        return order
