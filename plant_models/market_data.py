"""Model "market_data": day-ahead prices and carbon intensity, published as the real market does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Final

from plant_models.base import Context, Feed, Option, PlantError, PlantModel, Series, read_series
from plant_models.draws import Draws

PUBLISHED_S: Final = 12.75 * 3600.0  # s of the local day: results of the auction for tomorrow are out at 12:45
CO2_HOURS: Final = 48


class MarketData(PlantModel):
    """Prices and carbon intensity of grid power from csv files."""

    name = "market_data"
    kind = "market_data"
    doc = "Day-ahead prices and carbon intensity of a market data service"
    inputs: ClassVar[Mapping[str, str]] = {"day_ahead": "EUR/MWh", "co2": "g/kWh"}
    outputs: ClassVar[Mapping[str, str]] = {"price": "EUR/MWh", "co2_intensity": "g/kWh"}
    options: ClassVar[Mapping[str, Option]] = {
        "day_ahead": Option("file", "csv of hourly prices, EUR/MWh"),
        "co2": Option("file", "csv of hourly carbon intensity, g/kWh"),
    }

    def params(self, options: Mapping[str, object], context: Context) -> list[float]:
        """See PlantModel.params."""
        del options, context
        return self.fill({})

    def series(self, options: Mapping[str, object], context: Context) -> Mapping[str, Series]:
        """See PlantModel.series."""
        missing = [key for key in self.inputs if key not in options]
        if missing:
            raise PlantError(f"{self.name}: option {', '.join(missing)} is required")
        return {key: read_series(context, options[key], hold=True, what=f"{self.name}: {key}") for key in self.inputs}

    def feeds(self, options: Mapping[str, object], context: Context) -> Mapping[str, Feed]:
        """/DE-LU: today's hours, and tomorrow's after 12:45 local; /co2: 48 h, its error grows with the lead."""
        driven = self.series(options, context)
        price, co2 = driven["day_ahead"], driven["co2"]

        def day_ahead(utc: float, outputs: Mapping[str, float]) -> dict[str, object]:
            del outputs
            clock = context.local(utc)
            known = 2 if clock.hour * 3600.0 + clock.minute * 60.0 + clock.second >= PUBLISHED_S else 1
            hours = _hours(price, context.midnight(utc), context.midnight(utc, days=known))
            return {"data": [{"start": context.iso(t), "eur_per_mwh": v} for t, v in hours]}

        def carbon(utc: float, outputs: Mapping[str, float]) -> dict[str, object]:
            del outputs
            now = utc // 3600.0 * 3600.0
            error = Draws(context.seed, "co2", int(now)).ar1(CO2_HOURS, 0.9)
            rows = []
            for k, (t, v) in enumerate(_hours(co2, now, now + CO2_HOURS * 3600.0)):
                guess = v * (1.0 + 0.06 * math.sqrt(k / 24.0) * error[k])
                rows.append({"start": context.iso(t), "g_per_kwh": round(max(0.0, guess), 1)})
            return {"data": rows}

        return {"/DE-LU": day_ahead, "/co2": carbon}


def _hours(series: Series, start: float, end: float) -> list[tuple[float, float]]:
    first = max(0, math.ceil((start - series.t0_utc) / series.step_s))
    last = min(len(series.values), math.ceil((end - series.t0_utc) / series.step_s))
    return [(series.t0_utc + k * series.step_s, series.values[k]) for k in range(first, last)]


MODEL = MarketData()
