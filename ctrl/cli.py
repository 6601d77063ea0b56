"""The command `ctrl`: verbs without logic. Each imports what it needs when it runs, so that help comes at once."""

# ruff: noqa: PLC0415

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from ctrl import cli_errors as codes

SITE = click.argument("site", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for other programs.")
RUNTIME = click.option(
    "--runtime",
    type=click.Path(path_type=Path),
    help="Folder of the running service. "
    "[default: $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/loopwright, else /tmp/loopwright-UID]",
)
DEVICES = click.option(
    "--device", "devices", multiple=True, help="Only this device; may be given again. [default: all]"
)
RECORD = click.option(
    "--record",
    type=click.Path(path_type=Path),
    help="Folder for the records. [default: run: records/ in the runtime folder; simulate: a new temporary one]",
)
OUTAGE = "DEVICE@AT+FOR"


class Verbs(click.Group):
    """The verbs; what they raise becomes one line and an exit code."""

    def invoke(self, ctx: click.Context) -> None:
        """Run the verb and end with its exit code."""
        try:
            code = super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            code = codes.INTERRUPTED
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of a pipe has gone: click ends quietly
            code = codes.report(error, debug=ctx.params["debug"])
        ctx.exit(code or codes.OK)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Completion: eval "$(_CTRL_COMPLETE=bash_source ctrl)" (or zsh_source, fish_source).',
)
@click.option("--debug", is_flag=True, envvar="CTRL_DEBUG", help="Show the traceback of every error.")
@click.option("--no-color", is_flag=True, help="No colour, as with NO_COLOR set.")
@click.version_option(package_name="loopwright", prog_name="ctrl")
def cli(debug: bool, no_color: bool) -> None:
    """Closed-loop automation and energy control: from the price signal to the PLC register.

    \b
    Begin with:
      ctrl check SITE       is the site file right?
      ctrl explain SITE     what does it do?
      ctrl simulate SITE    how does it behave?

    \b
    Exit codes:
      0 ok, 1 failed while running, 2 wrong use, 3 site invalid, 4 not reachable, 5 refused,
      130 interrupted, 143 terminated
    """
    del debug
    if no_color:
        os.environ["NO_COLOR"] = "1"


@cli.command()
@SITE
@JSON
def check(site: Path, as_json: bool) -> int:
    """Check a site file: every problem with file, line and column, in one pass.

    \b
    Example:
      ctrl check configs/heat_treatment/site.yaml
    """
    from ctrl.cli_output import say_json
    from ctrl.cli_reports import show_problems
    from ctrl.config import check as check_site

    problems = check_site(site)
    if as_json:
        say_json({"problems": [problem.as_dict() for problem in problems]})
        errors = sum(problem.severity == "error" for problem in problems)
    else:
        errors = show_problems(problems)
    return codes.INVALID if errors else codes.OK


