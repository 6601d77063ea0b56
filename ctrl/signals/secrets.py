"""Secrets of sources: named in the site file as ${secret:name}, resolved when a request is really made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ctrl.config.secrets import secret_name
from ctrl.signals.base import FeedError

_RUN_SECRETS = Path("/run/secrets")


def resolve(text: str, environ: Mapping[str, str] = os.environ, run_secrets: Path = _RUN_SECRETS) -> str:
    """The text itself, or the value of the secret it names.

    Looked up in this order: systemd credentials ($CREDENTIALS_DIRECTORY/name), /run/secrets/name, the variable
    CTRL_SECRET_NAME. Raises FeedError that names the secret and the places, never a value.
    """
    name = secret_name(text)
    if name is None:
        return text
    folders = [Path(environ["CREDENTIALS_DIRECTORY"])] if "CREDENTIALS_DIRECTORY" in environ else []
    for folder in (*folders, run_secrets):
        try:
            return (folder / name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise FeedError(f"secret {name}: {folder / name} cannot be read ({type(error).__name__})") from error
    variable = f"CTRL_SECRET_{name.upper()}"
    if variable in environ:
        return environ[variable]
    raise FeedError(f"secret {name} is missing: put it into {run_secrets / name} or set {variable}")
