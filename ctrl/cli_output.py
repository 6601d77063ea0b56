"""What the command line prints: plain text that other programs can read, colour and bars only on a terminal.

rich is imported for a terminal alone.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Progress = Callable[[float, str], None]
STEP = 0.1  # share of the work between two plain lines


def say(text: str = "") -> None:
    """One line to stdout."""
    sys.stdout.write(f"{text}\n")


def warn(text: str) -> None:
    """One line to stderr."""
    sys.stderr.write(f"{text}\n")


def say_json(body: Any) -> None:
    """JSON to stdout; a number that is not finite becomes null, as JSON has none."""
    say(json.dumps(_finite(body), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def number(value: float, digits: int = 0) -> str:
    """A number with thousands apart: 12,345.6."""
    return f"{value:,.{digits}f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """A table; the columns named in `right` hold numbers. Aligned plain text unless stdout is a terminal."""
    if sys.stdout.isatty():
        _rich_table(columns, rows, right)
        return
    widths = [max(len(str(row[i])) for row in (columns, *rows)) for i in range(len(columns))]
    for row in (columns, *rows):
        cells = [
            text.rjust(width) if column in right else text.ljust(width)
            for text, width, column in zip(row, widths, columns, strict=True)
        ]
        say("  ".join(cells).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    Console(no_color=no_color()).print(shown)


def no_color() -> bool:
    """True when the user wants none (https://no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def heading(text: str) -> None:
    """A line above a table or list; bold on a terminal."""
    say(f"\033[1m{text}\033[0m" if sys.stdout.isatty() and not no_color() else text)


@contextmanager
def progress() -> Iterator[Progress]:
    """How far long work is, on stderr: a bar on a terminal, else a line at every tenth."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True, no_color=no_color()), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, text: bar.update(task, completed=share, description=text)


class _Lines:
    """Plain lines: at most one for each tenth of the work."""

    def __init__(self) -> None:
        self._next = STEP

    def __call__(self, share: float, text: str) -> None:
        if share + 1e-9 >= self._next:
            self._next = (math.floor(share / STEP + 1e-9) + 1) * STEP
            warn(f"{100 * share:3.0f} %  {text}")
