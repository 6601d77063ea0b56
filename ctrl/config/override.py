"""Override file: where devices and sources really are, and the plant clock. Nothing else may change between files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from ctrl.config.model import ClockOverride, HttpSource, Site
from ctrl.config.model_base import Part
from ctrl.config.problems import did_you_mean
from ctrl.config.quantity import whole
from ctrl.config.reader import Document, path_text, read


class DeviceAddress(Part):
    """New address of a device."""

    host: str | None = None
    port: Annotated[int | None, whole(1, 65535)] = None


class SourceAddress(Part):
    """New address of a source."""

    url: str


class Override(Part):
    """The whole file."""

    devices: dict[str, DeviceAddress] = Field(default_factory=dict)
    sources: dict[str, SourceAddress] = Field(default_factory=dict)
    clock: ClockOverride | None = None


def read_override(path: Path, site: Site) -> tuple[Override | None, Document]:
    """The override for a site; problems are in the document."""
    document = read(path)
    if document.root is None:
        return None, document
    try:
        override = Override.model_validate(document.root.plain())
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            context = detail.get("ctx", {})
            known = detail["type"][0] == "E" and detail["type"][1:].isdigit()
            text = str(context.get("text")) if known else f"not allowed here: {detail['msg'].lower()}"
            hint = "Allowed are devices.X.host and port, sources.X.url, and clock: {start, origin, speed}"
            place = document.place(detail["loc"], key=detail["type"] == "extra_forbidden")
            document.report("E231", place, path_text(detail["loc"]), text, hint)
        return None, document
    for section in ("devices", "sources"):
        for name in getattr(override, section):
            if name not in getattr(site, section):
                hint = did_you_mean(name, getattr(site, section))
                place = document.place((section, name), key=True)
                document.report("E302", place, path_text((section, name)), f"the site has no '{name}' there", hint)
    return override, document


def apply(site: Site, override: Override) -> tuple[Site, frozenset[str]]:
    """A copy of the site with the new addresses, and the names of what moved."""
    devices, sources = dict(site.devices), dict(site.sources)
    for name, device in override.devices.items():
        devices[name] = devices[name].model_copy(update=device.model_dump(exclude_none=True))
    for name, source in override.sources.items():
        # a simulated plant serves JSON whatever the site's own source is
        served = sources[name]
        auth = served.auth if isinstance(served, HttpSource) else None
        sources[name] = HttpSource(type="http_json", url=source.url, auth=auth, feeds=served.feeds)
    moved = frozenset(override.devices) | frozenset(override.sources)
    return site.model_copy(update={"devices": devices, "sources": sources}), moved
