"""The command line: exit codes, what is printed for people and for programs, and what a mistake looks like."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctrl import cli_output
from ctrl.app.jobs import rule_words, span_words
from ctrl.cli import cli
from ctrl.clock import LiveClock
from ctrl.messages import Command
from ctrl.planning.plan import NO_COSTS, Plan, Solved
from ctrl.schedule import Cron, Delayed, Every
from ctrl.service.link import LinkServer
from ctrl.service.runtime import control_socket, default_runtime

ROOT = Path(__file__).parents[2]
FLAGSHIP = ROOT / "configs/heat_treatment/site.yaml"
MINIMAL = ROOT / "configs/minimal/site.yaml"
VERBS = ("arm", "check", "disarm", "explain", "jobs", "plan", "plc", "run", "schema", "simulate", "status")


def ctrl(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="ctrl")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """A copy of the minimal site with one change."""
    text = MINIMAL.read_text()
    assert old in text
    file = tmp_path / "site.yaml"
    file.write_text(text.replace(old, new, 1))
    return file


# ---------------------------------------------------------------------------------------------------------- help
@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_an_example(verb: str) -> None:
    result = ctrl(verb, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Examples?:\n +ctrl {verb}", result.stdout)


def test_the_verbs_are_all_there() -> None:
    assert tuple(sorted(cli.commands)) == VERBS


@pytest.mark.parametrize("arguments", [["--help"], ["simulate", "--help"], ["nonsense"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom ctrl.cli import cli\n"
        f"try: cli({arguments!r})\nexcept SystemExit: pass\n"
        "heavy = {'pydantic', 'numpy', 'rich', 'ruamel', 'scipy', 'highspy', 'ext', 'ctrl.config', 'asyncio'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=30, check=True
    )
    assert "HEAVY []" in done.stdout


def test_python_m_ctrl_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ctrl", "chek"], capture_output=True, text=True, cwd=ROOT, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "check" in done.stderr
    assert "Traceback" not in done.stderr


# --------------------------------------------------------------------------------------------------------- check
def test_check_of_a_good_site() -> None:
    result = ctrl("check", FLAGSHIP)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("0 errors, ")


def test_check_points_at_each_mistake(tmp_path: Path) -> None:
    file = changed(tmp_path, "gain: 15 kW/K", "gain: 15 kW")
    file.write_text(file.read_text().replace("action: reverse", "acton: reverse"))
    result = ctrl("check", file)
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[-1] == "2 errors, 0 warnings"
    for line in lines[:-1]:
        assert re.match(rf"{re.escape(str(file))}:\d+:\d+ E\d\d\d [a-z_.]+: ", line)
    assert any("E201" in line and "Did you mean 'action'?" in line for line in lines)


def test_check_as_json(tmp_path: Path) -> None:
    file = changed(tmp_path, "timeout: 400 ms", "timeout: 4 s")
    result = ctrl("check", file, "--json")
    assert result.exit_code == 3
    problems = json.loads(result.stdout)["problems"]
    assert problems[0]["code"] == "E319"
    keys = {"file", "line", "column", "code", "severity", "path", "message", "hint"}
    assert all(set(problem) == keys for problem in problems)


def test_a_warning_alone_is_no_failure(tmp_path: Path) -> None:
    file = changed(tmp_path, "kind: heartbeat, write: hr 0, echo: ir 0, dead_after: 6 s", "kind: none")
    result = ctrl("check", file)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.splitlines()[-1] == "0 errors, 1 warning"


def test_a_missing_site_is_an_invalid_one(tmp_path: Path) -> None:
    for verb in ("check", "simulate", "plan", "jobs", "explain"):
        result = ctrl(verb, tmp_path / "none.yaml")
        assert result.exit_code == 3
        assert "none.yaml:1:1 E101" in result.output
        assert "Traceback" not in result.output


# -------------------------------------------------------------------------------------------------------- schema
def test_schema_to_stdout_and_file(tmp_path: Path) -> None:
    printed = json.loads(ctrl("schema").stdout)
    assert printed["$schema"].startswith("https://json-schema.org/")
    assert ctrl("schema", "--output", tmp_path / "schema.json").exit_code == 0
    assert json.loads((tmp_path / "schema.json").read_text()) == printed


def test_a_file_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    result = ctrl("schema", "--output", tmp_path / "none" / "schema.json")
    assert result.exit_code == 1
    assert result.stderr == f"{tmp_path}/none/schema.json: No such file or directory\n"


# ------------------------------------------------------------------------------------------------------ simulate
def test_simulate_as_json_is_stable(tmp_path: Path) -> None:
    bodies = []
    for name in ("a", "b"):
        result = ctrl("simulate", MINIMAL, "--days", 0.005, "--json", "--record", tmp_path / name)
        assert result.exit_code == 0, result.output
        bodies.append(json.loads(result.stdout))
    assert {"kpis", "record", "digest", "simulated_s", "wall_s", "cycles", "overruns"} <= set(bodies[0])
    assert bodies[0]["digest"] == bodies[1]["digest"]
    assert bodies[0]["simulated_s"] == pytest.approx(432.0)
    assert bodies[0]["record"] == str(tmp_path / "a")


def test_simulate_reports_for_people(tmp_path: Path) -> None:
    result = ctrl("simulate", FLAGSHIP, "--days", 0.03, "--no-plans", "--record", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "Heat treatment, plant 2: 0.03 d simulated" in result.stdout
    assert re.search(r"^total +-?[\d,.]+$", result.stdout, re.MULTILINE)
    assert re.search(r"^Peak: [\d,.]+ kW over a quarter hour, Mon 05 Mar 00:\d\d$", result.stdout, re.MULTILINE)
    assert "Cycles: 2,592, 0 missed" in result.stdout
    assert f"Records: {tmp_path / 'run'}" in result.stdout
    assert "Plans:" not in result.stdout
    told = result.stderr.splitlines()
    assert 5 <= len(told) <= 10
    assert all(re.match(r" *\d+ %  ", line) for line in told)


@pytest.mark.parametrize("wrong", [["--days", "0"], ["--wire", "air"], ["--seed", "-1"], ["--nothing"]])
def test_wrong_use_is_two(wrong: list[str]) -> None:
    result = ctrl("simulate", MINIMAL, *wrong)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_a_site_without_plants_cannot_be_simulated(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(MINIMAL.read_text().partition("simulate:")[0])
    result = ctrl("simulate", file)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == "the site has no `simulate:` section\n"


def test_sigterm_ends_a_simulation_with_143(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ctrl", "simulate", str(FLAGSHIP), "--no-plans", "--record", str(tmp_path / "r")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        while not (tmp_path / "r").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "Traceback" not in errors


# ---------------------------------------------------------------------------------------------------------- plan
def test_plan_shows_schedule_reasons_and_solver() -> None:
    result = ctrl("plan", FLAGSHIP)
    assert result.exit_code == 0, result.output
    assert re.search(r"^time +EUR/MWh +grid kW +battery kW +charge % +line +t/h +stock t +reason$", result.stdout, re.M)
    assert re.search(r"^Mon 00:00 .* (on|off) .*line (runs|off|stands|rests|stops)?", result.stdout, re.M)
    assert re.search(r"^total +[\d,.]+$", result.stdout, re.M)
    assert re.search(r"^Solver: line decided anew, \d+ nodes?, .* gap \d", result.stdout, re.M)


def test_plan_as_json() -> None:
    body = json.loads(ctrl("plan", FLAGSHIP, "--json", "--plan", "energy_plan").stdout)
    assert body["plan"] == "energy_plan"
    assert body["status"] in ("optimal", "relaxed")
    assert body["costs"]["total"] == pytest.approx(sum(v for k, v in body["costs"].items() if k != "total"))
    hours = sum(step["hours"] for step in body["steps"])
    assert hours == pytest.approx(48.0, abs=1.0)
    assert body["solver"]["committed"] is True


def test_a_site_without_that_plan() -> None:
    result = ctrl("plan", MINIMAL)
    assert (result.exit_code, result.stderr) == (1, "the site has no `plans:`\n")
    result = ctrl("plan", FLAGSHIP, "--plan", "energy_plna")
    assert (result.exit_code, result.stderr) == (1, "the site has no plan 'energy_plna'. Did you mean 'energy_plan'?\n")


def test_a_failed_plan_is_shown_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Solved(True, 200, 9000, 1.0, "nodes", 0.0)
    plan = Plan("p-1", 0.0, 0.0, "failed", (), NO_COSTS, (), ("price: gone",), (), work, "failed: no plan was found")
    monkeypatch.setattr("ctrl.app.plan.plan_site", lambda *_: ("energy_plan", plan))
    result = ctrl("plan", FLAGSHIP)
    assert result.exit_code == 1
    assert "failed: no plan was found" in result.stdout
    assert "Substitute: price: gone" in result.stdout


# ---------------------------------------------------------------------------------------------------------- jobs
def test_jobs_lists_dates_and_tasks() -> None:
    result = ctrl("jobs", FLAGSHIP)
    assert result.exit_code == 0, result.output
    assert re.search(r"^energy_plan +every 15 min.* no +\w{3} \d\d \w{3} \d\d:\d\d:\d\d, ", result.stdout, re.M)
    assert re.search(r"^erp\.stock +every 5 min +yes +", result.stdout, re.M)
    assert "regulatory, every 1 s\n  devices: plc_furnace, plc_air, plc_energy\n" in result.stdout
    assert "supervisory, every 10 s\n  loops: furnace_profile, line_rate_ctl, local_rules\n" in result.stdout


def test_a_site_without_dated_jobs() -> None:
    assert "none: the site has no sources and no plans" in ctrl("jobs", MINIMAL).stdout


def test_jobs_as_json() -> None:
    body = json.loads(ctrl("jobs", FLAGSHIP, "--json").stdout)
    assert body["running"] is None
    plan = next(job for job in body["jobs"] if job["id"] == "energy_plan")
    assert len(plan["next_utc"]) == 3
    assert plan["next_utc"][1] - plan["next_utc"][0] == pytest.approx(900.0)
    assert [task["name"] for task in body["tasks"]] == ["regulatory", "supervisory"]


def test_jobs_need_no_simulation_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CTRL_SECRET"):
            monkeypatch.delenv(name)
    file = tmp_path / "site.yaml"
    file.write_text(FLAGSHIP.read_text().partition("\nsimulate:")[0] + "\n")
    assert ctrl("jobs", file).exit_code == 0


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Every(900.0), "every 15 min"),
        (Every(90.0), "every 90 s"),
        (Every(86_400.0), "every 1 d"),
        (Cron("*/15 * * * *", "Europe/Berlin"), "every 15 min"),
        (Cron("5 * * * *"), "every hour at minute 5"),
        (Cron("30 2 * * *", "Europe/Berlin"), "daily at 02:30 (Europe/Berlin)"),
        (Cron("0 6 * * 1", "UTC"), "every Monday at 06:00 (UTC)"),
        (Cron("0 6 1 * *", "UTC"), "cron '0 6 1 * *' (UTC)"),
        (Delayed(Every(900.0), 5.0), "every 15 min, 5 s later"),
    ],
)
def test_rules_in_words(rule: Any, words: str) -> None:
    assert rule_words(rule) == words


def test_spans_in_words() -> None:
    assert [span_words(s) for s in (0.01, 1.0, 60.0, 5400.0, 7200.0)] == ["10 ms", "1 s", "1 min", "90 min", "2 h"]


# ------------------------------------------------------------------------------------------------------- explain
def test_explain_one_name() -> None:
    result = ctrl("explain", FLAGSHIP, "furnace_temp_ctl")
    assert result.exit_code == 0
    assert result.stdout.startswith("furnace_temp_ctl (TIC-101): PID controller\n")
    assert "\x1b" not in result.stdout
    body = json.loads(ctrl("explain", FLAGSHIP, "furnace_temp_ctl", "--json").stdout)
    assert body["kind"] == "loop"
    assert body["sections"][0]["heading"] == "What it does"


def test_explain_an_unknown_name() -> None:
    result = ctrl("explain", FLAGSHIP, "furnace_temp_clt")
    assert result.exit_code == 2
    assert result.stderr == "nothing is called 'furnace_temp_clt'. Did you mean 'furnace_temp_ctl'?\n"


# ------------------------------------------------------------------------------------------ a service that runs
class Service:
    """The socket of a control process with two devices, of which one cannot be armed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands: list[Command] = []
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Service:
        self._thread.start()
        assert self._ready.wait(5.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set_result, None)
        self._thread.join(5.0)
        self._loop.close()

    def _run(self) -> None:
        self._stop: asyncio.Future[None] = self._loop.create_future()
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = LinkServer(control_socket(self.folder), LiveClock(), lambda _: None, self._obey)
        await server.start()
        self._ready.set()
        await self._stop
        await server.close()

    def _obey(self, command: Command) -> Mapping[str, Any]:
        self.commands.append(command)
        if command.verb == "status":
            device = {"state": "disarmed", "link": True, "latched": False, "sent": 3, "refused": 0}
            task = {"cycles": 9, "skipped": 0, "reinitialised": 0, "parked": False}
            job = {
                "id": "journal",
                "next_run_utc": 1.5e9,
                "runs": 4,
                "missed": 0,
                "errors": 0,
                "overruns": 0,
                "paused": False,
            }
            return {
                "site": "Plant", "cycles": 1234, "missed": 1, "longest_ms": 2.5, "tasks": {"fast": task},
                "devices": {"plc_a": device, "plc_b": {**device, "link": False}}, "jobs": [job],
                "alarms": [{"name": "hot", "priority": "high", "state": "UNACK"}],
            }  # fmt: skip
        if command.device == "plc_b" and command.verb == "arm":
            raise ValueError("plc_b: the link is not good")
        return {"text": f"{command.verb}: {command.device}"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as running:
        yield running


def test_no_service_is_told_kindly(tmp_path: Path) -> None:
    for verb in (["status"], ["disarm"], ["arm", "--reason", "test"]):
        result = ctrl(*verb, "--runtime", tmp_path)
        assert result.exit_code == 4
        assert result.stderr == f"nobody answers at {tmp_path}/control.sock: is `ctrl run` running?\n"


def test_status(service: Service) -> None:
    result = ctrl("status", "--runtime", service.folder)
    assert result.exit_code == 0, result.output
    assert "Cycles: 1,234, 1 missed, longest 2.5 ms" in result.stdout
    assert re.search(r"^plc_b +disarmed +lost +no +3 +0$", result.stdout, re.M)
    assert "Alarm hot: high, UNACK" in result.stdout
    body = json.loads(ctrl("status", "--runtime", service.folder, "--json").stdout)
    assert body["cycles"] == 1234
    assert "kind" not in body


def test_arm_tells_of_each_device(service: Service) -> None:
    result = ctrl("arm", "--runtime", service.folder, "--reason", "commissioning")
    assert result.exit_code == 5
    assert result.stdout == "plc_a: armed\n"
    assert result.stderr == "plc_b: refused: the link is not good\n"
    sent = service.commands[1:]
    assert [(c.verb, c.device, c.reason) for c in sent] == [
        ("arm", "plc_a", "commissioning"),
        ("arm", "plc_b", "commissioning"),
    ]
    assert all(c.user for c in sent)


def test_arm_one_device_or_shadow(service: Service) -> None:
    assert ctrl("arm", "--runtime", service.folder, "--reason", "x", "--device", "plc_a").exit_code == 0
    result = ctrl("arm", "--runtime", service.folder, "--reason", "x", "--shadow", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["changes"][1] == {"device": "plc_b", "ok": True, "text": "in shadow"}
    assert [c.verb for c in service.commands if c.verb != "status"] == ["arm", "shadow", "shadow"]


def test_disarm_needs_no_reason(service: Service) -> None:
    result = ctrl("disarm", "--runtime", service.folder)
    assert (result.exit_code, result.stdout) == (0, "plc_a: disarmed\nplc_b: disarmed\n")


def test_arming_needs_a_reason_and_a_known_device(service: Service) -> None:
    assert ctrl("arm", "--runtime", service.folder).exit_code == 2
    assert ctrl("arm", "--runtime", service.folder, "--reason", " ").exit_code == 2
    result = ctrl("arm", "--runtime", service.folder, "--reason", "x", "--device", "plc_a", "--device", "plc_c")
    assert result.exit_code == 2
    assert "the running site has no device 'plc_c'" in result.stderr
    assert all(command.verb == "status" for command in service.commands)


def test_jobs_of_a_running_service(service: Service) -> None:
    result = ctrl("jobs", MINIMAL, "--runtime", service.folder)
    assert result.exit_code == 0, result.output
    assert re.search(r"^journal +\d\d:\d\d:\d\d +4 +0 +0 +0$", result.stdout, re.M)


def test_the_folder_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/loopwright:/run/other")
    assert default_runtime() == Path("/run/loopwright")
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert default_runtime() == Path("/run/user/1000/loopwright")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_runtime() == Path("/tmp", f"loopwright-{os.getuid()}")  # noqa: S108
    assert control_socket() == default_runtime() / "control.sock"


# ----------------------------------------------------------------------------------------------------- run, plc
def test_run_hands_everything_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []

    def run(site: Path, override: Path | None, **rest: Any) -> int:
        seen.append((site, override, rest))
        return 143

    monkeypatch.setattr("ctrl.app.run.run", run)
    result = ctrl("run", MINIMAL, "--override", tmp_path / "o.yaml", "--port", 0, "--runtime", tmp_path, "--arm")
    assert result.exit_code == 143
    rest = {"port": 0, "runtime": tmp_path, "record": None, "arm": True}
    assert seen == [(MINIMAL, tmp_path / "o.yaml", rest)]


def test_plc_hands_everything_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []

    def run_plc(_site: Path, **rest: Any) -> int:
        seen.append(rest)
        return 0

    monkeypatch.setattr("ctrl.app.plc.run_plc", run_plc)
    file = tmp_path / "o.yaml"
    result = ctrl("plc", MINIMAL, "--speed", 60, "--write-override", file, "--outage", "plc_oven@300s+20s")
    assert result.exit_code == 0, result.output
    assert (seen[0]["speed"], seen[0]["write_override"]) == (60.0, file)
    assert (seen[0]["outages"][0].device, seen[0]["outages"][0].at_s) == ("plc_oven", 300.0)


@pytest.mark.parametrize("outage", ["plc_oven", "plc_oven@5+5", "plc_ofen@5s+5s"])
def test_an_outage_that_is_none(outage: str) -> None:
    result = ctrl("plc", MINIMAL, "--outage", outage)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


# --------------------------------------------------------------------------------------------- bugs and signals
def broken(*_: object) -> None:
    raise RuntimeError("two plus\ntwo is five")


def test_a_bug_is_one_line_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ctrl.config.check", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = ctrl("check", MINIMAL)
    assert result.exit_code == 1
    line = result.stderr.strip()
    found = re.fullmatch(r"internal error: RuntimeError: two plus two is five \(traceback in (.+)\)", line)
    assert found is not None
    assert "in broken" in Path(found.group(1)).read_text()


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ctrl.config.check", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = ctrl("--debug", "check", MINIMAL)
    assert result.exit_code == 1
    assert "in broken" in result.stderr
    assert result.stderr.splitlines()[-1] == "internal error: RuntimeError: two plus two is five"
    assert not list(tmp_path.iterdir())


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctrl.config.check", interrupted)
    result = ctrl("check", MINIMAL)
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


# -------------------------------------------------------------------------------------------------------- output
def test_a_plain_table(capsys: pytest.CaptureFixture[str]) -> None:
    cli_output.table(("name", "kW"), [("a", "1.0"), ("furnace", "320.0")], right=("kW",))
    assert capsys.readouterr().out == "name        kW\na          1.0\nfurnace  320.0\n"


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    cli_output.say_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": ("x", None)})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": ["x", None]}


def test_plain_progress_is_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with cli_output.progress() as tell:
        for k in range(1, 1001):
            tell(k / 1000, "plant")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 10
    assert told[0] == " 10 %  plant"
    assert told[-1] == "100 %  plant"


def test_on_a_terminal_tables_are_rich(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    cli_output.table(("name", "kW"), [("[red]a", "1.0")], right=("kW",))
    cli_output.heading("Title")
    out = capsys.readouterr().out
    assert "[red]a" in out
    assert out.endswith("Title\n")


WITHOUT_EXTRA = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("uvicorn", "fastapi", "starlette"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from ctrl.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("simulate", "configs/minimal/site.yaml", "--days", "0.01"), 0, ""),
        (("plan", "configs/heat_treatment/site.yaml"), 0, ""),
        (("plc", "configs/minimal/site.yaml"), 1, 'pip install "loopwright[hmi]"'),
        (("run", "configs/minimal/site.yaml"), 1, "loopwright[hmi]"),
    ],
)
def test_the_base_install_does_all_but_the_page_and_the_played_plant(arguments, code, said):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
