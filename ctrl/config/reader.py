"""YAML 1.2 to a tree of values with their places, strictly: what two readers could understand differently is refused.

ruamel.yaml supplies scanner and parser; the tree is built here from its events, lazily, so that a hostile file is
refused at the limit it breaks and never expanded.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from ctrl.config.problems import Problem, severity_of

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_NODES = 50_000
MAX_LINES = 50_000
MAX_WORDS = 150_000
MAX_PROBLEMS = 200

Loc = tuple[str | int, ...]

_INT = re.compile(r"[-+]?(0|[1-9]\d*)")
_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?")
_NON_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_AMBIGUOUS = re.compile(r"[-+]?(0\d[\d_]*|0[oxb][0-9a-fA-F_]+|\d[\d]*_[\d_]*\d?)")
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(slots=True)
class Node:
    """A value and its place (line and column from 1). `value` is a scalar, a list of Nodes or a dict of Entry."""

    line: int
    column: int
    value: Any
    quoted: bool = False
    flow: bool = False

    def plain(self) -> Any:
        """The value as dicts, tuples and scalars."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return tuple(item.plain() for item in self.value)
        return self.value


@dataclass(slots=True)
class Entry:
    """A key of a mapping with its place, and its value."""

    line: int
    column: int
    node: Node


@dataclass(slots=True)
class Document:
    """What was read: the tree (None when nothing could be built) and the problems so far."""

    file: str
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)

    def report(self, code: str, place: tuple[int, int], path: str, message: str, hint: str = "") -> None:
        """Note a problem."""
        self.problems.append(Problem(self.file, *place, code, severity_of(code), path, message, hint))

    def place(self, loc: Loc, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `loc` (of its key, when asked or when the value is a mapping or list);
        of the nearest thing around it when it is not there."""
        node = self.root
        line, column = 1, 1
        for index, step in enumerate(loc):
            last = index == len(loc) - 1
            if node is not None and isinstance(node.value, dict) and step in node.value:
                entry = node.value[step]
                node = entry.node
                use_key = (last and key) or isinstance(node.value, dict | list)
                line, column = (entry.line, entry.column) if use_key else (node.line, node.column)
            elif node is not None and isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line, column = node.line, node.column
            else:
                break
        return line, column

    def node_at(self, loc: Loc) -> Node | None:
        """The node at `loc`, or None."""
        node = self.root
        for step in loc:
            if node is not None and isinstance(node.value, dict) and step in node.value:
                node = node.value[step].node
            elif node is not None and isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            else:
                return None
        return node


def path_text(loc: Loc) -> str:
    """Dotted path with list positions in brackets: loops.peak_guard.actions[0].reserve."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) and text.rpartition(".")[2] != "enum" else f".{step}"
    return text.removeprefix(".")


class _RefusedError(Exception):
    """The file is refused as a whole; the problem is noted."""


def read(path: Path, name: str | None = None) -> Document:
    """Read one YAML file. Never raises for what the file holds: see Document.problems."""
    document = Document(name or str(path))
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        document.report("E101", (1, 1), "", f"cannot be read: {error.strerror}")
        return document
    return read_bytes(data, document)


def read_bytes(data: bytes, document: Document) -> Document:
    """Parse the bytes of a file into `document`."""
    text = _decode(data, document)
    if text is None:
        return document
    # cheap bounds first: scanning a megabyte of tiny values would take seconds
    if text.count("\n") > MAX_LINES or text.count(",") > MAX_NODES or len(text.split()) > MAX_WORDS:
        message = f"more than {MAX_LINES} lines, {MAX_NODES} commas or {MAX_WORDS} words"
        document.report("E105", (1, 1), "", message, "Split the site")
        return document
    for row, content in enumerate(text.split("\n"), start=1):
        indent = content[: len(content) - len(content.lstrip(" \t"))]
        if "\t" in indent and content.strip():
            document.report("E108", (row, indent.index("\t") + 1), "", "tab used for indentation", "Use spaces")
    if document.problems:
        return document
    try:
        _Builder(document, text).build()
    except _RefusedError:
        document.root = None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        document.report(
            "E110", (line, column), "", f"YAML syntax: {error.problem or error.context}", _syntax_hint(error)
        )
        document.root = None
    except (YAMLError, RecursionError, ValueError) as error:
        document.report(
            "E110", (1, 1), "", f"YAML syntax: {str(error).splitlines()[0] if str(error) else 'unreadable'}"
        )
        document.root = None
    return document


def _syntax_hint(error: MarkedYAMLError) -> str:
    problem = str(error.problem)
    if "mapping values are not allowed" in problem:
        return "A text with ': ' in it needs quotes; else check the indentation"
    if "cannot start any token" in problem:
        return 'A text that begins with %, @ or ` needs quotes, for example "%"'
    if "expected ',' or" in problem:
        return "A bracket is not closed, or a comma is missing"
    return ""


def _decode(data: bytes, document: Document) -> str | None:
    if len(data) > MAX_BYTES:
        document.report("E103", (1, 1), "", f"larger than {MAX_BYTES} bytes")
        return None
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        document.report("E102", (1, 1), "", "begins with a byte order mark", "Save the file as UTF-8 without BOM")
        return None
    zero = data.find(b"\0")
    if zero >= 0:
        document.report("E102", (data.count(b"\n", 0, zero) + 1, 1), "", "has a NUL byte", "Save the file as UTF-8")
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        document.report("E102", (line, 1), "", "is not UTF-8", "Save the file as UTF-8")
        return None


class _Builder:
    """Builds the tree from parser events."""

    def __init__(self, document: Document, text: str) -> None:
        self.document = document
        self.events: Iterator[Event] = YAML(typ="safe", pure=True).parse(io.StringIO(text))
        self.nodes = 0

    def build(self) -> None:
        documents = 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                self._document_start(event, documents)
            elif isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent | AliasEvent):
                self.document.root = self._node(event, (), 0, flow=False)
        if self.document.root is None or not isinstance(self.document.root.value, dict):
            self._report("E115", (1, 1), (), "the file is not a mapping of sections", "Begin with 'schema: 1'")
            raise _RefusedError

    def _document_start(self, event: DocumentStartEvent, documents: int) -> None:
        line = event.start_mark.line + 1
        if documents > 1:
            self._report("E107", (line, 1), (), "a second document begins", "One file holds one site")
            raise _RefusedError
        if event.version is not None or event.tags:
            self._report(
                "E106", (line, 1), (), "directives (%YAML, %TAG) are refused", "Remove the line; files are YAML 1.2"
            )
            raise _RefusedError

    def _report(self, code: str, place: tuple[int, int], loc: Loc, message: str, hint: str = "") -> None:
        self.document.report(code, place, path_text(loc), message, hint)

    def _node(self, event: Event, loc: Loc, depth: int, *, flow: bool) -> Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._report("E105", (line, column), (), f"more than {MAX_NODES} values", "Split the site")
            raise _RefusedError
        if len(self.document.problems) > MAX_PROBLEMS:
            raise _RefusedError
        if depth > MAX_DEPTH:
            self._report("E104", (line, column), (), f"nested deeper than {MAX_DEPTH} levels")
            raise _RefusedError
        self._refuse_magic(event, line, column, loc)
        if isinstance(event, AliasEvent):
            return Node(line, column, None)
        if isinstance(event, ScalarEvent):
            if event.style or not event.implicit[0]:
                return Node(line, column, event.value, quoted=True, flow=flow)
            return Node(line, column, self._scalar(event.value, (line, column), loc), flow=flow)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(event, loc, depth)
        if isinstance(event, MappingStartEvent):
            return self._mapping(event, loc, depth)
        raise YAMLError(f"unexpected {type(event).__name__}")

    def _refuse_magic(self, event: Any, line: int, column: int, loc: Loc) -> None:
        if isinstance(event, AliasEvent):
            self._report("E106", (line, column), loc, f"alias '*{event.anchor}' is refused", "Use templates:")
        elif event.anchor is not None:
            self._report("E106", (line, column), loc, f"anchor '&{event.anchor}' is refused", "Use templates:")
        if getattr(event, "ctag", None) is not None or getattr(event, "tag", None) not in (None, "!"):
            self._report("E106", (line, column), loc, f"tag '{event.tag}' is refused", "Remove it; use quotes for text")

    def _scalar(self, text: str, place: tuple[int, int], loc: Loc) -> str | float | bool | None:
        """The value of an unquoted scalar by the YAML 1.2 core schema, without what other readers take differently."""
        value: str | float | bool | None = text
        if text in _CONSTANTS:
            value = _CONSTANTS[text]
        elif _NON_FINITE.fullmatch(text):
            self._report("E112", place, loc, f"'{text}' is not a finite number", "Leave the key out for 'none'")
            value = None
        elif _AMBIGUOUS.fullmatch(text):
            hint = "Write a plain decimal number, or quote it when it is a text"
            self._report("E111", place, loc, f"'{text}' reads differently in different programs", hint)
        elif _INT.fullmatch(text) and len(text) <= 20:
            value = int(text)
        elif _FLOAT.fullmatch(text):
            value = float(text)
            if not math.isfinite(value):
                self._report("E112", place, loc, f"'{text}' is too large")
                value = None
        return value

    def _sequence(self, start: SequenceStartEvent, loc: Loc, depth: int) -> Node:
        items: list[Node] = []
        flow = bool(start.flow_style)
        for event in self.events:
            if isinstance(event, SequenceEndEvent):
                break
            item = self._node(event, (*loc, len(items)), depth + 1, flow=flow)
            if items and _open(items[-1]) and isinstance(item.value, str | int | float):
                self._split_expression(items[-1], (*loc, len(items) - 1))
                items[-1].value = f"{items[-1].value}, {item.value}"
                continue
            items.append(item)
        return Node(start.start_mark.line + 1, start.start_mark.column + 1, items, flow=flow)

    def _split_expression(self, node: Node, loc: Loc) -> None:
        known = [p for p in self.document.problems if (p.code, p.line, p.column) == ("E113", node.line, node.column)]
        if not known:
            hint = "Put the whole expression in double quotes"
            self._report(
                "E113", (node.line, node.column), loc, f"the comma in '{node.value}, ...' ends the value here", hint
            )

    def _mapping(self, start: MappingStartEvent, loc: Loc, depth: int) -> Node:
        entries: dict[str | int, Entry] = {}
        flow = bool(start.flow_style)
        before: tuple[str | int, Node] | None = None
        for event in self.events:
            if isinstance(event, MappingEndEvent):
                break
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            key_node = self._node(event, loc, depth + 1, flow=flow)
            key = key_node.value
            value = self._node(next(self.events), (*loc, str(key)), depth + 1, flow=flow)
            if before is not None and _open(before[1]) and value.value is None:
                self._split_expression(before[1], (*loc, before[0]))
                before[1].value = f"{before[1].value}, {key}"
                continue
            if not self._key_is_fine(key, key_node, loc):
                continue
            if key in entries:
                first = f"first on line {entries[key].line}"
                self._report("E109", (line, column), (*loc, key), f"'{key}' is here twice", f"{first}; keep one")
                continue
            entries[key] = Entry(line, column, value)
            before = (key, value)
        return Node(start.start_mark.line + 1, start.start_mark.column + 1, entries, flow=flow)

    def _key_is_fine(self, key: Any, node: Node, loc: Loc) -> bool:
        if key == "<<" and not node.quoted:
            self._report("E106", (node.line, node.column), loc, "merge key '<<' is refused", "Use templates:")
            return False
        if isinstance(key, str) or (isinstance(key, int) and not isinstance(key, bool)):
            return True
        self._report(
            "E114", (node.line, node.column), loc, "a key is a name or a whole number", "Check colons and braces"
        )
        return False


def _open(node: Node) -> bool:
    """True for an unquoted text in [ ] or { } whose bracket is still open: a comma cut it."""
    value = node.value
    return isinstance(value, str) and node.flow and not node.quoted and value.count("(") > value.count(")")
