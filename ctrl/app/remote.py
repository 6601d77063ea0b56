"""Talking to a running service on this machine: its status, and arming its devices."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ctrl.config.problems import did_you_mean
from ctrl.messages import Command
from ctrl.service.link import ask
from ctrl.service.runtime import control_socket

STATES_AFTER: Final = {"arm": "armed", "shadow": "in shadow", "disarm": "disarmed"}


class RefusedError(Exception):
    """The service understood and said no; the text is its reason."""


class UnknownDeviceError(Exception):
    """The running site has no such device."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one device: done or refused, and why."""

    device: str
    ok: bool
    text: str


def user_name() -> str:
    """Who runs this command, by the user id of the process, not by what the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def status(runtime: Path | None = None) -> dict[str, Any]:
    """Status of the service in a runtime folder. Raises LinkError when nobody answers, RefusedError with its reason."""
    return _obeyed(ask(control_socket(runtime), Command("status", "", user_name(), "status")))


def change(runtime: Path | None, verb: str, devices: Sequence[str], reason: str) -> list[Change]:
    """Arm, shadow or disarm devices (none named: all), one command each, so that one refusal does not stop the others.

    Raises LinkError when nobody answers, UnknownDeviceError before anything is changed.
    """
    path = control_socket(runtime)
    known = list(_obeyed(ask(path, Command("status", "", user_name(), "status")))["devices"])
    for name in devices:
        if name not in known:
            raise UnknownDeviceError(f"the running site has no device '{name}'. {did_you_mean(name, known)}".rstrip())
    changes = []
    for name in dict.fromkeys(devices or known):
        reply = ask(path, Command(verb, name, user_name(), reason))
        text = STATES_AFTER[verb] if reply["ok"] else str(reply.get("error", "refused")).removeprefix(f"{name}: ")
        changes.append(Change(name, bool(reply["ok"]), text))
    return changes


def _obeyed(reply: dict[str, Any]) -> dict[str, Any]:
    if not reply["ok"]:
        raise RefusedError(str(reply.get("error", "refused")))
    return {key: value for key, value in reply.items() if key not in ("kind", "ok")}
