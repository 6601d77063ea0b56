"""One plant by itself: the protocol for plants of any origin, and the library's models behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

from ext import SingleBlock, kinds
from plant_models.base import Context, PlantModel

GOOD = 0x80
PRIME_S = 1e-6  # the first outputs come from a step so short that nothing moves


@runtime_checkable
class Plant(Protocol):
    """Anything that can be simulated: built in, a class of the user, an FMU.

    inputs: name -> unit of what the engine or a connection writes. outputs: name -> unit of what is measured.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def reset(self, seed: int) -> Mapping[str, float]:
        """Go to the start; returns the first outputs. The same seed gives the same run, bit for bit."""
        ...

    def step(self, inputs: Mapping[str, float], dt_s: float) -> Mapping[str, float]:
        """Advance dt_s s with the inputs held; returns the outputs at the end. An input left out keeps its value."""
        ...


class CompiledPlant:
    """A model of the library by itself, data-driven inputs included, with time that starts at context.start_utc."""

    def __init__(self, model: PlantModel, options: Mapping[str, object], context: Context) -> None:
        model.check(options)
        self.model = model
        self.options = dict(options)
        self.inputs: Mapping[str, str] = model.inputs
        self.outputs: Mapping[str, str] = model.outputs
        self._pins = tuple(pin.rstrip("?") for pin in kinds()[model.kind].inputs)
        self._context = context
        self.reset(context.seed)

    def reset(self, seed: int) -> Mapping[str, float]:
        """Go to the start with this seed; returns the first outputs."""
        context = replace(self._context, seed=seed)
        self._series = self.model.series(self.options, context)
        self._values: dict[str, float] = {}
        self.utc = context.start_utc
        self.block = SingleBlock(
            self.model.kind, self.model.params(self.options, context), wired=[True] * len(self._pins)
        )
        self.block.program.set_state("block", self.model.start(self.options, context))
        return self._run(PRIME_S)

    def step(self, inputs: Mapping[str, float], dt_s: float) -> Mapping[str, float]:
        """Advance dt_s > 0 seconds. Raises KeyError for an input the plant does not have or that data drives."""
        for name in inputs:
            if name not in self.inputs or name in self._series:
                raise KeyError(f"{self.model.name} has no free input {name!r}")
        self._values.update(inputs)
        outputs = self._run(dt_s)
        self.utc += dt_s
        return outputs

    def _run(self, dt_s: float) -> Mapping[str, float]:
        values = self._values
        pins: list[tuple[float, int] | None] = []
        for pin in self._pins:
            series = self._series.get(pin)
            if series is not None:
                pins.append((series.value_at(self.utc), GOOD))
            else:
                pins.append((values[pin], GOOD) if pin in values else (0.0, 0))
        row = self.block.step(pins, dt_s, utc=self.utc)
        return dict(zip(self.outputs, (value for value, _ in row), strict=True))
