"""What is wrong with a site file, said so that the person who wrote it can put it right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]

# code -> meaning; the reference page of problems is generated from this table
CODES: dict[str, str] = {
    "E101": "the file cannot be read",
    "E102": "the file is not plain UTF-8 text (NUL, byte order mark, other encoding)",
    "E103": "the file is larger than 1 MiB",
    "E104": "nested deeper than 20 levels",
    "E105": "more than 50,000 values",
    "E106": "anchor, alias, merge key, tag or directive: templates do that job",
    "E107": "more than one document in the file",
    "E108": "tab used for indentation",
    "E109": "the same key twice",
    "E110": "YAML syntax",
    "E111": "a number that readers understand differently (leading zero, octal, hex, underscore)",
    "E112": "a number that is not finite",
    "E113": "an expression with commas inside [ ] or { } needs quotes",
    "E114": "a key that is not a name",
    "E115": "a section, entry or value is of the wrong shape",
    "E201": "unknown key",
    "E202": "a key is missing",
    "E203": "wrong kind of value",
    "E204": "a word that is not one of the allowed ones",
    "E205": "not a valid name",
    "E206": "a range whose lower end is not below its upper end",
    "E207": "the same name used for two things",
    "E208": "a number out of its allowed range",
    "E209": "not a register address",
    "E210": "not a number with a unit, range or time",
    "E211": "a template is used wrongly",
    "E212": "a unit of the wrong dimension",
    "E213": "a unit is missing",
    "E214": "a value on a scale where a difference is wanted, or the other way round",
    "E221": "unknown unit",
    "E222": "a secret is referred to in the wrong way or place",
    "E231": "the override file changes what it may not",
    "E301": "a point or pin has more than one writer",
    "E302": "a reference to something that does not exist",
    "E303": "a reference to something of the wrong type or unit",
    "E304": "a point cannot be written",
    "E305": "a fallback outside the limits",
    "E306": "a written point lacks limits, fallback or expires_after",
    "E307": "limits that the register cannot hold",
    "E308": "expires_after too short for the refresh, the task or the wear budget",
    "E310": "blocks that wait for each other in one pass",
    "E311": "dead_after too short, or the contract lacks a key",
    "E312": "task periods that do not fit together",
    "E313": "an expression that cannot be read",
    "E314": "an expression whose units or types do not fit",
    "E315": "a word that the point's enum does not have",
    "E319": "a timeout that is not below the period of the task",
    "E331": "registers overlap",
    "E332": "a type or address that its table cannot have",
    "E341": "a data file that does not exist",
    "E342": "a plant model or plant pin that does not exist",
    "E343": "a plant and what it serves do not fit",
    "E401": "a loop's numbers contradict each other",
    "E402": "an action of the peak guard that cannot be carried out",
    "E403": "an alarm of high or critical priority without a response",
    "E404": "an alarm clears beyond its own threshold",
    "E405": "a plan's numbers contradict each other",
    "E406": "a plan's horizon, steps or schedule do not fit",
    "E407": "an output is promised that this kind of loop or plan does not give",
    "W120": "looks like a secret written in the file",
    "W401": "a writable point that nothing writes",
    "W402": "a template that is never used",
    "W410": "a device with commands whose contract cannot be armed",
    "W420": "little of the battery is left for peaks",
    "W421": "the peak guard's fallback limit is above the grid connection",
    "W430": "a gain whose sign contradicts the action",
    "W501": "integral or derivative time is unusual for this loop",
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake. line and column count from 1; path is the dotted key; severity error or warning."""

    file: str
    line: int
    column: int
    code: str
    severity: Severity
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """file:line:col CODE path: message. hint."""
        where = f"{self.path}: " if self.path else ""
        text = f"{self.file}:{self.line}:{self.column} {self.code} {where}{self.message}"
        return f"{text}. {self.hint}" if self.hint else text

    def as_dict(self) -> dict[str, Any]:
        """For machine-readable output."""
        return asdict(self)


class ConfigError(Exception):
    """The file is refused. `problems` holds every mistake, sorted by place; warnings included."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def severity_of(code: str) -> Severity:
    """E codes block, W codes do not."""
    return "error" if code.startswith("E") else "warning"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Hint that names the closest known word, or the known words when they are few, or ""."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    if names and len(names) <= 8:
        return f"Known: {', '.join(names)}"
    return ""
