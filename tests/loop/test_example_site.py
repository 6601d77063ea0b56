"""Loops of the example site in its simulated plant: starting up, and the peak guard when the battery is empty."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ctrl.app.simulate import simulate
from ctrl.config.loader import load
from ctrl.config.model import Site
from ctrl.loops.compile import compile_site
from ctrl.records.history import HistoryReader
from ext import kinds
from ext.program_file import BlockSpec, unpack

SITE = Path(__file__).parents[2] / "configs" / "heat_treatment"
MINUTES = 1.0 / 1440.0


def changed(folder: Path, *changes: tuple[str, str]) -> Site:
    """The example site with other text."""
    text = (SITE / "site.yaml").read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "site.yaml").write_text(text, encoding="utf-8")
    (folder / "data").symlink_to(SITE / "data")
    return load(folder / "site.yaml")


def recorded(folder: Path, *tags: str) -> list[npt.NDArray[np.float64]]:
    """Values of tags, one a second."""
    reader = HistoryReader(folder / "history.sqlite")
    found = [reader.series(tag)[1] for tag in tags]
    reader.close()
    return found


def test_starting_the_engine_stops_no_running_line(tmp_path: Path) -> None:
    simulate(load(SITE / "site.yaml"), days=20 * MINUTES, record=tmp_path)
    belt, run, released, temp = recorded(
        tmp_path, "plc_furnace.belt_rate", "line_rate_ctl.run", "furnace_profile.released", "furnace_temp"
    )
    assert abs(belt[0] - 0.8) < 1e-6
    assert belt.min() >= 0.55 - 0.01, "not slower than the line can run"
    assert np.abs(np.diff(belt)).max() <= 0.01, "no jump"
    assert run.min() == 1.0
    assert released.min() == 1.0
    assert np.abs(temp - 870.0).max() < 5.0


def test_a_line_that_stands_hot_has_to_soak_first(tmp_path: Path) -> None:
    site = changed(tmp_path, ("line: running, rate: 0.8 t/h", "line: stopped, rate: 0 t/h"))
    simulate(site, days=20 * MINUTES, record=tmp_path / "run", plans=False)
    belt, released = recorded(tmp_path / "run", "plc_furnace.belt_rate", "furnace_profile.released")
    assert released[:600].max() == 0.0
    assert belt[:600].max() < 0.01


def test_peak_guard_lowers_the_furnace_from_where_it_is_and_gives_back_without_a_step(tmp_path: Path) -> None:
    # the shift begins at 6: a second compressor and its presses bring the site over the limit
    site = changed(
        tmp_path,
        ("limit_fallback: 340 kW", "limit_fallback: 300 kW"),
        ("battery: 400 kWh, pv", "battery: 400 kWh, start: {soc: 5 %}, pv"),
        ("charge_below: 85 EUR/MWh", "charge_below: 10 EUR/MWh"),
        ("start: 2018-03-05T00:00", "start: 2018-03-05T05:30"),
    )
    simulate(site, days=50 * MINUTES, record=tmp_path / "run", plans=False)
    reduce, out, high, why, load = recorded(
        tmp_path / "run",
        "peak_guard.reduce",
        *(f"furnace_temp_ctl.{p}" for p in ("out", "out_high", "why", "feedforward")),
    )
    acts = np.flatnonzero(reduce > 0)
    first, last = acts[0], acts[np.flatnonzero(np.diff(acts, append=acts[-1] + 2) > 1)[0]]
    assert first > 600
    held = slice(first, last + 1)
    base = (high + reduce)[first] - load[first - 1]
    assert abs(base + load[first - 1] - out[first - 1]) < 10.0, (
        "from what the PLC held, a scan ago; far below the 320 kW of the site"
    )
    assert np.allclose(high[held], (base - reduce)[held] + load[first - 1 : last], atol=1e-6)
    assert np.all(out[held] <= high[held])
    assert reduce[held].max() == 60.0
    assert 9.0 in why[held]
    assert high[last + 1] == 320.0
    assert abs(out[last + 1] - out[last]) < 10.0, "noise and one scan of integral action"


def wiring(site: Site) -> dict[str, tuple[BlockSpec, dict[str, str]]]:
    """Blocks of a site by name, each with its inputs by pin."""
    parts = unpack(compile_site(site).program)
    found = {}
    for block in parts.blocks:
        pins = [pin.rstrip("?") for pin in kinds()[block.kind].inputs]
        wires = {pin: parts.slots[s].name for pin, s in zip(pins, block.inputs, strict=False) if s >= 0}
        found[block.name] = (block, wires)
    return found


def test_loops_know_what_the_line_does() -> None:
    blocks = wiring(load(SITE / "site.yaml"))
    feedback = "plc_furnace.line_run_cmd~readback"
    assert blocks["furnace_profile"][1]["running"] == feedback
    assert blocks["local_rules"][1]["line_running"] == feedback
    assert blocks["furnace_temp_ctl"][1]["reduce"] == "peak_guard.reduce"
    assert blocks["line_rate_ctl"][0].params[3] == 0.55, "the slowest rate of the plan's line"
