"""`ctrl run`: check and compile the site, start control and site under a supervisor, end with the fail action."""

from __future__ import annotations

import getpass
import os
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from ctrl.clock import LiveClock, iso, pause
from ctrl.config.loader import load
from ctrl.config.model import Site
from ctrl.loops.compile import compile_site
from ctrl.messages import Command
from ctrl.service.link import LinkError, ask
from ctrl.service.runtime import default_runtime
from ctrl.service.supervisor import Child, Supervisor
from ext import size_of

POLL_S = 0.1
ARM_WITHIN_S = 60.0


class RunError(RuntimeError):
    """The run could not start; the message says why."""


def clock_argument(site: Site) -> str:
    """The clock of a run for the child processes: "live", or origin, start and speed of a simulated plant."""
    if site.clock is None:
        return "live"
    return f"{round(site.clock.origin * 1e9)},{site.clock.start!r},{site.clock.speed!r}"


def run(
    site_path: str | Path,
    override: str | Path | None = None,
    *,
    port: int = 8800,
    runtime: str | Path | None = None,
    record: str | Path | None = None,
    arm: bool = False,
    say: Callable[[str], None] | None = None,
) -> int:
    """Run a site until SIGINT or SIGTERM. Returns 130 or 143 after an orderly end, 1 when control kept dying.

    port: of the live page, on loopback. runtime: folder of the control socket. record: folder of the records.
    arm: arm every device as soon as its link is good (else `ctrl arm` does). Raises ConfigError, RunError, OSError.
    """
    tell = say or _print
    if port and find_spec("uvicorn") is None:
        raise RunError('the live page needs an extra: pip install "loopwright[hmi]", or run without it: --port 0')
    site = load(site_path, override)
    folder = Path(runtime) if runtime is not None else default_runtime()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    records = Path(record) if record is not None else folder / "records"
    records.mkdir(parents=True, exist_ok=True)
    supervisor = _prepare(site, Path(site_path), override, folder, records, port, tell)
    return _supervise(supervisor, folder / "control.sock", arm, tell)


def _prepare(
    site: Site,
    path: Path,
    override: str | Path | None,
    folder: Path,
    records: Path,
    port: int,
    say: Callable[[str], None],
) -> Supervisor:
    bundle = compile_site(site)
    file = folder / "bundle.lwb"
    bundle.save(file)
    fd = os.memfd_create("loopwright-image")
    os.ftruncate(fd, size_of(max(bundle.manifest["slots"].values()) + 1))
    # the site process gets a descriptor that cannot be written: control alone writes the image
    read_only = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    common = [
        "--bundle",
        str(file),
        "--parent",
        str(os.getpid()),
        "--runtime",
        str(folder),
        "--record",
        str(records),
        "--clock",
        clock_argument(site),
    ]
    python = [sys.executable, "-m"]
    control = Child("control", [*python, "ctrl.app.control_process", "--image-fd", str(fd), *common], (fd,))
    where = [str(path), *(["--override", str(override)] if override is not None else [])]
    extra = ["--image-fd", str(read_only), "--port", str(port)]
    site_side = Child("site", [*python, "ctrl.app.site_process", *where, *extra, *common], (read_only,))
    page = f"live page http://127.0.0.1:{port}/" if port else "no live page"
    say(f"{site.site.name}: {len(site.devices)} devices, {len(site.loops)} loops; {page}")
    say(f"records: {records}")
    return Supervisor(control, site_side, say)


def _supervise(supervisor: Supervisor, socket: Path, arm: bool, say: Callable[[str], None]) -> int:
    clock = LiveClock()
    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    old = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        supervisor.start(supervisor.control)
        supervisor.start(supervisor.site)
        waiting = arm
        armed: set[str] = set()
        give_up = clock.wall_mono() + ARM_WITHIN_S
        code: int | None = None
        while not received and code is None:
            pause(POLL_S)
            code = supervisor.poll()
            if waiting and clock.wall_mono() <= give_up:
                waiting = not _try_arm(socket, armed, say)
            elif waiting:
                say(f"not armed within {ARM_WITHIN_S:.0f} s; `ctrl status` says why, `ctrl arm` tries again")
                waiting = False
        if received:
            code = 128 + received[0]
            say("ending: fail action, then stop")
        return 1 if code is None else code
    finally:
        # whatever happened here, nothing of the engine is left behind without its supervisor
        supervisor.end()
        for number, handler in old.items():
            signal.signal(number, handler)
        say(f"ended {iso(clock.utc())}")


def _try_arm(socket: Path, done: set[str], say: Callable[[str], None]) -> bool:
    """Arm each device once; True when all were. done: those that were armed: a person may have disarmed them since."""
    user = getpass.getuser()
    try:
        devices = ask(socket, Command("status", "", user, "arming at start"))["devices"]
        for name in devices:
            if name not in done and ask(socket, Command("arm", name, user, "ctrl run --arm"))["ok"]:
                done.add(name)
    except LinkError:
        return False
    if done >= set(devices):
        say("armed: " + ", ".join(devices))
    return done >= set(devices)


def _print(text: str) -> None:
    print(text, flush=True)
