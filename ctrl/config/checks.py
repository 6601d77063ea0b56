"""What all semantic checks share: reporting with a place, looking tags up, and comparing units."""

from __future__ import annotations

import re
from typing import Literal

from pydantic_core import PydanticCustomError

from ctrl.config.model_field import Point
from ctrl.config.problems import did_you_mean
from ctrl.config.quantity import check_like
from ctrl.config.reader import Document, Loc, path_text
from ctrl.config.tags import Draft, Tag, Tags
from ctrl.units import Quantity, Range, parse_unit

Want = Literal["number", "bool", "any", "curve", "list"]
_WANTED = {
    "number": "a number",
    "bool": "true or false",
    "curve": "a number",
    "list": "a list of records",
    "any": "a tag",
}


def per_second(unit: str) -> str:
    """Unit of a rate of change of a tag in `unit`."""
    return f"{parse_unit(unit).difference}/s"


def quotient(above: str, below: str) -> str:
    """Unit of a gain: above over below."""
    return f"{above}/({below})" if re.search(r"[*/]", below) else f"{above}/{below}"


class Checker:
    """A document, the valid part of its site, and the tags of it."""

    def __init__(self, document: Document, draft: Draft) -> None:
        self.document = document
        self.draft = draft
        self.tags = Tags(draft)
        self.currency: str = draft.site.currency if draft.site is not None else "EUR"

    def report(self, code: str, loc: Loc, message: str, hint: str = "") -> None:
        """Note a problem at the value of `loc`."""
        self.document.report(code, self.document.place(loc), path_text(loc), message, hint)

    def tag(
        self, loc: Loc, name: str, want: Want = "number", unit: str | None = None, *, read: bool = True
    ) -> Tag | None:
        """The tag a reference names, when it exists and fits; None (and a problem, if it is to blame) else.

        unit  a unit the tag must convert to
        read  False where the reference commands the tag
        """
        tag = self.tags.get(name)
        if tag is None:
            if not self.draft.is_broken(name):
                self._unknown(loc, name)
            return None
        if read and not self.tags.readable(tag):
            self.report("E303", loc, f"'{name}' takes commands and cannot be read", entrance_hint(tag))
            return None
        if not self._type_fits(tag, want):
            self.report("E303", loc, f"'{name}' is {_said(tag)}; {_WANTED[want]} is needed")
            return None
        if unit is not None and tag.unit is not None and not parse_unit(tag.unit).same_kind(parse_unit(unit)):
            self.report("E303", loc, f"'{name}' is in {tag.unit}, which is not {unit} nor converts to it")
            return None
        return tag

    def _unknown(self, loc: Loc, name: str) -> None:
        owner, _, rest = name.partition(".")
        what = "signal, point, feed or pin"
        hint = did_you_mean(name, self.tags.names())
        mine = [known.partition(".")[2] for known in self.tags.names() if known.startswith(f"{owner}.")]
        if rest and mine:
            near = did_you_mean(rest, mine)
            hint = near.replace("mean '", f"mean '{owner}.") if near else hint
        if not rest and mine:
            hint = f"Write which of it: {', '.join(f'{owner}.{pin}' for pin in mine[:4])}"
        self.report("E302", loc, f"no {what} '{name}'", hint)

    @staticmethod
    def _type_fits(tag: Tag, want: Want) -> bool:
        if want == "any":
            return tag.type != "list"
        if want == "list":
            return tag.type == "list"
        return tag.type == ("bool" if want == "bool" else "float")

    def entry(self, loc: Loc, name: str, known: list[str], what: str) -> bool:
        """True when `name` is one of the known things (tasks, loops ...); a problem else."""
        if name in known:
            return True
        if not self.draft.is_broken(name):
            self.report("E302", loc, f"no {what} '{name}'", did_you_mean(name, known))
        return False

    def fits(self, loc: Loc, quantity: Quantity | None, unit: str | None, note: str = "") -> bool:
        """True when the quantity converts to `unit` (None: not known, nothing to check)."""
        if quantity is None or unit is None:
            return False
        try:
            check_like(quantity, unit)
        except PydanticCustomError as error:
            context = error.context or {}
            hint = f"{context.get('hint', '')} {note}".strip()
            self.report(error.type, loc, str(context.get("text", "")), hint)
            return False
        return True

    def range_fits(self, loc: Loc, found: Range | None, unit: str | None) -> bool:
        """True when both ends convert to `unit`."""
        return found is not None and self.fits(loc, found.lo, unit) and self.fits(loc, found.hi, unit)

    def difference(self, loc: Loc, quantity: Quantity | None, unit: str | None) -> bool:
        """True when the quantity is a difference of two values in `unit`."""
        return self.fits(loc, quantity, None if unit is None else parse_unit(unit).difference)

    def rate(self, loc: Loc, quantity: Quantity | None, unit: str | None) -> bool:
        """True when the quantity is a positive change of a value in `unit` a time."""
        fine = self.fits(loc, quantity, None if unit is None else per_second(unit))
        if fine and quantity is not None and quantity.value <= 0:
            self.report("E208", loc, f"'{quantity}' must be above zero")
            return False
        return fine

    def writable(self, name: str) -> Point | None:
        """The point behind an output reference, when it is one that may be written."""
        tag = self.tags.get(name)
        return tag.point if tag is not None and tag.point is not None and tag.point.write else None

    def period_s(self, task: str) -> float | None:
        """Period of a task, None when it is not valid."""
        found = self.draft.tasks.get(task)
        return found.every.to("s") if found is not None else None


def entrance_hint(tag: Tag) -> str:
    """What to read instead of a pin that only takes commands."""
    if tag.direction == "limit":
        return "No peak guard lowers it: its value is the one in the file"
    return f"Read '{tag.owner}.achieved_demand', or the out of the loop that commands it"


def _said(tag: Tag) -> str:
    return {
        "bool": "true or false",
        "float": "a number",
        "state": "a state (use it in an expression: x in (a, b))",
        "list": "a list of records",
    }[tag.type]
