"""Plants against analytic answers, published numbers, a stiff solver and their own balances."""

import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from ext import SingleBlock, kinds
from plant_models import PLANTS, CompiledPlant, Context, PlantError, plant_named
from plant_models.heat_treatment_furnace import steady_state

SITE = Path(__file__).parents[2] / "configs" / "heat_treatment"
BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2018, 3, 5, tzinfo=BERLIN).timestamp()
CONTEXT = Context(START, 14, 7, "Europe/Berlin", SITE, 28 * 86_400.0, plant="it")
GOOD = 0x80
SIGMA = 5.670374419e-8


def quiet(kind: str, **changes: float) -> SingleBlock:
    """A block of the kind without noise, with the parameters changed."""
    given_ = {"noise": 0.0, "noise_backup": 0.0, "resolution": 0.0, **changes}
    return SingleBlock(kind, [given_.get(name, default) for name, default in kinds()[kind].params])


def good(*values: float) -> list[tuple[float, int]]:
    return [(v, GOOD) for v in values]


def words(block: SingleBlock) -> dict[str, float]:
    return block.program.block_state("block")


def hot_furnace(temp: float = 870.0, rate: float = 1.08) -> tuple[SingleBlock, float]:
    block = quiet("heat_treatment_furnace")
    state = steady_state(temp, rate)
    block.program.set_state("block", {**state, "line": 3.0 if rate else 2.0, "started": 1.0})
    return block, state["power"]


def furnace_twin(t: float, x: np.ndarray, power: float, belt: float) -> list[float]:
    del t
    te, tl, t1, t2 = x
    cold = 293.15
    el, ew = SIGMA * 2.2 * (te**4 - tl**4), SIGMA * 1.8 * (te**4 - t1**4)
    wl, through = SIGMA * 4.0 * (t1**4 - tl**4), 38.0 * (t1 - t2)
    product = belt / 3.6 * 620.0 * (tl - cold)
    return [
        (power * 1e3 - el - ew) / 60e3,
        (el + wl - product) / 2.79e6,
        (ew - wl - through) / 4.5e6,
        (through - 260.0 * (t2 - cold)) / 6e6,
    ]


