"""A live site for system tests: the plant here, the engine's processes beside it, taps on the wires between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from ctrl.config import load
from ctrl.messages import Command
from ctrl.service.link import LinkError, ask
from ctrl.simulation.serve import PlantServer
from tests.system.wiretap import Tap

SITE = Path(__file__).parents[2] / "configs" / "heat_treatment" / "site.yaml"


class LiveSite:
    """Plant server in this event loop, engine as processes."""

    def __init__(self, folder: Path, speed: float, edits: Mapping[str, str]) -> None:
        self.folder, self.speed = folder, speed
        self.file = edited_site(folder, edits)
        self.plant = PlantServer(load(self.file), speed=speed)
        self.taps: dict[str, Tap] = {}
        self.engine: subprocess.Popen[bytes] | None = None
        self.runtime, self.record = folder / "rt", folder / "rec"

    @property
    def socket(self) -> Path:
        return self.runtime / "control.sock"

    async def start(self) -> None:
        await self.plant.start()
        override = self.plant.override()
        for name, device in override["devices"].items():
            self.taps[name] = tap = Tap(device["port"])
            await tap.start()
            device["port"] = tap.port
        file = self.folder / "override.yaml"
        file.write_text(json.dumps(override))  # JSON is YAML
        command = [sys.executable, "-m", "ctrl", "run", str(self.file), "--override", str(file), "--arm", "--port", "0"]
        command += ["--runtime", str(self.runtime), "--record", str(self.record)]
        log = (self.folder / "engine.log").open("wb")
        self.engine = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    async def stop(self) -> int:
        """End the engine as Ctrl-C does; its exit code."""
        assert self.engine is not None
        if self.engine.poll() is None:
            self.engine.send_signal(signal.SIGINT)
        try:
            code = await asyncio.to_thread(self.engine.wait, 30)
        except subprocess.TimeoutExpired:
            self.engine.kill()
            raise
        return int(code)

    async def close(self) -> None:
        if self.engine is not None and self.engine.poll() is None:
            with contextlib.suppress(Exception):
                await self.stop()
        for tap in self.taps.values():
            await tap.stop()
        await self.plant.close()

    async def ask(self, verb: str, device: str = "") -> dict[str, Any]:
        return await asyncio.to_thread(ask, self.socket, Command(verb, device, "test", "test"))

    async def status(self) -> dict[str, Any] | None:
        try:
            return await self.ask("status")
        except LinkError:
            return None

    async def until(self, what: str, condition: Callable[[], Any], wall_s: float = 60.0) -> Any:
        """Wait for a condition (plain or async); its value. Fails with the engine's log."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wall_s
        while loop.time() < end:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            if self.engine is not None and self.engine.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within {wall_s:g} s: {what}\n{self.log()}")

    async def armed(self) -> dict[str, Any]:
        """Wait until every device is armed."""

        async def all_armed() -> dict[str, Any] | None:
            status = await self.status()
            ready = status is not None and all(d["state"] == "armed" for d in status["devices"].values())
            return status if ready else None

        return await self.until("armed", all_armed)

    def log(self) -> str:
        return (self.folder / "engine.log").read_text(errors="replace")[-4000:]

    def child(self, name: str) -> int:
        """Process id of the engine's control or site process."""
        assert self.engine is not None
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                command = (entry / "cmdline").read_bytes()
                if int(stat[1]) == self.engine.pid and f"ctrl.app.{name}_process".encode() in command:
                    return int(entry.name)
        raise AssertionError(f"no {name} process\n{self.log()}")

    def kill(self, name: str) -> None:
        """kill -9."""
        os.kill(self.child(name), signal.SIGKILL)


def edited_site(folder: Path, edits: Mapping[str, str]) -> Path:
    """A copy of the flagship in which some texts are replaced; each must stand in it exactly once."""
    text = SITE.read_text()
    for old, new in edits.items():
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the site file"
        text = text.replace(old, new)
    file = folder / "site.yaml"
    file.write_text(text)
    (folder / "data").symlink_to(SITE.parent / "data")
    return file


@contextlib.asynccontextmanager
async def live_site(folder: Path, speed: float, edits: Mapping[str, str] | None = None) -> AsyncIterator[LiveSite]:
    """A live site that is armed, and ended at the end. edits: texts of the site file to replace."""
    site = LiveSite(folder, speed, edits or {})
    try:
        await site.start()
        await site.armed()
        yield site
    finally:
        await site.close()
