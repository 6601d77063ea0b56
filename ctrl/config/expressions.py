"""The expression language of `when`, `unless`, `only_if`, `allow_when` and `requires`: text to a tree of frozen nodes.

Grammar, loosest binding first (Pratt, Top Down Operator Precedence, 1973):

    or, and, not, comparisons < <= > >= == != and `in (word, ...)`, which do not chain, + -, * /, unary -, calls and ( )

Numbers may carry a unit: ``furnace_temp > 900 degC``. Functions: abs, min, max, sqrt, if(condition, a, b).
There are no side effects, no assignment and no loops.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from ctrl.units import UnitError, parse_unit

MAX_LENGTH = 1000
MAX_DEPTH = 30
FUNCTIONS = {"abs": (1, 1), "min": (2, 8), "max": (2, 8), "sqrt": (1, 1), "if": (3, 3)}
_WORDS = ("and", "or", "not", "in", "true", "false")


class ExpressionError(ValueError):
    """Text that is no expression. `column` counts from 0 in the text; hint says what to write."""

    def __init__(self, message: str, column: int, hint: str = "", code: str = "E313") -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.hint = hint
        self.code = code


@dataclass(frozen=True, slots=True)
class Number:
    """A literal; unit "1" when it has none."""

    value: float
    unit: str
    column: int


@dataclass(frozen=True, slots=True)
class Truth:
    """true or false."""

    value: bool
    column: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A tag, or the word of an enum beside == and !=."""

    name: str
    column: int


@dataclass(frozen=True, slots=True)
class Unary:
    """op "-" or "not"."""

    op: str
    operand: Expression
    column: int


@dataclass(frozen=True, slots=True)
class Binary:
    """op one of + - * / < <= > >= == != and or."""

    op: str
    left: Expression
    right: Expression
    column: int


