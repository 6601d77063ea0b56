"""Makes the csv files in data/ beside this file. Seeded: the same raw files give the same bytes.

    python configs/heat_treatment/make_data.py RAW_DIR

RAW_DIR holds day_ahead_smard_2018.csv.gz (export of SMARD.de, hourly, local time) and bdew/g25.csv (BDEW standard load
profile G25, kWh per quarter hour by month and day type). Where they come from and their licences: data/SOURCES.md.

    day_ahead.csv   EUR/MWh, hourly: bidding zone DE-AT-LU until 30 September 2018, DE-LU from 1 October
    co2.csv         g/kWh, hourly: generated, from the price and the sun
    base_load.csv   kW, 15 min: BDEW G25 stretched to 50 .. 90 kW, with seeded noise
    press_shop.csv  m3/min, 15 min: generated, shifts of a press shop with seeded cycles

Times are UTC, of the start of the step. The files cover the local year 2018 in Europe/Berlin.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from plant_models.draws import Draws
from plant_models.sky import clear_sky

ZONE = ZoneInfo("Europe/Berlin")
SEED = 2018
HERE = Path(__file__).parent / "data"
START = datetime(2018, 1, 1, tzinfo=ZONE).astimezone(UTC)
END = datetime(2019, 1, 1, tzinfo=ZONE).astimezone(UTC)
MONTHS = 12
HOLIDAYS = {  # national and Hessian public holidays of 2018; 24 and 31 December count as Saturdays
    date(2018, 1, 1), date(2018, 3, 30), date(2018, 4, 2), date(2018, 5, 1), date(2018, 5, 10), date(2018, 5, 21),
    date(2018, 5, 31), date(2018, 10, 3), date(2018, 12, 25), date(2018, 12, 26),
}  # fmt: skip
SHIFTS = ((6.0, 14.0, 1.0), (14.0, 22.0, 0.85))  # local hours and share of the presses that run
NIGHT_FLOW = 5.4  # m3/min: cleaning and holding pressure; with the leaks of the net C1 alone carries it at half speed
BREAKS = ((9.0, 9.25), (12.0, 12.5), (18.0, 18.5))


def steps(seconds: int) -> list[datetime]:
    """UTC start of every step of the local year."""
    n = int((END - START).total_seconds()) // seconds
    return [START + timedelta(seconds=seconds * k) for k in range(n)]


def prices(raw: Path) -> list[tuple[datetime, float]]:
    """Hourly day-ahead price. Rows are in order of time, so row k is hour k: that settles both nights of DST."""
    with gzip.open(raw / "day_ahead_smard_2018.csv.gz", "rt", encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter=";"))
    hours = steps(3600)
    if len(rows) != len(hours):
        raise SystemExit(f"{len(rows)} rows; the local year has {len(hours)} hours")
    found = []
    for utc, row in zip(hours, rows, strict=True):
        local = utc.astimezone(ZONE)
        stamp = datetime.strptime(f"{row['Date']} {row['Time of day']}", "%b %d, %Y %I:%M %p")  # noqa: DTZ007 - local
        if stamp != local.replace(tzinfo=None):
            raise SystemExit(f"row of {stamp} where {local} is due")
        zone = "Germany/Austria/Luxembourg[€/MWh]" if local.month < 10 else "Germany/Luxembourg[€/MWh]"
        found.append((utc, float(row[zone].replace(",", ""))))
    return found


def co2(price: list[tuple[datetime, float]]) -> list[tuple[datetime, float]]:
    """Carbon intensity 300 .. 550 g/kWh: high with the price (coal and gas run), low with the sun, seeded weather."""
    weather = Draws(SEED, "co2").ar1(len(price), 0.98)
    found = []
    for (utc, eur), w in zip(price, weather, strict=True):
        sun = clear_sky(utc.timestamp() + 1800.0, 50.11, 8.68)
        grams = 440.0 + 1.8 * (eur - 42.0) - 0.07 * sun + 22.0 * w
        found.append((utc, min(550.0, max(300.0, grams))))
    return found


def profile(raw: Path) -> list[dict[str, list[float]]]:
    """BDEW G25: for each month {"SA" | "FT" | "WT": 96 quarter hours}."""
    with (raw / "bdew" / "g25.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    kinds, table = rows[1][1:], rows[2:98]
    return [{kinds[c]: [float(row[1 + c]) for row in table] for c in range(3 * m, 3 * m + 3)} for m in range(MONTHS)]


def day_type(day: date) -> str:
    """BDEW day type: working day, Saturday, Sunday or holiday."""
    if day in HOLIDAYS or day.weekday() == 6:
        return "FT"
    return "SA" if day.weekday() == 5 or (day.month, day.day) in {(12, 24), (12, 31)} else "WT"


def base_load(raw: Path) -> list[tuple[datetime, float]]:
    """Other loads of the site: the year of G25 stretched to 50 .. 90 kW, plus 2 % noise that lasts about an hour."""
    shape = profile(raw)
    quarters = steps(900)
    local = [utc.astimezone(ZONE) for utc in quarters]
    values = [shape[t.month - 1][day_type(t.date())][4 * t.hour + t.minute // 15] for t in local]
    low, high = min(values), max(values)
    noise = Draws(SEED, "base_load").ar1(len(quarters), 0.8)
    return [
        (utc, 50.0 + 40.0 * (v - low) / (high - low) + 1.5 * e)
        for utc, v, e in zip(quarters, values, noise, strict=True)
    ]


def press_shop() -> list[tuple[datetime, float]]:
    """Air demand: two shifts on workdays, one on Saturday, breaks, cleaning at night; seeded mix of orders and days."""
    quarters = steps(900)
    noise = Draws(SEED, "press_shop").ar1(len(quarters), 0.7)
    days = Draws(SEED, "press_shop_days")
    found = []
    for utc, e in zip(quarters, noise, strict=True):
        local = utc.astimezone(ZONE)
        hour, kind = local.hour + local.minute / 60.0, day_type(local.date())
        mix = 1.0 + 0.08 * days.normal(local.timetuple().tm_yday)
        flow = NIGHT_FLOW
        for k, (start, end, share) in enumerate(SHIFTS):
            if start <= hour < end and (kind == "WT" or (kind == "SA" and k == 0)):
                flow = 6.0 + 11.0 * share * mix
        if kind != "FT" and flow > 6.0 and any(a <= hour < b for a, b in BREAKS):
            flow = 0.6 * flow
        found.append((utc, min(24.0, max(5.0, flow + (1.6 if flow > 6.0 else 0.2) * e))))
    return found


def write(name: str, column: str, rows: Iterable[tuple[datetime, float]], form: Callable[[float], str]) -> None:
    """One csv: a header, then ISO 8601 UTC and the value."""
    with (HERE / name).open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(f"time,{column}\n")
        stream.writelines(f"{utc:%Y-%m-%dT%H:%MZ},{form(value)}\n" for utc, value in rows)


def main(raw: Path) -> None:
    """Make all files from the raw ones in `raw`."""
    price = prices(raw)
    write("day_ahead.csv", "eur_per_mwh", price, lambda x: f"{x:g}")
    write("co2.csv", "g_per_kwh", co2(price), lambda x: f"{x:.0f}")
    write("base_load.csv", "kw", base_load(raw), lambda x: f"{x:.1f}")
    write("press_shop.csv", "m3_per_min", press_shop(), lambda x: f"{x:.1f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python configs/heat_treatment/make_data.py RAW_DIR")
    main(Path(sys.argv[1]))
