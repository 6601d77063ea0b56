"""Byte-code of the expression block: names, numbers, and the proof that a code is safe to load.

A code is a list of floats. `const` is followed by its value and `input` by the number of an input; every other code
stands alone and takes its operands from the stack. Postfix, for instance `x0 > 2.5`: [input, 0, const, 2.5, gt].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

MAX_STACK: Final = 32

OPCODES: Final[dict[str, int]] = {
    "const": 1,
    "input": 2,
    "add": 3,
    "sub": 4,
    "mul": 5,
    "div": 6,
    "neg": 7,
    "abs": 8,
    "min": 9,
    "max": 10,
    "sqrt": 11,
    "lt": 12,
    "le": 13,
    "gt": 14,
    "ge": 15,
    "eq": 16,
    "ne": 17,
    "and": 18,
    "or": 19,
    "not": 20,
    "if": 21,  # condition, value when true, value when false
}
TAKES: Final[dict[str, int]] = {
    name: 0 if name in ("const", "input") else 1 if name in ("neg", "abs", "sqrt", "not") else 3 if name == "if" else 2
    for name in OPCODES
}
"""How many operands a code takes from the stack; each leaves one result."""

_NAMES: Final = {number: name for name, number in OPCODES.items()}


def check(code: Sequence[float], n_in: int) -> None:
    """Prove that `code` runs with `n_in` inputs: every operand exists, the stack never leaves 0..MAX_STACK, one result.

    Raises ValueError naming the position of the first fault.
    """
    depth = at = 0
    while at < len(code):
        name = _NAMES.get(code[at])  # type: ignore[call-overload]  # a float that equals an int finds it
        if name is None:
            raise ValueError(f"expression: {code[at]!r} at {at} is not an operation")
        if name in ("const", "input"):
            _check_operand(name, code, at + 1, n_in)
            at += 1
        if depth < TAKES[name]:
            raise ValueError(f"expression: {name} at {at} needs {TAKES[name]} operands, there are {depth}")
        depth += 1 - TAKES[name]
        if depth > MAX_STACK:
            raise ValueError(f"expression: more than {MAX_STACK} values in flight at {at}; split it in two signals")
        at += 1
    if depth != 1:
        raise ValueError(f"expression: leaves {depth} results instead of one")


def _check_operand(name: str, code: Sequence[float], at: int, n_in: int) -> None:
    if at >= len(code):
        raise ValueError(f"expression: {name} at the end has no operand")
    x = code[at]
    if name == "const" and not math.isfinite(x):
        raise ValueError(f"expression: the constant at {at} is not finite")
    if name == "input" and not (x == int(x) and 0 <= x < n_in if math.isfinite(x) else False):
        raise ValueError(f"expression: input {x!r} at {at} does not exist, there are {n_in}")
