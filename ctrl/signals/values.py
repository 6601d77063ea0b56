"""Numbers, times and units of answers: strict, or a FeedError that says what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ctrl.signals.base import FeedError
from ctrl.units import UnitError, convert

MAX_ROWS: Final = 4_096


def load_json(body: bytes) -> Any:
    """JSON without NaN and infinities. Raises FeedError."""
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        shown = body[:40].decode("utf-8", "replace").strip()
        raise FeedError(f"the answer is not JSON ({error}); it begins with {shown!r}") from error


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def utc_of(value: Any, what: str) -> float:
    """Seconds since 1970 of ISO 8601 text with a zone. Raises FeedError."""
    if not isinstance(value, str):
        raise FeedError(f"{what} is {value!r}, not a time such as 2018-03-05T06:00:00+01:00")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise FeedError(f"{what} '{value[:40]}' is not a time such as 2018-03-05T06:00:00+01:00") from error
    if moment.tzinfo is None:
        raise FeedError(f"{what} '{value}' has no time zone; nobody can tell which hour it is")
    return moment.timestamp()


def number_of(value: Any, what: str) -> float:
    """A finite number. Raises FeedError for text, booleans, NaN, infinities."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FeedError(f"{what} is {str(value)[:40]!r}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise FeedError(f"{what} is not finite")
    return number


def in_unit(value: float, source: str, target: str, what: str) -> float:
    """The number in the tag's unit. Raises FeedError."""
    try:
        return convert(value, source, target)
    except UnitError as error:
        raise FeedError(f"{what}: {error}") from error


def rows_of(answer: Any, path: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """The array at `path`, or the answer itself or its only array when path is empty. Raises FeedError."""
    rows = answer
    for key in path:
        if not isinstance(rows, dict) or key not in rows:
            raise FeedError(f"the answer has no '{'.'.join(path)}'")
        rows = rows[key]
    if isinstance(rows, dict):
        arrays = [value for value in rows.values() if isinstance(value, list)]
        if len(arrays) != 1:
            raise FeedError(f"the answer has {len(arrays)} lists; `list:` must say which")
        rows = arrays[0]
    if not isinstance(rows, list):
        raise FeedError("the answer holds no list")
    if len(rows) > MAX_ROWS:
        raise FeedError(f"the list has {len(rows)} rows; at most {MAX_ROWS}")
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise FeedError(f"row {i + 1} is not an object")
    return rows


def key_of(row: Mapping[str, Any], key: str, what: str) -> Any:
    """row[key]. Raises FeedError naming the keys there are."""
    if key not in row:
        raise FeedError(f"{what} has no '{key}'; it has {', '.join(sorted(map(str, row)))[:200] or 'nothing'}")
    return row[key]
