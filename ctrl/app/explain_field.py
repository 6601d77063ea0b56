"""Devices, points, sources and feeds in plain words: where a value lives, who uses it, what its loss means."""

from __future__ import annotations

from ctrl.app.explain_loops import ALARMS, DOES, LIMITS, TROUBLE, Section
from ctrl.app.explain_words import Words, listed, span
from ctrl.config.model import CsvSource, Device, Feed, HttpSource, Point

Found = tuple[str, list[Section]] | None
"""Title and sections, or None when there is nothing of that name."""

UNUSED = "Nothing uses it; it is shown and recorded."


def device_line(device: Device) -> str:
    """Address and size of a device, in one phrase."""
    commands = sum(point.write for point in device.points.values())
    return f"{device.host}:{device.port}, {len(device.points) - commands} measurements, {commands} commands"


def device(words: Words, name: str) -> Found:
    """A device: its points, its contract, how it is armed."""
    device = words.site.devices.get(name)
    if device is None:
        return None
    contract = device.contract
    does = [
        (
            f"A PLC at {device.host}:{device.port}, read every {words.site.tasks[device.task].every}; an answer after "
            f"{device.timeout} counts as none."
        )
    ]
    promise = {
        "heartbeat": f"The engine counts up at {contract.write}, the PLC returns the count at {contract.echo}. After "
        f"{contract.dead_after} without a new count the PLC applies its fallbacks.",
        "block": f"Commands go as one block with a sequence number at {contract.write}; after {contract.dead_after} "
        "without a new one the PLC applies its fallbacks.",
        "revert_timer": f"The device goes back to its own values {contract.dead_after} after the last command.",
        "none": "The device promises nothing, so it cannot be armed: commands are computed and never written.",
    }[contract.kind]
    alarm = words.site.failsafe.plc_lost.after
    return f"{name}: a device", [
        (DOES, does),
        ("Measurements", [_point_line(words, name, p) for p, point in device.points.items() if not point.write]),
        ("Commands", [_point_line(words, name, p) for p, point in device.points.items() if point.write]),
        (
            TROUBLE,
            [
                (
                    "After 3 cycles without a full answer it counts as lost, and its loops follow what it last "
                    f"reported; after {alarm} an alarm tells."
                ),
                promise,
                *(f"Fallback: {words.fallback(f'{name}.{p}')}." for p, point in device.points.items() if point.write),
            ],
        ),
        (
            "Arming",
            ["It starts disarmed: read, not written. `ctrl arm` lets the engine write, `ctrl disarm` always works."],
        ),
    ]


def _point_line(words: Words, device: str, name: str) -> str:
    point = words.site.devices[device].points[name]
    unit = f" {point.unit}" if point.unit != "1" else ""
    bounds = point.limits or point.valid
    return f"{name} at {point.at}, {point.type}{unit}" + (f", {span(bounds)}" if bounds is not None else "")


def point(words: Words, name: str) -> Found:
    """A point of a device."""
    point = words.point(name)
    if point is None:
        return None
    device = name.partition(".")[0]
    kind = "a command" if point.write else "a measurement"
    stored = f"At {point.at} of {device} as {point.type}"
    stored += f", value = number x {point.scale:g} {point.unit}" if point.scale != 1.0 else f", unit {point.unit}"
    lines = [stored + "."]
    if point.enum:
        lines.append(f"Its numbers mean: {listed(f'{n} {word}' for n, word in point.enum.items())}.")
    users = words.users((name,))
    return f"{name}: {kind} of {device}", [
        ("Where it is", lines),
        ("Who commands it" if point.write else "Who uses it", _who(words, name, point, users)),
        (LIMITS, _point_limits(point)),
        (TROUBLE, _point_trouble(words, name, point)),
        (ALARMS, words.watched((name,))),
    ]


def _who(words: Words, name: str, point: Point, users: list[str]) -> list[str]:
    if not point.write:
        return [f"{listed(users)}."] if users else [UNUSED]
    owners = [n for n in words.site.loops if name in words.outputs(n)]
    return [f"{listed(owners)}."] if owners else ["Nothing commands it; it is read back and shown."]


def _point_limits(point: Point) -> list[str]:
    lines = []
    if point.valid is not None:
        lines.append(f"Believed from {span(point.valid)}; further out the sensor counts as failed.")
    if point.limits is not None:
        lines.append(f"Commands stay within {span(point.limits)}.")
    if point.rate is not None:
        lines.append(f"Commands change by at most {point.rate}.")
    return lines


def _point_trouble(words: Words, name: str, point: Point) -> list[str]:
    if not point.write:
        return [
            "If it cannot be read, its last value stays, marked bad; whoever uses it acts as for a bad measurement."
        ]
    expires = f"Not refreshed for {point.expires_after}: {words.fallback(name)}." if point.expires_after else ""
    return [line for line in (expires, *words.device_lost((name,))) if line]


def source(words: Words, name: str) -> Found:
    """A source of IT data."""
    source: HttpSource | CsvSource | None = words.site.sources.get(name)
    if source is None:
        return None
    feeds = [_feed_line(f, feed) for f, feed in source.feeds.items()]
    if isinstance(source, CsvSource):
        return f"{name}: a source", [(DOES, [f"CSV files in the folder {source.folder}."]), ("What is read", feeds)]
    secret = ["It is asked with a secret, kept outside the site file."] if source.auth is not None else []
    return f"{name}: a source", [(DOES, [f"A JSON service at {source.url}.", *secret]), ("What it is asked for", feeds)]


def _feed_line(name: str, feed: Feed) -> str:
    kind = "a list" if feed.fields else f"a curve of {feed.horizon} ahead" if feed.horizon is not None else "one value"
    return f"{name}: {kind}, every {feed.every}; after {feed.stale_after} without news it counts as gone."


def feed(words: Words, name: str) -> Found:
    """One feed of a source."""
    owner, _, rest = name.partition(".")
    feed = words.site.sources[owner].feeds.get(rest) if owner in words.site.sources else None
    if feed is None:
        return None
    users = words.users((name,))
    return f"{name}: a feed of {owner}", [
        (DOES, [_feed_line(rest, feed)]),
        ("Who uses it", [f"{listed(users)}." if users else UNUSED]),
        (
            TROUBLE,
            [
                (
                    f"Good while younger than twice its period, {feed.every}; then its last value is marked so; after "
                    f"{feed.stale_after} it is bad."
                ),
                "An answer that is malformed or not believable is not used, and an event says why.",
            ],
        ),
        (ALARMS, words.watched((name,))),
    ]
