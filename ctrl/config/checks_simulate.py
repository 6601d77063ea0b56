"""Checks of the simulation: plants, what they serve, their connections and their data files."""

from __future__ import annotations

from pathlib import Path

from ctrl.config.checks import Checker
from ctrl.config.model_field import Device
from ctrl.config.model_records import Connection, SimPlant, Simulate
from ctrl.config.plants import OPTION_KEYS, PLANTS, PlantFace
from ctrl.config.problems import did_you_mean
from ctrl.config.reader import Loc
from ctrl.units import Quantity, parse_unit

_OUTSIDE = ("python:", "fmu:")


def check(checker: Checker, folder: Path) -> None:
    """All checks of this file. folder: where the site file is; data files are relative to it."""
    simulate = checker.draft.simulate
    if simulate is None:
        return
    served: dict[str, str] = {}
    for name, plant in simulate.plants.items():
        loc: Loc = ("simulate", "plants", name)
        if plant.serves in served:
            checker.report("E343", (*loc, "serves"), f"'{plant.serves}' is served by {served[plant.serves]} already")
        served.setdefault(plant.serves, name)
        _plant(checker, loc, plant, folder)
    for index, connection in enumerate(simulate.connections):
        _connection(checker, ("simulate", "connections", index), connection, simulate)
    _pv_owners(checker, simulate)


def _plant(checker: Checker, loc: Loc, plant: SimPlant, folder: Path) -> None:
    owners = [*checker.draft.devices, *checker.draft.sources]
    known = checker.entry((*loc, "serves"), plant.serves, owners, "device or source")
    if plant.model.startswith(_OUTSIDE):
        if plant.model.startswith("fmu:"):
            _file(checker, (*loc, "model"), plant.model.removeprefix("fmu:"), folder)
        return
    face = PLANTS.get(plant.model)
    if face is None:
        checker.report("E342", (*loc, "model"), f"no plant model '{plant.model}'", did_you_mean(plant.model, PLANTS))
        return
    _options(checker, loc, plant, face, folder)
    device = checker.draft.devices.get(plant.serves)
    if device is not None:
        if face.serves != "device":
            checker.report("E343", (*loc, "serves"), f"{plant.model} serves sources, '{plant.serves}' is a device")
            return
        _points(checker, loc, plant, face, device)
    elif known and face.serves != "source":
        checker.report("E343", (*loc, "serves"), f"{plant.model} serves devices, '{plant.serves}' is a source")


def _options(checker: Checker, loc: Loc, plant: SimPlant, face: PlantFace, folder: Path) -> None:
    for key in OPTION_KEYS:
        value = getattr(plant, key)
        if value is not None and key not in face.keys:
            checker.report("E201", (*loc, key), f"{plant.model} has no '{key}'", did_you_mean(key, face.keys))
        elif value is None and key in face.required:
            checker.report("E202", loc, f"{plant.model} needs '{key}'")
        elif value is not None and key in face.files:
            _file(checker, (*loc, key), value, folder)
    for section, units in (("start", face.start), ("params", face.options)):
        for key, value in getattr(plant, section).items():
            here: Loc = (*loc, section, key)
            if key not in units:
                checker.report("E201", here, f"{plant.model} has no '{section}.{key}'", did_you_mean(key, units))
            elif isinstance(value, Quantity) and units[key] != "word":
                checker.fits(here, value, units[key])
            elif isinstance(value, Quantity) or units[key] != "word":
                checker.report("E203", here, f"'{value}' is not {'a word' if units[key] == 'word' else units[key]}")


def _file(checker: Checker, loc: Loc, name: str, folder: Path) -> None:
    if not (folder / name).is_file():
        checker.report("E341", loc, f"no file '{name}'", "Paths are relative to the site file")


def _points(checker: Checker, loc: Loc, plant: SimPlant, face: PlantFace, device: Device) -> None:
    for point_name in plant.map:
        if point_name not in device.points and not checker.draft.is_broken(f"{plant.serves}.{point_name}"):
            hint = did_you_mean(point_name, device.points)
            checker.report("E342", (*loc, "map", point_name), f"{plant.serves} has no point '{point_name}'", hint)
    for point_name, point in device.points.items():
        pins = face.inputs if point.write else face.outputs
        pin = plant.map.get(point_name, point_name)
        here: Loc = (*loc, "map", point_name) if point_name in plant.map else (*loc, "serves")
        if pin not in pins:
            kind = "input" if point.write else "output"
            hint = did_you_mean(pin, pins) or "Give it under map:"
            checker.report("E342", here, f"{plant.model} has no {kind} for {plant.serves}.{point_name}", hint)
            continue
        unit = pins[pin]
        if (unit == "bool") != (point.type == "bool"):
            checker.report("E343", here, f"{plant.serves}.{point_name} is {point.type}, {plant.model} has {unit}")
        elif unit != "bool" and not parse_unit(unit).same_kind(parse_unit(point.unit)):
            checker.report("E343", here, f"{plant.serves}.{point_name} is in {point.unit}, {plant.model} in {unit}")


def _pin(checker: Checker, loc: Loc, name: str, simulate: Simulate, *, output: bool) -> str | None:
    """Unit of a plant pin, None when it is unknown or its plant comes from outside."""
    owner, _, pin = name.partition(".")
    plant = simulate.plants.get(owner)
    if plant is None:
        checker.report("E342", loc, f"no plant '{owner}'", did_you_mean(owner, simulate.plants))
        return None
    face = PLANTS.get(plant.model)
    if face is None:
        return None
    pins = face.outputs if output else face.inputs
    if pin not in pins:
        message = f"{plant.model} has no {'output' if output else 'input'} '{pin}'"
        checker.report("E342", loc, message, did_you_mean(pin, pins))
        return None
    return pins[pin]


def _connection(checker: Checker, loc: Loc, connection: Connection, simulate: Simulate) -> None:
    source = _pin(checker, (*loc, "from"), connection.from_, simulate, output=True)
    target = _pin(checker, (*loc, "to"), connection.to, simulate, output=False)
    if source is not None and target is not None:
        same = source == target if "bool" in (source, target) else parse_unit(source).same_kind(parse_unit(target))
        if not same:
            checker.report("E343", (*loc, "to"), f"{connection.from_} is in {source}, {connection.to} in {target}")
    if sum(other.to == connection.to for other in simulate.connections) > 1:
        checker.report("E301", (*loc, "to"), f"'{connection.to}' is driven by more than one output")


def _pv_owners(checker: Checker, simulate: Simulate) -> None:
    owners = [name for name, plant in simulate.plants.items() if plant.pv is not None]
    for name, plant in simulate.plants.items():
        if plant.pv_of is not None:
            checker.entry(("simulate", "plants", name, "pv_of"), plant.pv_of, owners, "plant with pv")