@cli.command()
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of a site file, for editors.

    \b
    Example:
      ctrl schema --output site.schema.json
      # then, as the first line of a site file:
      # yaml-language-server: $schema=site.schema.json
    """
    import json

    from ctrl.config import schema as site_schema

    text = json.dumps(site_schema(), indent=2)
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")


@cli.command()
@SITE
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Length. [default: of the scenario]")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of all randomness. [default: of the scenario]")
@click.option(
    "--wire",
    type=click.Choice(["memory", "modbus", "kernel"]),
    default="memory",
    show_default=True,
    help="memory: through codec and gate; modbus: over TCP too; kernel: loops and plants alone, the fastest.",
)
@click.option("--no-plans", is_flag=True, help="Make no plans: the loops run on their local rules.")
@RECORD
@JSON
def simulate(
    site: Path, *, days: float | None, seed: int | None, wire: str, no_plans: bool, record: Path | None, as_json: bool
) -> None:
    """Run a site against its simulated plants, in virtual time. No real device or source is ever contacted.

    \b
    Example:
      ctrl simulate configs/heat_treatment/site.yaml --days 1
    """
    from ctrl.app.simulate import simulate as simulate_site
    from ctrl.cli_output import progress, say_json
    from ctrl.cli_reports import show_run
    from ctrl.config import load

    loaded = load(site)
    with progress() as tell:
        run = simulate_site(
            loaded, days=days, seed=seed, wire=wire, plans=not no_plans, record=record, progress=tell  # type: ignore[arg-type]  # click has checked the choice
        )  # fmt: skip
    if as_json:
        say_json(run.to_json())
    else:
        show_run(run)


@cli.command()
@SITE
@click.option("--override", type=click.Path(path_type=Path), help="File with other addresses, as `ctrl plc` writes it.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8800,
    show_default=True,
    help="Of the live page; 0: no page.",
)
@RUNTIME
@RECORD
@click.option("--arm", is_flag=True, help="Arm every device once it answers. Without it: compute, write nothing.")
def run(site: Path, *, override: Path | None, port: int, runtime: Path | None, record: Path | None, arm: bool) -> int:
    """Run a site live: read and control its devices until it is told to stop.

    \b
    Example:
      ctrl run configs/heat_treatment/site.yaml --override plant.yaml --arm
    """
    from ctrl.app.run import run as run_site
    from ctrl.service.runtime import default_runtime

    return run_site(site, override, port=port, runtime=runtime or default_runtime(), record=record, arm=arm)


@cli.command()
@SITE
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    default=1.0,
    show_default=True,
    help="Plant time over real.",
)
@click.option(
    "--write-override", type=click.Path(path_type=Path), help="Write the addresses for `ctrl run --override`."
)
@click.option("--outage", "outages", multiple=True, metavar=OUTAGE, help="A device that is silent: plc_air@300s+20s.")
def plc(site: Path, speed: float, write_override: Path | None, outages: tuple[str, ...]) -> int:
    """Serve the simulated PLCs and sources of a site, for `ctrl run` or any other Modbus client.

    \b
    Example:
      ctrl plc configs/heat_treatment/site.yaml --speed 60 --write-override plant.yaml
    """
    from ctrl.app.plc import run_plc
    from ctrl.config import load
    from ctrl.simulation.serve import Outage

    try:
        silent = [Outage.parse(text) for text in outages]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    devices = load(site).devices
    for outage in silent:
        if outage.device not in devices:
            raise click.UsageError(f"the site has no device '{outage.device}'; there are {', '.join(devices)}")
    return run_plc(site, speed=speed, write_override=write_override, outages=silent)


@cli.command()
@SITE
@click.option("--plan", "name", help="Which plan, when the site has several.")
@JSON
def plan(site: Path, name: str | None, as_json: bool) -> int:
    """Make one plan from the start of the scenario and show it: schedule, reasons, cost.

    \b
    Example:
      ctrl plan configs/heat_treatment/site.yaml
    """
    from ctrl.app.plan import plan_json, plan_site
    from ctrl.cli_output import say_json
    from ctrl.cli_reports import show_plan
    from ctrl.config import load

    loaded = load(site)
    chosen, made = plan_site(loaded, name)
    if as_json:
        say_json(plan_json(loaded, chosen, made))
    else:
        show_plan(loaded.site.timezone, loaded.site.currency, made)
    return codes.FAILED if made.status == "failed" else codes.OK


@cli.command()
@SITE
@click.argument("name", required=False)
@JSON
def explain(site: Path, name: str | None, as_json: bool) -> None:
    """Say in plain words what a site does, or one of its loops, signals, alarms, plans, devices or points.

    \b
    Examples:
      ctrl explain configs/heat_treatment/site.yaml
      ctrl explain configs/heat_treatment/site.yaml furnace_temp_ctl
    """
    from ctrl.app.explain import explain as explain_name
    from ctrl.cli_output import heading, say, say_json
    from ctrl.config import load

    told = explain_name(load(site), name)
    if as_json:
        say_json(told.to_json())
        return
    heading(told.title)
    for title, lines in told.sections:
        say()
        heading(title)
        for line in lines:
            say(f"  {line}")


@cli.command()
@SITE
@RUNTIME
@JSON
def jobs(site: Path, runtime: Path | None, as_json: bool) -> None:
    """List everything with a date or a period: polls, plans, cyclic tasks. With --runtime also what runs now.

    \b
    Example:
      ctrl jobs configs/heat_treatment/site.yaml
    """
    from ctrl.app.jobs import jobs_of
    from ctrl.app.remote import status as ask_status
    from ctrl.cli_output import say_json
    from ctrl.cli_reports import show_jobs
    from ctrl.clock import LiveClock
    from ctrl.config import load

    listed = jobs_of(load(site), LiveClock().utc())
    live = ask_status(runtime) if runtime is not None else None
    if as_json:
        say_json({**listed.to_json(), "running": None if live is None else live.get("jobs", [])})
    else:
        show_jobs(listed, live)


@cli.command()
@RUNTIME
@JSON
def status(runtime: Path | None, as_json: bool) -> None:
    """Show a running service: cycles, devices, alarms.

    \b
    Example:
      ctrl status
    """
    from ctrl.app.remote import status as ask_status
    from ctrl.cli_output import say_json
    from ctrl.cli_reports import show_status
    from ctrl.service.runtime import default_runtime

    found = ask_status(runtime)
    if as_json:
        say_json(found)
    else:
        show_status(found, runtime or default_runtime())


@cli.command()
@RUNTIME
@DEVICES
@click.option("--reason", required=True, help="Why; it goes into the history.")
@click.option("--shadow", is_flag=True, help="Compute and record what would be written, write nothing.")
@JSON
def arm(runtime: Path | None, devices: tuple[str, ...], reason: str, shadow: bool, as_json: bool) -> int:
    """Let a running service write to its devices.

    \b
    Example:
      ctrl arm --device plc_air --reason "commissioning, compressor hall clear"
    """
    return _change(runtime, "shadow" if shadow else "arm", devices, reason, as_json)


@cli.command()
@RUNTIME
@DEVICES
@click.option("--reason", default="ctrl disarm", show_default=True, help="Why; it goes into the history.")
@JSON
def disarm(runtime: Path | None, devices: tuple[str, ...], reason: str, as_json: bool) -> int:
    """Stop a running service from writing; the PLCs apply their fallbacks. Always works.

    \b
    Example:
      ctrl disarm
    """
    return _change(runtime, "disarm", devices, reason, as_json)


def _change(runtime: Path | None, verb: str, devices: tuple[str, ...], reason: str, as_json: bool) -> int:
    from dataclasses import asdict

    from ctrl.app.remote import change
    from ctrl.cli_output import say, say_json, warn

    if not reason.strip():
        raise click.UsageError("--reason must say something")
    changes = change(runtime, verb, devices, reason)
    if as_json:
        say_json({"changes": [asdict(one) for one in changes]})
    else:
        for one in changes:
            (say if one.ok else warn)(f"{one.device}: {one.text if one.ok else f'refused: {one.text}'}")
    return codes.OK if all(one.ok for one in changes) else codes.REFUSED


def main() -> NoReturn:
    """Entry point of `ctrl`. SIGTERM ends a verb in order, with 143; services take the signal over themselves."""
    signal.signal(signal.SIGTERM, _terminated)
    cli(prog_name="ctrl")
    sys.exit(codes.OK)


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(codes.TERMINATED)
