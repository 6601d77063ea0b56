"""Makes the pages of docs/reference from the code: `python docs/generate.py`. A test holds the committed pages to it.

Run it in the environment of the project; it writes only below docs/reference.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ctrl import modes, quality
from ctrl.config.pins import DEVICE_PINS, PINS, SELECT_PINS, WINDOW_PINS, Pin
from ctrl.config.plants import PLANTS
from ctrl.config.problems import CODES
from ctrl.config.quantity import ANY_UNIT, AnyQuantity
from ctrl.config.schema import raw_schema
from ctrl.units import UNITS
from ext import kinds
from plant_models import PLANTS as MODELS

FOLDER = Path(__file__).parent / "reference"
ANY_QUANTITY: dict[str, Any] = TypeAdapter(AnyQuantity).json_schema()
NOTE = "<!-- Made by docs/generate.py from the code. Change the code, then run it again. -->\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def page(title: str, text: str, *parts: str) -> str:
    """A page with its heading, one paragraph and its parts."""
    return "\n".join((NOTE + f"# {title}\n", text.strip() + "\n", *parts))


# ------------------------------------------------------------------------------------------------------------ blocks
def blocks() -> str:
    """Every compiled block: pins, parameters, state, and its own description."""
    parts = []
    of_plants = {model.kind for model in MODELS.values()}
    for name, kind in sorted(kinds().items()):
        if name in of_plants:
            continue
        params = [n if default is None else f"{n} = {default:g}" for n, default in kind.params]
        rows = [
            ("inputs", _names([*kind.inputs, *_repeated(kind.var_input)])),
            ("outputs", _names(kind.outputs)),
            ("parameters", _names([*params, *_repeated(kind.var_param)])),
            ("state", _names(kind.state)),
        ]
        parts.append(f"## {name}\n\n```text\n{inspect.cleandoc(kind.doc)}\n```\n\n{table(('', ''), rows)}")
    text = """
The kinds of block that the engine has compiled into `ext`. People write loops (`type: pid`), signals and alarms; the
loader makes blocks of them. A name with `?` may stay unwired. `name ...` stands for any number of it. Every block obeys
`ext/abi.pxd`: outputs are finite, a bad input gives a status and not a number, and time comes as an argument.
"""
    return page("Blocks", text, *parts)


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{n}`" for n in names) or "none"


def _repeated(name: str) -> list[str]:
    return [f"{name} ..."] if name else []


# ---------------------------------------------------------------------------------------------------------- problems
def problems() -> str:
    """Codes of what can be wrong with a site file."""
    text = """
What `ctrl check` can say of a site file. `E` codes refuse the file, `W` codes are warnings. Each message stands beside
file, line, column and the dotted key, with a hint where there is one.
"""
    return page("Error codes", text, table(("code", "meaning"), [(f"`{code}`", CODES[code]) for code in CODES]))


# -------------------------------------------------------------------------------------------------------------- keys
def keys() -> str:
    """Every section and key of a site file, from the model that reads it."""
    schema = raw_schema()
    parts = [_section("The file", {**schema, "description": "The sections of a site file."})]
    parts += [_section(name, body) for name, body in sorted(schema["$defs"].items()) if "properties" in body]
    text = """
