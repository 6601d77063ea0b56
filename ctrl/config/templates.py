"""Templates: `use: name` with `with: {param: value}` is replaced by the template's body before anything is validated.

Substitution happens in scalars only. Every value of the body takes the place of the `use:` line, so that a mistake
inside is reported where the template is used; keys given beside `use` and `with` override the body and keep theirs.
"""

from __future__ import annotations

import re
from typing import Any

from ctrl.config.problems import did_you_mean
from ctrl.config.reader import Document, Entry, Loc, Node, path_text

_PARAM = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def _kind_at(loc: Loc) -> str | None:
    """What a `use:` at this place makes."""
    match loc:
        case ("loops", _, "units", _):
            return "unit"
        case ("devices", _, "points", _):
            return "point"
        case (("loops" | "devices" | "signals" | "alarms" | "sources") as section, _):
            return str(section).removesuffix("s")
        case _:
            return None


def expand(document: Document) -> None:
    """Replace every use of a template in the tree of `document`, in place."""
    root = document.root
    if root is None or not isinstance(root.value, dict):
        return
    entry = root.value.get("templates")
    templates = entry.node.value if entry is not None and isinstance(entry.node.value, dict) else {}
    used: set[str | int] = set()
    for section, part in root.value.items():
        if section != "templates":
            _walk(document, part.node, (section,), templates, used)
    for name, template in templates.items():
        if name not in used:
            text = f"template '{name}' is never used"
            document.report("W402", (template.line, template.column), path_text(("templates", name)), text)


def _walk(document: Document, node: Node, loc: Loc, templates: dict[Any, Entry], used: set[str | int]) -> None:
    if isinstance(node.value, dict):
        if "use" in node.value:
            _use(document, node, loc, templates, used)
        for key, entry in node.value.items():
            _walk(document, entry.node, (*loc, key), templates, used)
    elif isinstance(node.value, list):
        for index, item in enumerate(node.value):
            _walk(document, item, (*loc, index), templates, used)


def _use(document: Document, node: Node, loc: Loc, templates: dict[Any, Entry], used: set[str | int]) -> None:
    use = node.value.pop("use")
    given = node.value.pop("with", None)
    name = use.node.value
    path = path_text((*loc, "use"))

    def report(message: str, hint: str = "") -> None:
        document.report("E211", (use.node.line, use.node.column), path, message, hint)

    if not isinstance(name, str) or name not in templates:
        report(f"no template '{name}'", did_you_mean(str(name), [str(known) for known in templates]))
        return
    used.add(name)
    kind = _kind_at(loc)
    template = templates[name].node.value
    body = template.get(kind) if isinstance(template, dict) else None
    if kind is None or body is None or not isinstance(body.node.value, dict):
        report(
            f"template '{name}' does not make a {kind or 'thing that can stand here'}",
            f"Give it a key '{kind}:'" if kind else "",
        )
        return
    values = _arguments(document, use, template, given, (*loc, "with"))
    if values is not None:
        copy = _copy(body.node, values, (use.line, use.column))
        node.value = _merge(copy.value, node.value)


def _arguments(
    document: Document, use: Entry, template: dict[Any, Entry], given: Entry | None, loc: Loc
) -> dict[str, Any] | None:
    name = use.node.value
    params = template["params"].node.plain() if "params" in template else ()
    params = params if isinstance(params, tuple) else ()
    values = given.node.plain() if given is not None else {}
    line, column = (given.line, given.column) if given is not None else (use.line, use.column)
    if not isinstance(values, dict):
        document.report("E211", (line, column), path_text(loc), "with: is a mapping of parameters")
        return None
    fine = True
    for key in values:
        if key not in params:
            hint = did_you_mean(str(key), [str(p) for p in params])
            document.report("E211", (line, column), path_text(loc), f"template '{name}' has no parameter '{key}'", hint)
            fine = False
    missing = [str(param) for param in params if param not in values]
    if missing:
        text = f"template '{name}' lacks {', '.join(missing)}"
        document.report("E211", (line, column), path_text(loc), text, "Give every parameter under with:")
        fine = False
    return values if fine else None


def _copy(node: Node, values: dict[str, Any], place: tuple[int, int]) -> Node:
    value: Any = node.value
    if isinstance(value, dict):
        value = {key: Entry(*place, _copy(entry.node, values, place)) for key, entry in value.items()}
    elif isinstance(value, list):
        value = [_copy(item, values, place) for item in value]
    elif isinstance(value, str):
        whole = _PARAM.fullmatch(value)
        if whole and whole.group(1) in values:
            value = values[whole.group(1)]
        else:
            value = _PARAM.sub(lambda match: str(values.get(match.group(1), match.group(0))), value)
    return Node(*place, value)


def _merge(base: dict[Any, Entry], over: dict[Any, Entry]) -> dict[Any, Entry]:
    merged = dict(base)
    for key, entry in over.items():
        below = merged.get(key)
        if below is not None and isinstance(below.node.value, dict) and isinstance(entry.node.value, dict):
            node = Node(entry.node.line, entry.node.column, _merge(below.node.value, entry.node.value))
            merged[key] = Entry(entry.line, entry.column, node)
        else:
            merged[key] = entry
    return merged