class TestFurnace:
    @pytest.mark.parametrize(("temp", "rate", "power"), [(870, 1.08, 187.4), (870, 0, 27.9), (820, 0, 26.2)])
    def test_power_at_rest(self, temp, rate, power):
        assert steady_state(temp, rate)["power"] == pytest.approx(power, rel=5e-3)

    @pytest.mark.parametrize("rate", [0.0, 0.55, 1.1])
    def test_stays_at_its_operating_point(self, rate):
        block, power = hot_furnace(870.0, rate)
        for _ in range(36):
            (
                temp,
                *_,
            ) = block.step([*good(power, rate, 1.0 if rate else 0.0), (0.0, 0), (0.0, 0)], 1000.0)
        assert temp[0] == pytest.approx(870.0, abs=1e-6)

    def test_time_constants(self):
        block, power = hot_furnace()
        names = ("element", "load", "face", "shell")
        rest = words(block) | {"power_cmd": power, "belt_cmd": 1.08, "line_run_cmd": 1.0}
        dt = 10.0

        def advance(name, change):
            block.program.set_state("block", {**rest, name: rest[name] + change})
            block.step([*good(power, 1.08, 1.0), (0.0, 0), (0.0, 0)], dt)
            after = words(block)
            return np.array([after[n] for n in names])

        jacobian = np.array([(advance(n, 0.1) - advance(n, -0.1)) / 0.2 for n in names]).T
        taus = np.sort(-dt / np.log(np.linalg.eigvals(jacobian).real))
        assert taus == pytest.approx([32.0, 947.0, 5.4 * 3600, 9.5 * 3600], rel=1e-2)
        assert taus[1] == pytest.approx(947.0, rel=5e-3)

    def test_equals_a_stiff_solver(self):
        block, power = hot_furnace()
        rest = words(block)
        x0 = np.array([rest[n] for n in ("element", "load", "face", "shell")])
        block.program.set_state("block", {"power": power + 20.0})
        for _ in range(600):
            block.step([*good(power + 20.0, 1.08, 1.0), (0.0, 0), (0.0, 0)], 60.0)
        after = words(block)
        solved = solve_ivp(
            furnace_twin, (0, 36_000.0), x0, method="Radau", rtol=1e-10, atol=1e-8, args=(power + 20.0, 1.08)
        )
        mine = np.array([after[n] for n in ("element", "load", "face", "shell")])
        assert np.abs(mine - solved.y[:, -1]).max() <= 1e-4 * np.abs(solved.y[:, -1] - x0).max()

    def test_energy_closes(self):
        block, power = hot_furnace()
        first = words(block)
        for k in range(2000):
            block.step([*good(power * (1.5 if k % 40 < 20 else 0.3), 0.9, 1.0), (0.0, 0), (0.0, 0)], 5.0)
        last = words(block)
        capacity = {"element": 60e3, "load": 2.79e6, "face": 4.5e6, "shell": 6e6}
        stored = sum(c * (last[n] - first[n]) for n, c in capacity.items()) / 3.6e6
        flow = last["energy_in"] - last["energy_wall"] - last["energy_product"]
        assert last["energy_product"] > 100.0
        assert stored == pytest.approx(flow, abs=1e-6 * last["energy_in"])

    def test_line_states(self):
        block = quiet("heat_treatment_furnace")
        idle = [(0.0, 0), (0.0, 0)]

        def line(temp, power, run):
            block.program.set_state("block", {"thermocouple": temp + 273.15, "load": temp + 273.15})
            return int(block.step([*good(power, 0.8, run), *idle], 0.1)[5][0])

        block.step([*good(0, 0, 0), *idle], 0.1)
        seen = [line(20, 0, 0), line(400, 200, 0), line(842, 200, 1), line(844, 200, 1), line(846, 200, 1)]
        assert seen == [0, 1, 2, 2, 3]
        assert [line(841, 200, 1), line(839, 200, 1), line(841, 200, 1)] == [3, 1, 2]  # 5 K of hysteresis
        assert [line(860, 200, 1), line(860, 200, 0), line(834, 50, 0)] == [3, 2, 1]
        assert [line(951, 300, 1), line(899, 300, 1), line(899, 0, 0)] == [4, 4, 0]  # trip latches until run is off

    def test_belt_needs_a_running_line(self):
        block, power = hot_furnace(820.0, 0.0)
        row = block.step([*good(power, 0.9, 0.0), (0.0, 0), (0.0, 0)], 60.0)
        assert row[4][0] == 0.0
        block, power = hot_furnace(870.0, 0.0)
        block.step([*good(power, 0.9, 1.0), (0.0, 0), (0.0, 0)], 1.0)
        row = block.step([*good(power, 0.9, 1.0), (0.0, 0), (0.0, 0)], 10.0)
        assert 0.1 < row[4][0] <= 0.02 * 11.0 + 1e-9  # the ramp of the belt
        assert block.step([*good(power, 0.9, 1.0), (0.0, 0), (0.0, 0)], 120.0)[4][0] == pytest.approx(0.9, abs=1e-6)

    def test_open_door_cuts_the_power(self):
        block, power = hot_furnace()
        row = block.step([*good(power, 1.08, 1.0, 1.0), (0.0, 0)], 30.0)
        assert row[6][0] == 0.0
        assert row[3][0] < 1e-3
        assert words(block)["load"] < 1143.0

    def test_unusable_command_leaves_the_last_one(self):
        block, power = hot_furnace()
        block.step([*good(power, 1.08, 1.0), (0.0, 0), (0.0, 0)], 1.0)
        row = block.step([(math.nan, GOOD), (0.0, 0x14), (0.0, 0x04), (0.0, 0), (0.0, 0)], 60.0)
        assert row[3][0] == pytest.approx(power)
        assert row[4][0] == pytest.approx(1.08)

    def test_noise_and_resolution(self):
        block, power = CompiledPlant(PLANTS["heat_treatment_furnace"], {"start": {"temp": 870.0}}, CONTEXT), 27.877
        temps = np.array([list(block.step({"power_cmd": power}, 1.0).values())[:2] for _ in range(4000)])
        assert temps.std(axis=0) == pytest.approx([0.3, 0.5], rel=0.05)
        assert temps.mean(axis=0) == pytest.approx([870.0, 870.0], abs=0.03)
        assert np.abs(temps * 10 - np.rint(temps * 10)).max() < 1e-9
        assert abs(np.corrcoef(temps.T)[0, 1]) < 0.05

    @pytest.mark.parametrize(
        ("start", "word"),
        [
            ({"temp": 870, "line": "burning"}, "burning"),
            ({"rate": 0.8}, "temp"),
            ({"temp": 870, "rate": 0.8, "line": "ready"}, "running"),
            ({"temp": 870, "rate": 3.0}, "kW"),
            ({"temp": "870 K"}, "degC"),
        ],
    )
    def test_wrong_start_is_told(self, start, word):
        with pytest.raises(PlantError, match=word):
            CompiledPlant(PLANTS["heat_treatment_furnace"], {"start": start}, CONTEXT)


