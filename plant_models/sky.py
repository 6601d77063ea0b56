"""Sun and clouds of a site: clear-sky irradiance, a seeded cloud cover, PV power and what a forecast knew of it.

Clear sky: Haurwitz (1945), 1098 cos z exp(-0.057 / cos z) W/m2; solar position: Spencer (1971). Clouds: the clear-sky
index is an AR(1) process of 15-min steps squashed into 0.15 .. 1, seeded per calendar year, so that a run sees the same
sky whatever its start. Outdoor temperature: yearly and daily sine around 10.5 degC.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache

from plant_models.base import Context, Series
from plant_models.draws import Draws

STEP_S = 900.0
RHO = math.exp(-0.25 / 7.0)  # correlation of the cloud state over 15 min: it lasts about 7 h
SYSTEM = 0.87  # cables, dirt and inverter
GUST = 0.06  # spread of the clear-sky index within 15 min, passing clouds


def cos_zenith(utc: float, latitude: float, longitude: float) -> float:
    """Cosine of the sun's zenith angle, -1 .. 1. utc: s since 1970; degrees north and east."""
    date = datetime.fromtimestamp(utc, UTC)
    hours = date.hour + date.minute / 60.0 + date.second / 3600.0
    g = 2.0 * math.pi * (date.timetuple().tm_yday - 1 + (hours - 12.0) / 24.0) / 365.0
    equation = 229.18 * (
        0.000075
        + 0.001868 * math.cos(g)
        - 0.032077 * math.sin(g)
        - 0.014615 * math.cos(2 * g)
        - 0.04089 * math.sin(2 * g)
    )  # min
    declination = (
        0.006918 - 0.399912 * math.cos(g) + 0.070257 * math.sin(g) - 0.006758 * math.cos(2 * g)
        + 0.000907 * math.sin(2 * g) - 0.002697 * math.cos(3 * g) + 0.00148 * math.sin(3 * g)
    )  # fmt: skip
    angle = math.radians(15.0 * (hours - 12.0) + longitude + equation / 4.0)
    lat = math.radians(latitude)
    return math.sin(lat) * math.sin(declination) + math.cos(lat) * math.cos(declination) * math.cos(angle)


def clear_sky(utc: float, latitude: float, longitude: float) -> float:
    """Clear-sky global irradiance on the horizontal, W/m2 >= 0 (Haurwitz 1945)."""
    c = cos_zenith(utc, latitude, longitude)
    return 1098.0 * c * math.exp(-0.057 / c) if c > 0.0 else 0.0


def ambient(utc: float) -> float:
    """Outdoor temperature, degC: mean 10.5, yearly amplitude 9 (warmest late July), daily 4 (warmest at 14 UTC)."""
    date = datetime.fromtimestamp(utc, UTC)
    year = 2.0 * math.pi * (date.timetuple().tm_yday - 205) / 365.0
    day = 2.0 * math.pi * (date.hour + date.minute / 60.0 - 14.0) / 24.0
    return 10.5 + 9.0 * math.cos(year) + 4.0 * math.cos(day)


def index_of(state: float) -> float:
    """Clear-sky index 0.15 .. 1 of a cloud state (mean 0, spread 1): overcast below, clear above; mean about 0.62."""
    return 0.15 + 0.85 / (1.0 + math.exp(-1.6 * state - 0.35))


@lru_cache(maxsize=8)
def _states(seed: int, year: int) -> tuple[float, ...]:
    start = datetime(year, 1, 1, tzinfo=UTC).timestamp()
    end = datetime(year + 1, 1, 1, tzinfo=UTC).timestamp()
    return tuple(Draws(seed, "clouds", year).ar1(int((end - start) / STEP_S), RHO))


def cloud_state(seed: int, utc: float) -> float:
    """The cloud state at `utc` (mean 0, spread 1), constant over 15 min."""
    year = datetime.fromtimestamp(utc, UTC).year
    states = _states(seed, year)
    k = int((utc - datetime(year, 1, 1, tzinfo=UTC).timestamp()) // STEP_S)
    return states[k]


def pv_power(irradiance: float, outdoor: float, peak_kw: float) -> float:
    """AC power of a PV plant, 0 .. peak kW: peak 0.87 G / 1000 (1 - 0.004 (Tc - 25)), with cells at Tc = T + 0.03 G."""
    cell = outdoor + 0.03 * irradiance
    return min(peak_kw, max(0.0, peak_kw * SYSTEM * irradiance / 1000.0 * (1.0 - 0.004 * (cell - 25.0))))


def irradiance_series(context: Context) -> Series:
    """Global irradiance, W/m2, every 15 min from the start of the history to 3 days after the run."""
    gust = Draws(context.seed, "gusts")
    values = []
    start, count = _span(context)
    for k in range(count):
        utc = start + k * STEP_S
        clear = clear_sky(utc, context.latitude, context.longitude)
        if clear > 0.0:
            index = index_of(cloud_state(context.seed, utc)) + GUST * gust.normal(int(utc // STEP_S))
            clear *= min(1.0, max(0.05, index))
        values.append(clear)
    return Series(start, STEP_S, tuple(values), hold=False)


def ambient_series(context: Context) -> Series:
    """Outdoor temperature, degC, on the same grid."""
    start, count = _span(context)
    return Series(start, STEP_S, tuple(ambient(start + k * STEP_S) for k in range(count)), hold=False)


def pv_series(context: Context, peak_kw: float) -> Series:
    """Available PV power, kW, on the same grid."""
    sun = irradiance_series(context)
    return Series(
        sun.t0_utc,
        STEP_S,
        tuple(pv_power(g, ambient(sun.t0_utc + k * STEP_S), peak_kw) for k, g in enumerate(sun.values)),
        hold=False,
    )


def pv_forecast(context: Context, peak_kw: float, utc: float, hours: int) -> list[tuple[float, float]]:
    """What the weather service says at `utc`: [(start UTC s, mean kW)] of `hours` hours from the running one on.

    Issued at 00, 06, 12 and 18 UTC. The forecast cloud state keeps the correlation exp(-lead / 36 h), at least 0.55,
    with the true one and fills up with an error of its own that lasts over hours: its error grows with the lead time.
    """
    issued = utc // 21_600.0 * 21_600.0
    error = Draws(context.seed, "forecast", int(issued)).ar1(hours + 7, math.exp(-1.0 / 5.0))
    first = utc // 3600.0 * 3600.0
    points = []
    for h in range(hours):
        start = first + 3600.0 * h
        lead = (start - issued) / 3600.0
        rho = max(0.55, 0.97 * math.exp(-lead / 36.0))
        state = 0.0
        sun = 0.0
        for q in range(4):
            state += cloud_state(context.seed, start + q * STEP_S) / 4.0
            sun += clear_sky(start + (q + 0.5) * STEP_S, context.latitude, context.longitude) / 4.0
        guess = rho * state + math.sqrt(1.0 - rho * rho) * error[int(lead)]
        points.append((start, pv_power(sun * index_of(guess), ambient(start), peak_kw)))
    return points


def _span(context: Context) -> tuple[float, int]:
    start = (context.start_utc - context.history_s) // 3600.0 * 3600.0 - 3600.0
    return start, int((context.end_utc + 3 * 86_400.0 - start) / STEP_S) + 1
