"""Plants: compiled models of industrial equipment, and the library that names them.

Every module of this package that has a `MODEL` adds one plant. `PLANTS` maps model names to them, sorted by name.
Importing the package registers the compiled kinds. How feeds look: README.md beside this file.
"""

from collections.abc import Mapping
from importlib import import_module as _import_module
from pkgutil import iter_modules as _iter_modules
from types import MappingProxyType as _MappingProxyType

from plant_models.base import Context, Feed, Option, PlantError, PlantModel, Series

_found: dict[str, PlantModel] = {}
for _module in sorted(m.name for m in _iter_modules(__path__)):
    _model = getattr(_import_module(f"{__name__}.{_module}"), "MODEL", None)
    if isinstance(_model, PlantModel):
        if _model.name in _found:
            raise RuntimeError(f"plant model {_model.name!r} is registered twice")
        _found[_model.name] = _model

PLANTS: Mapping[str, PlantModel] = _MappingProxyType(dict(sorted(_found.items())))

from plant_models.protocol import CompiledPlant, Plant  # noqa: E402 - it looks models up in PLANTS


def plant_named(name: str) -> PlantModel:
    """The model, or PlantError naming the known ones."""
    if name not in PLANTS:
        raise PlantError(f"unknown plant model {name!r}; known: {', '.join(PLANTS)}")
    return PLANTS[name]


__all__ = [
    "PLANTS",
    "CompiledPlant",
    "Context",
    "Feed",
    "Option",
    "Plant",
    "PlantError",
    "PlantModel",
    "Series",
    "plant_named",
]
