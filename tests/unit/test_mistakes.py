"""Seeded mistakes: one edit of a good site, and what the loader must say about it: code, line and a useful hint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ctrl.config import CODES, ConfigError, Problem, check, load

FOLDER = Path(__file__).parents[2] / "configs" / "heat_treatment"
GOOD = (FOLDER / "site.yaml").read_text()
CONTRACT = "contract: {kind: heartbeat, write: hr 0, echo: ir 0, dead_after: 6 s}"
FURNACE_HEAD = f"    timeout: 400 ms\n    task: regulatory\n    {CONTRACT}\n    points:\n      temp:"
FAILSAFE = GOOD[GOOD.index("failsafe:") : GOOD.index("records:\n")]


@dataclass(frozen=True)
class Mistake:
    """Replace the only occurrence of `old` by `new`; the problem is on the line where `at` stands (default: `new`)."""

    name: str
    old: str
    new: str
    code: str
    says: str
    path: str = ""
    at: str = ""
    also: tuple[str, ...] = ()  # further codes that follow from the same mistake


M = Mistake
MISTAKES = [
    # ---- YAML
    M("tab", "  regulatory:  {every", "\tregulatory:  {every", "E108", "spaces"),
    M(
        "twice",
        "  supervisory: {every: 10 s}",
        "  supervisory: {every: 10 s}\n  regulatory: {every: 2 s}",
        "E109",
        "first on line",
        at="regulatory: {every: 2 s}",
    ),
    M(
        "open bracket",
        "follow: [energy_plan.line_on, local_rules.line_on]",
        "follow: [energy_plan.line_on",
        "E110",
        "",
        at="measure: furnace_temp\n    soak",
    ),
    M(
        "leading zero",
        "device_id: 1\n" + FURNACE_HEAD,
        "device_id: 010\n" + FURNACE_HEAD,
        "E111",
        "decimal",
        at="device_id: 010",
        also=("E203",),
    ),
    M("infinite", "lat: 50.11", "lat: .inf", "E112", "", also=("E203",)),
    M(
        "bare commas",
        '"plc_furnace.line_state in (ready, running)"',
        "plc_furnace.line_state in (ready, running)",
        "E113",
        "quotes",
        "loops.line_rate_ctl.allow_when[1]",
    ),
    M("anchor", "window: {length", "window: &w {length", "E106", "templates"),
    M("tag", "currency: EUR", "currency: !!str EUR", "E106", "quotes"),
    M("merge", "tasks:\n", "tasks:\n  <<: {every: 1 s}\n", "E106", "templates", at="<<:"),
    M("percent unquoted", 'unit: "%", write', "unit: %, write", "E110", "quotes"),
    # ---- keys, words, names
    M(
        "unknown key",
        "integral: 27 min",
        "intergal: 27 min",
        "E201",
        "'integral'",
        "loops.furnace_temp_ctl.tuning.intergal",
    ),
    M(
        "missing key",
        "    action: reverse                           # too cold: more power\n",
        "",
        "E202",
        "action",
        "loops.furnace_temp_ctl.action",
        at="  furnace_temp_ctl:",
    ),
    M("missing section", FAILSAFE, "", "E202", "failsafe", at="# Heat"),
    M("yes for true", "write: true, limits: 0 kW", "write: yes, limits: 0 kW", "E203", "Write true"),
    M("wrong word", "select: first_good", "select: first_god", "E204", "'first_good'"),
    M(
        "wrong type word",
        "type: power_follow",
        "type: power_folow",
        "E204",
        "'power_follow'",
        "loops.bat_dispatch.type",
    ),
    M(
        "no type",
        "    type: power_follow\n",
        "",
        "E202",
        "One of peak_limiter, power_follow, pid",
        at="  bat_dispatch:\n",
    ),
    M(
        "section is a list",
        "\ndevices:\n",
        "\ndevices: []\nold:\n",
        "E203",
        "a mapping",
        at="devices: []",
        also=("E201",),
    ),
    M("wrong priority", "priority: low}", "priority: lo}", "E204", "'low'"),
    M("time zone", "timezone: Europe/Berlin ", "timezone: Europe/Berlino ", "E204", "Europe/Berlin"),
    M(
        "name with capital",
        "  sec:            {ratio",
        "  Sec:            {ratio",
        "E205",
        "a-z",
        at="Sec:",
        also=("E302",),
    ),
    M("range reversed", "limits: 0 kW .. 320 kW", "limits: 320 kW .. 0 kW", "E206", "0 kW .. 320 kW"),
    M(
        "name twice",
        "  buy_price:      {sum",
        "  weather:      {sum",
        "E207",
        "unique",
        at="  weather:      {sum",
        also=("E302",),
    ),
    M(
        "port",
        "host: 10.20.1.11\n    port: 502",
        "host: 10.20.1.11\n    port: 70000",
        "E208",
        "65535",
        at="port: 70000",
    ),
    M("number as text", "weeks: 4", 'weeks: "4"', "E203", "whole number"),
    M("traditional address", "at: ir 100,", "at: 30101,", "E209", "'ir 100'"),
    M("no such table", "at: di 0,", "at: in 0,", "E209", "ir, hr, di or co"),
    # ---- units
    M("glued unit", "max_difference: 8 K", "max_difference: 8K", "E210", "'8 K'"),
    M("decimal comma", "ramp_up: 4 K/min", 'ramp_up: "4,5 K/min"', "E210", "decimal point"),
    M("power for energy", "capacity: 400 kWh", "capacity: 400 kW", "E212", "kWh"),
    M("unit missing", "limit_fallback: 340 kW", "limit_fallback: 340", "E213", "'340 kW'"),
    M("percent missing", "reserve: 12 %", "reserve: 12", "E213", "'12 %'"),
    M(
        "temperature for difference",
        "max_difference: 8 K",
        "max_difference: 8 degC",
        "E214",
        "8 K",
        "signals.furnace_temp.max_difference",
    ),
    M("difference for temperature", "running: 870 degC", "running: 870 K", "E214", "870 degC"),
    M("absolute pressure", "setpoint: 6.3 bar_g", "setpoint: 6.3 bar", "E214", "6.3 bar_g"),
    M("misspelt unit", "gain: 15 kW/K", "gain: 15 kQ/K", "E221", "'kW/K'", "loops.furnace_temp_ctl.tuning.gain"),
    M("gain of the wrong kind", "gain: 15 kW/K", "gain: 15 kW/bar", "E212", "output is kW, measure is degC"),
    M("duration in kW", "over: 15 min", "over: 15 kW", "E212", "s"),
    M("ramp without time", "ramp: 0.1 t/h/min", "ramp: 0.1 t/h", "E212", "t/h/s"),
    M("feedforward gain", "gain: 146 kW/(t/h), lag", "gain: 146 kW, lag", "E212", "kW/(t/h)"),
    M("price of a month", "price: 13 EUR/kW/month", "price: 13 EUR/kWh/month", "E212", "EUR/kW/month"),
    # ---- references and wiring
    M(
        "two writers",
        "output: plc_furnace.belt_cmd",
        "output: plc_furnace.power_cmd",
        "E301",
        "furnace_temp_ctl",
        at="output: plc_furnace.power_cmd\n    run_output",
        also=("E303", "E212", "W401"),
    ),
    M(
        "misspelt reference",
        "price: {from: market.day_ahead,",
        "price: {from: market.dayahead,",
        "E302",
        "'market.day_ahead'",
        "plans.energy_plan.forecasts.price.from",
    ),
    M(
        "misspelt device",
        "measure: plc_air.net_pressure",
        "measure: plc_ari.net_pressure",
        "E302",
        "'plc_air.net_pressure'",
    ),
    M("device without point", "measure: plc_air.net_pressure", "measure: plc_air", "E302", "plc_air.net_pressure"),
    M(
        "unknown task",
        "    task: regulatory\n    measure: furnace_temp\n",
        "    task: regulatry\n    measure: furnace_temp\n",
        "E302",
        "'regulatory'",
        at="task: regulatry",
    ),
    M("unknown battery", "{battery: bat_dispatch, reserve", "{battery: bat_dispach, reserve", "E302", "'bat_dispatch'"),
    M(
        "unknown template",
        "c2: {use: fixed_compressor,",
        "c2: {use: fixed_compresor,",
        "E211",
        "'fixed_compressor'",
        also=("E202",),
    ),
    M("template parameter", "with: {plc: plc_air, n: 3}", "with: {plc: plc_air}", "E211", "lacks n", also=("E202",)),
    M(
        "template value",
        "with: {plc: plc_air, n: 3}",
        "with: {plc: plc_air, n: 4}",
        "E302",
        "c",
        at="with: {plc: plc_air, n: 4}",
        also=("W401", "E302"),
    ),
    M("bool for number", "measure: plc_energy.bat_power", "measure: plc_air.c2_running", "E303", "number"),
    M("number for bool", "follow: [energy_plan.line_on,", "follow: [energy_plan.rate,", "E303", "true or false"),
    M(
        "wrong unit of reference",
        "stock: erp.stock\n    when_stock_stale",
        "stock: erp.sales\n    when_stock_stale",
        "E303",
        "t/d",
        at="stock: erp.sales",
    ),
    M("list for number", "forecast: erp.sales", "forecast: erp.orders", "E303", "list"),
    M(
        "output to a measurement",
        "output: plc_energy.bat_cmd",
        "output: plc_energy.pv_power",
        "E304",
        "write: true",
        also=("W401",),
    ),
    M("write to input register", "power_cmd:    {at: hr 10,", "power_cmd:    {at: ir 10,", "E304", "hr"),
    M(
        "limits of a measurement",
        "shell_temp:   {at: ir 104,",
        "shell_temp:   {fallback: 20 degC, at: ir 104,",
        "E304",
        "write: true",
    ),
    M(
        "fallback outside",
        "fallback: 60 kW}",
        "fallback: 400 kW}",
        "E305",
        "0 kW .. 320 kW",
        "devices.plc_furnace.points.power_cmd.fallback",
    ),
    M(
        "no fallback",
        "expires_after: 30 s, rate: 0.01 t/h/s, fallback: hold}",
        "expires_after: 30 s, rate: 0.01 t/h/s}",
        "E306",
        "fallback",
    ),
    M(
        "no expiry",
        "type: bool, write: true, expires_after: 30 s,",
        "type: bool, write: true,",
        "E306",
        "expires_after",
    ),
    M("no limits", "limits: -200 kW .. 200 kW, ", "", "E306", "limits", at="bat_cmd:"),
    M("register too small", "limits: -200 kW .. 200 kW", "limits: -200 kW .. 4000 kW", "E307", "3276.7"),
    M(
        "negative in unsigned",
        "bat_cmd:      {at: hr 10, type: i16",
        "bat_cmd:      {at: hr 10, type: u16",
        "E307",
        "u16",
    ),
    M(
        "expires too soon",
        "limits: 0 kW .. 320 kW, expires_after: 6 s",
        "limits: 0 kW .. 320 kW, expires_after: 2 s",
        "E308",
        "3 s",
    ),
    M(
        "refresh too slow",
        "limits: 0 kW .. 320 kW, expires_after: 6 s",
        "limits: 0 kW .. 320 kW, refresh: 3 s, expires_after: 6 s",
        "E308",
        "refresh",
    ),
    M(
        "refresh beyond the wear budget",
        "limits: 0 kW .. 320 kW, expires_after: 6 s",
        "limits: 0 kW .. 320 kW, max_writes_per_day: 5000, expires_after: 6 s",
        "E308",
        "43200 writes a day",
    ),
    M(
        "circle of loops",
        "limit: energy_plan.peak_target",
        "limit: furnace_temp_ctl.out",
        "E310",
        "peak_guard -> furnace_temp_ctl -> peak_guard",
        at="  peak_guard:",
    ),
    M(
        "a loop that waits for itself",
        "requires: plc_furnace.door_closed",
        "requires: furnace_temp_ctl.ramping",
        "E310",
        "->",
        at="  furnace_temp_ctl:",
    ),
    M(
        "circle of signals",
        "buy_price:      {sum: [market.day_ahead,",
        "buy_price:      {sum: [buy_price,",
        "E310",
        "buy_price -> buy_price",
    ),
    M(
        "watchdog too fast",
        "dead_after: 6 s}\n    points:\n      net_pressure",
        "dead_after: 4 s}\n    points:\n      net_pressure",
        "E311",
        "5 s",
        at="dead_after: 4 s",
    ),
    M(
        "watchdog before fail action",
        "plc_lost:     {after: 5 s",
        "plc_lost:     {after: 6 s",
        "E311",
        "plc_lost",
        at="dead_after: 6 s}\n    points:\n      temp:",
        also=("E311",),
    ),
    M("odd task", "supervisory: {every: 10 s}", "supervisory: {every: 2500 ms}", "E312", "3 s"),
    M("slow timeout", FURNACE_HEAD, FURNACE_HEAD.replace("400 ms", "1 s"), "E319", "400 ms", at="timeout: 1 s"),
    M("chained comparison", "when: sec > 260 kWh/t", "when: 0 kWh/t < sec > 260 kWh/t", "E313", "and"),
    M("unknown function", "when: abs(furnace", "when: absolute(furnace", "E313", "abs"),
    M("value as condition", "unless: furnace_temp_ctl.ramping", "unless: furnace_temp_ctl.error", "E314", "Compare"),
    M("kW against kWh/t", "when: sec > 260 kWh/t", "when: sec > 260 kW", "E314", "kWh/t"),
    M("bare number in expression", "when: sec > 260 kWh/t", "when: sec > 260", "E213", "kWh/t"),
    M("unknown word of enum", "in (ready, running)", "in (ready, runing)", "E315", "'running'"),
    M(
        "unknown name in expression",
        "when: peak_guard.forecast >",
        "when: peak_guard.forcast >",
        "E302",
        "'peak_guard.forecast'",
    ),
    M(
        "overlap of registers",
        "pv_power:     {at: ir 16,",
        "pv_power:     {at: ir 13,",
        "E331",
        "Next free: ir 15",
        "devices.plc_energy.points.pv_power",
    ),
    M("overlap with heartbeat", "bat_cmd:      {at: hr 10,", "bat_cmd:      {at: hr 0,", "E331", "hr 1"),
    M(
        "64-bit width",
        "temp:         {at: ir 100, type: f32",
        "temp:         {at: ir 100, type: f64",
        "E331",
        "temp (ir 100-103)",
        at="temp_backup:  {at",
    ),
    M(
        "number in bits",
        "door_closed:  {at: di 0, type: bool}",
        "door_closed:  {at: di 0, type: u16}",
        "E332",
        "bits",
        also=("E303", "E343", "E314"),
    ),
    M("last register", "power:        {at: ir 106,", "power:        {at: ir 65535,", "E332", "65535"),
    M(
        "contract lacks echo",
        f"{CONTRACT}\n    points:    ",
        f"{CONTRACT}\n    points:    ".replace("echo: ir 0, ", ""),
        "E311",
        "echo",
        at="contract: {kind: heartbeat, write: hr 0, dead",
    ),
    # ---- loops, plans, alarms
    M("output limits reversed", "out_low: 0 m3/min", "out_low: 40 m3/min", "E401", "36 m3/min"),
    M("beyond the point", "out_high: 320 kW", "out_high: 350 kW", "E401", "power_cmd"),
    M("charge limits", "min: 5 %, max: 95 %", "min: 96 %, max: 95 %", "E401", "95 %", also=("E402", "E405", "E405")),
    M("stock levels", "reorder_below: 10 t", "reorder_below: 30 t", "E401", "26 t"),
    M("price levels", "charge_below: 85 EUR/MWh", "charge_below: 150 EUR/MWh", "E401", "115 EUR/MWh"),
    M("reduce no limit", "reduce: furnace_temp_ctl.out_high", "reduce: furnace_temp_ctl.out", "E402", "out_high"),
    M("shed no unit", "shed: air_stage.c3", "shed: air_stage.c4", "E402", "air_stage.c3"),
    M(
        "no response",
        'priority: high, response: "Start compressor 3 by hand, look for a leak"}',
        "priority: high}",
        "E403",
        "response",
    ),
    M("clears too high", "off_below: 890 degC", "off_below: 910 degC", "E404", "900 degC"),
    M("horizon", "until: 48 h}]", "until: 36 h}]", "E406", "48 h"),
    M("cron", '"*/15 * * * *"', '"*/15 * * *"', "E406", "4 fields"),
    M("plan too short", "plan_valid_for: 45 min", "plan_valid_for: 10 min", "E406", "45 min"),
    M("stock at the end", "stock_min: 8 t", "stock_min: 2 t", "E405", "stock_limits"),
    M("faster than the line", "rate: 0.55 t/h .. 1.1 t/h", "rate: 0.55 t/h .. 1.3 t/h", "E405", "belt_cmd"),
    M(
        "promises too much",
        "gives: {rate: t/h, line_on: bool, bat_power: kW}",
        "gives: {rate: t/h, line_on: bool, bat_powr: kW}",
        "E407",
        "'bat_power'",
        also=("E407",),
    ),
    M(
        "no such fallback",
        "when_setpoint_expires: local_rules\n\n  furnace_temp_ctl",
        "when_setpoint_expires: lokal_rules\n\n  furnace_temp_ctl",
        "E302",
        "'local_rules'",
        at="lokal_rules",
    ),
    # ---- simulation, files, secrets
    M("no data file", "demand: data/press_shop.csv", "demand: data/pressshop.csv", "E341", "relative"),
    M("no plant model", "model: compressed_air", "model: compresed_air", "E342", "'compressed_air'"),
    M("no plant pin", "to: energy.load_1}", "to: energy.load_99}", "E342", "load_9"),
    M("no plant", "{from: air.power,", "{from: air2.power,", "E342", "'air'"),
    M("serves the wrong thing", "serves: plc_air,", "serves: erp,", "E343", "devices", also=("E343",)),
    M(
        "option of another model",
        "serves: plc_air, demand",
        "serves: plc_air, battery: 5 kWh, demand",
        "E201",
        "battery",
    ),
    M("half a secret", '"${secret:erp_token}"', '"Bearer ${secret:erp_token}"', "E222", "whole"),
    M("secret in a host", "host: 10.20.1.11", 'host: "${secret:host}"', "E222", "auth"),
    M("order fields", "fields: {id: no, due: due_at, mass: qty_t}", "fields: {id: no, mass: qty_t}", "E202", "due"),
    # ---- warnings
    M("token in the file", '"${secret:erp_token}"', "9f8e7d6c5b4a39281706f5e4d3c2b1a0", "W120", "secret"),
    M("nothing writes", "    run_output: plc_furnace.line_run_cmd\n", "", "W401", "fallback", at="line_run_cmd: {at"),
    M(
        "template unused",
        "templates:\n",
        "templates:\n  spare: {params: [], loop: {type: pid}}\n",
        "W402",
        "spare",
        at="spare:",
    ),
    M(
        "cannot be armed",
        f"{CONTRACT}\n    points:\n      net_pressure",
        "contract: {kind: none}\n    points:\n      net_pressure",
        "W410",
        "watchdog",
        at="kind: none",
    ),
    M(
        "little reserve",
        "soc: {measure: plc_energy.bat_soc, min: 5 %",
        "soc: {measure: plc_energy.bat_soc, min: 8 %",
        "W420",
        "16 kWh",
        at="reserve: 12 %",
    ),
    M("guard above the connection", "limit_fallback: 340 kW", "limit_fallback: 900 kW", "W421", "800 kW"),
    M("more derivative than integral", "integral: 120 s}", "integral: 120 s, derivative: 3 min}", "W501", "integral"),
    M("negative gain", "gain: 20 m3/min/bar", "gain: -20 m3/min/bar", "W430", "positive"),
]


def site_with(tmp_path: Path, text: str) -> Path:
    """The text as a site file beside the data files of the flagship."""
    link = tmp_path / "data"
    if not link.exists():
        link.symlink_to(FOLDER / "data")
    path = tmp_path / "site.yaml"
    path.write_text(text)
    return path


def edited(mistake: Mistake) -> str:
    assert GOOD.count(mistake.old) == 1, f"{mistake.old!r} must stand once in the good site"
    return GOOD.replace(mistake.old, mistake.new)


def line_of(text: str, piece: str) -> int:
    return text.count("\n", 0, text.index(piece)) + 1


def test_the_good_site_has_no_problems() -> None:
    assert check(FOLDER / "site.yaml") == []
    assert check(FOLDER.parent / "minimal" / "site.yaml") == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistake(tmp_path: Path, mistake: Mistake) -> None:
    text = edited(mistake)
    problems = check(site_with(tmp_path, text))
    line = line_of(text, mistake.at or mistake.new)
    hits = [p for p in problems if p.code == mistake.code and p.line == line]
    assert hits, "\n".join(map(str, problems)) or "no problem found"
    said = " ".join(f"{p.message}. {p.hint}" for p in hits)
    assert mistake.says in said
    if mistake.path:
        assert mistake.path in {p.path for p in hits}
    assert {p.code for p in problems} <= {mistake.code, *mistake.also}
    for problem in problems:
        assert problem.code in CODES
        assert problem.column >= 1
        assert f":{problem.line}:{problem.column} {problem.code} " in str(problem)
        assert problem.severity == ("error" if problem.code[0] == "E" else "warning")


def test_errors_refuse_and_warnings_do_not(tmp_path: Path) -> None:
    by_name = {mistake.name: mistake for mistake in MISTAKES}
    warned = site_with(tmp_path, edited(by_name["little reserve"]))
    assert load(warned).loops["bat_dispatch"].soc.min.to("%") == 8.0
    refused = site_with(tmp_path, edited(by_name["fallback outside"]))
    with pytest.raises(ConfigError, match="E305") as error:
        load(refused)
    assert [p.code for p in error.value.problems] == ["E305"]


def test_many_codes_are_covered() -> None:
    covered = {mistake.code for mistake in MISTAKES}
    assert len(MISTAKES) >= 45
    assert len(covered) >= 45
    assert covered <= set(CODES)


def test_several_mistakes_are_found_in_one_pass(tmp_path: Path) -> None:
    chosen = [
        "unknown key", "misspelt unit", "fallback outside", "overlap of registers", "misspelt reference",
        "no response", "horizon", "no data file", "unknown name in expression", "stock levels", "watchdog too fast",
    ]  # fmt: skip
    mistakes = [mistake for mistake in MISTAKES if mistake.name in chosen]
    assert len(mistakes) == len(chosen)
    text = GOOD
    for mistake in mistakes:
        assert mistake.old in text or mistake.name == "misspelt unit"
        text = text.replace(mistake.old, mistake.new)
    problems = check(site_with(tmp_path, text))
    assert {(m.code, line_of(text, m.at or m.new)) for m in mistakes} <= {(p.code, p.line) for p in problems}
    assert [(p.line, p.column) for p in problems] == sorted((p.line, p.column) for p in problems)


def test_the_order_of_sections_does_not_matter(tmp_path: Path) -> None:
    mistake = next(m for m in MISTAKES if m.name == "misspelt reference")
    head, *sections = edited(mistake).split("# ------------------------------------")
    turned = head + "".join(f"# ------------------------------------{section}" for section in reversed(sections))
    first = check(site_with(tmp_path, edited(mistake)))
    second = check(site_with(tmp_path, turned.replace("\n# ---", "\n\n# ---")))
    assert [(p.code, p.path, p.message, p.hint) for p in first] == [(p.code, p.path, p.message, p.hint) for p in second]


def test_a_mistake_in_a_template_points_at_its_use(tmp_path: Path) -> None:
    text = GOOD.replace("capacity: 10.4 m3/min\n", "capacity: 10.4 m3\n")
    problems = check(site_with(tmp_path, text))
    lines = [line_of(text, "c2: {use"), line_of(text, "c3: {use")]
    assert [p.line for p in problems if p.code == "E212"] == lines


def test_problems_sort_by_place_and_print_as_promised() -> None:
    problem = Problem("site.yaml", 34, 7, "E305", "error", "devices.a.fallback", "400 kW is outside", "Use less")
    assert str(problem) == "site.yaml:34:7 E305 devices.a.fallback: 400 kW is outside. Use less"
    assert set(problem.as_dict()) == {"file", "line", "column", "code", "severity", "path", "message", "hint"}
