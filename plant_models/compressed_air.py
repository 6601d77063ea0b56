"""Model "compressed_air": press shop with three compressors. Equations in air.pyx."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Final

from plant_models.base import Context, Option, PlantError, PlantModel, Series, quantity, read_series
from plant_models.draws import signal_seed

C1_FLOW: Final = 16.0  # m3/min at full speed
FIXED_FLOW: Final = 10.4  # m3/min
LEAK_FLOW: Final = 0.35 * 7.3  # m3/min at 6.3 bar_g


class CompressedAir(PlantModel):
    """Compressed-air net of a press shop: 16 m3/min with variable speed and 2 x 10.4 m3/min with fixed speed."""

    name = "compressed_air"
    kind = "compressed_air"
    doc = "Compressed air of a press shop: one variable-speed and two fixed-speed compressors"
    inputs: ClassVar[Mapping[str, str]] = {
        "c1_speed_cmd": "%",
        "c2_load_cmd": "bool",
        "c3_load_cmd": "bool",
        "demand": "m3/min",
    }
    outputs: ClassVar[Mapping[str, str]] = {
        "net_pressure": "bar_g", "air_flow": "m3/min", "c1_power": "kW", "c2_running": "bool", "c3_running": "bool",
        "power": "kW",
    }  # fmt: skip
    options: ClassVar[Mapping[str, Option]] = {
        "demand": Option("file", "csv of the air demand, m3/min; without it the input is free to connect"),
        "start": Option("state", "operating point: {net_pressure: bar_g, c1_speed: %}"),
        "leak": Option("m3/min/bar", "leak flow over the absolute pressure", 0.35),
        "noise": Option("bar", "noise of the pressure transmitter, one standard deviation", 0.005),
    }

    def params(self, options: Mapping[str, object], context: Context) -> list[float]:
        """See PlantModel.params."""
        seed = float(signal_seed(context.seed, context.plant, self.name))
        return self.fill({"leak": self.number(options, "leak"), "noise": self.number(options, "noise"), "seed": seed})

    def series(self, options: Mapping[str, object], context: Context) -> Mapping[str, Series]:
        """See PlantModel.series."""
        if "demand" not in options:
            return {}
        return {"demand": read_series(context, options["demand"], hold=False, what=f"{self.name}: demand")}

    def start(self, options: Mapping[str, object], context: Context) -> Mapping[str, float]:
        """Both vessels at the pressure, C1 at the speed, C2 and C3 stopped. See PlantModel.start."""
        del context
        point = options.get("start", {})
        if not isinstance(point, Mapping) or set(point) - {"net_pressure", "c1_speed"}:
            raise PlantError(f"{self.name}: start may have net_pressure and c1_speed, not {point!r}")
        pressure = 1.0 + quantity(point.get("net_pressure", 6.3), "bar_g", f"{self.name}: start.net_pressure")
        speed = quantity(point.get("c1_speed", 80.0), "%", f"{self.name}: start.c1_speed") / 100.0
        state = {"receiver": pressure, "net": pressure, "speed": speed, "c1_speed_cmd": 100.0 * speed}
        return self.words({**state, "c2_load_cmd": 0.0, "c3_load_cmd": 0.0, "c2_starts": 6.0, "c3_starts": 6.0})

    def past_load(self, driven: Mapping[str, Series], start: float, end: float) -> float:
        """Steady state at 6.3 bar_g: as few fixed compressors as demand and leak need, C1 the rest (air.pyx)."""
        if "demand" not in driven:
            return 0.0
        flow = driven["demand"].mean(start, end) + LEAK_FLOW
        fixed = min(2, max(0, math.ceil((flow - C1_FLOW) / FIXED_FLOW)))
        speed = min(1.0, max(0.25, (flow - fixed * FIXED_FLOW) / C1_FLOW))
        return 6.0 + 84.0 * speed + 65.0 * fixed


MODEL = CompressedAir()
