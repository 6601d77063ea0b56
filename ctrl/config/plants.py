"""What the built-in plant models have: pins with units and option keys. Checking a site needs no compiled plant."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PlantFace:
    """Pins and options of one model.

    inputs, outputs  pin -> unit; "bool" for on/off, "1" for states
    keys             option keys of the site file that the model knows; `files` are those that name a data file
    required         of these, the ones it cannot do without
    options          further options under params:, with their units
    start            keys of `start:`, with their units
    """

    serves: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    keys: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    start: dict[str, str] = field(default_factory=dict)


PLANTS: dict[str, PlantFace] = {
    "heat_treatment_furnace": PlantFace(
        serves="device",
        inputs={"power_cmd": "kW", "belt_cmd": "t/h", "line_run_cmd": "bool", "door_open": "bool", "ambient": "degC"},
        outputs={
            "temp": "degC",
            "temp_backup": "degC",
            "shell_temp": "degC",
            "power": "kW",
            "belt_rate": "t/h",
            "line_state": "1",
            "door_closed": "bool",
        },
        options={"ambient": "degC", "power_max": "kW", "wall_conductance": "W/K", "drift": "K", "noise": "K"},
        start={"temp": "degC", "line": "word", "rate": "t/h"},
    ),
    "compressed_air": PlantFace(
        serves="device",
        inputs={"c1_speed_cmd": "%", "c2_load_cmd": "bool", "c3_load_cmd": "bool", "demand": "m3/min"},
        outputs={
            "net_pressure": "bar_g",
            "air_flow": "m3/min",
            "c1_power": "kW",
            "c2_running": "bool",
            "c3_running": "bool",
            "power": "kW",
        },
        keys=("demand",),
        files=("demand",),
        options={"leak": "m3/min/bar", "noise": "bar"},
        start={"net_pressure": "bar_g", "c1_speed": "%"},
    ),
    "battery_pv_grid": PlantFace(
        serves="device",
        inputs={
            "bat_cmd": "kW",
            "base_load": "kW",
            "pv_available": "kW",
            **{f"load_{number}": "kW" for number in range(1, 9)},
        },
        outputs={
            "grid_power": "kW",
            "grid_energy": "kWh",
            "window_left": "s",
            "pv_power": "kW",
            "bat_soc": "%",
            "bat_power": "kW",
        },
        keys=("battery", "pv", "base_load"),
        files=("base_load",),
        options={"battery_power": "kW", "efficiency": "%", "standby": "kW", "window": "s"},
        start={"soc": "%"},
    ),
    "order_book": PlantFace(
        serves="source",
        inputs={"produced": "t/h"},
        outputs={"stock": "t", "sales_rate": "t/d", "late": "t", "shipped": "t", "late_th": "t*h"},
        keys=("opening_stock",),
        options={"workday": "t"},
    ),
    "market_data": PlantFace(
        serves="source",
        inputs={"day_ahead": "EUR/MWh", "co2": "g/kWh"},
        outputs={"price": "EUR/MWh", "co2_intensity": "g/kWh"},
        keys=("day_ahead", "co2"),
        files=("day_ahead", "co2"),
        required=("day_ahead",),
    ),
    "weather_data": PlantFace(
        serves="source",
        inputs={"irradiance": "W/m2", "ambient": "degC"},
        outputs={"irradiance_now": "W/m2", "ambient_now": "degC"},
        keys=("pv_of",),
        required=("pv_of",),
        options={"path": "word"},
    ),
}
# every option key of SimPlant that belongs to some model
OPTION_KEYS = ("demand", "battery", "pv", "base_load", "opening_stock", "day_ahead", "co2", "pv_of")
