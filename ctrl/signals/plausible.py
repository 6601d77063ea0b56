"""Is a well-formed curve believable next to the one before? Catches wrong units and curves shifted by an hour."""

from __future__ import annotations

import math
from statistics import median
from typing import Final

from ctrl.messages import Profile
from ctrl.signals.base import FeedError

_AT_LEAST: Final = 4  # steps of both curves that a judgement needs
_DECADE: Final = 0.097  # log10(1.25): within a quarter of x10, x100, x1000
_HOUR: Final = 3_600.0


def check_plausible(new: Profile, last: Profile) -> None:
    """Raise FeedError (suspect) when `new` differs from `last` as mistakes do, not as markets do.

    - the median is 10, 100 or 1000 times what it was, or that part of it (within a quarter), and so is nearly every
      value of an hour that both know: a unit has changed;
    - the median is beyond 0.2 .. 5 times what it was: believed when it is repeated;
    - the same values an hour earlier or later: a zone or a clock change was got wrong.
    """
    if len(new.steps) < _AT_LEAST or len(last.steps) < _AT_LEAST:
        return
    _check_shift(new, last)
    before, after = (_level(profile) for profile in (last, new))
    if before <= 0.0 or after <= 0.0:
        return
    ratio = after / before
    if _is_decade(ratio) and _uniform(new, last):
        text = f"{new.tag} is {ratio:.3g} times what it was: has its unit changed from {new.unit}?"
        raise FeedError(text, suspect=True, persistent=True)
    if not 0.2 <= ratio <= 5.0:
        raise FeedError(f"{new.tag} is {ratio:.3g} times what it was", suspect=True)


def _level(profile: Profile) -> float:
    """Median magnitude of what is not zero: the nights of a PV forecast say nothing of its unit."""
    sizes = [abs(v) for _, v in profile.steps if v != 0.0]
    return median(sizes) if len(sizes) >= _AT_LEAST else 0.0


def _is_decade(ratio: float) -> bool:
    decades = math.log10(ratio)
    return 1 <= abs(round(decades)) <= 3 and abs(decades - round(decades)) <= _DECADE


def _uniform(new: Profile, last: Profile) -> bool:
    """Where both curves know the same hours, a unit changes all of them alike; weather does not."""
    old = dict(last.steps)
    ratios = [v / old[t] for t, v in new.steps if v != 0.0 and old.get(t, 0.0) != 0.0]
    if len(ratios) < _AT_LEAST:
        return True
    return sum(r > 0.0 and _is_decade(r) for r in ratios) >= 0.8 * len(ratios)


def _check_shift(new: Profile, last: Profile) -> None:
    old = dict(last.steps)
    here = [(v, old[t]) for t, v in new.steps if t in old]
    if len(here) < 2 * _AT_LEAST or sum(a == b for a, b in here) > 0.5 * len(here):
        return
    for shift in (_HOUR, -_HOUR):
        moved = [(v, old[t + shift]) for t, v in new.steps if t + shift in old]
        # zeros and equal hours match anything: only values that change tell of a shift
        if len({a for a, _ in moved}) < _AT_LEAST or len(moved) < 2 * _AT_LEAST:
            continue
        if sum(a == b for a, b in moved) >= 0.9 * len(moved):
            text = f"{new.tag} has the values it had, shifted by an hour: a time zone or clock change was got wrong"
            raise FeedError(text, suspect=True, persistent=True)
