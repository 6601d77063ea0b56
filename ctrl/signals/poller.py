"""Polls: one dated job a feed. What is believed goes on as a Profile or Orders; what fails is one event an episode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ctrl import clock as clocks
from ctrl.clock import Clock
from ctrl.messages import Event, Profile
from ctrl.signals.base import Feed, FeedError, Orders, Source
from ctrl.signals.plausible import check_plausible

_BELIEVED_AFTER: Final = 3  # answers in a row that agree with each other against what was known
_BACK_OFF: Final = 6  # after failures in a row: each 2nd, 4th ... poll is made, at the rarest each 2^6th
_RARE_S: Final = 900.0  # but never less often than this, or than the feed's own period


class Given(Protocol):
    """What the poller needs of a scheduler: add a job at a fixed period. `ctrl.app` binds it to ctrl.schedule."""

    def __call__(self, id: str, func: Callable[[], object], every_s: float, /) -> None:
        """Run func (a coroutine function) every so many seconds, and once at the start."""


class Poll:
    """One feed of one source: asks, judges, remembers what was believed."""

    def __init__(
        self, source: Source, feed: Feed, clock: Clock, take: Callable[[Profile | Orders], None],
        tell: Callable[[Event], None],
    ) -> None:  # fmt: skip
        self.feed = feed
        self.last: Profile | None = None
        self.failures = 0
        self._source = source
        self._clock = clock
        self._take = take
        self._tell = tell
        self._doubted: list[Profile] = []
        self._trouble: str | None = None
        self._told_reason = ""
        self._skip = 0

    async def run(self) -> None:
        """One poll, or none while backing off from a source that fails."""
        if self._skip > 0:
            self._skip -= 1
            return
        now = self._clock.utc()
        try:
            answer = await self._source.read(self.feed, now, self.last)
            if isinstance(answer, Profile):
                self._judge(answer)
        except FeedError as error:
            self._failed(error)
            return
        self._succeeded(answer)

    def _judge(self, new: Profile) -> None:
        if self.last is None or self.feed.horizon_s is None:
            return
        try:
            check_plausible(new, self.last)
        except FeedError as error:
            if error.persistent or not self._repeated(new):
                raise
        self._doubted.clear()

    def _repeated(self, new: Profile) -> bool:
        """True when the answers before said the same unlikely thing."""
        if self._doubted:
            try:
                check_plausible(new, self._doubted[-1])
            except FeedError:
                self._doubted.clear()
        self._doubted.append(new)
        return len(self._doubted) >= _BELIEVED_AFTER

    def _failed(self, error: FeedError) -> None:
        self.failures += 1
        rarest = max(1, int(_RARE_S // self.feed.every_s))
        self._skip = 0 if error.suspect else min(2 ** min(self.failures - 1, _BACK_OFF), rarest) - 1
        kind = "IT_SUSPECT" if error.suspect else "IT_FAILED"
        if self._trouble != kind:
            self._trouble = kind
            kept = f"what was known since {clocks.iso(self.last.issued_at)} stays" if self.last else "nothing is known"
            self._event(kind, f"{self.feed.tag}: {error}; {kept}")

    def _succeeded(self, answer: Profile | Orders) -> None:
        self.failures = 0
        if self._trouble is not None:
            self._event("IT_BACK", f"{self.feed.tag} is back")
            self._trouble = None
        if isinstance(answer, Profile):
            self.last = answer
            if answer.reason and not self._told_reason:
                self._event("IT_INCOMPLETE", f"{self.feed.tag}: {answer.reason}")
            self._told_reason = answer.reason
        self._take(answer)

    def _event(self, event: str, text: str) -> None:
        data: dict[str, float | int | str | bool | None] = {"feed": self.feed.tag, "failures": self.failures}
        self._tell(Event(self._clock.utc(), self.feed.source, event, text[:1000], data))


def start_polls(
    sources: Iterable[Source], clock: Clock, add: Given, take: Callable[[Profile | Orders], None],
    tell: Callable[[Event], None],
) -> list[Poll]:  # fmt: skip
    """One job a feed, named by its tag. take: gets what is believed. tell: gets IT_FAILED, IT_SUSPECT, IT_BACK, ..."""
    polls = []
    for source in sources:
        for feed in source.feeds:
            poll = Poll(source, feed, clock, take, tell)
            add(feed.tag, poll.run, feed.every_s)
            polls.append(poll)
    return polls
