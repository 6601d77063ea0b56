"""Model "heat_treatment_furnace": roller-hearth furnace with its line. Equations in furnace.pyx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from plant_models.base import Context, Option, PlantError, PlantModel, quantity
from plant_models.draws import signal_seed

SIGMA: Final = 5.670374419e-8  # W/(m2 K4)
ZERO_C: Final = 273.15
LINES: Final = {"stopped": 0.0, "heating": 1.0, "ready": 2.0, "running": 3.0, "fault": 4.0}


class HeatTreatmentFurnace(PlantModel):
    """Heat-treatment furnace, 320 kW, 870 degC, up to 1.1 t/h."""

    name = "heat_treatment_furnace"
    kind = "heat_treatment_furnace"
    doc = "Roller-hearth heat-treatment furnace with belt, thermocouples and line PLC"
    inputs: ClassVar[Mapping[str, str]] = {
        "power_cmd": "kW", "belt_cmd": "t/h", "line_run_cmd": "bool", "door_open": "bool", "ambient": "degC",
    }  # fmt: skip
    outputs: ClassVar[Mapping[str, str]] = {
        "temp": "degC", "temp_backup": "degC", "shell_temp": "degC", "power": "kW", "belt_rate": "t/h",
        "line_state": "1", "door_closed": "bool",
    }  # fmt: skip
    options: ClassVar[Mapping[str, Option]] = {
        "start": Option("state", "operating point: {temp: degC, line: stopped|heating|ready|running, rate: t/h}"),
        "ambient": Option("degC", "temperature of the hall, unless the input is connected", 20.0),
        "power_max": Option("kW", "installed heating power", 320.0),
        "wall_conductance": Option("W/K", "of the insulation; grows with age", 38.0),
        "drift": Option("K", "drift of the main thermocouple in 1000 h", 0.0),
        "noise": Option("K", "noise of the main thermocouple, one standard deviation", 0.3),
    }

    def params(self, options: Mapping[str, object], context: Context) -> list[float]:
        """See PlantModel.params."""
        given = {key: self.number(options, key) for key in self.options if key != "start"}
        given["seed"] = float(signal_seed(context.seed, context.plant, self.name))
        return self.fill(given)

    def start(self, options: Mapping[str, object], context: Context) -> Mapping[str, float]:
        """Steady state of the operating point: the furnace holds `temp` with `rate` going through. See PlantModel."""
        del context
        if "start" not in options:
            return {}
        point = options["start"]
        if not isinstance(point, Mapping) or set(point) - {"temp", "rate", "line"} or "temp" not in point:
            raise PlantError(f"{self.name}: start has temp, and may have line and rate; not {point!r}")
        temp = quantity(point["temp"], "degC", f"{self.name}: start.temp")
        rate = quantity(point.get("rate", 0.0), "t/h", f"{self.name}: start.rate")
        line = point.get("line", "running" if rate > 0.0 else "stopped")
        if line not in LINES:
            raise PlantError(f"{self.name}: start.line must be one of {', '.join(LINES)}, not {line!r}")
        if rate > 0.0 and line != "running":
            raise PlantError(f"{self.name}: start.rate needs line: running")
        conductance, ambient = self.number(options, "wall_conductance"), self.number(options, "ambient")
        state = steady_state(temp, rate, conductance=conductance, ambient=ambient)
        if not 0.0 <= state["power"] <= self.number(options, "power_max"):
            raise PlantError(f"{self.name}: {temp:g} degC at {rate:g} t/h would need {state['power']:.1f} kW")
        commands = {"power_cmd": state["power"], "belt_cmd": rate, "line_run_cmd": 1.0 if line == "running" else 0.0}
        return self.words({**state, **commands, "line": LINES[str(line)]})


def steady_state(temp: float, rate: float, *, conductance: float = 38.0, ambient: float = 20.0) -> dict[str, float]:
    """State words of the furnace at rest: load at `temp` degC with `rate` t/h of product; power in kW is one of them.

    The balances of shell, wall and load give one equation in the hot-face temperature, solved by bisection.
    """
    cold, load, shell_loss = ambient + ZERO_C, temp + ZERO_C, 260.0
    product = rate / 3.6 * 620.0 * (load - cold)

    def others(face: float) -> tuple[float, float, float]:
        shell = (conductance * face + shell_loss * cold) / (conductance + shell_loss)
        to_load = SIGMA * 4.0 * (face**4 - load**4)
        element4 = face**4 + (to_load + conductance * (face - shell)) / (SIGMA * 1.8)
        return shell, element4, SIGMA * 2.2 * (element4 - load**4) + to_load - product

    low, high = min(cold, load) - 1.0, max(cold, load) + 2000.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if others(middle)[2] < 0.0 else (low, middle)
    face = 0.5 * (low + high)
    shell, element4, _ = others(face)
    element = float(element4**0.25)
    power = SIGMA * (2.2 * (element4 - load**4) + 1.8 * (element4 - face**4)) / 1e3
    return {
        "element": element, "load": load, "face": face, "shell": shell, "power": power, "belt": rate,
        "thermocouple": load,
    }  # fmt: skip


MODEL = HeatTreatmentFurnace()
