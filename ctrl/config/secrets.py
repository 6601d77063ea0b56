"""Secrets are named in the site file, never written in it: ``${secret:name}`` as a whole value.

Only the name is checked here. The value is resolved when a real source opens.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from ctrl.config.reader import Document, Loc, Node, path_text

_WHOLE = re.compile(r"\$\{secret:([a-z][a-z0-9_]{1,63})\}")
_HEX = re.compile(r"[0-9a-fA-F]{24,}")
_TOKEN = re.compile(r"[A-Za-z0-9_\-+/=.]{20,}")
_DOTTED_NAME = re.compile(r"[a-z][a-z0-9]*([_./\-][a-z0-9]+)+")
_KNOWN_PREFIX = re.compile(r"(sk|pk|ghp|gho|glpat|xox[abp]|AKIA|eyJ)[-_A-Za-z0-9.]{12,}")
_MIN_BITS = 3.6


def secret_name(text: str) -> str | None:
    """The name in ``${secret:name}``, or None when the text is something else."""
    match = _WHOLE.fullmatch(text)
    return match.group(1) if match else None


def bits_per_character(text: str) -> float:
    """Shannon entropy of the characters of a text, bits each."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts) if text else 0.0


def looks_secret(text: str) -> bool:
    """True for long random-looking text: hex keys, bearer tokens, well-known prefixes."""
    if _KNOWN_PREFIX.fullmatch(text) or _HEX.fullmatch(text):
        return True
    if not _TOKEN.fullmatch(text) or _DOTTED_NAME.fullmatch(text) or "://" in text or text.count("/") > 2:
        return False
    mixed = any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
    return mixed and bits_per_character(text) >= _MIN_BITS


def _may_hold_secret(loc: Loc) -> bool:
    return len(loc) >= 4 and loc[0] == "sources" and loc[2] == "auth" and loc[-1] in ("bearer", "value")


def check_secrets(document: Document) -> None:
    """E222 for misplaced or half ${...}, W120 for text that looks like a secret."""
    if document.root is not None:
        _walk(document, document.root, ())


def _walk(document: Document, node: Node, loc: Loc) -> None:
    if isinstance(node.value, dict):
        for key, entry in node.value.items():
            _walk(document, entry.node, (*loc, key))
    elif isinstance(node.value, list):
        for index, item in enumerate(node.value):
            _walk(document, item, (*loc, index))
    elif isinstance(node.value, str):
        _check(document, node, loc)


def _check(document: Document, node: Node, loc: Loc) -> None:
    text, path = node.value, path_text(loc)
    if "${" in text:
        if secret_name(text) is None:
            hint = "Write ${secret:name} as the whole value, name in a-z, 0-9 and _"
            document.report("E222", (node.line, node.column), path, f"'{text}' is not a reference to a secret", hint)
        elif not _may_hold_secret(loc):
            hint = "Secrets belong in auth.bearer or auth.header.value of a source"
            document.report("E222", (node.line, node.column), path, "no secret can stand here", hint)
    elif looks_secret(text) or (_may_hold_secret(loc) and len(text) >= 8):
        hint = "Write ${secret:name} and keep the value outside this file"
        document.report("W120", (node.line, node.column), path, "this looks like a secret in plain text", hint)
