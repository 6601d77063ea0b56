"""The way from a file to a Site: read, expand templates, validate, check. All problems are found in one pass."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ctrl.config import (
    checks_field,
    checks_loops,
    checks_plans,
    checks_signals,
    checks_simulate,
    checks_wiring,
)
from ctrl.config.checks import Checker
from ctrl.config.model import Site
from ctrl.config.override import apply, read_override
from ctrl.config.problems import ConfigError, Problem
from ctrl.config.reader import Document, read
from ctrl.config.schema import schema
from ctrl.config.secrets import check_secrets
from ctrl.config.templates import expand
from ctrl.config.validate import validate
from ctrl.units import Quantity

__all__ = ["check", "load", "schema"]

_LEFT_OUT = ("auth", "templates")  # secrets, and what has been expanded already


def load(path: str | Path, override: str | Path | None = None) -> Site:
    """The site in a YAML file.

    override  a file that replaces addresses and sets the plant clock
    Raises ConfigError with every problem of the file; warnings alone do not raise.
    """
    source = Path(path)
    site, problems = _read_site(source)
    if site is None:
        raise ConfigError(problems)
    clock, moved, changed = None, frozenset[str](), site
    if override is not None:
        change, document = read_override(Path(override), site)
        if document.problems or change is None:
            raise ConfigError(document.problems)
        changed, moved = apply(site, change)
        clock = change.clock
    changed._source_path = str(source.resolve())
    changed._config_hash = config_hash(site)
    changed._clock = clock
    changed._overridden = moved
    return changed


def check(path: str | Path) -> list[Problem]:
    """Every problem of a file, warnings included, sorted by place."""
    return _read_site(Path(path))[1]


def _read_site(path: Path) -> tuple[Site | None, list[Problem]]:
    document = read(path)
    site = _build(document, path.parent) if document.root is not None else None
    problems = sorted(set(document.problems))
    refused = any(problem.severity == "error" for problem in problems)
    return (None if refused else site), problems


def _build(document: Document, folder: Path) -> Site | None:
    check_secrets(document)
    expand(document)
    site, draft = validate(document)
    checker = Checker(document, draft)
    checks_field.check(checker)
    checks_signals.check(checker)
    checks_loops.check(checker)
    checks_plans.check(checker)
    checks_wiring.check(checker)
    checks_simulate.check(checker, folder)
    return site


def config_hash(site: Site) -> str:
    """SHA-256 of what the site means: independent of comments, templates, order of keys, and secrets."""
    text = json.dumps(_canonical(site), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _ordered(name: str, value: Any) -> Any:
    """The states of a program keep their order: it decides which is first and last."""
    return tuple(value.items()) if name == "states" else value


def _canonical(value: Any) -> Any:
    if isinstance(value, BaseModel):
        names = [name for name in type(value).model_fields if name not in _LEFT_OUT]
        return {name: _canonical(_ordered(name, getattr(value, name))) for name in names}
    if isinstance(value, Quantity):
        return f"{value.value!r} {value.unit}"
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _canonical(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return [[str(key), _canonical(item)] for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))]
    if isinstance(value, tuple | list):
        return [_canonical(item) for item in value]
    return value
