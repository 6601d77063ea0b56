"""Tree -> typed parts. Schema mistakes become problems; what is valid goes on to the semantic checks."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ctrl.config.model import Site, Task
from ctrl.config.model_field import AnySource, Device
from ctrl.config.model_loops import AnyLoop
from ctrl.config.model_plans import EconomicDispatch
from ctrl.config.model_records import Alarm, Failsafe, Records, Simulate
from ctrl.config.model_signals import Signal
from ctrl.config.problems import did_you_mean
from ctrl.config.quantity import ANY_UNIT, Name
from ctrl.config.reader import Document, Loc, path_text
from ctrl.config.schema import raw_schema
from ctrl.config.tags import Draft

SECTIONS: dict[str, TypeAdapter[Any]] = {
    "devices": TypeAdapter(Device),
    "sources": TypeAdapter(AnySource),
    "signals": TypeAdapter(Signal),
    "loops": TypeAdapter(AnyLoop),
    "plans": TypeAdapter(EconomicDispatch),
    "alarms": TypeAdapter(Alarm),
}
PARTS: dict[str, TypeAdapter[Any]] = {
    "failsafe": TypeAdapter(Failsafe),
    "records": TypeAdapter(Records),
    "simulate": TypeAdapter(Simulate),
}
# children that may fall out alone, so that the rest of their owner is still checked
_CHILDREN = {"devices": "points", "sources": "feeds"}
_MAY_MISS = ("sources", "signals", "loops", "plans", "alarms")
_YES_NO = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def validate(document: Document) -> tuple[Site | None, Draft]:
    """The typed site (None when the schema finds mistakes, which are noted in `document`) and the valid part of it."""
    assert document.root is not None  # the caller stops when nothing was read  # noqa: S101
    data = document.root.plain()
    try:
        site = Site.model_validate(data)
    except ValidationError as error:
        bad: list[Loc] = []
        for detail in error.errors(include_url=False):
            loc = _strip_tags(detail["loc"])
            bad.append(loc)
            _note(document, detail, loc)
        return None, _partial(data, bad)
    parts = {key: getattr(site, key) for key in ("tasks", *SECTIONS, *PARTS)}
    return site, Draft(site=site.site, **parts)


def _strip_tags(loc: tuple[int | str, ...]) -> Loc:
    """The place in the file: pydantic puts the name of the chosen union member into the path."""
    steps = [step for step in loc if step != "[key]"]
    if len(steps) > 2 and steps[0] in ("loops", "signals"):
        del steps[2]
    if len(steps) > 4 and steps[0] == "loops" and steps[2] == "actions":
        del steps[4]
    return tuple(steps)


def _note(document: Document, detail: ErrorDetails, loc: Loc) -> None:
    kind, context = detail["type"], detail.get("ctx", {})
    value = detail.get("input")
    place = document.place(loc, key=kind in ("extra_forbidden",) or "[key]" in detail["loc"])
    path = path_text(loc)
    if kind[0] == "E" and kind[1:].isdigit():
        text = context.get("text", detail["msg"])
        document.report(kind, place, path, str(text), str(context.get("hint", "")))
    elif kind == "extra_forbidden":
        document.report(
            "E201", place, path, f"unknown key '{loc[-1]}'", did_you_mean(str(loc[-1]), keys_at(detail["loc"][:-1]))
        )
    elif kind == "missing":
        document.report(
            "E202", document.place(loc[:-1], key=True), path, f"'{loc[-1]}' is missing", _example(detail["loc"])
        )
    elif kind == "union_tag_not_found":
        kinds = [str(node["properties"]["type"]["const"]) for node in _nodes_at(detail["loc"])]
        document.report("E202", document.place(loc, key=True), path, "'type' is missing", f"One of {', '.join(kinds)}")
    elif kind in ("literal_error", "union_tag_invalid"):
        _note_word(document, detail, loc)
    elif kind in ("too_short", "too_long"):
        document.report("E208", place, path, detail["msg"].lower())
    else:
        document.report(
            "E203", place, path, f"{_kind_text(kind)} expected, not {_shown(value)}", _kind_hint(kind, value)
        )


def _note_word(document: Document, detail: ErrorDetails, loc: Loc) -> None:
    context = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        word, expected = detail.get("input"), str(context["expected"])
    else:
        word, expected, loc = context["tag"], str(context["expected_tags"]), (*loc, "type")
    known = [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
    text = f"{_shown(word)} is not one of {', '.join(known)}"
    document.report("E204", document.place(loc), path_text(loc), text, did_you_mean(str(word), known))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple | list):
        return "a list"
    if value is None:
        return "nothing"
    return f"'{str(value).lower() if isinstance(value, bool) else value}'"


def _kind_text(kind: str) -> str:
    names = {
        "bool_type": "true or false",
        "string_type": "a text",
        "dict_type": "a mapping",
        "model_type": "a mapping",
        "tuple_type": "a list",
        "int_type": "a whole number",
        "float_type": "a number",
        "model_attributes_type": "a mapping",
    }
    return names.get(kind, kind.replace("_", " "))


def _kind_hint(kind: str, value: Any) -> str:
    if kind == "bool_type" and str(value).lower() in _YES_NO:
        return f"Write {_YES_NO[str(value).lower()]}"
    if kind == "string_type" and isinstance(value, int | float):
        return f'Put it in quotes: "{value}"'
    if kind == "tuple_type":
        return "Write [ ] around it"
    return ""


def _resolve(node: dict[str, Any]) -> list[dict[str, Any]]:
    """A schema node with references followed and unions opened."""
    if "$ref" in node:
        return _resolve(raw_schema()["$defs"][str(node["$ref"]).rpartition("/")[2]])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in node:
            return [found for part in node[key] for found in _resolve(part)]
    return [node]


def _nodes_at(loc: tuple[int | str, ...]) -> list[dict[str, Any]]:
    """Schema nodes that describe the place `loc`, union tags included in it."""
    nodes = _resolve(raw_schema())
    for step in loc:
        following: list[dict[str, Any]] = []
        for node in nodes:
            if isinstance(step, int):
                following += _resolve(node["items"]) if isinstance(node.get("items"), dict) else []
            elif step in node.get("properties", {}):
                following += _resolve(node["properties"][step])
            for pattern in node.get("patternProperties", {}).values():  # names of our own: devices, loops ...
                following += _resolve(pattern)
            if not isinstance(step, int) and _is_member(node, step):
                following.append(node)
        nodes = following
    return nodes


def _is_member(node: dict[str, Any], tag: str) -> bool:
    properties = node.get("properties", {})
    by_type = properties.get("type", {}).get("const") == tag
    return by_type or (tag in node.get("required", ()) and tag in properties and "type" not in properties)


def keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """Keys that the schema allows at a place."""
    return sorted({key for node in _nodes_at(loc) for key in node.get("properties", {})})


def _example(loc: tuple[int | str, ...]) -> str:
    for node in _nodes_at(loc):
        if node.get("examples") and node.get("description") != ANY_UNIT:
            return f"For example '{loc[-1]}: {node['examples'][0]}'"
        if node.get("enum"):
            return f"One of {', '.join(str(word) for word in node['enum'])}"
    return ""


def _partial(data: dict[str, Any], bad: list[Loc]) -> Draft:
    """The entries of a file that are valid on their own."""
    draft = Draft(blind=any(not isinstance(data.get(key, {} if key in _MAY_MISS else None), dict) for key in SECTIONS))
    sections = {key: dict(data[key]) if isinstance(data.get(key), dict) else {} for key in (*SECTIONS, "tasks")}
    for loc in bad:
        section, name = str(loc[0]) if loc else "", str(loc[1]) if len(loc) > 1 else ""
        child = _CHILDREN.get(section)
        if child and len(loc) > 3 and loc[2] == child and isinstance(sections[section].get(name), dict):
            owner = dict(sections[section][name])
            owner[child] = {key: value for key, value in owner[child].items() if key != loc[3]}
            sections[section][name] = owner
            draft.broken.add(f"{name}.{loc[3]}")
    for section, adapter in (*SECTIONS.items(), ("tasks", TypeAdapter(dict[Name, Task]))):
        for name, value in sections[section].items():
            made = _one(adapter, {name: value} if section == "tasks" else value)
            if made is None:
                draft.broken.add(str(name))
            elif section == "tasks":
                draft.tasks |= made
            else:
                getattr(draft, section)[name] = made
    for part, adapter in PARTS.items():
        setattr(draft, part, _one(adapter, data.get(part)))
    return draft


def _one(adapter: TypeAdapter[Any], value: Any) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None  # noted already, with its place
