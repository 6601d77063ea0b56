"""The world of a site: wiring, order, start, repeatability and what it serves."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ctrl.loops.builder import Builder
from ctrl.simulation import Connection, PlantSpec, World, add_plants
from ext import Image, Program, ProgramError
from plant_models import PLANTS, CompiledPlant, Context, PlantError

SITE = Path(__file__).parents[2] / "configs" / "heat_treatment"
START = datetime(2018, 3, 5, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
CONTEXT = Context(START, 2, 7, "Europe/Berlin", SITE, 28 * 86_400.0)
RUNNING = {"start": {"temp": "870 degC", "line": "running", "rate": "0.8 t/h"}}
SPECS = (
    PlantSpec("furnace", "heat_treatment_furnace", RUNNING),
    PlantSpec("air", "compressed_air", {"demand": "data/press_shop.csv"}),
    PlantSpec("energy", "battery_pv_grid", {"battery": "400 kWh", "pv": "150 kWp", "base_load": "data/base_load.csv"}),
    PlantSpec("orders", "order_book", {"opening_stock": "20 t"}),
    PlantSpec("prices", "market_data", {"day_ahead": "data/day_ahead.csv", "co2": "data/co2.csv"}),
    PlantSpec("sky", "weather_data", {"pv_of": "energy"}),
)
CONNECTIONS = (
    Connection("furnace.power", "energy.load_1"),
    Connection("air.power", "energy.load_2"),
    Connection("furnace.belt_rate", "orders.produced"),
)


@pytest.fixture(scope="module")
def built() -> tuple[World, bytes]:
    world = World(SPECS, CONNECTIONS, CONTEXT)
    return world, world.state()


@pytest.fixture
def world(built: tuple[World, bytes]) -> World:
    built[0].restore(built[1])
    return built[0]


def run(world: World, n: int, dt: float = 1.0, start: float = START) -> list[dict[str, float]]:
    rows = []
    for k in range(n):
        world.step(dt, int(k * dt * 1e9), start + k * dt, (k * dt) % 86_400.0)
        rows.append({f"{p.name}.{pin}": x for p in SPECS for pin, x in world.outputs(p.name).items()})
    return rows


def test_starts_hot_and_running():
    world = World(SPECS, CONNECTIONS, CONTEXT)
    first = world.outputs("furnace")
    assert first["temp"] == pytest.approx(870.0, abs=1.5)
    assert (first["line_state"], first["belt_rate"], first["door_closed"]) == (3.0, 0.8, 1.0)
    assert world.output("orders.stock") == pytest.approx(20.0, abs=1e-6)
    assert world.output("prices.price") == 24.74
    last = run(world, 3600)[-1]
    assert last["furnace.temp"] == pytest.approx(870.0, abs=1.5)
    assert last["orders.stock"] == pytest.approx(20.8, abs=1e-3)


def test_powers_add_up_at_the_meter(world):
    world.set_input("energy.bat_cmd", 40.0)
    run(world, 30, dt=60.0, start=START + 43_200.0)
    e, f, a = (world.outputs(p) for p in ("energy", "furnace", "air"))
    loads = world.data("energy.base_load") + f["power"] + a["power"]
    assert e["pv_power"] > 1.0
    assert e["bat_power"] == pytest.approx(40.0)
    assert e["grid_power"] == pytest.approx(loads - e["pv_power"] - e["bat_power"], abs=1e-9)


def test_order_of_plants_does_not_matter_where_they_depend():
    forward, backward = World(SPECS, CONNECTIONS, CONTEXT), World(SPECS[::-1], CONNECTIONS, CONTEXT)
    assert run(forward, 200) == run(backward, 200)


def test_same_seed_same_bits_and_restore_replays(world):
    start = world.state()
    first = run(world, 300)
    world.restore(start)
    assert run(world, 300) == first
    assert run(World(SPECS, CONNECTIONS, CONTEXT), 300) == first
    other = run(World(SPECS, CONNECTIONS, replace(CONTEXT, seed=8)), 300)
    assert [r["furnace.temp"] for r in other] != [r["furnace.temp"] for r in first]


def test_another_plant_does_not_change_the_noise():
    alone = World(SPECS[:1], (), CONTEXT)
    together = World(SPECS, CONNECTIONS, CONTEXT)
    for k in range(100):
        for w in (alone, together):
            w.step(1.0, 0, START + k, float(k))
        assert alone.outputs("furnace") == together.outputs("furnace")


def test_equals_the_plant_alone():
    world = World(SPECS[:1], (), CONTEXT)
    plant = CompiledPlant(PLANTS["heat_treatment_furnace"], RUNNING, replace(CONTEXT, plant="furnace"))
    rng = np.random.default_rng(0)
    for k in range(200):
        power = float(rng.uniform(0, 320))
        world.set_input("furnace.power_cmd", power)
        world.step(1.0, 0, START + k, float(k))
        assert plant.step({"power_cmd": power}, 1.0) == world.outputs("furnace")


def test_connected_pins_share_a_slot():
    builder = Builder()
    wiring = add_plants(builder, SPECS, CONNECTIONS, CONTEXT, task=builder.task("plants"))
    assert "energy.load_1" not in builder.tags
    assert "energy.load_1" not in wiring.inputs
    assert "energy.load_3" in wiring.inputs
    assert set(wiring.driven) == {
        "air.demand", "energy.base_load", "energy.pv_available", "prices.day_ahead", "prices.co2", "sky.irradiance",
        "sky.ambient",
    }  # fmt: skip


def test_plants_join_a_program_with_loops():
    builder = Builder()
    task = builder.task("all")
    builder.tag("plc.power_cmd", "kW", 100.0)
    tags = {"furnace.power_cmd": "plc.power_cmd", "furnace.temp": "plc.temp"}
    wiring = add_plants(builder, SPECS[:1], (), CONTEXT, task=task, tags=tags)
    program = Program(builder.to_bytes(), Image(len(builder.tags)))
    wiring.start(program)
    slot = builder.tags["plc.power_cmd"].slot
    program.image.post(slot, 146.0, 0x80, 0)
    program.image.latch(0)
    program.run(0, 1.0, 0, START, 0.0, 1)
    assert program.image.value(builder.tags["plc.temp"].slot) == pytest.approx(870.0, abs=1.5)
    assert wiring.outputs["furnace.temp"] == "plc.temp"


def test_inputs(world):
    world.set_input("furnace.line_run_cmd", 0.0)
    run(world, 60)
    assert world.output("furnace.line_state") == 2.0
    assert world.output("furnace.belt_rate") < 0.1
    for name in ("energy.load_1", "energy.base_load", "furnace.temp", "furnace.none"):
        with pytest.raises(KeyError):
            world.set_input(name, 1.0)
    assert world.units("air")[0]["demand"] == "m3/min"


def test_history_reaches_back(world):
    for name in ("energy.base_load", "energy.pv_available", "prices.day_ahead"):
        series = world.history(name)
        assert series.t0_utc <= START - 28 * 86_400.0
        assert series.end_utc >= CONTEXT.end_utc + 86_400.0


def test_feeds_follow_the_plants(world):
    feeds = world.feeds()
    assert {p: list(f) for p, f in feeds.items() if f} == {
        "orders": ["/orders/open", "/sales/forecast", "/stock/finished"],
        "prices": ["/DE-LU", "/co2"],
        "sky": ["/plant2"],
    }
    before = feeds["orders"]["/stock/finished"](START)["t"]
    open_before = feeds["orders"]["/orders/open"](START)["data"]
    due = datetime.fromisoformat(open_before[0]["due_at"]).timestamp()
    run(world, int((due - START) / 60.0) + 1, dt=60.0)
    after = feeds["orders"]["/stock/finished"](due)["t"]
    assert after == pytest.approx(before + 0.8 * (due - START + 60.0) / 3600.0 - open_before[0]["qty_t"], abs=0.01)
    assert feeds["orders"]["/orders/open"](due)["data"][0]["no"] != open_before[0]["no"]
    rows = feeds["sky"]["/plant2"](START + 8 * 3600.0)["data"]
    assert len(rows) == 48
    assert max(row["kw"] for row in rows) > 10.0


@pytest.mark.parametrize(
    ("specs", "connections", "word"),
    [
        ((*SPECS, SPECS[0]), (), "same name"),
        ((PlantSpec("x", "furnace", {}),), (), "unknown plant model"),
        ((PlantSpec("x", "order_book", {"stock": 1.0}),), (), "plant x.*opening_stock"),
        (SPECS, (Connection("furnace.heat", "energy.load_1"),), "no such output"),
        (SPECS, (Connection("furnace.power", "energy.load_9"),), "no such input"),
        (SPECS, (Connection("furnace.temp", "energy.load_1"),), "units differ"),
        (SPECS, (CONNECTIONS[0], Connection("air.power", "energy.load_1")), "connected twice"),
        (SPECS, (Connection("furnace.power", "energy.base_load"),), "driven by data"),
    ],
)
def test_wrong_wiring_is_told(specs, connections, word):
    with pytest.raises(PlantError, match=word):
        World(specs, connections, CONTEXT)


def test_a_forecast_needs_its_pv():
    world = World((PlantSpec("sky", "weather_data", {"pv_of": "roof"}),), (), CONTEXT)
    with pytest.raises(PlantError, match="pv_of"):
        world.feeds()


def test_a_circle_of_plants_is_refused():
    specs = (
        PlantSpec("a", "battery_pv_grid", {}),
        PlantSpec("b", "battery_pv_grid", {}),
    )
    circle = (Connection("a.grid_power", "b.load_1"), Connection("b.grid_power", "a.load_1"))
    with pytest.raises(ProgramError, match="cycle"):
        World(specs, circle, CONTEXT)
