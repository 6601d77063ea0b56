"""JSON Schema (2020-12) of a site file: for editors, and for the hints of the loader."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from ctrl.config.model import Site
from ctrl.units import Quantity

# where `use:` of a template may stand: owner of the mapping (None = the top) and key
_USES = (
    (None, "devices"),
    (None, "sources"),
    (None, "signals"),
    (None, "loops"),
    (None, "alarms"),
    ("Device", "points"),
    ("Staging", "units"),
)


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        """Defaults as they are written in a file."""
        return super().encode_default(_written(dft))


def _written(value: Any) -> Any:
    if isinstance(value, Quantity):
        return str(value)
    if isinstance(value, BaseModel):
        return {name: _written(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    return value


@lru_cache(maxsize=1)
def raw_schema() -> dict[str, Any]:
    """The schema after templates have been expanded."""
    made = Site.model_json_schema(by_alias=True, schema_generator=_Generator)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "loopwright site"
    return made


def schema() -> dict[str, Any]:
    """The schema of what people write: `use:` with `with:` may stand for a device, source, signal, loop, alarm ..."""
    made = copy.deepcopy(raw_schema())
    made["$defs"]["TemplateUse"] = {
        "type": "object",
        "description": "The body of a template; further keys override it.",
        "properties": {"use": {"type": "string"}, "with": {"type": "object"}},
        "required": ["use"],
    }
    for owner, key in _USES:
        place = (made if owner is None else made["$defs"][owner])["properties"][key]
        place["patternProperties"] = {pattern: _or_use(node) for pattern, node in place["patternProperties"].items()}
    return made


def _or_use(node: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [node, {"$ref": "#/$defs/TemplateUse"}]}
