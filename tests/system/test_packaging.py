"""What is installed is what is in the tree: every kernel compiled, every data file packed, every range bounded."""

import tomllib
from fnmatch import fnmatch
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
ROOMS = ("ctrl", "ext", "plant_models")
SOURCES = [path.relative_to(ROOT) for room in ("ext", "plant_models") for path in sorted((ROOT / room).rglob("*.pyx"))]
MADE = {"__pycache__", ".so", ".pyc"}  # by Python and by the build


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_every_pyx_has_a_compiled_module(source):
    spec = find_spec(".".join(source.with_suffix("").parts))
    assert spec is not None
    assert isinstance(spec.loader, ExtensionFileLoader)


def test_every_file_of_a_package_is_packed_or_left_out_on_purpose():
    packed, left_out = SETUPTOOLS["package-data"], SETUPTOOLS["exclude-package-data"]["*"]
    assert packed["ctrl.hmi"] == ["static/**/*"]
    for path in (p.relative_to(ROOT) for room in ROOMS for p in (ROOT / room).rglob("*") if p.is_file()):
        if path.suffix == ".py" or MADE & {*path.parts, path.suffix} or path.parts[:3] == ("ctrl", "hmi", "static"):
            continue
        assert any(fnmatch(path.name, glob) for glob in [*packed["*"], *left_out]), path


def test_what_a_wheel_leaves_out_is_in_the_source_distribution():
    manifest = (ROOT / "MANIFEST.in").read_text()
    assert SOURCES
    for room in {source.parts[0] for source in SOURCES}:
        assert f"recursive-include {room} *.pyx" in manifest
    for room in ("configs", "deploy", "docs", "tests"):
        assert f"graft {room}" in manifest


def test_every_dependency_has_a_lowest_and_a_next_major_version():
    extras = PROJECT["project"]["optional-dependencies"]
    for line in [*PROJECT["project"]["dependencies"], *extras["hmi"], *extras["frames"]]:
        assert ">=" in line, line
        assert ",<" in line or line.startswith("tzdata"), line  # tzdata: the newest rules are always the right ones


def test_a_package_is_typed():
    assert all((ROOT / room / "py.typed").exists() for room in ROOMS)
