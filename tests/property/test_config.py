"""Sites under random edits: valid ones are never refused; whatever the text is, the loader answers with problems."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctrl.config import ConfigError, check, load
from ctrl.config.expressions import ExpressionError, parse, references
from ctrl.config.reader import Document, read_bytes

MINIMAL = (Path(__file__).parents[2] / "configs" / "minimal" / "site.yaml").read_text()
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def with_text(text: str) -> Path:
    folder = TemporaryDirectory()
    KEPT.append(folder)
    path = Path(folder.name) / "site.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


KEPT: list[TemporaryDirectory[str]] = []  # folders live until the run ends


def finite(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False).map(lambda x: float(f"{x:.6g}"))


@FEW
@given(
    gain=finite(0.01, 1e4),
    integral=finite(1.0, 1e5),
    weight=finite(0.0, 1.0),
    high=finite(1.0, 320.0),
    setpoint=finite(20.0, 920.0),
    fallback=finite(0.0, 320.0),
    expires=finite(3.0, 3600.0),
    dead=finite(5.5, 600.0),
    port=st.integers(1, 65535),
    offset=st.integers(1, 65534),
)
def test_numbers_within_their_range_are_never_refused(**number: float) -> None:
    text = MINIMAL
    for old, new in (
        ("gain: 15 kW/K", f"gain: {number['gain']!r} kW/K"),
        ("integral: 27 min", f"integral: {number['integral']!r} s"),
        ("setpoint_weight: 0.6", f"setpoint_weight: {number['weight']!r}"),
        ("out_high: 320 kW", f"out_high: {number['high']!r} kW"),
        ("value: 870 degC", f"value: {number['setpoint']!r} degC"),
        ("fallback: 60 kW", f"fallback: {number['fallback']!r} kW"),
        ("expires_after: 6 s", f"expires_after: {number['expires']!r} s"),
        ("dead_after: 6 s", f"dead_after: {number['dead']!r} s"),
        ("    timeout: 400 ms", f"    port: {number['port']}\n    timeout: 400 ms"),
        ("at: hr 10", f"at: hr {number['offset']}"),
    ):
        text = text.replace(old, new)
    path = with_text(text)
    assert check(path) == []
    loop = load(path).loops["oven_temp_ctl"]
    assert math.isclose(loop.tuning.gain.to("kW/K"), number["gain"])
    assert math.isclose(loop.tuning.integral.to("s"), number["integral"])


@FEW
@given(high=finite(320.1, 1e6), below=finite(-1e6, -0.1))
def test_numbers_beyond_their_range_are_always_refused(high: float, below: float) -> None:
    for value in (high, below):
        assert "E305" in {
            p.code for p in check(with_text(MINIMAL.replace("fallback: 60 kW", f"fallback: {value!r} kW")))
        }
        assert "E401" in {
            p.code for p in check(with_text(MINIMAL.replace("out_high: 320 kW", f"out_high: {value!r} kW")))
        }


@FEW
@given(data=st.data())
def test_any_cut_of_a_site_gives_problems_with_places(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(MINIMAL) - 1))
    length = data.draw(st.integers(1, 200))
    insert = data.draw(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5))
    path = with_text(MINIMAL[:start] + insert + MINIMAL[start + length :])
    lines = path.read_text(encoding="utf-8").count("\n") + 2
    problems = check(path)
    for problem in problems:
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
        assert problem.message
    refused = any(p.severity == "error" for p in problems)
    if refused:
        with pytest.raises(ConfigError) as error:
            load(path)
        assert list(error.value.problems) == problems
    else:
        assert load(path).devices


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    document = read_bytes(data, Document("x"))
    assert document.problems or document.root is not None


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab.x_ 0123456789+-*/<>=!(),kWhdegC%andorifmin", max_size=40))
def test_any_text_is_an_expression_or_refused_with_a_column(text: str) -> None:
    try:
        names = references(parse(text))
    except ExpressionError as error:
        column, names = error.column, ()
    else:
        column = 0
    assert 0 <= column <= len(text)
    assert all(text[reference.column :].startswith(reference.name) for reference in names)
