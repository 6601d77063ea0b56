"""The world of a simulated site: its plants as one compiled program, wired by the connections.

Inputs and outputs are addressed as "plant.pin". Time convention: step() takes the time at the START of the step, data
is read at that time, and the outputs hold at its end. An input nobody set leaves the plant's own start value standing.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ctrl.loops.builder import Builder
from ctrl.quality import GOOD
from ext import Image, Program, kinds
from plant_models import Context, PlantError, PlantModel, Series, plant_named

PRIME_S = 1e-6  # the first outputs come from a step so short that nothing moves


@dataclass(frozen=True, slots=True)
class PlantSpec:
    """One plant of a site: its name, the name of its model and the options of that model."""

    name: str
    model: str
    options: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Connection:
    """Physics between two plants: output "plant.pin" -> input "plant.pin", of the same unit."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class _Placed:
    spec: PlantSpec
    model: PlantModel
    context: Context


@dataclass(frozen=True, slots=True)
class Wiring:
    """What add_plants() made.

    inputs: tag of every input that is free to set; outputs: tag of every output; driven: the data behind the others.
    Keys are "plant.pin". starts: state words by plant.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    driven: Mapping[str, Series]
    starts: Mapping[str, Mapping[str, float]]

    def start(self, program: Program) -> None:
        """Put the plants of a loaded program at their operating points."""
        for plant, words in self.starts.items():
            program.set_state(plant, words)


def add_plants(
    builder: Builder,
    specs: Sequence[PlantSpec],
    connections: Sequence[Connection],
    context: Context,
    *,
    task: int = 0,
    tags: Mapping[str, str] | None = None,
    prefix: str = "",
) -> Wiring:
    """Add the plants to a program that is being built, players of their data included.

    tags: "plant.pin" -> tag, for pins that share a tag of the program, e.g. a command written by a loop; the others get
    a tag of their own name. Connected pins share one slot. prefix: of the blocks' names, where a plant may be called
    like a block of the program.
    Raises PlantError for an unknown model or option, a wrong connection, or an input with two sources.
    """
    placed = _place(specs, context)
    named = dict(tags or {})
    sources = _sources(placed, connections)
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    driven: dict[str, Series] = {}
    for name, plant in placed.items():
        outputs |= {f"{name}.{pin}": named.get(f"{name}.{pin}", f"{name}.{pin}") for pin in plant.model.outputs}
    for name, plant in placed.items():
        series = plant.model.series(plant.spec.options, plant.context)
        wires: dict[str, str | None] = {}
        for pin, unit in plant.model.inputs.items():
            key = f"{name}.{pin}"
            if key in sources and pin in series:
                raise PlantError(f"{key} is driven by data and connected to {sources[key]}")
            if key in sources:
                wires[pin] = outputs[sources[key]]
                continue
            wires[pin] = tag = named.get(key, key)
            builder.tag(tag, "" if key in named else unit)
            if pin in series:
                _play(builder, prefix + key, tag, series[pin], task)
                driven[key] = series[pin]
            else:
                inputs[key] = tag
        outs = {pin: outputs[f"{name}.{pin}"] for pin in plant.model.outputs}
        _add(builder, prefix + name, plant, wires, outs, task=task)
    starts = {name: plant.model.start(plant.spec.options, plant.context) for name, plant in placed.items()}
    return Wiring(inputs, outputs, driven, starts)


def _place(specs: Sequence[PlantSpec], context: Context) -> dict[str, _Placed]:
    peers = {spec.name: spec.options for spec in specs}
    if len(peers) != len(specs):
        raise PlantError("two plants have the same name")
    placed = {}
    for spec in specs:
        model = plant_named(spec.model)
        try:
            model.check(spec.options)
        except PlantError as error:
            raise PlantError(f"plant {spec.name}: {error}") from error
        placed[spec.name] = _Placed(spec, model, replace(context, plant=spec.name, peers=peers))
    return placed


def _sources(placed: Mapping[str, _Placed], connections: Sequence[Connection]) -> dict[str, str]:
    """Source "plant.pin" of every connected input."""
    made = {f"{n}.{pin}": unit for n, plant in placed.items() for pin, unit in plant.model.outputs.items()}
    taken = {f"{n}.{pin}": unit for n, plant in placed.items() for pin, unit in plant.model.inputs.items()}
    sources: dict[str, str] = {}
    for c in connections:
        if c.source not in made:
            raise PlantError(f"connection from {c.source}: no such output; there are {', '.join(made)}")
        if c.target not in taken:
            raise PlantError(f"connection to {c.target}: no such input; there are {', '.join(taken)}")
        if made[c.source] != taken[c.target]:
            raise PlantError(
                f"connection {c.source} ({made[c.source]}) -> {c.target} ({taken[c.target]}): units differ"
            )
        if c.target in sources:
            raise PlantError(f"{c.target} is connected twice: {sources[c.target]} and {c.source}")
        sources[c.target] = c.source
    return sources


def _play(builder: Builder, name: str, tag: str, series: Series, task: int) -> None:
    params = {"t0": series.t0_utc, "step": series.step_s, "hold": 1.0 if series.hold else 0.0}
    builder.block("data_player", name, outputs={"out": tag}, params=params, var_params=series.values, task=task)


def _add(
    builder: Builder, name: str, plant: _Placed, wires: dict[str, str | None], outs: dict[str, str], *, task: int
) -> None:
    model = plant.model
    values = model.params(plant.spec.options, plant.context)
    fixed = [name for name, _ in kinds()[model.kind].params]
    builder.block(
        model.kind,
        name,
        inputs=wires,
        outputs=outs,
        params=dict(zip(fixed, values, strict=False)),
        var_params=values[len(fixed) :],
        task=task,
        units={pin: unit for pin, unit in model.outputs.items() if outs[pin] == f"{plant.spec.name}.{pin}"},
    )


class World:
    """The plants of a site, ready to run: built, put at their operating points, first outputs there.

    specs: the plants, in the order that decides between plants that do not depend on each other.
    Raises PlantError (see add_plants) and ext.ProgramError, when plants are connected in a circle.
    """

    def __init__(self, specs: Sequence[PlantSpec], connections: Sequence[Connection], context: Context) -> None:
        builder = Builder()
        builder.task("plants")
        self.wiring = add_plants(builder, specs, connections, context)
        self.image = Image(max(1, len(builder.tags)))
        self.program = Program(builder.to_bytes(), self.image)
        self.wiring.start(self.program)
        self.input_slots = {name: builder.tags[tag].slot for name, tag in self.wiring.inputs.items()}
        self.output_slots = {name: builder.tags[tag].slot for name, tag in self.wiring.outputs.items()}
        self._placed = _place(specs, context)
        self._rows = {
            name: tuple((pin, self.output_slots[f"{name}.{pin}"]) for pin in plant.model.outputs)
            for name, plant in self._placed.items()
        }
        self._driven_slots = {name: builder.tags[name].slot for name in self.wiring.driven}
        self._fresh = 1
        self._run(PRIME_S, 0, context.start_utc, context.start_utc - context.midnight(context.start_utc))

    def set_input(self, name: str, value: float) -> None:
        """Set a free input "plant.pin"; it holds from the next step on. KeyError when it is not free or not there."""
        self.image.post(self.input_slots[name], value, GOOD, 0)

    def output(self, name: str) -> float:
        """Current value of an output "plant.pin"."""
        return self.image.value(self.output_slots[name])

    def data(self, name: str) -> float:
        """Current value of an input "plant.pin" that data drives."""
        return self.image.value(self._driven_slots[name])

    def outputs(self, plant: str) -> dict[str, float]:
        """Current outputs of one plant by pin."""
        value = self.image.value
        return {pin: value(slot) for pin, slot in self._rows[plant]}

    def adopt(self, values: Mapping[str, float]) -> None:
        """Show outputs "plant.pin" that another program computed, which runs these plants: feeds then serve those."""
        for name, value in values.items():
            self.image.post(self.output_slots[name], value, GOOD, 0)
        self.image.latch(0)

    def units(self, plant: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """(inputs, outputs) of a plant, pin -> unit."""
        model = self._placed[plant].model
        return model.inputs, model.outputs

    def history(self, name: str) -> Series:
        """The data behind a driven input "plant.pin": what forecasts may learn from before the start."""
        return self.wiring.driven[name]

    def past_load(self, start: float, end: float) -> float:
        """Mean power, kW, that all plants drew in [start, end) utc s by their data alone (see PlantModel.past_load)."""
        return sum(
            plant.model.past_load(
                {key.partition(".")[2]: s for key, s in self.wiring.driven.items() if key.startswith(f"{name}.")},
                start,
                end,
            )
            for name, plant in self._placed.items()
        )

    def past_input(self, pin: str, start: float, end: float) -> float:
        """Mean over [start, end) utc s of the data behind input `pin`, summed over the plants that have it."""
        return sum(s.mean(start, end) for key, s in self.wiring.driven.items() if key.endswith(f".{pin}"))

    def step(self, dt_s: float, now_ns: int, utc: float, local: float) -> None:
        """Advance all plants by dt_s > 0 seconds.

        now_ns: ns, stamp of the outputs; utc: s since 1970 and local: s since local midnight, both at the start of the
        step. Raises ProgramError naming a plant that broke.
        """
        self._run(dt_s, now_ns, utc, local)

    def _run(self, dt_s: float, now_ns: int, utc: float, local: float) -> None:
        self.image.latch(now_ns)
        self.program.run(0, dt_s, now_ns, utc, local, self._fresh)
        self._fresh = 0

    def feeds(self) -> dict[str, dict[str, Callable[[float], Any]]]:
        """What the plants serve over HTTP: plant -> path -> function of utc that gives the JSON-able body."""
        return {
            name: {
                path: self._bound(name, feed)
                for path, feed in plant.model.feeds(plant.spec.options, plant.context).items()
            }
            for name, plant in self._placed.items()
        }

    def _bound(self, plant: str, feed: Callable[[float, Mapping[str, float]], Any]) -> Callable[[float], Any]:
        return lambda utc: feed(utc, self.outputs(plant))

    def state(self) -> bytes:
        """State of all plants, inputs and outputs: restore() takes it back, and the run repeats bit for bit."""
        self.image.latch(0)
        row = [self.image.get(slot) for slot in range(self.image.n)]
        return (
            array("d", [x for value, status, _ in row for x in (value, float(status))]).tobytes() + self.program.state()
        )

    def restore(self, data: bytes) -> None:
        """Take back what state() gave. Raises ProgramError if it belongs to other plants."""
        size = 16 * self.image.n
        self.program.restore(data[size:])
        row = array("d")
        row.frombytes(data[:size])
        for slot in range(self.image.n):
            self.image.post(slot, row[2 * slot], int(row[2 * slot + 1]), 0)
        self.image.latch(0)
