"""Loading sites: the model, strict YAML, hostile files, templates, expressions, secrets, overrides and the schema."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydantic import ValidationError

import plant_models
from ctrl.config import CODES, ConfigError, check, load, schema
from ctrl.config.checks_plans import cron_problem, interval_minutes
from ctrl.config.expressions import (
    Binary,
    ExpressionError,
    Membership,
    Number,
    Reference,
    parse,
    references,
    with_words,
)
from ctrl.config.model import Address, ClockRange, Pid, ReduceAction, Site
from ctrl.config.pins import PINS
from ctrl.config.plants import PLANTS
from ctrl.config.reader import Document, Node, path_text, read_bytes
from ctrl.config.schema import raw_schema
from ctrl.config.secrets import looks_secret, secret_name
from ctrl.config.tags import Draft, Tag, Tags
from ctrl.config.validate import keys_at
from ctrl.loops.compile import compile_site
from ctrl.units import Quantity, Range, parse_unit

CONFIGS = Path(__file__).parents[2] / "configs"
SITE = CONFIGS / "heat_treatment" / "site.yaml"
MINIMAL = (CONFIGS / "minimal" / "site.yaml").read_text()


def codes(text: str | bytes) -> list[str]:
    """Codes of the problems that reading alone finds."""
    data = text if isinstance(text, bytes) else text.encode()
    return [problem.code for problem in read_bytes(data, Document("site.yaml")).problems]


def tree(text: str) -> object:
    document = read_bytes(text.encode(), Document("site.yaml"))
    assert document.problems == []
    assert isinstance(document.root, Node)
    return document.root.plain()


def minimal(tmp_path: Path, old: str = "", new: str = "") -> Path:
    assert not old or MINIMAL.count(old) == 1
    path = tmp_path / "site.yaml"
    path.write_text(MINIMAL.replace(old, new) if old else MINIMAL)
    return path


# ---------------------------------------------------------------- the model


def test_the_flagship_as_the_engine_sees_it() -> None:
    site = load(SITE)
    assert site.source_path == str(SITE.resolve())
    assert site.overridden == frozenset()
    assert site.clock is None
    assert site.tasks["supervisory"].every.to("s") == 10.0
    point = site.devices["plc_furnace"].points["power_cmd"]
    assert point.at == Address("hr", 10)
    assert point.limits == Range(Quantity(0, "kW"), Quantity(320, "kW"))
    assert point.fallback == Quantity(60, "kW")
    assert site.devices["plc_furnace"].points["belt_cmd"].fallback == "hold"
    assert site.devices["plc_air"].points["c2_load_cmd"].fallback is True
    assert site.devices["plc_furnace"].points["line_state"].enum == {
        0: "stopped",
        1: "heating",
        2: "ready",
        3: "running",
        4: "fault",
    }
    loop = site.loops["furnace_temp_ctl"]
    assert isinstance(loop, Pid)
    assert loop.setpoint.from_ == "furnace_profile.out"
    assert loop.setpoint.value is None
    assert loop.requires == ("plc_furnace.door_closed",)
    assert loop.tuning.integral is not None
    assert loop.tuning.integral.to("s") == 27 * 60
    assert loop.feedforward[0].gain.to("kW/(t/h)") == 146
    assert site.loops["air_pressure_ctl"].setpoint.value == Quantity(6.3, "bar_g")
    assert site.loops["air_stage"].units["c3"].command == "plc_air.c3_load_cmd"
    assert site.loops["local_rules"].avoid_hours == (ClockRange(17 * 3600.0, 20 * 3600.0),)
    actions = site.loops["peak_guard"].actions
    assert isinstance(actions[1], ReduceAction)
    assert actions[1].by == Quantity(60, "kW")
    base_load = site.signals["site_base_load"]
    assert [(term.ref, term.negative) for term in base_load.sum][-1] == ("plc_furnace.power", True)
    assert site.signals["buy_price"].sum[1].value == Quantity(55, "EUR/MWh")
    plan = site.plans["energy_plan"]
    assert [part.step.to("min") for part in plan.grid] == [15, 60]
    assert plan.prices.sell is not None
    assert (plan.prices.buy.times, plan.prices.sell.times) == (1.0, 0.9)
    assert site.simulate is not None
    assert site.simulate.plants["furnace"].start["line"] == "running"


def test_a_site_cannot_be_changed_after_loading() -> None:
    site = load(SITE)
    with pytest.raises(ValidationError):
        site.loops["furnace_temp_ctl"].action = "direct"
    with pytest.raises(ValidationError):
        site.tasks = {}


def test_every_default_of_a_loop_is_in_the_unit_of_its_key() -> None:
    guard = load(SITE).loops["peak_guard"]
    assert (guard.margin.to("1"), guard.near_end_cap.to("1"), guard.power_filter.to("s")) == (0.015, 1.1, 10.0)


# ---------------------------------------------------------------- hash


def test_the_hash_follows_the_meaning_alone(tmp_path: Path) -> None:
    first = load(minimal(tmp_path)).config_hash
    assert len(first) == 64
    for old, new in (
        ("# The smallest site", "# A small site"),
        ("{every: 1 s, keep: 30 d}", "{keep: 30 d, every: 1 s}"),
        ("timeout: 400 ms", 'timeout: "400 ms"'),
    ):
        assert load(minimal(tmp_path, old, new)).config_hash == first
    for old, new in (("gain: 15 kW/K", "gain: 16 kW/K"), ("host: 192.0.2.10", "host: 192.0.2.11")):
        assert load(minimal(tmp_path, old, new)).config_hash != first


def test_the_hash_knows_no_secret(tmp_path: Path) -> None:
    source = (
        'sources:\n  shop: {type: http_json, url: "https://a.example", auth: {bearer: "${secret:%s}"}, feeds: {}}\n'
    )
    hashes = {load(minimal(tmp_path, "loops:\n", source % name + "loops:\n")).config_hash for name in ("one", "two")}
    assert len(hashes) == 1


# ---------------------------------------------------------------- strict YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: on", "on"),
        ("a: NO", "NO"),
        ("a: y", "y"),
        ("a: 06:30", "06:30"),
        ("a: 22:22", "22:22"),
        ("a: 12:30:45", "12:30:45"),
        ("a: 2018-03-05", "2018-03-05"),
        ("a: 2018-03-05T00:00:00", "2018-03-05T00:00:00"),
        ("a: 1e3", 1000.0),
        ("a: 0.5", 0.5),
        ("a: -7", -7),
        ("a: true", True),
        ("a: ~", None),
        ('a: "true"', "true"),
        ("a: 8 K", "8 K"),
        ("a: =", "="),
        ("a: [1, 2]", (1, 2)),
    ],
)
def test_yaml_1_2_without_the_traps_of_1_1(text: str, value: object) -> None:
    assert tree(text) == {"a": value}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: 010", "E111"),
        ("a: 0o17", "E111"),
        ("a: 0x1F", "E111"),
        ("a: 1_000", "E111"),
        ("a: .nan", "E112"),
        ("a: -.inf", "E112"),
        ("a: 1e999", "E112"),
        ("a: !!python/object:os.system x", "E106"),
        ("a: !mine x", "E106"),
        ("a: &x 1\nb: *x", "E106"),
        ("a: {}\nb: {<<: {c: 1}}", "E106"),
        ("%YAML 1.1\n---\na: 1", "E106"),
        ("a: 1\n---\nb: 2", "E107"),
        ("a:\n\t- 1", "E108"),
        ("a: 1\na: 2", "E109"),
        ("a: {b: 1, b: 2}", "E109"),
        ("a: [1, 2", "E110"),
        ("a: b: c", "E110"),
        ("a: [x in (1, 2)]", "E113"),
        ("a: {when: min(b, c) > 3}", "E113"),
        ("? [1]\n: 2", "E114"),
        ("true: 1", "E114"),
        ("- a", "E115"),
        ("", "E115"),
        ("just text", "E115"),
        (b"a: \xff\xfe", "E102"),
        (b"\xef\xbb\xbfa: 1", "E102"),
        ("a: 1".encode("utf-16"), "E102"),
        (b"a: 1\x00", "E102"),
        (b"a: \x07", "E110"),
    ],
)
def test_what_readers_could_take_differently_is_refused(text: str | bytes, code: str) -> None:
    found = codes(text)
    assert code in found


def test_all_double_keys_are_reported_with_their_lines() -> None:
    document = read_bytes(b"a: 1\nb: 1\na: 2\nc: {d: 1,\n  d: 2}\nb: 3\n", Document("x"))
    assert [(p.line, p.column, p.path) for p in document.problems] == [(3, 1, "a"), (5, 3, "c.d"), (6, 1, "b")]


def test_an_expression_cut_by_its_comma_is_mended_for_what_follows() -> None:
    document = read_bytes(b"a: [b, c in (d, e, f), g]\nh: {when: min(i, j) > 3, for: 1 s}\n", Document("x"))
    assert document.root is not None
    assert document.root.plain() == {
        "a": ("b", "c in (d, e, f)", "g"),
        "h": {"when": "min(i, j) > 3", "for": "1 s"},
    }
    assert [p.code for p in document.problems] == ["E113", "E113"]


def bombs() -> dict[str, bytes]:
    return {
        "nodes": b"a:\n" + b"".join(b"  k%d: 1\n" % i for i in range(60_000)),
        "flow": b"a: [" + b"1," * 500_000 + b"]",
        "nesting": b"a: " + b"[" * 100_000,
        "braces": b"a: " + b"{a: " * 100_000,
        "question marks": b"? " * 100_000,
        "billion laughs": b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
        "large": b"a: " + b"x" * 2_000_000,
        "one long text": b"a: " + b"x " * 520_000,
        "double keys": b"a: 1\n" * 200_000,
        "words without keys": b"x\n" * 500_000,
    }


@pytest.mark.parametrize("name", sorted(bombs()))
def test_bombs_are_refused_quickly(name: str) -> None:
    data = bombs()[name]
    began = time.process_time()
    found = codes(data)
    assert time.process_time() - began < 2.0
    expected = {
        "large": "E103",
        "nesting": "E104",
        "braces": "E104",
        "question marks": "E104",
        "billion laughs": "E106",
    }
    assert set(found) == {expected.get(name, "E105")}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "none.yaml")
    assert [p.code for p in error.value.problems] == ["E101"]
    assert [p.code for p in check(tmp_path)] == ["E101"]


def test_paths_are_written_as_people_read_them() -> None:
    assert path_text(("loops", "peak_guard", "actions", 0, "reserve")) == "loops.peak_guard.actions[0].reserve"


# ---------------------------------------------------------------- templates


TEMPLATES = """templates:
  hot_alarm:
    params: [tag, limit]
    alarm: {when: "{tag} > {limit}", priority: low, for: 5 s}