@dataclass(frozen=True, slots=True)
class Membership:
    """item in (a, b): item is an enum tag and the members words of it, or numbers."""

    item: Expression
    members: tuple[Expression, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Call:
    """Function call."""

    name: str
    arguments: tuple[Expression, ...]
    column: int


Expression = Number | Truth | Reference | Unary | Binary | Membership | Call

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*){0,2})"
    r"|(?P<op><=|>=|==|!=|[-+*/<>(),]))"
)
_UNIT_CHAR = re.compile(r"[A-Za-z0-9_%/*]")
_COMPARE = ("<", "<=", ">", ">=", "==", "!=")
_BINDING = {"or": 10, "and": 20, **dict.fromkeys(_COMPARE, 40), "in": 40, "+": 50, "-": 50, "*": 60, "/": 60}
_WRONG_OPS = {"&&": "and", "||": "or", "!": "not", "=": "==", "^": "a product", "%": "a unit", "&": "and", "|": "or"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int
    unit: str = "1"


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            wrong = next((op for op in _WRONG_OPS if text.startswith(op, at)), text[at])
            hint = f"Write '{_WRONG_OPS[wrong]}'" if wrong in _WRONG_OPS else ""
            raise ExpressionError(f"'{wrong}' is not part of an expression", at, hint)
        kind = str(match.lastgroup)
        start, at = match.start(kind), match.end()
        unit = "1"
        if kind == "number":
            unit, at = _unit_after(text, at)
        found.append(_Token(kind, match.group(kind), start, unit))
    found.append(_Token("end", "", len(text)))
    return found


def _unit_after(text: str, at: int) -> tuple[str, int]:
    """The unit that follows a number, and where it ends; ("1", at) when none does."""
    start = at
    while start < len(text) and text[start] == " ":
        start += 1
    if start >= len(text) or not (text[start].isalpha() or text[start] in "%°"):
        return "1", at
    end, depth = start, 0
    while end < len(text):
        if text[end] == "(" and end > start and text[end - 1] in "/*":
            depth += 1
        elif text[end] == ")" and depth > 0:
            depth -= 1
        elif not (_UNIT_CHAR.match(text[end]) or text[end] == "°"):
            break
        end += 1
    unit = text[start:end]
    if unit in _WORDS:
        return "1", at
    try:
        return parse_unit(unit).text, end
    except UnitError as error:
        raise ExpressionError(error.message, start, error.hint, "E221") from None


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def peek(self) -> _Token:
        return self.tokens[self.at]

    def expect(self, text: str) -> None:
        token = self.take()
        if token.text != text:
            what = f"'{token.text}'" if token.text else "the end"
            raise ExpressionError(f"'{text}' expected before {what}", token.column)

    def expression(self, binding: int = 0) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError("nested too deep", self.peek().column, "Use a signal for a part of it")
        left = self._prefix(self.take())
        while True:
            token = self.peek()
            power = _BINDING.get(token.text, 0) if token.kind in ("op", "name") else 0
            if power <= binding:
                break
            self.take()
            left = self._infix(left, token, power)
        self.depth -= 1
        return left

    def _prefix(self, token: _Token) -> Expression:
        if token.kind == "number":
            value = float(token.text)
            if not math.isfinite(value):
                raise ExpressionError(f"'{token.text}' is too large", token.column)
            return Number(value, token.unit, token.column)
        if token.text in ("true", "false"):
            return Truth(token.text == "true", token.column)
        if token.text == "not":
            return Unary("not", self.expression(30), token.column)
        if token.text == "-":
            return Unary("-", self.expression(70), token.column)
        if token.text == "(":
            inner = self.expression()
            self.expect(")")
            return inner
        if token.kind == "name" and token.text not in _WORDS:
            return self._call(token) if self.peek().text == "(" else Reference(token.text, token.column)
        what = f"'{token.text}'" if token.text else "the end"
        raise ExpressionError(f"a value expected at {what}", token.column)

    def _call(self, token: _Token) -> Expression:
        if token.text not in FUNCTIONS:
            raise ExpressionError(f"no function '{token.text}'", token.column, f"Known: {', '.join(FUNCTIONS)}")
        self.expect("(")
        arguments = [self.expression()]
        while self.peek().text == ",":
            self.take()
            arguments.append(self.expression())
        self.expect(")")
        low, high = FUNCTIONS[token.text]
        if not low <= len(arguments) <= high:
            wanted = f"{low}" if low == high else f"{low} to {high}"
            raise ExpressionError(f"{token.text}() takes {wanted} values, not {len(arguments)}", token.column)
        return Call(token.text, tuple(arguments), token.column)

    def _infix(self, left: Expression, token: _Token, power: int) -> Expression:
        if token.text == "in":
            self.expect("(")
            members = [self.expression()]
            while self.peek().text == ",":
                self.take()
                members.append(self.expression())
            self.expect(")")
            return self._no_chain(Membership(left, tuple(members), token.column))
        node = Binary(token.text, left, self.expression(power), token.column)
        return self._no_chain(node) if token.text in _COMPARE else node

    def _no_chain(self, node: Expression) -> Expression:
        if self.peek().text in (*_COMPARE, "in"):
            raise ExpressionError("comparisons do not chain", self.peek().column, "Join two comparisons with 'and'")
        return node


def parse(text: str) -> Expression:
    """The tree of an expression; ExpressionError when the text is none."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters", 0, "Use a signal for a part of it")
    parser = _Parser(text)
    tree = parser.expression()
    token = parser.peek()
    if token.kind != "end":
        raise ExpressionError(f"'{token.text}' is left over", token.column, "Join conditions with 'and' or 'or'")
    return tree


def references(tree: Expression) -> tuple[Reference, ...]:
    """All references, left to right; words of enums included."""
    match tree:
        case Reference():
            return (tree,)
        case Unary():
            return references(tree.operand)
        case Binary():
            return references(tree.left) + references(tree.right)
        case Membership():
            return references(tree.item) + tuple(r for member in tree.members for r in references(member))
        case Call():
            return tuple(r for argument in tree.arguments for r in references(argument))
        case _:
            return ()


def with_words(tree: Expression, enum_of: Callable[[str], dict[str, int] | None]) -> Expression:
    """The tree with the words of enums replaced by their numbers.

    enum_of  gives word -> number of an enum tag, None for any other tag.
    """

    def number(item: Expression, member: Expression) -> Expression:
        words = enum_of(item.name) if isinstance(item, Reference) else None
        if words and isinstance(member, Reference) and member.name in words:
            return Number(float(words[member.name]), "1", member.column)
        return with_words(member, enum_of)

    match tree:
        case Unary():
            return Unary(tree.op, with_words(tree.operand, enum_of), tree.column)
        case Binary(op="==" | "!="):
            return Binary(tree.op, number(tree.right, tree.left), number(tree.left, tree.right), tree.column)
        case Binary():
            return Binary(tree.op, with_words(tree.left, enum_of), with_words(tree.right, enum_of), tree.column)
        case Membership():
            return Membership(tree.item, tuple(number(tree.item, member) for member in tree.members), tree.column)
        case Call():
            return Call(tree.name, tuple(with_words(argument, enum_of) for argument in tree.arguments), tree.column)
        case _:
            return tree
