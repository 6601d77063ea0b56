"""Curves of what is expected, from feeds and from the past. Pure functions of the data given; time is an argument.

History is a pair of arrays: utc s ascending and values, each holding until the next. Whatever stands in for a missing
feed is marked with the time it begins and said in plain words.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from ctrl.messages import Profile
from ctrl.planning.grid import Floats
from ctrl.planning.state import Curve
from ctrl.quality import UNCERTAIN_SUBSTITUTED, is_usable
from ctrl.units import Quantity

History = tuple[Floats, Floats]
HOUR: Final = 3600.0
WEEK: Final = timedelta(days=7)
CLEAR_W_M2: Final = 50.0  # below this the sun is too low to tell clouds from trees


def from_profile(profile: Profile, unit: str, now: float) -> Curve | None:
    """A feed's profile as a curve in `unit`; None when it is over, bad or empty at `now` utc s."""
    if not profile.steps or profile.valid_until <= now or not is_usable(profile.status):
        return None
    end = max(profile.valid_until, profile.steps[-1][0] + 1.0)
    steps = tuple((utc, Quantity(value, profile.unit).to(unit)) for utc, value in profile.steps)
    since = profile.steps[0][0] if profile.status & 0xFC == UNCERTAIN_SUBSTITUTED else None
    return Curve(steps, end, profile.issuer, since, "already a substitute at its source" if since is not None else "")


def constant(value: float, start: float, end: float, source: str, *, substitute: str = "") -> Curve:
    """One value over [start, end); substitute: why it stands in for something better, empty when it does not."""
    return Curve(((start, value),), end, source, start if substitute else None, substitute)


def last_value(known: Curve, now: float, until: float) -> Curve:
    """The known curve to its end, then its last value."""
    if known.end >= until:
        return known
    note = f"{known.source} ends early, last value kept"
    return Curve(known.steps, until, known.source, _since(known, max(known.end, now)), note)


def _since(known: Curve, begin: float) -> float:
    return begin if known.substituted_from is None else min(known.substituted_from, begin)


