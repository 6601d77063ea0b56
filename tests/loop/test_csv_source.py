"""A source of CSV files in the site file: checked, explained, polled, planned with."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctrl.app.explain import explain
from ctrl.app.simulate import Simulation
from ctrl.config import ConfigError, check, load
from ctrl.quality import is_good

SITE = Path(__file__).parents[2] / "configs" / "heat_treatment" / "site.yaml"
FILES = """  files:
    type: csv
    folder: data
    feeds:
      carbon: {path: co2.csv, every: 15 min, value: g_per_kwh, unit: g/kWh, horizon: 24 h, stale_after: 12 h}
"""


def site_with_files(folder: Path, files: str = FILES) -> Path:
    text = SITE.read_text()
    assert text.count("\n  weather:\n    type: http_json") == 1
    text = text.replace("\n  weather:\n    type: http_json", f"\n{files}\n  weather:\n    type: http_json")
    assert text.count("intensity: market.co2") == 1
    file = folder / "site.yaml"
    file.write_text(text.replace("intensity: market.co2", "intensity: files.carbon"))
    (folder / "data").symlink_to(SITE.parent / "data")
    return file


def test_a_csv_source_feeds_tags_and_plans(tmp_path: Path) -> None:
    file = site_with_files(tmp_path)
    assert [str(p) for p in check(file)] == []
    site = load(file)
    assert "CSV files in the folder data" in explain(site, "files").text()
    simulation = Simulation(site, tmp_path / "record", days=0.005)
    simulation.run()
    image, slots = simulation.control.image, simulation.control.slots
    own, market = image.get(slots["files.carbon"]), image.get(slots["market.co2"])
    assert is_good(own[1])
    assert own[0] == pytest.approx(market[0], abs=0.5)
    plan = simulation.side.plans["energy_plan"]
    assert plan.costs.co2 > 0.0
    simulation.close(0.0)


@pytest.mark.parametrize(
    ("old", "new", "code", "hint"),
    [
        ("type: csv", "type: cvs", "E204", "csv"),
        ("folder: data", "folder: data\n    url: http://x.example", "E201", ""),
        (", horizon: 24 h", "", "E203", "http_json"),
    ],
)
def test_mistakes_in_a_csv_source_are_found(tmp_path: Path, old: str, new: str, code: str, hint: str) -> None:
    file = site_with_files(tmp_path, FILES.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load(file)
    found = [p for p in caught.value.problems if p.path.startswith("sources.files")]
    assert [p.code for p in found] == [code], [str(p) for p in caught.value.problems]
    assert hint in f"{found[0].message} {found[0].hint}"


def test_a_file_that_is_missing_is_an_event_and_nothing_more(tmp_path: Path) -> None:
    file = site_with_files(tmp_path, FILES.replace("co2.csv", "nowhere.csv"))
    simulation = Simulation(load(file), tmp_path / "record", days=0.002)
    simulation.run()
    failed = [e for e in simulation.events if e.event == "IT_FAILED"]
    assert [e.data["feed"] for e in failed] == ["files.carbon"]
    assert not is_good(simulation.control.image.status(simulation.control.slots["files.carbon"]))
    simulation.close(0.0)
