"""The bindings of loop types: one file and one registration each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ctrl.loops.context import Context

# The loop is one of the models of ctrl.config.model; each binding knows which.
Declare = Callable[[Context, str, Any], None]
Bind = Callable[[Context, str, Any], None]
Face = Callable[[str, Any], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Binding:
    """How one loop type becomes blocks.

    declare(ctx, name, loop)  announces the loop's pins, their units, and what its outputs drive
    bind(ctx, name, loop)     adds the blocks, once everything is announced
    face(name, loop)          what an operator sees of the loop: role (pv, sp, op, mode, why, rung ...) -> tag
    """

    type: str
    declare: Declare
    bind: Bind
    face: Face


_BINDINGS: dict[str, Binding] = {}


def register(binding: Binding) -> None:
    """Add a binding; a type registered twice is a mistake of the program."""
    if binding.type in _BINDINGS:
        raise RuntimeError(f"loop type {binding.type!r} is registered twice")
    _BINDINGS[binding.type] = binding


def binding_of(loop_type: str) -> Binding:
    """The binding of a loop type. Raises KeyError naming the known ones."""
    if loop_type not in _BINDINGS:
        raise KeyError(f"no loop type {loop_type!r}; known: {', '.join(sorted(_BINDINGS))}")
    return _BINDINGS[loop_type]
