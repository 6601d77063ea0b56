"""Units and types of expressions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ctrl.config.checks import Checker, entrance_hint
from ctrl.config.expressions import (
    Binary,
    Call,
    Expression,
    ExpressionError,
    Membership,
    Number,
    Reference,
    Truth,
    Unary,
    parse,
)
from ctrl.config.problems import did_you_mean
from ctrl.config.reader import Loc, path_text
from ctrl.units import Dims, combine, parse_unit


@dataclass(frozen=True, slots=True)
class Kind:
    """Type of a part of an expression. dims None: not known, because something below it is wrong already."""

    type: Literal["bool", "number", "state"]
    dims: Dims | None = None
    point: bool = False
    words: tuple[str, ...] = ()
    text: str = ""


_BOOL = Kind("bool")
_UNKNOWN = Kind("number")


def check_condition(checker: Checker, loc: Loc, text: str) -> Expression | None:
    """The tree of an expression that must be true or false; problems are noted. None when it cannot be read."""
    try:
        tree = parse(text)
    except ExpressionError as error:
        _report(checker, loc, error)
        return None
    try:
        kind = _Check(checker, loc).kind(tree)
    except ExpressionError as error:
        _report(checker, loc, error)
        return tree
    if kind.type != "bool" and kind is not _UNKNOWN:
        hint = "Compare it, for example '> 5 K'"
        _report(checker, loc, ExpressionError("a condition expected, this is a value", 0, hint, "E314"))
    return tree


def _report(checker: Checker, loc: Loc, error: ExpressionError) -> None:
    node = checker.document.node_at(loc)
    line, column = checker.document.place(loc)
    if node is not None and isinstance(node.value, str) and "\n" not in node.value:
        column += error.column + (1 if node.quoted else 0)
    checker.document.report(error.code, (line, column), path_text(loc), error.message, error.hint)


class _Check:
    def __init__(self, checker: Checker, loc: Loc) -> None:
        self.checker = checker
        self.loc = loc

    def kind(self, tree: Expression) -> Kind:
        """Type and dimension; ExpressionError where they do not fit."""
        match tree:
            case Number():
                unit = parse_unit(tree.unit)
                found = Kind("number", unit.dims, unit.point, text=tree.unit)
            case Truth():
                found = _BOOL
            case Reference():
                found = self._reference(tree)
            case Unary():
                found = self._unary(tree)
            case Binary():
                found = self._binary(tree)
            case Membership():
                found = self._membership(tree)
            case Call():
                found = self._call(tree)
        return found

    def _reference(self, tree: Reference) -> Kind:
        checker = self.checker
        tag = checker.tags.get(tree.name)
        if tag is None:
            if checker.draft.is_broken(tree.name):
                return _UNKNOWN
            near = did_you_mean(tree.name, checker.tags.names())
            raise ExpressionError(f"no signal, point, feed or pin '{tree.name}'", tree.column, near, "E302")
        if not checker.tags.readable(tag):
            raise ExpressionError(f"'{tree.name}' cannot be read", tree.column, entrance_hint(tag), "E303")
        if tag.type == "bool":
            return _BOOL
        if tag.type == "list":
            raise ExpressionError(f"'{tree.name}' is a list of records", tree.column, code="E303")
        if tag.type == "state":
            words = tuple(tag.point.enum.values()) if tag.point is not None and tag.point.enum else ()
            return Kind("state", (), words=words, text=tree.name)
        if tag.unit is None:
            return _UNKNOWN
        unit = parse_unit(tag.unit)
        return Kind("number", unit.dims, unit.point, text=tag.unit)

    def _number(self, tree: Expression) -> Kind:
        kind = self.kind(tree)
        if kind.type == "bool":
            raise ExpressionError("a number expected, this is true or false", tree.column, code="E314")
        return kind

    def _condition(self, tree: Expression) -> Kind:
        kind = self.kind(tree)
        if kind.type != "bool" and kind is not _UNKNOWN:
            hint = "Compare it, for example '> 5 K'"
            raise ExpressionError("a condition expected, this is a value", tree.column, hint, "E314")
        return _BOOL

    def _unary(self, tree: Unary) -> Kind:
        if tree.op == "not":
            return self._condition(tree.operand)
        return self._number(tree.operand)

    def _binary(self, tree: Binary) -> Kind:
        if tree.op in ("and", "or"):
            self._condition(tree.left)
            self._condition(tree.right)
            return _BOOL
        if tree.op in ("==", "!="):
            return self._equality(tree)
        left, right = self._number(tree.left), self._number(tree.right)
        if tree.op in ("*", "/"):
            return self._product(tree, left, right)
        if tree.op in ("+", "-"):
            return self._sum(tree, left, right)
        self._same(tree, left, right)
        return _BOOL

    def _equality(self, tree: Binary) -> Kind:
        for item, other in ((tree.left, tree.right), (tree.right, tree.left)):
            if isinstance(item, Reference) and self._words(item) and isinstance(other, Reference):
                self._word(self._words(item), other)
                return _BOOL
        left, right = self.kind(tree.left), self.kind(tree.right)
        if left.type == "bool" and right.type == "bool":
            return _BOOL
        if "bool" in (left.type, right.type):
            raise ExpressionError("true or false compared with a number", tree.column, code="E314")
        self._same(tree, left, right)
        return _BOOL

    def _words(self, item: Reference) -> tuple[str, ...]:
        tag = self.checker.tags.get(item.name)
        return tuple(tag.point.enum.values()) if tag is not None and tag.point is not None and tag.point.enum else ()

    def _word(self, words: tuple[str, ...], member: Reference) -> None:
        if member.name not in words:
            hint = did_you_mean(member.name, words)
            raise ExpressionError(f"'{member.name}' is not a word of this point", member.column, hint, "E315")

    def _membership(self, tree: Membership) -> Kind:
        item = self.kind(tree.item)
        for member in tree.members:
            if item.words and isinstance(member, Reference):
                self._word(item.words, member)
            elif isinstance(member, Number):
                self._same(Binary("==", tree.item, member, member.column), item, self.kind(member))
            elif item is not _UNKNOWN:
                raise ExpressionError("'in' takes words of an enum, or numbers", member.column, code="E314")
        return _BOOL

    def _product(self, tree: Binary, left: Kind, right: Kind) -> Kind:
        if left.point or right.point:
            name = left.text if left.point else right.text
            raise ExpressionError(f"a value in {name} cannot be multiplied or divided", tree.column, code="E314")
        if left.dims is None or right.dims is None:
            return _UNKNOWN
        return Kind("number", combine(left.dims, right.dims, 1 if tree.op == "*" else -1), text="the product")

    def _sum(self, tree: Binary, left: Kind, right: Kind) -> Kind:
        if left.dims is None or right.dims is None:
            return _UNKNOWN
        if left.dims != right.dims:
            raise self._mismatch(tree, left, right)
        if right.point and (tree.op == "+" or not left.point):
            hint = "Add a difference (K, bar) instead"
            raise ExpressionError(f"{left.text} {tree.op} {right.text} has no meaning", tree.column, hint, "E314")
        return Kind("number", left.dims, left.point and not right.point, text=left.text)

    def _same(self, tree: Binary, left: Kind, right: Kind) -> None:
        if left.dims is None or right.dims is None:
            return
        if left.dims != right.dims:
            raise self._mismatch(tree, left, right)
        if left.point != right.point:
            hint = "One has its own zero (degC, bar_g), the other is a difference (K, bar)"
            raise ExpressionError(f"{left.text} is compared with {right.text}", tree.column, hint, "E214")

    @staticmethod
    def _mismatch(tree: Binary, left: Kind, right: Kind) -> ExpressionError:
        sides = f"{left.text or 'a plain number'} {tree.op} {right.text or 'a plain number'}"
        if left.text == "1" or right.text == "1":
            missing = left.text if right.text == "1" else right.text
            return ExpressionError(
                f"'{sides}' lacks a unit", tree.column, f"Write the unit, for example {missing}", "E213"
            )
        return ExpressionError(f"'{sides}': the units do not fit", tree.column, code="E314")

    def _call(self, tree: Call) -> Kind:
        if tree.name == "if":
            self._condition(tree.arguments[0])
            left, right = (self._number(argument) for argument in tree.arguments[1:])
            self._same(Binary("if", tree.arguments[1], tree.arguments[2], tree.column), left, right)
            return left
        kinds = [self._number(argument) for argument in tree.arguments]
        if tree.name == "sqrt":
            return self._root(tree, kinds[0])
        if tree.name == "abs" and kinds[0].point:
            raise ExpressionError(f"abs() of a value in {kinds[0].text}", tree.column, "Take a difference", "E314")
        for argument, kind in zip(tree.arguments[1:], kinds[1:], strict=True):
            self._same(Binary(tree.name, tree.arguments[0], argument, argument.column), kinds[0], kind)
        return kinds[0]

    @staticmethod
    def _root(tree: Call, kind: Kind) -> Kind:
        if kind.dims is None:
            return _UNKNOWN
        if kind.point or any(power % 2 for _, power in kind.dims):
            raise ExpressionError(f"sqrt() of {kind.text} has no unit", tree.column, code="E314")
        return Kind("number", tuple((base, power // 2) for base, power in kind.dims), text="the root")
