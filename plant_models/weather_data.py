"""Model "weather_data": the sky of a site now, and the PV forecast of a weather service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from plant_models import sky
from plant_models.base import Context, Feed, Option, PlantError, PlantModel, Series, quantity

HOURS: Final = 48


class WeatherData(PlantModel):
    """Weather service with a PV forecast for the PV of another plant."""

    name = "weather_data"
    kind = "weather_data"
    doc = "Weather now, and a PV forecast with an error that grows with its lead time"
    inputs: ClassVar[Mapping[str, str]] = {"irradiance": "W/m2", "ambient": "degC"}
    outputs: ClassVar[Mapping[str, str]] = {"irradiance_now": "W/m2", "ambient_now": "degC"}
    options: ClassVar[Mapping[str, Option]] = {
        "pv_of": Option("plant", "name of the plant whose PV is forecast"),
        "path": Option("path", "path of the forecast; /plant2 when left out"),
    }

    def params(self, options: Mapping[str, object], context: Context) -> list[float]:
        """See PlantModel.params."""
        del options, context
        return self.fill({})

    def series(self, options: Mapping[str, object], context: Context) -> Mapping[str, Series]:
        """See PlantModel.series."""
        del options
        return {"irradiance": sky.irradiance_series(context), "ambient": sky.ambient_series(context)}

    def feeds(self, options: Mapping[str, object], context: Context) -> Mapping[str, Feed]:
        """The PV forecast: 48 hourly means from the running hour on. See PlantModel.feeds."""
        owner = options.get("pv_of")
        if not isinstance(owner, str) or "pv" not in context.peers.get(owner, {}):
            having = [name for name, others in context.peers.items() if "pv" in others]
            raise PlantError(f"{self.name}: pv_of must name a plant with pv ({', '.join(having)}), not {owner!r}")
        peak = quantity(context.peers[owner]["pv"], "kWp", f"{owner}: pv")
        path = options.get("path", "/plant2")
        if not isinstance(path, str) or not path.startswith("/"):
            raise PlantError(f"{self.name}: path must start with /, not {path!r}")

        def pv(utc: float, outputs: Mapping[str, float]) -> dict[str, object]:
            del outputs
            points = sky.pv_forecast(context, peak, utc, HOURS)
            return {"data": [{"start": context.iso(t), "kw": round(kw, 2)} for t, kw in points]}

        return {path: pv}


MODEL = WeatherData()
