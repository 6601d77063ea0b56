"""The plant side of a simulated site: the world of plants behind virtual PLCs that are built from the register maps.

One step: the PLCs look at their watchdogs and hand the commands in force to the plants, the plants move, the
measurements go back into the registers. Sources with a plant (ERP, market, weather) are served by the same world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ctrl.clock import local_seconds, zone
from ctrl.config.model import Point, SimPlant, Site
from ctrl.field.from_config import devices_from_config
from ctrl.field.virtual_plc import VirtualPlc
from ctrl.simulation.world import Connection, PlantSpec, World
from ctrl.units import convert
from plant_models import Context

_NOT_OPTIONS = ("model", "serves", "map", "params")
_PLAIN = ("", "1", "bool")


class SimulationError(ValueError):
    """The site cannot be simulated as it stands; the message says why."""


@dataclass(frozen=True, slots=True)
class PointLink:
    """A point and the pin behind it: value of the point = factor x value of the pin + zero."""

    point: str
    pin: str
    factor: float
    zero: float


def start_utc(site: Site) -> float:
    """Start of the scenario, s since 1970."""
    if site.simulate is None:
        raise SimulationError("the site has no `simulate:` section")
    local = datetime.fromisoformat(site.simulate.scenario.start)
    return local.replace(tzinfo=zone(site.site.timezone)).timestamp()


def make_context(site: Site, days: float | None = None, seed: int | None = None) -> Context:
    """Where and when the plants of a site run; days and seed override the scenario."""
    begin = start_utc(site)
    assert site.simulate is not None  # start_utc has looked  # noqa: S101
    scenario, location = site.simulate.scenario, site.site.location
    context = Context(
        start_utc=begin,
        days=scenario.days if days is None else days,
        seed=scenario.seed if seed is None else seed,
        timezone=site.site.timezone,
        data_dir=Path(site.source_path).parent,
        history_s=scenario.history.to("s"),
    )
    return context if location is None else replace(context, latitude=location.lat, longitude=location.lon)


class PlantSide:
    """World and virtual PLCs of one simulated site.

    measures, commands: by device, what connects its points to the pins of its plant.
    Raises SimulationError for a device without a plant, or a point without a pin; PlantError for wrong options.
    """

    def __init__(self, site: Site, context: Context) -> None:
        if site.simulate is None:
            raise SimulationError("the site has no `simulate:` section")
        self.site, self.context = site, context
        plants = site.simulate.plants
        self.specs = tuple(PlantSpec(name, plant.model, _options(plant)) for name, plant in plants.items())
        self.connections = tuple(Connection(c.from_, c.to) for c in site.simulate.connections)
        self.world = World(self.specs, self.connections, context)
        self.plcs = {spec.name: VirtualPlc(spec) for spec in devices_from_config(site)}
        self.measures: dict[str, list[PointLink]] = {}
        self.commands: dict[str, list[PointLink]] = {}
        served = {plant.serves: name for name, plant in plants.items()}
        for device in site.devices:
            if device not in served:
                raise SimulationError(f"device {device}: no plant of `simulate:` serves it")
            self._connect(device, served[device], plants[served[device]])
        self._preset()
        self._show()

    def _connect(self, device: str, plant: str, spec: SimPlant) -> None:
        inputs, outputs = self.world.units(plant)
        self.measures[device], self.commands[device] = [], []
        for name, point in self.site.devices[device].points.items():
            pin = spec.map.get(name, name)
            side, pins = (self.commands, inputs) if point.write else (self.measures, outputs)
            if pin not in pins:
                known = ", ".join(pins)
                raise SimulationError(f"point {device}.{name}: plant {plant} has no pin {pin}; it has {known}")
            side[device].append(_link(name, f"{plant}.{pin}", point, pins[pin]))

    def _preset(self) -> None:
        """The PLCs hold what the plants' operating points are made of, as an operator at the panel left it."""
        for device, links in self.commands.items():
            for link in links:
                plant, pin = link.pin.split(".")
                words = self.world.wiring.starts.get(plant, {})
                if pin in words:
                    self.plcs[device].preset(link.point, words[pin] * link.factor + link.zero)

    def _show(self) -> None:
        for device, links in self.measures.items():
            plc = self.plcs[device]
            output = self.world.output
            plc.set_measures({link.point: output(link.pin) * link.factor + link.zero for link in links})

    def step(self, dt_s: float, now_ns: int, utc: float) -> None:
        """Advance by dt_s > 0 seconds of plant time that begin at `utc` (now_ns: the same instant, monotonic)."""
        for device, links in self.commands.items():
            plc = self.plcs[device]
            plc.step(now_ns * 1e-9)
            for link in links:
                self.world.set_input(link.pin, (plc.command(link.point) - link.zero) / link.factor)
        self.world.step(dt_s, now_ns, utc, local_seconds(utc, self.site.site.timezone))
        self._show()

    def feeds(self) -> dict[str, dict[str, Callable[[float], Any]]]:
        """What the sources of the site serve: source -> path -> function of utc."""
        assert self.site.simulate is not None  # noqa: S101
        by_plant = self.world.feeds()
        return {
            plant.serves: by_plant[name]
            for name, plant in self.site.simulate.plants.items()
            if plant.serves in self.site.sources
        }

    def paths(self) -> dict[str, Callable[[float], Any]]:
        """The same by path on one server: /source/path."""
        return {f"/{source}{path}": body for source, feeds in self.feeds().items() for path, body in feeds.items()}


def _options(plant: SimPlant) -> Mapping[str, object]:
    given = {key: getattr(plant, key) for key in type(plant).model_fields if key not in _NOT_OPTIONS}
    return {key: value for key, value in given.items() if value not in (None, {})} | dict(plant.params)


def _link(name: str, pin: str, point: Point, unit: str) -> PointLink:
    if unit in _PLAIN or point.unit in _PLAIN:
        return PointLink(name, pin, 1.0, 0.0)
    zero = convert(0.0, unit, point.unit)
    return PointLink(name, pin, convert(1.0, unit, point.unit) - zero, zero)