def air_twin(t: float, x: np.ndarray, speed: float, fixed: float, demand: float) -> list[float]:
    del t
    p, pn, n = x
    d = p - pn
    q12 = 54.0 * (math.sqrt(abs(d) + 1e-4) - 0.01) * (1.0 if d >= 0 else -1.0)
    supply = (16.0 * n + fixed) * min(1.0, max(0.0, (9.5 - p) / 0.2))
    used = demand * min(1.0, (pn - 1.0) / 4.0)
    return [(supply - q12) / 360.0, (q12 - 0.35 * pn - used) / 240.0, (speed - n) / 2.0]


class TestAir:
    def test_equals_a_stiff_solver(self):
        block = quiet("compressed_air")
        block.program.set_state("block", {"receiver": 7.4, "net": 7.3, "speed": 0.6, "started": 1.0, "c2_phase": 2.0})
        for _ in range(1717):
            block.step(good(62.0, 1.0, 0.0, 16.0), 10.0)
        after = words(block)
        solved = solve_ivp(
            air_twin, (0, 17_170.0), [7.4, 7.3, 0.6], method="Radau", rtol=1e-10, atol=1e-10, args=(0.62, 10.4, 16.0)
        )
        mine = np.array([after[n] for n in ("receiver", "net", "speed")])
        assert np.abs(mine - solved.y[:, -1]).max() <= 1e-4 * np.abs(solved.y[:2, -1] - [7.4, 7.3]).max()

    def test_time_constants(self):
        block = quiet("compressed_air")
        rest = {"receiver": 8.0, "net": 7.9, "speed": 0.95, "started": 1.0}
        names, dt = ("receiver", "net", "speed"), 0.1

        def advance(name, change):
            block.program.set_state("block", {**rest, name: rest[name] + change})
            block.step(good(95.0, 0.0, 0.0, 12.5), dt)
            return np.array([words(block)[n] for n in names])

        jacobian = np.array([(advance(n, 1e-5) - advance(n, -1e-5)) / 2e-5 for n in names]).T
        taus = np.sort(-dt / np.log(np.linalg.eigvals(jacobian).real))
        assert 1.5 <= taus[0] <= 2.0
        assert taus[1] == pytest.approx(2.0, rel=5e-3)
        assert taus[2] == pytest.approx(1717.0, rel=5e-3)

    def test_air_closes(self):
        block = quiet("compressed_air")
        rng = np.random.default_rng(1)
        block.step(good(50, 0, 0, 10), 0.1)
        first = words(block)
        for _ in range(3000):
            block.step(good(*rng.uniform([0, 0, 0, 0], [100, 1, 1, 30])), 1.0)
        last = words(block)
        stored = 6.0 * (last["receiver"] - first["receiver"]) + 4.0 * (last["net"] - first["net"])
        flow = last["air_in"] - first["air_in"] - last["air_out"] + first["air_out"]
        assert stored == pytest.approx(flow, abs=1e-6 * last["air_in"])

    def test_fixed_compressor(self):
        block = quiet("compressed_air")
        block.program.set_state("block", {"c2_starts": 6.0, "receiver": 8.0, "net": 8.0, "started": 1.0})

        def run(load, seconds):
            for _ in range(seconds):
                row = block.step(good(0.0, load, 0.0, 0.0), 1.0)
            return row[3][0], row[5][0]

        assert run(0, 5) == (0.0, 0.0)
        assert run(1, 2) == (0.0, pytest.approx(117.0))  # star-delta, not on load yet
        running, power = run(1, 20)
        assert (running, power) == (1.0, pytest.approx(65.0, rel=0.05))
        assert run(0, 21)[1] == pytest.approx((65 + 16) / 2, rel=0.05)  # blow-down
        assert run(0, 30) == (0.0, 16.0)
        assert run(0, 130) == (0.0, 0.0)

    def test_starts_an_hour(self):
        block = quiet("compressed_air", idle_stop=1.0, blow_down=1.0)
        block.step(good(0, 0, 0, 0), 1.0)
        starts, last = 0, 0.0
        for k in range(3600):
            running = block.step(good(0.0, float(k % 30 < 15), 0.0, 30.0), 1.0)[3][0]
            starts += running > last
            last = running
        assert 6 <= starts <= 12  # a full bucket, and 6 an hour

    def test_power_of_the_speed_drive(self):
        block = quiet("compressed_air")
        block.program.set_state(
            "block", {"receiver": 8.0, "net": 7.5, "speed": 1.0, "c1_speed_cmd": 100.0, "started": 1.0}
        )
        assert block.step(good(100, 0, 0, 16), 1e-6)[2][0] == pytest.approx(90.0)


