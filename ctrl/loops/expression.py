"""Expressions of the site file as byte-code of the expression block; units are settled here, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctrl.config.expressions import (
    Binary,
    Call,
    Expression,
    Membership,
    Number,
    Reference,
    Truth,
    Unary,
    with_words,
)
from ctrl.units import Quantity, convert, parse_unit
from ext import OPCODES, check_code

if TYPE_CHECKING:
    from ctrl.loops.context import Context

_COMPARE = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
_LOGIC = {"and": "and", "or": "or"}
_SCALE = {"*": "mul", "/": "div"}
_PLAIN = ("", "1", "bool")


def compile_expression(ctx: Context, tree: Expression, name: str, task: int) -> str:
    """Add an expression block called `name`; returns the tag of its value.

    Comparisons and sums convert their right side to the unit of the left one. Raises ctrl.units.UnitError for sides
    that do not match; the loader's checks find that first.
    """
    coder = _Coder(ctx)
    coder.emit(with_words(tree, ctx.words.get))
    check_code(coder.code, len(coder.inputs))
    out = f"{name}.value"
    ctx.declare(out, "bool" if _is_condition(tree) else coder.unit(tree))
    ctx.builder.block(
        "expr",
        name,
        var_inputs=[ctx.tag(t) for t in coder.inputs],
        outputs={"out": ctx.tag(out)},
        var_params=coder.code,
        task=task,
    )
    return out


def returned(tree: Expression, sign: str, level: Quantity) -> Expression:
    """The condition under which `left > limit` has returned: `left < level` (or > for the other direction).

    Raises ValueError when the tree is not one comparison: there is no left side to return.
    """
    if not (isinstance(tree, Binary) and tree.op in _COMPARE):
        raise ValueError("only a single comparison can have a level at which it returns")
    return Binary(sign, tree.left, Number(level.value, level.unit, tree.column), tree.column)


def _is_condition(tree: Expression) -> bool:
    return (
        isinstance(tree, Truth | Membership)
        or (isinstance(tree, Binary) and (tree.op in _COMPARE or tree.op in _LOGIC))
        or (isinstance(tree, Unary) and tree.op == "not")
    )


class _Coder:
    """Postfix code of one tree; `inputs` are the tags it reads, in the order of their numbers."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.code: list[float] = []
        self.inputs: list[str] = []

    def op(self, name: str) -> None:
        self.code.append(float(OPCODES[name]))

    def const(self, value: float) -> None:
        self.op("const")
        self.code.append(value)

    def unit(self, tree: Expression) -> str:  # noqa: PLR0911 - one line for each kind of node
        """Unit in which the value of a tree is computed."""
        match tree:
            case Number():
                return tree.unit
            case Reference():
                return self.ctx.unit(tree.name)
            case Binary(op="*" | "/"):
                return self._product(tree)
            case Binary(op="+" | "-"):
                return self._sum(tree)
            case Unary(op="-"):
                return self.unit(tree.operand)
            case Call(name="if"):
                return self.unit(tree.arguments[1])
            case Call(name="sqrt"):
                return "1"
            case Call():
                return self.unit(tree.arguments[0])
            case _:
                return "bool"

    def _product(self, tree: Binary) -> str:
        left, right = (u if u not in _PLAIN else "1" for u in (self.unit(tree.left), self.unit(tree.right)))
        if right == "1":
            return left
        return f"({left}){tree.op}({right})"

    def _sum(self, tree: Binary) -> str:
        left, right = self.unit(tree.left), self.unit(tree.right)
        if tree.op == "-" and left not in _PLAIN and right not in _PLAIN:
            a, b = parse_unit(left), parse_unit(right)
            if a.point and b.point:
                return a.difference
        return left

    def emit(self, tree: Expression, want: str | None = None) -> None:
        """Code that leaves the value of the tree, in the unit `want` when that is given."""
        match tree:
            case Number():
                self.const(tree.value if want in (None, *_PLAIN) else convert(tree.value, tree.unit, str(want)))
                return
            case Truth():
                self.const(float(tree.value))
                return
            case Reference():
                self._reference(tree)
            case Unary():
                self.emit(tree.operand)
                self.op("neg" if tree.op == "-" else "not")
            case Binary():
                self._binary(tree)
            case Membership():
                self._membership(tree)
            case Call():
                self._call(tree)
        self._convert(self.unit(tree), want)

    def _reference(self, tree: Reference) -> None:
        if tree.name not in self.inputs:
            self.inputs.append(tree.name)
        self.op("input")
        self.code.append(float(self.inputs.index(tree.name)))

    def _binary(self, tree: Binary) -> None:
        if tree.op in _LOGIC or tree.op in _SCALE:
            self.emit(tree.left)
            self.emit(tree.right)
            self.op(_LOGIC.get(tree.op) or _SCALE[tree.op])
            return
        common = self._common(tree.left, tree.right)
        right = common
        if tree.op in ("+", "-") and common not in _PLAIN and not self._is_point(tree.right):
            right = parse_unit(common).difference  # degC + K
        self.emit(tree.left, common)
        self.emit(tree.right, right)
        self.op(_COMPARE.get(tree.op) or {"+": "add", "-": "sub"}[tree.op])

    def _common(self, left: Expression, right: Expression) -> str:
        """The unit both sides are brought to: the left one's, unless that is a bare number."""
        unit = self.unit(left)
        return self.unit(right) if isinstance(left, Number) and not isinstance(right, Number) else unit

    def _is_point(self, tree: Expression) -> bool:
        unit = self.unit(tree)
        return unit not in _PLAIN and parse_unit(unit).point

    def _membership(self, tree: Membership) -> None:
        for i, member in enumerate(tree.members):
            self.emit(tree.item)
            self.emit(member, self.unit(tree.item))
            self.op("eq")
            if i:
                self.op("or")

    def _call(self, tree: Call) -> None:
        if tree.name == "if":
            condition, yes, no = tree.arguments
            self.emit(condition)
            self.emit(yes)
            self.emit(no, self.unit(yes))
            self.op("if")
            return
        unit = self.unit(tree.arguments[0])
        for i, argument in enumerate(tree.arguments):
            self.emit(argument, unit)
            if i:
                self.op(tree.name)
        if len(tree.arguments) == 1:
            self.op(tree.name)

    def _convert(self, have: str, want: str | None) -> None:
        if want is None or have == want or (have in _PLAIN and want in _PLAIN):
            return
        zero = convert(0.0, have, want)
        self.const(convert(1.0, have, want) - zero)
        self.op("mul")
        if zero:
            self.const(zero)
            self.op("add")
