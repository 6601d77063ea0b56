"""Feeds of IT: what one is, what a source gives, and how a poll can fail.

A source turns one request into one body of bytes; a pure parser turns the body into a Profile or Orders. In virtual
time the same parser reads what simulated plants serve, through another `Fetch`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ctrl.messages import Profile


class FeedError(ValueError):
    """The answer was not used, with the reason in plain words; what was known before stays in force.

    suspect: well-formed but not believable (a factor of ten, a shift by an hour); the event is IT_SUSPECT.
    persistent: it stays unbelievable however often it is repeated.
    """

    def __init__(self, message: str, suspect: bool = False, persistent: bool = False) -> None:
        super().__init__(message)
        self.suspect = suspect
        self.persistent = persistent


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed as declared. Times in s, bounds in `unit`; None = not declared.

    source, name: the tag is `source.name`. unit: of the tag. body_unit: of the value in the answer.
    horizon_s: how far the curve reaches; None = the feed is one value.
    list_path: keys to the array inside the answer; empty = the answer itself or its only array.
    fields: for lists of orders: id, due, mass -> name in the answer; then body_unit is that of the mass.
    """

    source: str
    name: str
    unit: str
    body_unit: str
    every_s: float
    stale_after_s: float
    path: str
    tz: str
    horizon_s: float | None = None
    list_path: tuple[str, ...] = ()
    time: str | None = None
    value: str | None = None
    fields: Mapping[str, str] | None = None
    valid_lo: float | None = None
    valid_hi: float | None = None

    @property
    def tag(self) -> str:
        """Name of the tag."""
        return f"{self.source}.{self.name}"


@dataclass(frozen=True, slots=True)
class Order:
    """A customer's order. due: s since 1970. mass_t: what is still to be delivered, t, above 0."""

    id: str
    due: float
    mass_t: float


@dataclass(frozen=True, slots=True)
class Orders:
    """All open orders at one time, by due date. They stay in the site process: plans read them, loops do not."""

    tag: str
    issuer: str
    orders: tuple[Order, ...]
    issued_at: float


@dataclass(frozen=True, slots=True)
class Response:
    """An answer over HTTP, decoded and bounded in size."""

    status: int
    content_type: str
    body: bytes = field(repr=False)


Fetch = Callable[[str, Mapping[str, str]], Awaitable[Response]]
"""(url, headers) -> answer. Raises FeedError with the reason when there is none."""


class Source(Protocol):
    """A system that feeds come from."""

    @property
    def name(self) -> str:
        """Name in the site file; issuer of the profiles."""

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """What it gives."""

    async def read(self, feed: Feed, now_utc: float, last: Profile | None) -> Profile | Orders:
        """Ask once. `last`: what was accepted before, to judge the answer. Raises FeedError."""