class TestBattery:
    def test_round_trip(self):
        block = quiet("battery_pv_grid", standby=0.0)
        loads = [(0.0, 0)] * 10
        for power, seconds in ((-100.0, 1800), (0.0, 5)):
            for _ in range(seconds):
                block.step([(power, GOOD), *loads], 1.0)
        charged = words(block)["charged"]
        while words(block)["energy"] > 200.0 + 1e-9:
            left = (words(block)["energy"] - 200.0) * 0.95 * 3600.0
            block.step([(min(100.0, left), GOOD), *loads], 1.0)
            if left < 1e-6:
                break
        for _ in range(20):
            block.step([(0.0, GOOD), *loads], 1.0)
        state = words(block)
        rest = (state["energy"] - 200.0) * 0.95
        assert (state["discharged"] + rest) / charged == pytest.approx(0.9025, rel=1e-9)

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.tuples(st.floats(-300, 300), st.floats(0.05, 600.0)), min_size=1, max_size=30))
    def test_energy_closes(self, steps):
        block = quiet("battery_pv_grid")
        last = 0.0
        for power, dt in steps:
            row = block.step([(power, GOOD), (40.0, GOOD), (90.0, GOOD)] + [(0.0, 0)] * 8, dt)
            assert row[1][0] >= last
            assert 0.0 <= row[4][0] <= 100.0
            last = row[1][0]
        s = words(block)
        total = sum(dt for _, dt in steps) / 3600.0
        stored = s["energy"] - 200.0
        assert stored == pytest.approx(
            0.95 * s["charged"] - s["discharged"] / 0.95 - s["standby_used"], abs=1e-6 * (1 + s["charged"])
        )
        net = (40.0 - 90.0) * total + s["charged"] - s["discharged"]
        assert s["imported"] - s["exported"] == pytest.approx(net, abs=1e-6 * (1 + abs(net) + s["imported"]))

    def test_lag_is_exact(self):
        one, many = quiet("battery_pv_grid"), quiet("battery_pv_grid")
        for block, n in ((one, 1), (many, 100)):
            block.step([(50.0, GOOD)] + [(0.0, 0)] * 10, 1.0)
            for _ in range(n):
                block.step([(-80.0, GOOD)] + [(0.0, 0)] * 10, 0.5 / n)
        for key in ("charged", "discharged", "power", "energy"):
            assert words(one)[key] == pytest.approx(words(many)[key], rel=1e-9)
        assert words(one)["power"] == pytest.approx(-80.0 + 130.0 * math.exp(-5.0), rel=1e-3)

    def test_limits_of_charge(self):
        block = quiet("battery_pv_grid")
        for power, soc in ((-200.0, 98.0), (200.0, 2.0)):
            for _ in range(400):
                row = block.step([(power, GOOD)] + [(0.0, 0)] * 10, 60.0)
            assert row[4][0] == pytest.approx(soc, abs=0.3)
            assert abs(row[5][0]) < 5.0

    def test_window(self):
        block = quiet("battery_pv_grid")
        row = block.step([(0.0, GOOD)] + [(0.0, 0)] * 10, 1.0, utc=START + 898.0)
        assert row[2][0] == 1.0
        assert block.step([(0.0, GOOD)] + [(0.0, 0)] * 10, 1.0, utc=START + 899.0)[2][0] == 900.0

    def test_signs(self):
        block = quiet("battery_pv_grid")
        for _ in range(3):
            row = block.step([(50.0, GOOD), (100.0, GOOD), (30.0, GOOD), (80.0, GOOD)] + [(0.0, 0)] * 7, 1.0)
        assert row[5][0] == pytest.approx(50.0)
        assert row[0][0] == pytest.approx(100.0 + 80.0 - 30.0 - 50.0)