alarms:
  very_hot: {use: hot_alarm, with: {tag: plc_oven.temp, limit: 890 degC}, priority: medium}
"""


def test_a_template_is_expanded_and_keys_beside_it_win(tmp_path: Path) -> None:
    site = load(minimal(tmp_path, "alarms:\n", TEMPLATES))
    alarm = site.alarms["very_hot"]
    assert (alarm.when, alarm.priority, alarm.for_.to("s")) == ("plc_oven.temp > 890 degC", "medium", 5.0)


def test_a_template_cannot_stand_where_it_makes_nothing(tmp_path: Path) -> None:
    text = TEMPLATES.replace("    alarm: {", "    loop: {")
    problems = check(minimal(tmp_path, "alarms:\n", text))
    assert [(p.code, p.path) for p in problems if p.code == "E211"] == [("E211", "alarms.very_hot.use")]


# ---------------------------------------------------------------- expressions


def test_the_tree_of_an_expression() -> None:
    assert parse("furnace_temp > 900 degC") == Binary(">", Reference("furnace_temp", 0), Number(900.0, "degC", 15), 13)
    found = parse("not a.b and c in (d, 2) or -e * 2 < min(f, 5 kW/(t/h))")
    assert isinstance(found, Binary)
    assert found.op == "or"
    assert [reference.name for reference in references(found)] == ["a.b", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("a / b / c", "(a / b) / c"),
        ("-a * b", "(-a) * b"),
        ("a or b and c", "a or (b and c)"),
        ("not a and b", "(not a) and b"),
        ("not a > 3", "not (a > 3)"),
        ("a + 1 > b * 2", "(a + 1) > (b * 2)"),
        ("a.b.age > 3 h", "(a.b.age) > 3 h"),
    ],
)
def test_precedence(text: str, same_as: str) -> None:
    assert _shape(parse(text)) == _shape(parse(same_as))


def _shape(node: object) -> object:
    if isinstance(node, tuple):
        return tuple(_shape(item) for item in node)
    if hasattr(node, "column"):
        parts = [getattr(node, name) for name in type(node).__slots__ if name != "column"]
        return (type(node).__name__, *(_shape(part) for part in parts))
    return node


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 0),
        ("a >", 3),
        ("a > b > c", 6),
        ("a && b", 2),
        ("f(a)", 0),
        ("abs(a, b)", 0),
        ("(a", 2),
        ("a b", 2),
        ("a in b", 5),
        ("a > 5 kw", 6),
        ("a = 3", 2),
        ("1e999 > a", 0),
        ("(" * 100 + "a" + ")" * 100, 30),
        ("a" * 2000, 0),
    ],
)
def test_expressions_that_cannot_be_read(text: str, column: int) -> None:
    with pytest.raises(ExpressionError) as error:
        parse(text)
    assert error.value.column == column


def test_words_of_an_enum_become_numbers() -> None:
    words = {"plc.state": {"ready": 2, "running": 3}}
    found = with_words(parse("plc.state in (ready, running) and plc.state != ready"), words.get)
    assert isinstance(found, Binary)
    assert isinstance(found.left, Membership)
    assert [m.value for m in found.left.members if isinstance(m, Number)] == [2.0, 3.0]
    assert isinstance(found.right, Binary)
    assert found.right.right == Number(2.0, "1", 47)


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("plc_oven.temp - 20 degC > 5 K", None),
        ("abs(plc_oven.temp - plc_oven.temp) > 5 K", None),
        ("plc_oven.temp + 5 K > 900 degC", None),
        ("plc_oven.power / 2 > 5 kW", None),
        ("plc_oven.power * 2 h > 5 kWh", None),
        ("sqrt(plc_oven.power * plc_oven.power) > 5 kW", None),
        ("if(plc_oven.door_closed, plc_oven.power, 0 kW) > 1 kW", None),
        ("plc_oven.door_closed == false", None),
        ("plc_oven.temp * 2 > 900 degC", "E314"),
        ("plc_oven.temp + 5 degC > 900 degC", "E314"),
        ("plc_oven.temp > 900 K", "E214"),
        ("plc_oven.temp > 900", "E213"),
        ("abs(plc_oven.temp) > 900 degC", "E314"),
        ("sqrt(plc_oven.power) > 5 kW", "E314"),
        ("plc_oven.power > plc_oven.temp", "E314"),
        ("plc_oven.door_closed > 1", "E314"),
        ("plc_oven.door_closed == 1", "E314"),
        ("plc_oven.power in (a, b)", "E314"),
        ("min(plc_oven.power, 5 K) > 3 kW", "E314"),
        ("not plc_oven.power", "E314"),
        ("plc_oven.power", "E314"),
        ("plc_oven.pwer > 3 kW", "E302"),
    ],
)
def test_units_and_types_inside_expressions(tmp_path: Path, expression: str, code: str | None) -> None:
    path = minimal(tmp_path, "requires: plc_oven.door_closed", f'requires: "{expression}"')
    problems = check(path)
    assert [p.code for p in problems] == ([code] if code else [])
    for problem in problems:
        assert problem.column > path.read_text().splitlines()[problem.line - 1].index("requires: ")


# ---------------------------------------------------------------- secrets, schedules


def test_names_of_secrets() -> None:
    assert secret_name("${secret:erp_token}") == "erp_token"
    for text in ("${secret:Erp}", "x${secret:erp}", "${env:erp}", "${secret:}", "secret:erp"):
        assert secret_name(text) is None
    for text in (
        "9f8e7d6c5b4a39281706f5e4d3c2b1a0",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "eyJhbGciOiJIUzI1NiJ9",
    ):
        assert looks_secret(text)
    for text in (
        "https://erp.plant.example/api/v2",
        "plc_furnace.temp_backup_2",
        "data/day_ahead_2018.csv",
        "10.20.1.11",
    ):
        assert not looks_secret(text)


def test_cron() -> None:
    assert cron_problem("*/15 6-20 * * 1,2,3") == ""
    for text in ("* * * *", "61 * * * *", "*/0 * * * *", "a * * * *", "* 24 * * *"):
        assert cron_problem(text)
    assert interval_minutes("*/15 * * * *") == 15
    assert interval_minutes("5 * * * *") == 60
    assert interval_minutes("5 6 * * *") is None


# ---------------------------------------------------------------- override


def test_an_override_moves_addresses_and_sets_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "override.yaml"
    path.write_text(
        "devices: {plc_furnace: {host: 127.0.0.1, port: 5020}}\nsources: {erp: {url: http://127.0.0.1:8080/erp}}\n"
        "clock: {start: 1520204400.0, origin: 1700000000.5, speed: 10}\n"
    )
    plain, moved = load(SITE), load(SITE, override=path)
    assert (moved.devices["plc_furnace"].host, moved.devices["plc_furnace"].port) == ("127.0.0.1", 5020)
    assert moved.devices["plc_air"] == plain.devices["plc_air"]
    assert moved.sources["erp"].url == "http://127.0.0.1:8080/erp"
    assert moved.overridden == {"plc_furnace", "erp"}
    assert moved.clock is not None
    assert (moved.clock.start, moved.clock.origin, moved.clock.speed) == (1520204400.0, 1700000000.5, 10)
    assert moved.config_hash == plain.config_hash


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("devices: {plc_furnace: {timeout: 9 s}}", "E231"),
        ("loops: {}", "E231"),
        ("clock: {start: 1, origin: 2, speed: 0}", "E231"),
        ("clock: {start: 1}", "E231"),
        ("sources: {erp: {url: 5}}", "E231"),
        ("devices: {plc_furnce: {port: 5}}", "E302"),
        ("devices: {plc_furnace: {port: 0}}", "E231"),
        ("devices: [1]", "E231"),
        ("a: [", "E110"),
    ],
)
def test_an_override_may_change_nothing_else(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "override.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(SITE, override=path)
    assert {p.code for p in error.value.problems} == {code}
    assert all(p.file == str(path) for p in error.value.problems)


# ---------------------------------------------------------------- schema and tables


def test_the_schema_names_every_key_and_allows_templates() -> None:
    made = schema()
    assert made["$schema"].endswith("2020-12/schema")
    assert set(made["required"]) == {"schema", "site", "tasks", "devices", "failsafe", "records"}
    assert {"use"} == set(made["$defs"]["TemplateUse"]["required"])
    assert made["$defs"]["Setpoint"]["properties"]["from"]
    assert made["$defs"]["Solver"]["properties"]["gap"]["default"] == "0.5 %"
    assert made["$defs"]["Point"]["additionalProperties"] is False
    assert "setpoint_weight" in keys_at(("loops", "x", "pid", "tuning"))
    assert "reserve" in keys_at(("loops", "x", "peak_limiter", "actions", 0, "battery"))


def test_every_loop_type_has_pins_in_units_that_exist() -> None:
    rules = {"measure", "output", "measure difference", "demand_unit"}
    (loop,) = raw_schema()["properties"]["loops"]["patternProperties"].values()
    assert set(PINS) == set(loop["discriminator"]["mapping"])
    for pins in PINS.values():
        assert {"mode", "why"} <= set(pins)
        for pin in pins.values():
            assert pin.unit in rules or parse_unit(pin.unit)
            assert pin.text


def test_the_plant_table_has_units_that_exist() -> None:
    for face in PLANTS.values():
        for unit in (*face.inputs.values(), *face.outputs.values(), *face.options.values(), *face.start.values()):
            assert unit in ("bool", "word") or parse_unit(unit)
        assert set(face.files) <= set(face.keys)
        assert set(face.required) <= set(face.keys)


def test_the_plant_table_is_that_of_the_models() -> None:
    assert set(PLANTS) == set(plant_models.PLANTS)
    for name, face in PLANTS.items():
        model = plant_models.plant_named(name)
        assert face.inputs == dict(model.inputs)
        assert face.outputs == {pin: unit or "1" for pin, unit in model.outputs.items()}
        assert {*face.keys, *face.options} == set(model.options) - {"start"}


def test_every_tag_that_passes_the_checks_is_a_tag_of_the_program() -> None:
    site = load(SITE)
    tags = _tags(site)
    compiled = compile_site(site).manifest["units"]
    lists = {"erp.orders"}
    readable = {name for name in tags.names() if tags.readable(_known(tags, name))} - lists
    assert readable <= set(compiled)
    for name in readable:
        tag = _known(tags, name)
        if tag.type == "float" and compiled[name]:
            assert tag.unit == compiled[name]


def _tags(site: Site) -> Tags:
    parts = ("tasks", "devices", "sources", "signals", "loops", "plans", "alarms")
    return Tags(Draft(**{part: getattr(site, part) for part in parts}))


def _known(tags: Tags, name: str) -> Tag:
    tag = tags.get(name)
    assert tag is not None
    return tag


def test_units_of_tags_follow_what_they_are_made_of() -> None:
    site = load(SITE)
    tags = _tags(site)
    expected = {
        "plc_furnace.power_cmd": "kW",
        "furnace_temp": "degC",
        "furnace_temp_ctl.error": "K",
        "furnace_temp_ctl.out_high": "kW",
        "furnace_profile.out": "degC",
        "air_pressure_ctl.error": "bar",
        "air_pressure_ctl.out": "m3/min",
        "air_stage.demand": "m3/min",
        "buy_price": "EUR/MWh",
        "site_base_load": "kW",
        "grid_15min": "kW",
        "grid_15min.elapsed": "s",
        "sec": "kWh/t",
        "energy_plan.age": "s",
        "energy_plan.peak_target": "kW",
        "market.day_ahead.age": "s",
        "line_rate_ctl.setpoint": "t/h",
    }
    assert {name: tags.unit(name) for name in expected} == expected
    assert tags.get("erp.orders") is not None
    assert tags.get("furnace_temp.nothing") is None
    assert all(tags.get(name) is not None for name in tags.names())


def test_codes_have_a_meaning_and_a_shape() -> None:
    for code, meaning in CODES.items():
        assert code[0] in "EW"
        assert code[1:].isdigit()
        assert meaning
