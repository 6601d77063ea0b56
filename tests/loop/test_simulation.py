"""Simulation of whole sites: what repeats, what the kernel wire keeps of the memory wire, what a run leaves behind."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ctrl
from ctrl.app.kernel_wire import KernelSimulation
from ctrl.app.simulate import Run, Simulation, SimulationError, simulate
from ctrl.config.loader import load
from ctrl.config.model import Site
from ctrl.records.history import BLOCK_ROWS, HistoryError, HistoryReader, HistoryWriter, TagMeta
from ext import SingleBlock

CONFIGS = Path(__file__).parents[2] / "configs"
MINUTES = 1.0 / 1440.0
TOLERANCE = 1e-9

POINT = re.compile(r"^ +\w+: +\{at: (ir|hr) (\d+), type: (\w+).*$", re.MULTILINE)


@pytest.fixture(scope="module")
def site() -> Site:
    return load(CONFIGS / "heat_treatment" / "site.yaml")


def pass_through(name: str, folder: Path, more: tuple[tuple[str, str], ...] = ()) -> Site:
    """A site whose registers hold every number as it is: f64 without scale, at addresses of their own."""
    source = CONFIGS / name / "site.yaml"
    taken = {"ir": 1000, "hr": 1000}

    def moved(match: re.Match[str]) -> str:
        line, table, kind = match[0], match[1], match[3]
        line = line.replace(f"at: {table} {match[2]},", f"at: {table} {taken[table]},")
        taken[table] += 4
        return line if "enum:" in line else re.sub(r"scale: [\d.]+, ", "", line.replace(f"type: {kind}", "type: f64"))

    text, n = POINT.subn(moved, source.read_text())
    assert n > 0
    for old, new in more:
        assert old in text
        text = text.replace(old, new)
    (folder / "site.yaml").write_text(text)
    if (source.parent / "data").exists():
        (folder / "data").symlink_to(source.parent / "data")
    return load(folder / "site.yaml")


def differing(one: Path, other: Path) -> list[str]:
    """Tags whose values differ by more than the tolerance, or whose statuses or times differ at all."""
    a, b = (HistoryReader(folder / "history.sqlite") for folder in (one, other))
    assert a.tags() == b.tags()
    found = []
    for tag in a.tags():
        (t1, v1, q1), (t2, v2, q2) = a.series(tag.name), b.series(tag.name)
        assert len(t1) > 0
        np.testing.assert_array_equal(t1, t2)
        worst = np.max(np.abs(v1 - v2) / (1.0 + np.abs(v1)))
        if not worst <= TOLERANCE or np.any(q1 != q2):
            found.append(f"{tag.name}: {worst:g}, {np.sum(q1 != q2)} statuses")
    a.close()
    b.close()
    return found


def alarms(run: Run) -> list[tuple[float, str, str]]:
    return [(e["utc"], e["source"], e["text"]) for e in run.events if e["event"] == "ALARM"]


# ----------------------------------------------------------------------------------------------------- repeatability
def test_the_same_seed_gives_the_same_records_and_another_seed_others(site, tmp_path):
    runs = [simulate(site, days=3 * MINUTES, seed=seed, record=tmp_path / str(i)) for i, seed in enumerate((7, 7, 8))]
    assert runs[0].digest == runs[1].digest
    assert runs[0].kpis == runs[1].kpis
    assert runs[2].digest != runs[0].digest
    assert runs[0].plans >= 1


def test_without_plans_the_loops_run_on_local_rules(site, tmp_path):
    planned = simulate(site, days=10 * MINUTES, record=tmp_path / "a")
    alone = simulate(site, days=10 * MINUTES, record=tmp_path / "b", plans=False)
    assert planned.plans >= 1
    assert alone.plans == 0
    assert planned.kpis["bat_dispatch_on_plan_h"] > 0.15
    assert alone.kpis["bat_dispatch_on_plan_h"] == 0.0
    assert alone.kpis["bat_dispatch_on_rules_h"] > 0.15


# -------------------------------------------------------------------------------------------------------- kernel wire
@pytest.mark.parametrize("plans", [False, True], ids=["local rules", "plans"])
def test_kernel_agrees_with_memory_where_registers_pass_numbers_through(tmp_path, plans):
    site = pass_through("heat_treatment", tmp_path)
    memory = simulate(site, days=40 * MINUTES, plans=plans, record=tmp_path / "memory")
    kernel = simulate(site, days=40 * MINUTES, plans=plans, record=tmp_path / "kernel", wire="kernel")
    assert differing(memory.record, kernel.record) == []
    assert (memory.cycles, memory.plans, memory.commits) == (kernel.cycles, kernel.plans, kernel.commits)
    assert alarms(memory) == alarms(kernel)
    assert kernel.kpis == pytest.approx(memory.kpis, rel=1e-9, abs=1e-9)


def test_kernel_raises_and_ends_alarms_in_the_cycle_of_the_memory_wire(tmp_path):
    hot = (("plc_oven.temp > 900 degC, for: 10 s, off_below: 890 degC", "plc_oven.temp > 845 degC, for: 10 s"),)
    site = pass_through("minimal", tmp_path, hot)
    memory = simulate(site, days=20 * MINUTES, record=tmp_path / "memory")
    kernel = simulate(site, days=20 * MINUTES, record=tmp_path / "kernel", wire="kernel")
    assert len(alarms(memory)) > 0
    assert alarms(memory) == alarms(kernel)
    assert differing(memory.record, kernel.record) == []


def test_kernel_converts_units_between_pin_and_point(tmp_path):
    more = (
        ("type: f64, unit: kW, valid", "type: f64, unit: MW, valid"),
        ("unit: kW, write: true", "unit: W, write: true"),
    )
    site = pass_through("minimal", tmp_path, more)
    memory = simulate(site, days=20 * MINUTES, record=tmp_path / "memory")
    kernel = simulate(site, days=20 * MINUTES, record=tmp_path / "kernel", wire="kernel")
    assert differing(memory.record, kernel.record) == []
    last = kernel.frame().iloc[-1]
    assert last["plc_oven.power_cmd"] > 1e4
    assert last["plc_oven.power"] == pytest.approx(1e-6 * last["plc_oven.power_cmd"], rel=0.2)


def test_kernel_records_the_cycles_that_are_asked_for(tmp_path):
    site = pass_through("minimal", tmp_path, (("{every: 1 s, keep: 30 d}", "{every: 7 s, keep: 30 d}"),))
    for wire in ("memory", "kernel"):
        simulate(site, days=5 * MINUTES, record=tmp_path / wire, wire=wire)
    assert differing(tmp_path / "memory", tmp_path / "kernel") == []
    reader = HistoryReader(tmp_path / "kernel" / "history.sqlite")
    utc, _, _ = reader.series("plc_oven.temp")
    reader.close()
    assert len(utc) == 43
    assert set(np.diff(utc)) == {7.0}


def test_kernel_chunks_do_not_reach_over_a_change_of_the_clock(tmp_path):
    # the last Sunday of March: 02:00 becomes 03:00
    site = pass_through("minimal", tmp_path, (("start: 2018-03-05T00:00", "start: 2018-03-25T01:50"),))
    for wire in ("memory", "kernel"):
        simulate(site, days=20 * MINUTES, record=tmp_path / wire, wire=wire)
    assert differing(tmp_path / "memory", tmp_path / "kernel") == []


def test_kernel_stops_at_every_date(site, tmp_path):
    simulation = KernelSimulation(site, tmp_path / "run", days=31 * MINUTES, plans=False)
    due, starts = [], []
    while simulation.k < simulation.n:
        starts.append(simulation.k)
        dates = [job.next_run_utc for job in simulation.schedule.jobs() if job.next_run_utc is not None]
        due.append(round(min(dates) - simulation.context.start_utc))
        simulation.chunk()
    simulation.close(0.0)
    assert starts[:3] == [0, 1, 10]
    assert set(due) <= set(starts)
    assert 300 in starts  # the period of the shortest poll
    assert len(starts) < 60


def test_rows_at_once_are_the_rows_one_by_one(tmp_path):
    tags = [TagMeta("a", "kW", "float"), TagMeta("b", "", "bool")]
    n = 2 * BLOCK_ROWS + 17
    utc, values = np.arange(n) + 0.5, np.random.default_rng(1).normal(size=(n, 2))
    statuses = np.tile(np.array([0x80, 0x44], np.uint8), (n, 1))
    one, many = (HistoryWriter(tmp_path / name, tags, {}) for name in ("one", "many"))
    for i in range(n):
        one.row(utc[i], values[i].tolist(), statuses[i].tobytes())
    for first, last in ((0, 3), (3, 3), (3, 700), (700, n)):
        many.rows_of(utc[first:last], values[first:last], statuses[first:last])
    with pytest.raises(ValueError, match="for 2 x 2"):
        many.rows_of(utc[:2], values[:3], statuses[:3])
    assert many.rows == n
    assert one.close() == many.close()


def test_a_command_register_without_faults():
    plc = SingleBlock("plc_command", [60.0, 1000.0, 5.0, 1.0])
    assert plc.step([(7.0, 0x1C)], 1.0) == [(0.055, 0x80), (60.0, 0xC0)]  # nothing was commanded yet
    assert plc.step([(105.0, 0x80)], 1.0) == [(0.1, 0x80), (105.0, 0xC0)]
    assert plc.step([(7.0, 0x14)], 1.0) == [(0.1, 0x80), (105.0, 0xC0)]
    never_armed = SingleBlock("plc_command", [60.0, 1.0, 0.0, 0.0])
    assert never_armed.step([None], 1.0) == [(60.0, 0x80), (60.0, 0xCC)]


def test_an_age_counts_whole_seconds_since_the_sample():
    age = SingleBlock("age", [])
    assert age.step([(0.0, 0x08)], 1.0, now=5_000_000_000) == [(0.0, 0x08)]
    image = age.program.image
    image.post(0, 0.0, 0x80, 2_100_000_000)
    image.latch(0)
    age.program.run(0, 1.0, 5_000_000_000, 0.0, 0.0, 0)
    assert image.get(1)[:2] == (2.0, 0x80)


# ------------------------------------------------------------------------------------------------------------ results
def test_progress_is_told_and_ends_at_one(site, tmp_path):
    for wire in ("memory", "kernel"):
        told: list[float] = []

        def tell(share: float, text: str, told: list[float] = told) -> None:
            assert "Heat treatment" in text
            told.append(share)

        simulate(site, days=4 * MINUTES, plans=False, record=tmp_path / wire, wire=wire, progress=tell)
        assert told == sorted(told)
        assert told[-1] == 1.0


def test_a_run_can_be_framed_saved_and_reported(site, tmp_path):
    run = simulate(site, days=2 * MINUTES, plans=False, record=tmp_path / "run")
    frame = run.frame()
    assert len(frame) == 120
    assert frame["furnace_temp"].iloc[-1] == pytest.approx(870.0, abs=10.0)
    assert frame.attrs["units"]["furnace_temp"] == "degC"
    saved = run.save(tmp_path / "saved")
    assert sorted(p.name for p in saved.iterdir()) == ["history.sqlite", "inputs.log"]
    with pytest.raises(FileExistsError):
        run.save(tmp_path / "saved")
    report = run.to_json()
    assert report["digest"] == run.digest
    assert (report["cycles"], report["overruns"], report["simulated_s"]) == (120, 0, 120.0)
    assert report["kpis"]["import_kwh"] > 0.0


def test_frame_without_pandas_says_what_to_install(site, tmp_path, monkeypatch):
    run = simulate(site, days=1 * MINUTES, plans=False, record=tmp_path / "run")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RuntimeError, match=r"loopwright\[frames\]"):
        run.frame()


def test_what_cannot_be_simulated_is_said(site, tmp_path):
    text = (CONFIGS / "minimal" / "site.yaml").read_text()
    (tmp_path / "site.yaml").write_text(text[: text.index("simulate:")])
    bare = load(tmp_path / "site.yaml")
    for wire in ("memory", "kernel"):
        with pytest.raises(SimulationError, match="no `simulate:` section"):
            simulate(bare, wire=wire, record=tmp_path / "never")
    assert not (tmp_path / "never").exists()
    with pytest.raises(SimulationError, match="no wire 'string'"):
        simulate(site, wire="string")
    with pytest.raises(SimulationError, match="more than 0"):
        simulate(site, days=0.0)


def test_records_are_never_overwritten(site, tmp_path):
    simulate(site, days=1 * MINUTES, plans=False, record=tmp_path)
    with pytest.raises(HistoryError, match="exists"):
        simulate(site, days=1 * MINUTES, plans=False, record=tmp_path)


# -------------------------------------------------------------------------------------------------------- public face
def test_the_public_face():
    assert ctrl.load is load
    assert ctrl.simulate is simulate
    assert issubclass(ctrl.ConfigError, Exception)
    assert {"load", "simulate", "ConfigError"} <= set(dir(ctrl))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        ctrl.lode  # noqa: B018


def test_importing_the_package_is_light():
    code = (
        "import ctrl, sys; print([m for m in ('pydantic', 'ruamel', 'scipy', 'numpy', 'pymodbus') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_simulation_can_be_stopped_and_looked_into_between_two_cycles(site, tmp_path):
    simulation = Simulation(site, tmp_path / "run", days=1 * MINUTES, plans=False)
    for _ in range(20):
        simulation.cycle()
    assert simulation.control.status()["devices"]["plc_furnace"]["state"] == "armed"
    assert simulation.close(0.0).simulated_s == 20.0


def test_every_arm_resets_a_trip_whose_cause_is_gone(tmp_path: Path) -> None:
    text = (CONFIGS / "minimal" / "site.yaml").read_text()
    for old, new in (("> 900 degC, for: 10 s, off_below: 890 degC", "> 842 degC, for: 1 s, off_below: 840 degC"),):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "site.yaml").write_text(text)
    sim = Simulation(load(tmp_path / "site.yaml"), tmp_path / "run", plans=False)
    slots, image = sim.control.slots, sim.control.image

    def run_until(tag: str, wanted: float) -> None:
        for _ in range(20_000):
            if image.value(slots[tag]) == wanted:
                return
            sim.cycle()
        raise AssertionError(f"{tag} never became {wanted}")

    for _ in range(3):
        run_until("alarms.oven_over_temp.trip", 1.0)
        run_until("alarms.oven_over_temp", 0.0)
        assert image.value(slots["alarms.oven_over_temp.trip"]) == 1.0, "the trip outlasts its cause"
        assert sim.control.change_state("plc_oven", "disarm", "me", "look at it") == ""
        assert sim.control.change_state("plc_oven", "arm", "me", "cause removed") == ""
        run_until("alarms.oven_over_temp.trip", 0.0)
