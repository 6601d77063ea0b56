"""Model "battery_pv_grid": battery, PV and the billing meter. Equations in energy.pyx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from plant_models import sky
from plant_models.base import Context, Option, PlantError, PlantModel, Series, quantity, read_series


class BatteryPvGrid(PlantModel):
    """Battery and PV of a site behind one grid connection. Grid + = import; PV and battery + = deliver."""

    name = "battery_pv_grid"
    kind = "battery_pv_grid"
    doc = "Battery, PV, other loads and the billing meter of the grid connection"
    inputs: ClassVar[Mapping[str, str]] = {
        "bat_cmd": "kW", "base_load": "kW", "pv_available": "kW", **{f"load_{k}": "kW" for k in range(1, 9)},
    }  # fmt: skip
    outputs: ClassVar[Mapping[str, str]] = {
        "grid_power": "kW", "grid_energy": "kWh", "window_left": "s", "pv_power": "kW", "bat_soc": "%",
        "bat_power": "kW",
    }  # fmt: skip
    options: ClassVar[Mapping[str, Option]] = {
        "battery": Option("kWh", "capacity of the battery", 400.0),
        "battery_power": Option("kW", "power of its inverter, either way; 0.5 C when left out"),
        "efficiency": Option("%", "of the battery, each way", 95.0),
        "standby": Option("kW", "of the battery, drawn from what it stores", 0.1),
        "pv": Option("kWp", "peak power of the PV plant, 0 = none", 0.0),
        "base_load": Option("file", "csv of the other loads, kW; without it the input is free to connect"),
        "window": Option("s", "billing window", 900.0),
        "start": Option("state", "operating point: {soc: %}"),
    }

    def params(self, options: Mapping[str, object], context: Context) -> list[float]:
        """See PlantModel.params."""
        del context
        capacity = self.number(options, "battery")
        if not capacity > 0.0:
            raise PlantError(f"{self.name}: battery must be more than 0 kWh")
        start = options.get("start", {})
        if not isinstance(start, Mapping) or set(start) - {"soc"}:
            raise PlantError(f"{self.name}: start may have soc, not {start!r}")
        soc = quantity(start.get("soc", 50.0), "%", f"{self.name}: start.soc") / 100.0
        efficiency = self.number(options, "efficiency") / 100.0
        if not (0.0 <= soc <= 1.0 and 0.0 < efficiency <= 1.0):
            raise PlantError(f"{self.name}: start.soc and efficiency are 0 % .. 100 %")
        power = self.number(options, "battery_power") if "battery_power" in options else 0.5 * capacity
        return self.fill(
            {
                "capacity": capacity, "power_max": power, "efficiency": efficiency,
                "standby": self.number(options, "standby"), "soc_start": soc, "pv_max": self.number(options, "pv"),
                "window": self.number(options, "window"),
            }
        )  # fmt: skip

    def series(self, options: Mapping[str, object], context: Context) -> Mapping[str, Series]:
        """See PlantModel.series. The sky over the PV is seeded: see plant_models.sky."""
        driven = {"pv_available": sky.pv_series(context, self.number(options, "pv"))}
        if "base_load" in options:
            what = f"{self.name}: base_load"
            driven["base_load"] = read_series(context, options["base_load"], hold=False, what=what)
        return driven

    def past_load(self, driven: Mapping[str, Series], start: float, end: float) -> float:
        """The other loads of the site."""
        return driven["base_load"].mean(start, end) if "base_load" in driven else 0.0


MODEL = BatteryPvGrid()