class TestOrders:
    @settings(max_examples=50, deadline=None)
    @given(
        st.floats(0, 50),
        st.lists(st.tuples(st.floats(1, 3600), st.floats(0.01, 20)), max_size=8),
        st.lists(st.tuples(st.floats(0, 2), st.floats(1, 900)), min_size=1, max_size=40),
    )
    def test_conservation(self, opening, raw, steps):
        pairs, due = [], 0.0
        for gap, quantity in raw:
            due += gap
            pairs += [due, quantity]
        block = SingleBlock("order_book", [opening, 604_800.0, *pairs])
        utc = made = shipped = late = 0.0
        for rate, dt in steps:
            row = [v for v, _ in block.step(good(rate), dt, utc=utc)]
            utc += dt
            made += rate * dt / 3600.0
            demanded = sum(q for d, q in zip(pairs[::2], pairs[1::2], strict=True) if d <= utc)
            assert row[0] + row[3] == pytest.approx(opening + made, rel=1e-9, abs=1e-9)
            assert row[2] + row[3] == pytest.approx(demanded, rel=1e-9, abs=1e-9)
            assert row[0] >= 0.0
            assert row[2] >= 0.0
            assert row[0] == pytest.approx(0.0, abs=1e-9) or row[2] == 0.0  # never stock and backlog at once
            assert row[3] >= shipped
            assert row[4] >= late
            shipped, late = row[3], row[4]

    def test_lateness(self):
        block = SingleBlock("order_book", [2.0, 86_400.0, 3600.0, 5.0])
        for k in range(3 * 3600):
            row = block.step(good(1.0), 1.0, utc=float(k))
        # 3 t in stock when 5 t are due; the missing 2 t are made in 2 h: a triangle of 2 t h
        assert row[4][0] == pytest.approx(2.0, rel=1e-3)
        assert row[3][0] == pytest.approx(5.0, rel=1e-6)

    def test_generator(self):
        model = plant_named("order_book")
        book = model.orders({}, replace(CONTEXT, days=300))
        local = [datetime.fromtimestamp(o.due, BERLIN) for o in book]
        assert {t.hour for t in local} <= {10, 12, 14, 18}
        assert max(t.weekday() for t in local) == 4
        days = len({t.date() for t in local})
        assert sum(o.quantity for o in book) / days == pytest.approx(18.0, rel=0.05)
        assert [o.due for o in book] == sorted(o.due for o in book)
        assert all(86_400.0 <= o.due - o.announced <= 6 * 86_400.0 for o in book)
        later = model.orders({}, replace(CONTEXT, start_utc=START + 5 * 86_400.0))
        assert later[0] in book  # a day's orders do not depend on the start of the run

    def test_feeds(self):
        model = plant_named("order_book")
        feeds = model.feeds({}, CONTEXT)
        rows = feeds["/orders/open"](START, {"shipped": 0.0})["data"]
        book = model.orders({}, CONTEXT)
        assert rows
        assert len(rows) == sum(o.announced <= START for o in book)
        first = book[0]
        part = feeds["/orders/open"](START, {"shipped": first.quantity + 1.0})["data"]
        assert first.no not in [r["no"] for r in part]
        assert part[0]["qty_t"] == pytest.approx(book[1].quantity - 1.0, abs=1e-3)
        assert datetime.fromisoformat(rows[0]["due_at"]).timestamp() == first.due
        sales = feeds["/sales/forecast"](START + 50_000.0, {})["data"]
        assert [datetime.fromisoformat(r["start"]).hour for r in sales] == [0] * 14
        assert sales[5]["tonnes_per_day"] == 0.0  # a Saturday
        assert feeds["/stock/finished"](START, {"stock": 7.25}) == {"t": 7.25, "time": "2018-03-05T00:00:00+01:00"}


