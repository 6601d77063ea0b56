"""The demonstration: check the site, simulate a day, then run it live against a plant in its own process.

    python configs/heat_treatment/demo.py            ends by itself
    python configs/heat_treatment/demo.py --open     keeps running; open the live page, end with Ctrl-C

Live means: the engine's two processes and a third one that plays PLCs, ERP, market and weather, over real Modbus/TCP
and HTTP on the loopback interface, sped up. One PLC goes away and comes back. Nothing outside this machine is touched.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from ctrl.messages import Command
from ctrl.service.link import LinkError, ask

HERE = Path(__file__).resolve().parent
SITE = HERE / "site.yaml"
SPEED = 10.0
LIVE_S = 720.0  # plant time that must pass
OUTAGE = "plc_air@240s+60s"
DEVICE, POINT = "plc_air", "c1_speed_cmd"
HELD = 80.0  # %, what plc_air falls back to without the engine
BUMP = 0.005 * 75.0  # %, half a percent of the span 25 % .. 100 %
CTRL = [sys.executable, "-m", "ctrl"]
WIDTH = 30


def say(text: str = "") -> None:
    """One line."""
    print(text, flush=True)


def bar(share: float, text: str) -> None:
    """A progress bar on a terminal, a line now and then elsewhere."""
    share = min(1.0, max(0.0, share))
    if sys.stdout.isatty():
        done = round(WIDTH * share)
        end = "\n" if share >= 1.0 else ""
        print(f"\r  [{'#' * done}{'.' * (WIDTH - done)}] {100 * share:3.0f} %  {text:<60.60}", end=end, flush=True)
    elif share >= 1.0 or int(share * 10) != bar.last:  # type: ignore[attr-defined]
        bar.last = int(share * 10)  # type: ignore[attr-defined]
        say(f"  {100 * share:3.0f} %  {text}")


bar.last = -1  # type: ignore[attr-defined]


def check() -> None:
    """1. The site file."""
    say("1. Checking configs/heat_treatment/site.yaml")
    subprocess.run([*CTRL, "check", str(SITE)], check=True)


def simulate(folder: Path) -> dict[str, Any]:
    """2. One day, memory wire, plans included."""
    from ctrl.app.simulate import simulate as run
    from ctrl.config import load

    say("2. Simulating one day in virtual time: loops every second, a plan every quarter hour")
    result = run(load(SITE), days=1.0, record=folder / "day", progress=bar)
    bar(1.0, "done")
    report(result.kpis, result.to_json())
    plans = f"{result.plans} plans, {result.commits} of them with on/off decisions"
    say(f"   {result.cycles} cycles in {result.wall_s:.0f} s, {plans}")
    return result.to_json()


def report(kpis: dict[str, float], extra: dict[str, Any]) -> None:
    """Cost, peak, late orders."""
    del extra
    cost = sum(kpis.get(k, 0.0) for k in ("energy_cost_eur", "demand_cost_eur", "co2_cost_eur", "battery_wear_eur"))
    late = f"{kpis['late_orders_n']:.0f}" if "late_orders_n" in kpis else "none due"
    peak = f"{kpis['peak_kw']:.0f} kW" if "peak_kw" in kpis else "no whole quarter hour yet"
    say(f"   cost {cost:.0f} EUR (energy, demand charge prorated, CO2, wear) | peak {peak} | late orders {late}")


class Live:
    """3. The live run."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.runtime = folder / "run"
        self.record = folder / "live"
        self.override = folder / "override.yaml"
        self.plant: subprocess.Popen[bytes] | None = None
        self.engine: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The plant first, then the engine, armed."""
        plc = ["plc", str(SITE), "--speed", str(SPEED), "--write-override", str(self.override), "--outage", OUTAGE]
        log = (self.folder / "plant.log").open("wb")
        self.plant = subprocess.Popen([*CTRL, *plc], stdout=log, stderr=log, start_new_session=True)
        wait_for(self.override.exists, 30.0, "the plant process", self.plant)
        run = ["run", str(SITE), "--override", str(self.override), "--port", str(self.port), "--arm"]
        where = ["--runtime", str(self.runtime), "--record", str(self.record)]
        log = (self.folder / "engine.log").open("wb")
        self.engine = subprocess.Popen([*CTRL, *run, *where], stdout=log, stderr=log, start_new_session=True)
        wait_for((self.runtime / "control.sock").exists, 30.0, "the control process", self.engine)

    def status(self) -> dict[str, Any] | None:
        """What `ctrl status` knows, or None while control does not answer."""
        try:
            return ask(self.runtime / "control.sock", Command("status", "", "demo", "demo"))
        except LinkError:
            return None

    def follow(self) -> dict[str, Any]:
        """Watch until LIVE_S of plant time have passed; what was seen on the way."""
        seen: dict[str, Any] = {"armed": False, "lost": False, "back": False, "status": {}}
        first: float | None = None
        deadline = time.monotonic() + LIVE_S / SPEED + 60.0
        while time.monotonic() < deadline:
            time.sleep(0.25)
            if self.engine is not None and self.engine.poll() is not None:
                raise SystemExit(f"the engine ended early; see {self.folder / 'engine.log'}")
            status = self.status()
            if status is None:
                continue
            devices = status["devices"]
            if all(d["state"] == "armed" for d in devices.values()):
                seen["armed"] = True
                first = status["utc"] if first is None else first
            seen["status"] = status
            if seen["armed"]:
                seen["lost"] = seen["lost"] or not devices["plc_air"]["link"]
                seen["back"] = seen["lost"] and devices["plc_air"]["link"]
            passed = 0.0 if first is None else status["utc"] - first
            words = "armed" if seen["armed"] else "arming"
            words += ", plc_air lost" if seen["lost"] and not seen["back"] else ", plc_air back" if seen["back"] else ""
            bar(passed / LIVE_S, f"{passed / 60:4.1f} of {LIVE_S / 60:.0f} plant minutes, {words}")
            if passed >= LIVE_S:
                return seen
        raise SystemExit("the live run did not get as far as it should; see " + str(self.folder))

    def stop(self) -> None:
        """Ctrl-C to the engine: fail action, then the end; then the plant."""
        for process in (self.engine, self.plant):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(25.0)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    raise SystemExit("a process did not end in order; see " + str(self.folder)) from None


def wait_for(ready: Any, seconds: float, what: str, process: subprocess.Popen[bytes]) -> None:
    """Until `ready()`; ends the demonstration when it takes too long or the process dies."""
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{what} did not start")
        time.sleep(0.05)


def free_port() -> int:
    """A free port on the loopback interface; 8800 if that is free."""
    for port in (8800, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("no free port on 127.0.0.1")


def live(folder: Path, keep: bool) -> None:
    """The live part, and its report."""
    run = Live(folder, free_port())
    say(f"3. Running it live at {SPEED:g} x over Modbus/TCP: control and site process, the plant in a third one")
    say(f"   live page: http://127.0.0.1:{run.port}/")
    try:
        run.start()
        seen = run.follow()
        if keep:
            say("   still running; open the page, end with Ctrl-C")
            while run.engine is not None and run.engine.poll() is None:
                time.sleep(0.5)
    except KeyboardInterrupt:
        say("\n   ending")
        seen = {"armed": True, "lost": True, "back": True, "status": run.status() or {}}
    finally:
        run.stop()
    counters = seen["status"]
    if not (seen["armed"] and seen["lost"] and seen["back"]):
        raise SystemExit(f"not all of it happened: {seen}; see {folder}")
    kpis = json.loads((run.record / "kpis.json").read_text())["kpis"]
    report(kpis, counters)
    writes = sum(d["written"] for d in counters["devices"].values())
    refused = sum(d["refused"] for d in counters["devices"].values())
    say(f"   {counters['cycles']} cycles, {counters['missed']} missed; {writes} writes confirmed, {refused} refused")
    say("   " + bump(run.record / "writes.jsonl"))


def bump(file: Path) -> str:
    """The first command of the compressor after the outage against what its PLC held, from the journal of writes."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [row for row in rows if (row["device"], row["point"]) == (DEVICE, POINT)]
    gaps = [b["utc"] - a["utc"] for a, b in pairwise(rows)]
    first = rows[gaps.index(max(gaps)) + 1]["value"]
    if abs(first - HELD) > BUMP:
        raise SystemExit(f"a bump: {POINT} came back with {first:g} %, its PLC held {HELD:g} %")
    silent = f"{DEVICE} was silent for {max(gaps):.0f} s of plant time"
    return f"{silent}, its PLC held {HELD:g} %; the first command after that: {first:g} %"


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description="Check, simulate and run the example site.")
    parser.add_argument("--open", action="store_true", help="keep the live run going, with its page")
    parser.add_argument("--record", type=Path, help="folder for the records (default: a new temporary one)")
    arguments = parser.parse_args()
    folder = arguments.record or Path(tempfile.mkdtemp(prefix="loopwright-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    check()
    if not arguments.open:
        simulate(folder)
    live(folder, arguments.open)
    say(f"Done in {time.monotonic() - began:.0f} s. Records: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