Every key of `schema: 1`. A key is required unless the last column gives a default. Names such as [Device](#device) lead
to the part that stands there; `{name: Device}` is a mapping of names to such parts, `[Feedforward]` a list.
"""
    return page("Keys of a site file", text, *parts)


def _section(name: str, body: Mapping[str, Any]) -> str:
    required = body.get("required", [])
    rows = []
    for key, spec in body["properties"].items():
        default = "" if key in required else f"`{_default(spec.get('default'))}`"
        rows.append((f"`{key}`", _type(spec), _note(spec), default))
    words = str(body.get("description", "")).replace("\n", " ")
    return f"## {name}\n\n{words}\n\n{table(('key', 'value', '', 'default'), rows)}"


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _type(spec: Mapping[str, Any]) -> str:
    if "$ref" in spec:
        name = str(spec["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in spec:
        return f"`{spec['const']}`"
    if "enum" in spec:
        return " or ".join(f"`{word}`" for word in spec["enum"])
    for many in ("anyOf", "oneOf"):
        if many in spec:
            found = [_type(one) for one in spec[many] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(found))
    return _container(spec)


def _container(spec: Mapping[str, Any]) -> str:
    kind = spec.get("type", "")
    if kind == "array":
        items = spec.get("prefixItems", [spec["items"]] if "items" in spec else [])
        return f"[{', '.join(_type(item) for item in items)}]"
    if kind == "object":
        inner = [*spec.get("patternProperties", {}).values()]
        extra = spec.get("additionalProperties")
        inner += [extra] if isinstance(extra, dict) else []
        return f"{{name: {_type(inner[0])}}}" if inner else "mapping"
    if _any_unit(spec):
        return ANY_UNIT  # an example of some other quantity would mislead
    words = str(spec.get("description", "")) if "examples" in spec else ""
    example = f", for example `{spec['examples'][0]}`" if spec.get("examples") else ""
    return (words or str(kind if isinstance(kind, str) else " or ".join(kind)) or "any") + example


def _note(spec: Mapping[str, Any]) -> str:
    """What the key means, unless that is said with the kind of value already."""
    words = str(spec.get("description", "")).replace("\n", " ")
    if _any_unit(spec):
        return "" if words == ANY_UNIT else words
    return "" if "examples" in spec else words


def _any_unit(spec: Mapping[str, Any]) -> bool:
    """A quantity whose dimension depends on what it meets."""
    return spec.get("examples") == ANY_QUANTITY["examples"]


# -------------------------------------------------------------------------------------------------------------- pins
def pins() -> str:
    """Tags that exist without being declared as points, feeds or signals."""
    head = ("pin", "unit", "type", "direction", "meaning")
    parts = [f"## {kind}\n\n{table(head, _pin_rows(found))}" for kind, found in PINS.items()]
    others = (("device", DEVICE_PINS), ("window_average signal", WINDOW_PINS), ("select signal", SELECT_PINS))
    parts += [f"## {kind}\n\n{table(head, _pin_rows(found))}" for kind, found in others]
    text = """
Tags are named `device.point`, `source.feed`, `signal`, `loop.pin` and `plan.output`. A feed also has `.age` (s). These
are the pins. Unit `measure` or `output`: that of the tag under this key; `measure difference`: that of a difference of
two of them. Direction `out`: the loop gives it; `in`: another loop commands it; `limit`: a peak guard may lower it.
"""
    return page("Pins and tags", text, *parts)


def _pin_rows(found: Mapping[str, Pin]) -> list[tuple[str, ...]]:
    return [(f"`{name}`", pin.unit, pin.type, pin.direction, pin.text) for name, pin in found.items()]


# ------------------------------------------------------------------------------------------------------------- units
def units() -> str:
    """Units by dimension."""
    by_dimension: dict[str, list[str]] = {}
    for name, unit in UNITS.items():
        what = " ".join(f"{base}{power if power != 1 else ''}" for base, power in unit.dims) or "plain number"
        if unit.point:
            what = f"{what}, on a scale with its own zero; differences are written in {unit.difference}"
        by_dimension.setdefault(what, []).append(f"`{name}`")
    text = """
Units combine with `*`, `/` and parentheses: `kWh/t`, `kW/(t/h)`, `t/h/min`. A number and its unit are separated by a
space. Money of different currencies does not convert. A year has 365 days, a month is a twelfth of it.
"""
    rows = [(" ".join(names), what) for what, names in by_dimension.items()]
    return page("Units", text, table(("units", "dimension in base units"), rows))


# ------------------------------------------------------------------------------------------------------------ plants
def plants() -> str:
    """Built-in plant models and their pins."""
    parts = []
    for name, face in sorted(PLANTS.items()):
        rows = [
            ("serves", f"a {face.serves}"),
            ("inputs", _with_units(face.inputs)),
            ("outputs", _with_units(face.outputs)),
            ("keys", _names(face.keys)),
            ("under `start:`", _with_units(face.start)),
            ("under `params:`", _with_units(face.options)),
        ]
        model = MODELS[name]
        options = [
            (f"`{key}`", option.unit, option.doc, "" if option.default is None else f"{option.default:g}")
            for key, option in model.options.items()
        ]
        meanings = table(("option", "unit or kind", "meaning", "default"), options)
        parts.append(f"## {name}\n\n{model.doc}.\n\n{table(('', ''), rows)}\n{meanings}")
    text = """
Signs: grid + = import, loads + = consumption, PV and battery + = delivery.

Models that may stand in `simulate.plants`. A model that serves a device maps its pins to points of the same name, or by
`map:`. `connections:` wires an output of one plant to an input of another.
"""
    return page("Plant models", text, *parts)


def _with_units(found: Mapping[str, str]) -> str:
    words = [f"`{name}`" if unit in ("1", "word") else f"`{name}` {unit}" for name, unit in found.items()]
    return ", ".join(words) or "none"


# ------------------------------------------------------------------------------------------------------------ status
def status() -> str:
    """Status byte, modes and reasons."""
    statuses = {value: name for name, value in vars(quality).items() if name.isupper() and isinstance(value, int)}
    rows = [(f"`0x{value:02X}`", quality.word(value), quality.text(value)) for value in sorted(statuses)]
    numbered = ("number", "word")
    text = """
Every value carries a status byte in the layout of FOUNDATION Fieldbus: bits 7-6 quality (bad, uncertain, good, good in
cascade), bits 5-2 sub-status, bits 1-0 limits (1 low, 2 high). Loops have the pins `mode` and `why` with these numbers.
"""
    parts = [
        f"## Status\n\n{table(('status', 'quality', 'meaning'), rows)}",
        f"## Modes\n\n{table(numbered, [(str(n), word) for n, word in modes.MODES.items()])}",
        f"## Reasons\n\n{table(numbered, [(str(n), word) for n, word in modes.REASONS.items()])}",
    ]
    return page("Status, modes, reasons", text, *parts)


def pages() -> dict[str, str]:
    """File name -> text of every generated page."""
    made = {
        "blocks.md": blocks(),
        "error-codes.md": problems(),
        "keys.md": keys(),
        "pins.md": pins(),
        "plants.md": plants(),
        "status.md": status(),
        "units.md": units(),
    }
    return {name: text.rstrip() + "\n" for name, text in made.items()}


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