def same_hour_last_week(known: Curve | None, history: History, now: float, until: float, timezone: str) -> Curve:
    """Known values to their end, then those of the same local hour a week before, moved by the shift in level.

    The shift is the mean difference between the last 24 h of known or past values and the hours a week before those.
    Raises ValueError when there is neither a known curve nor any history.
    """
    times, values = _joined(known, history)
    if not times.size:
        raise ValueError("no price is known and there is no history")
    zone = ZoneInfo(timezone)
    known_end = now if known is None else known.end
    steps = [(t, v) for t, v in zip(times.tolist(), values.tolist(), strict=True) if t < known_end]
    steps = steps[max(0, sum(t <= now for t, _ in steps) - 1) :]
    if known_end >= until:
        return Curve(tuple(steps), known_end, known.source if known else "history", *_mark(known))
    begin = known_end // HOUR * HOUR
    shift = _level_shift(times, values, begin, zone)
    start = max(known_end, now // HOUR * HOUR)
    hours = np.arange(begin, until, HOUR)
    filled: list[tuple[float, float]] = []
    for t in hours.tolist():
        value = _past(times, values, t, zone) + shift
        if t + HOUR > start:
            filled.append((max(t, start), value))
    source = known.source if known else "history"
    note = f"{source} unknown from {datetime.fromtimestamp(start, zone):%a %H:%M}, same hour last week with level shift"
    kept = tuple((t, v) for t, v in steps if t < start)
    return Curve(kept + tuple(filled), until, source, _since(known, start) if known else start, note)


def _mark(known: Curve | None) -> tuple[float | None, str]:
    return (None, "") if known is None else (known.substituted_from, known.note)


def _joined(known: Curve | None, history: History) -> History:
    times, values = history
    if known is None:
        return times, values
    before = times < known.steps[0][0]
    return (
        np.concatenate([times[before], [t for t, _ in known.steps]]),
        np.concatenate([values[before], [v for _, v in known.steps]]),
    )


def _week_before(utc: float, zone: ZoneInfo) -> float:
    """The same local clock time a week before, over a change to or from summer time too."""
    local = datetime.fromtimestamp(utc, zone).replace(tzinfo=None) - WEEK
    return local.replace(tzinfo=zone).astimezone(UTC).timestamp()


def _value_at(times: Floats, values: Floats, utc: float) -> float | None:
    at = int(np.searchsorted(times, utc, side="right")) - 1
    return float(values[at]) if at >= 0 else None


def _past(times: Floats, values: Floats, utc: float, zone: ZoneInfo) -> float:
    """Value of the same hour one week before; two weeks for what lies further ahead; else the mean of all there is."""
    back = utc
    while (back := _week_before(back, zone)) > times[-1] + HOUR:
        pass
    found = _value_at(times, values, back)
    return float(np.mean(values)) if found is None else found


def _level_shift(times: Floats, values: Floats, end: float, zone: ZoneInfo) -> float:
    """Mean of the 24 h before `end` less that of the same hours a week before; 0 when a week is not there."""
    differences = []
    for hour in range(1, 25):
        utc = end - hour * HOUR
        now, before = _value_at(times, values, utc), _value_at(times, values, _week_before(utc, zone))
        if utc <= times[-1] + HOUR and now is not None and before is not None:
            differences.append(now - before)
    return float(np.mean(differences)) if differences else 0.0


def clear_sky(utc: Floats, lat: float, lon: float) -> Floats:
    """Global irradiance of a clear sky on the level, W/m2, at utc s; lat and lon in degrees, north and east positive.

    Haurwitz, J. Meteorology 2 (1945) 154: 1098 cos z exp(-0.057 / cos z); position of the sun after Spencer (1971).
    """
    day = utc / 86400.0
    year = 2 * np.pi * ((day + 0.5 - 1) % 365.2425) / 365.2425
    declination = (
        0.006918
        - 0.399912 * np.cos(year)
        + 0.070257 * np.sin(year)
        - 0.006758 * np.cos(2 * year)
        + 0.000907 * np.sin(2 * year)
    )
    equation_min = 229.18 * (
        0.000075
        + 0.001868 * np.cos(year)
        - 0.032077 * np.sin(year)
        - 0.014615 * np.cos(2 * year)
        - 0.040849 * np.sin(2 * year)
    )
    angle = 2 * np.pi * (day % 1.0 - 0.5) + np.radians(lon) + equation_min / 1440 * 2 * np.pi
    phi = np.radians(lat)
    cos_z = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(angle)
    high = np.maximum(cos_z, 1e-3)
    return np.where(cos_z > 1e-3, 1098.0 * high * np.exp(-0.057 / high), 0.0)


def clear_sky_p30(
    history: History, now: float, until: float, lat: float, lon: float, *, step_s: float = 900.0
) -> Curve:
    """PV power from the clear sky, at the 30th percentile of what PV has made of it; 0 kW without daylight history.

    history: PV power kW. The result begins at the step of `now` and is a substitute throughout.
    """
    times, power = history
    sky = clear_sky(times, lat, lon)
    day = sky > CLEAR_W_M2
    factor = float(np.percentile(power[day] / sky[day], 30)) if day.any() else 0.0
    starts = np.arange(now // step_s * step_s, until, step_s)
    values = np.maximum(factor, 0.0) * clear_sky(starts + step_s / 2, lat, lon)
    note = "PV forecast stale, clear sky at the 30th percentile" if day.any() else "PV forecast stale, no history: 0 kW"
    steps = tuple(zip(starts.tolist(), values.tolist(), strict=True))
    return Curve(steps, float(starts[-1] + step_s), "clear_sky_p30", float(starts[0]), note)


def weekday_profile(
    history: History,
    now: float,
    until: float,
    timezone: str,
    *,
    weeks: int = 4,
    step_s: int = 900,
    trim: float = 0.2,
) -> Curve:
    """Trimmed mean of the same weekday and local time of the last `weeks` weeks, from the step of `now` to `until`.

    trim: share cut off at each end, at least one value when there are three or more. A slot without a past takes the
    mean of that time on workdays or on weekends, then of that time, then of everything: from the first such slot on the
    result is a substitute. It is one throughout while the history begins less than `weeks` ago. Raises ValueError
    without any history.
    """
    times, values = history
    span = weeks * 7 * 86400
    recent = (times >= now - span) & (times < now)
    if not recent.any():
        raise ValueError("weekday_profile: no history")
    zone = ZoneInfo(timezone)
    past = sorted(
        (*_slot(t, zone, step_s), v) for t, v in zip(times[recent].tolist(), values[recent].tolist(), strict=True)
    )
    tables = [
        {key: _trimmed(list(group), trim) for key, group in groupby(sorted(past, key=kind), key=kind)}
        for kind in _KINDS
    ]
    starts = np.arange(now // step_s * step_s, until, step_s).tolist()
    steps: list[tuple[float, float]] = []
    since: float | None = None
    note = ""
    for start in starts:
        row = (*_slot(start, zone, step_s), 0.0)
        rung = next(i for i, kind in enumerate(_KINDS) if kind(row) in tables[i])
        steps.append((start, tables[rung][_KINDS[rung](row)]))
        if rung > 0 and since is None:
            when = f"{datetime.fromtimestamp(start, zone):%a %H:%M}"
            since, note = start, f"no past of {when}, mean of {_INSTEAD[rung - 1]} from then on"
    if times[0] > now - span + step_s:  # a whole history may begin anywhere in its first step
        since, note = starts[0], f"{(now - times[0]) / 86400:.1f} d of history, {weeks * 7} d are wanted"
    return Curve(tuple(steps), starts[-1] + step_s, f"weekday_profile of {weeks} weeks", since, note)


def load_margin(
    history: History, now: float, until: float, timezone: str, *, weeks: int = 4, quantile: float = 0.7
) -> Curve:
    """kW by which a load exceeds its weekday profile, at a quantile of the last `weeks` weeks; the same at all times.

    Raises ValueError without any history.
    """
    times, values = history
    recent = (times >= now - weeks * 7 * 86400) & (times < now)
    if not recent.any():
        raise ValueError("load_margin: no history")
    profile = weekday_profile(history, now, now + 7 * 86400, timezone, weeks=weeks)
    zone, week = ZoneInfo(timezone), {}
    for start, value in profile.steps:
        week[_slot(start, zone, 900)] = value
    over = [
        value - week[slot]
        for t, value in zip(times[recent].tolist(), values[recent].tolist(), strict=True)
        if (slot := _slot(t, zone, 900)) in week
    ]
    margin = max(0.0, float(np.quantile(over, quantile))) if over else 0.0
    return Curve(((now, margin),), until, f"load_margin of {weeks} weeks")


_Row = tuple[int, int, float]  # weekday, slot of the day, value


def _by_weekday(row: _Row) -> tuple[int, ...]:
    return row[0], row[1]


def _by_workday(row: _Row) -> tuple[int, ...]:
    return int(row[0] >= 5), row[1]


def _by_time(row: _Row) -> tuple[int, ...]:
    return (row[1],)


def _all(_: _Row) -> tuple[int, ...]:
    return ()


_KINDS: Final = (_by_weekday, _by_workday, _by_time, _all)
_INSTEAD: Final = ("that time on workdays or weekends", "that time on all days", "everything")


def _slot(utc: float, zone: ZoneInfo, step_s: int) -> tuple[int, int]:
    local = datetime.fromtimestamp(utc, zone)
    return local.weekday(), (local.hour * 3600 + local.minute * 60 + local.second) // step_s


def _trimmed(rows: list[_Row], trim: float) -> float:
    values = sorted(row[2] for row in rows)
    cut = max(int(len(values) * trim), 1) if len(values) >= 3 else 0
    kept = values[cut : len(values) - cut]
    return sum(kept) / len(kept)