@pytest.mark.parametrize("name", ["heat_treatment_furnace", "compressed_air", "battery_pv_grid", "order_book"])
def test_random_inputs_stay_physical(name):
    limits = {
        "temp": (0, 1300), "temp_backup": (0, 1300), "shell_temp": (0, 500), "power": (0, 420), "belt_rate": (0, 1.5),
        "line_state": (0, 4), "door_closed": (0, 1), "net_pressure": (-1.1, 9), "air_flow": (-150, 150),
        "c1_power": (0, 110), "c2_running": (0, 1), "c3_running": (0, 1), "grid_power": (-1e5, 1e5),
        "grid_energy": (0, 1e9), "window_left": (0, 900), "pv_power": (0, 150), "bat_soc": (0, 100),
        "bat_power": (-200, 200), "stock": (0, 1e7), "sales_rate": (0, 1e4), "late": (0, 1e6), "shipped": (0, 1e7),
        "late_th": (0, 1e9),
    }  # fmt: skip
    plant = CompiledPlant(PLANTS[name], {"pv": 150.0} if name == "battery_pv_grid" else {}, CONTEXT)
    rng = np.random.default_rng(5)
    spec = kinds()[PLANTS[name].kind]
    wild = np.array([math.nan, math.inf, -math.inf])
    for _ in range(4000):
        usual = rng.uniform(-50, 400, len(spec.inputs))
        pick = np.where(rng.random(len(usual)) < 0.1, rng.choice(wild, len(usual)), usual)
        pins = [(float(v), int(rng.choice([GOOD, GOOD, 0x40, 0x14, 0x00]))) for v in pick]
        dt = float(rng.choice([0.01, 0.1, 1.0, 7.3]))
        row = plant.block.step(pins, dt, utc=plant.utc)
        plant.utc += dt
        for (value, status), out in zip(row, plant.outputs, strict=True):
            assert limits[out][0] <= value <= limits[out][1], out
            assert status == GOOD
    assert plant.block.program.not_finite == 0
