"""Data behind the plants: noise, sky, market, series and files, and the library itself."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ctrl.units import parse_unit
from ext import SingleBlock, kinds
from plant_models import PLANTS, CompiledPlant, Context, Plant, PlantError, Series, plant_named, sky
from plant_models.base import read_series
from plant_models.draws import Draws, mix64, signal_seed

SITE = Path(__file__).parents[2] / "configs" / "heat_treatment"
BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2018, 3, 5, tzinfo=BERLIN).timestamp()
CONTEXT = Context(START, 14, 7, "Europe/Berlin", SITE, 28 * 86_400.0, plant="it")
GOOD = 0x80


class TestNoise:
    def test_published_sequence(self):
        # SplitMix64 with seed 1234567, as in the reference implementation of S. Vigna
        golden = 0x9E3779B97F4A7C15
        made = [mix64((1234567 + k * golden) & (2**64 - 1)) for k in (1, 2, 3)]
        assert made == [6457827717110365317, 3203168211198807973, 9817491932198370423]

    def test_compiled_noise_is_the_same_algorithm(self):
        seed, sigma = signal_seed(3, "air"), 0.01
        given = {"noise": sigma, "seed": float(seed)}
        block = SingleBlock("compressed_air", [given.get(n, x) for n, x in kinds()["compressed_air"].params])
        key = mix64(seed ^ mix64(1))
        for n in range(1, 50):
            pressure = block.step([(60.0, GOOD), (0.0, GOOD), (0.0, GOOD), (5.0, GOOD)], 1.0)[0][0]
            golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1
            u, v = (((mix64((key + (2 * n + k) * golden) & mask) >> 11) + 1) * 2.0**-53 for k in (1, 2))
            normal = math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)
            assert pressure - (block.program.block_state("block")["net"] - 1.0) == pytest.approx(
                sigma * normal, abs=1e-12
            )

    def test_statistics(self):
        x = np.array([Draws(1, "a").normal(n) for n in range(20_000)])
        assert x.mean() == pytest.approx(0.0, abs=0.03)
        assert x.std() == pytest.approx(1.0, abs=0.02)
        assert Draws(1, "a").normal(3) != Draws(1, "b").normal(3)
        assert Draws(1, "ab", "c").normal(3) != Draws(1, "a", "bc").normal(3)

    def test_same_seed_same_bits(self):
        plant = CompiledPlant(PLANTS["heat_treatment_furnace"], {"start": {"temp": 870.0}}, CONTEXT)

        def run(seed):
            rows = [plant.reset(seed)]
            rows += [plant.step({"power_cmd": 28.0}, 1.0) for _ in range(50)]
            return rows

        assert run(1) == run(1)
        assert run(1) != run(2)


class TestSky:
    def test_sun(self):
        noon = datetime(2018, 3, 20, 12, 7, 24, tzinfo=UTC).timestamp()  # the equation of time is -7.4 min
        assert sky.cos_zenith(noon, 50.0, 0.0) == pytest.approx(math.cos(math.radians(50.0)), abs=0.01)
        summer = max(sky.cos_zenith(datetime(2018, 6, 21, h, tzinfo=UTC).timestamp(), 23.44, 0.0) for h in range(24))
        assert summer == pytest.approx(1.0, abs=1e-3)
        assert sky.clear_sky(noon - 43_200.0, 50.0, 0.0) == 0.0
        assert sky.clear_sky(noon, 50.0, 0.0) == pytest.approx(1098 * 0.6428 * math.exp(-0.057 / 0.6428), rel=0.02)

    def test_year_of_pv(self):
        year = replace(CONTEXT, start_utc=datetime(2018, 1, 2, tzinfo=UTC).timestamp(), days=360, history_s=0.0)
        pv = sky.pv_series(year, 150.0)
        assert 750.0 < sum(pv.values) / 4.0 / 150.0 < 1100.0  # kWh per kWp, flat in central Germany
        assert min(pv.values) >= 0.0
        assert max(pv.values) <= 150.0

    def test_a_run_sees_the_same_sky_whatever_its_start(self):
        later = replace(CONTEXT, start_utc=START + 86_400.0)
        a, b = sky.pv_series(CONTEXT, 150.0), sky.pv_series(later, 150.0)
        assert b.value_at(START + 130_000.0) == a.value_at(START + 130_000.0)

    def test_forecast_error_grows(self):
        truth = sky.pv_series(CONTEXT, 150.0)
        errors: dict[bool, list[float]] = {True: [], False: []}
        for day in range(13):
            utc = START + day * 86_400.0 + 7 * 3600.0
            for start, kw in sky.pv_forecast(CONTEXT, 150.0, utc, 48):
                real = truth.mean(start, start + 3600.0)
                if real > 1.0:
                    errors[start - utc < 6 * 3600.0].append(kw - real)
        near, far = (float(np.sqrt(np.mean(np.square(errors[k])))) for k in (True, False))
        assert 2.0 < near < 15.0
        assert 1.2 * near < far < 45.0


class TestMarket:
    def test_publication(self):
        options = {"day_ahead": "data/day_ahead.csv", "co2": "data/co2.csv"}
        feeds = plant_named("market_data").feeds(options, CONTEXT)

        def hours(*clock):
            return feeds["/DE-LU"](datetime(2018, *clock, tzinfo=BERLIN).timestamp(), {})["data"]

        assert len(hours(3, 5, 12, 44)) == 24
        assert len(hours(3, 5, 12, 45)) == 48
        assert hours(3, 5, 0, 0)[0] == {"start": "2018-03-05T00:00:00+01:00", "eur_per_mwh": 24.74}
        assert len(hours(3, 25, 8)) == 23
        assert len(hours(10, 28, 8)) == 25
        assert len(hours(10, 27, 13)) == 49
        carbon = feeds["/co2"](START, {})["data"]
        assert len(carbon) == 48
        assert carbon[0]["g_per_kwh"] == 431.0  # now is known
        assert all(200.0 < row["g_per_kwh"] < 700.0 for row in carbon)

    def test_price_file(self):
        series = read_series(CONTEXT, "data/day_ahead.csv", hold=True, what="price")

        def at(month, day, hour, fold=0):
            return series.value_at(datetime(2018, month, day, hour, tzinfo=BERLIN, fold=fold).timestamp())

        assert len(series.values) == 8760
        assert sum(v < 0 for v in series.values) > 100
        assert [at(1, 1, h) for h in range(4)] == [-5.27, -29.99, -56.65, -63.14]
        assert (at(9, 30, 23), at(10, 1, 0), at(10, 1, 1)) == (60.87, 59.53, 56.1)  # one zone ends, the next begins
        assert (at(3, 25, 1), at(3, 25, 3)) == (38.01, 37.85)  # no 2 o'clock
        assert (at(10, 28, 2), at(10, 28, 2, fold=1), at(10, 28, 3)) == (41.62, 41.59, 40.12)  # twice 2 o'clock

    @pytest.mark.parametrize(
        ("name", "step", "low", "high"),
        [("base_load", 900, 40, 100), ("press_shop", 900, 5, 24), ("co2", 3600, 300, 550)],
    )
    def test_other_files(self, name, step, low, high):
        series = read_series(CONTEXT, f"data/{name}.csv", hold=True, what=name)
        assert series.step_s == step
        assert len(series.values) == 8760 * 3600 // step
        assert low <= min(series.values)
        assert max(series.values) <= high
        assert series.t0_utc == datetime(2018, 1, 1, tzinfo=BERLIN).timestamp()
        assert (SITE / "data" / f"{name}.csv").stat().st_size < 1_000_000


class TestSeries:
    def test_player_equals_series(self):
        rng = np.random.default_rng(2)
        for hold in (True, False):
            series = Series(1000.0, 60.0, tuple(rng.normal(size=20)), hold)
            block = SingleBlock("data_player", [1000.0, 60.0, float(hold), *series.values])
            for utc in (*rng.uniform(900.0, 2300.0, 200), 1000.0, 1060.0, 2140.0, 2199.0):
                value, status = block.step([], 1.0, utc=float(utc))[0]
                assert value == pytest.approx(series.value_at(float(utc)), abs=1e-12)
                inside = utc >= 1000.0 and (utc < 2200.0 if hold else utc <= 2140.0)
                assert status == (GOOD if inside else 0x44)

    def test_mean(self):
        series = Series(0.0, 900.0, (1.0, 2.0, 3.0, 4.0), hold=True)
        assert series.mean(0.0, 3600.0) == 2.5
        assert series.mean(900.0, 1800.0) == 2.0
        assert series.mean(9000.0, 9900.0) == 4.0

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("time,x\n2018-01-01T00:00Z,1\n2018-01-01T01:00Z,one\n", ":3"),
            ("time,x\n2018-01-01T00:00Z,1\n2018-01-01T01:00Z,2\n2018-01-01T03:00Z,2\n", ":4.*step"),
            ("time,x\n2018-01-01T00:00Z,1\n", "two samples"),
            ("time,x\n2018-01-01T00:00Z,1\n2018-01-01T01:00Z,nan\n", "finite"),
        ],
    )
    def test_wrong_files_are_told(self, tmp_path, text, word):
        (tmp_path / "x.csv").write_text(text)
        with pytest.raises(PlantError, match=word):
            read_series(replace(CONTEXT, data_dir=tmp_path), "x.csv", hold=True, what="x")

    def test_missing_file(self):
        with pytest.raises(PlantError, match="No such file"):
            read_series(CONTEXT, "data/none.csv", hold=True, what="x")


class TestModels:
    def test_library(self):
        assert list(PLANTS) == [
            "battery_pv_grid", "compressed_air", "heat_treatment_furnace", "market_data", "order_book", "weather_data",
        ]  # fmt: skip
        for name, model in PLANTS.items():
            spec = kinds()[model.kind]
            assert model.name == name
            assert tuple(model.inputs) == tuple(pin.rstrip("?") for pin in spec.inputs)
            assert tuple(model.outputs) == spec.outputs
            for unit in (*model.inputs.values(), *model.outputs.values()):
                assert unit == "bool" or parse_unit(unit)

    def test_protocol(self):
        plant = CompiledPlant(PLANTS["battery_pv_grid"], {"pv": "150 kWp", "battery": "400 kWh"}, CONTEXT)
        assert isinstance(plant, Plant)
        assert plant.step({"bat_cmd": 10.0}, 1.0)["bat_power"] == pytest.approx(10.0, abs=0.01)
        assert plant.step({}, 1.0)["bat_power"] == pytest.approx(10.0, abs=0.01)  # a missing input keeps its value
        with pytest.raises(KeyError, match="pv_available"):
            plant.step({"pv_available": 3.0}, 1.0)

    @pytest.mark.parametrize(
        ("name", "options", "word"),
        [
            ("battery_pv_grid", {"batery": 400.0}, "batery"),
            ("battery_pv_grid", {"battery": "400 kW"}, "kWh"),
            ("battery_pv_grid", {"battery": 0.0}, "more than 0"),
            ("battery_pv_grid", {"start": {"soc": 130.0}}, "100 %"),
            ("compressed_air", {"start": {"speed": 1}}, "c1_speed"),
            ("compressed_air", {"demand": 3.0}, "csv"),
            ("market_data", {"co2": "data/co2.csv"}, "day_ahead"),
            ("order_book", {"workday": -1.0}, "negative"),
        ],
    )
    def test_wrong_options_are_told(self, name, options, word):
        with pytest.raises(PlantError, match=word):
            CompiledPlant(plant_named(name), options, CONTEXT)

    def test_unknown_model(self):
        with pytest.raises(PlantError, match="order_book"):
            plant_named("orderbook")
