"""A device, an image and a bench that drives both cycle by cycle: shared by the tests of ctrl.field."""

from __future__ import annotations

from collections.abc import Coroutine
from random import Random
from typing import Any

from ctrl.field.device import DeviceDriver
from ctrl.field.gate import WriteGate
from ctrl.field.journal import Journal
from ctrl.field.memory import MemoryTransport
from ctrl.field.spec import ContractSpec, DeviceSpec, PointSpec
from ctrl.field.transport import Reconnect
from ctrl.field.virtual_plc import VirtualPlc
from ctrl.quality import BAD_NOT_CONNECTED, GOOD

S = 1_000_000_000
UTC0 = 1_520_000_000.0


def seeded(seed: int) -> Random:
    """Jitter that repeats."""
    return Random(seed)  # noqa: S311 - no secret is made of it


def furnace(**changes: Any) -> DeviceSpec:
    """Ten points in all four tables, with commands f32, i16 and coil."""
    points = (
        PointSpec("temp", "plc.temp", "ir", 100, "f32", "degC", valid_lo=0.0, valid_hi=1200.0),
        PointSpec("backup", "plc.backup", "ir", 102, "f32", "degC", valid_lo=0.0, valid_hi=1200.0),
        PointSpec("power", "plc.power", "ir", 106, "f32", "kW", valid_lo=-5.0, valid_hi=400.0),
        PointSpec("state", "plc.state_word", "ir", 110, "u16", "1", enum=((0, "off"), (1, "heating"), (2, "ready"))),
        PointSpec("pressure", "plc.pressure", "ir", 111, "i16", "bar", scale=0.01),
        PointSpec("door", "plc.door", "di", 0, "bool", ""),
        PointSpec(
            "power_cmd", "plc.power_cmd", "hr", 10, "f32", "kW", write=True, lo=0.0, hi=320.0, rate=40.0,
            expires_after_s=6.0, fallback=60.0,
        ),
        PointSpec(
            "speed_cmd", "plc.speed_cmd", "hr", 12, "i16", "%", scale=0.1, write=True, lo=-100.0, hi=100.0,
            expires_after_s=30.0,
        ),
        PointSpec("run_cmd", "plc.run_cmd", "co", 0, "bool", "", write=True, expires_after_s=30.0),
        PointSpec("energy", "plc.energy", "ir", 112, "u32", "kWh", scale=0.1, counter=True),
    )  # fmt: skip
    base: dict[str, Any] = {
        "name": "plc",
        "host": "127.0.0.1",
        "port": 502,
        "unit_id": 1,
        "timeout_s": 0.2,
        "task": "regulatory",
        "period_s": 1.0,
        "contract": ContractSpec("heartbeat", ("hr", 0), ("ir", 0), 6.0),
        "points": points,
        "owner": "engine",
        "gap": 120,
    }
    return DeviceSpec(**{**base, **changes})


class FakeImage:
    """What a device needs of the process image, with the posts in order."""

    def __init__(self, spec: DeviceSpec) -> None:
        tags = [p.tag for p in spec.points] + [p.readback_tag for p in spec.points if p.write]
        tags += [f"{spec.name}.state", f"{spec.name}.link"]
        self.slots = {tag: i for i, tag in enumerate(tags)}
        self.now = [(0.0, BAD_NOT_CONNECTED, 0)] * len(tags)

    def post(self, slot: int, value: float, status: int, t_ns: int) -> None:
        self.now[slot] = (value, status, t_ns)

    def get(self, slot: int) -> tuple[float, int, int]:
        return self.now[slot]

    def value(self, tag: str) -> float:
        return self.now[self.slots[tag]][0]

    def status(self, tag: str) -> int:
        return self.now[self.slots[tag]][1]


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Drive a coroutine that never waits, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("it waited")


class Bench:
    """Driver, gate, journal, memory wire and virtual PLC; `cycle` runs one second."""

    def __init__(self, spec: DeviceSpec | None = None, wire: Any = None, journal: Journal | None = None) -> None:
        self.spec = spec or furnace()
        self.plc = VirtualPlc(self.spec)
        self.plc.traffic = []
        self.image = FakeImage(self.spec)
        self.k = 0
        self.journal = journal or Journal(None, 1000)
        self.gate = WriteGate(self.spec, self.journal)
        self.wire = wire or MemoryTransport(self.plc, Reconnect(seeded(1)), lambda: float(self.k))
        self.driver = DeviceDriver(self.spec, self.wire, self.gate, self.image, self.image.slots)
        self.commands: dict[str, float] = {}
        self.events: list[str] = []

    @property
    def now_ns(self) -> int:
        return self.k * S

    @property
    def utc(self) -> float:
        return UTC0 + self.k

    async def acycle(self, **commands: float) -> None:
        """Read, set the commands as the program would, write, then let the PLC scan."""
        self.k += 1
        await self.driver.read(self.now_ns)
        self.commands.update(commands)
        for name, value in self.commands.items():
            self.image.post(self.image.slots[f"plc.{name}"], value, GOOD, self.now_ns)
        await self.driver.write(self.now_ns, self.utc)
        self.events += [e.event for e in self.driver.drain_events()]
        self.plc.step(float(self.k))

    def cycle(self, n: int = 1, **commands: float) -> None:
        for _ in range(n):
            run(self.acycle(**commands))

    def arm(self) -> None:
        assert self.gate.arm("test", "me", self.utc) is None

    def writes(self) -> list[tuple[str, int, tuple[int, ...]]]:
        """Writes the PLC saw since the last call, heartbeats left out."""
        assert self.plc.traffic is not None
        seen = [(t, o, w) for op, t, o, w in self.plc.traffic if op == "write" and (t, o) != ("hr", 0)]
        self.plc.traffic.clear()
        return seen
