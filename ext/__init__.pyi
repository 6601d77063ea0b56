from array import array
from collections.abc import Mapping, Sequence
from typing import final

from typing_extensions import Buffer

from ext.opcodes import OPCODES as OPCODES
from ext.opcodes import check as check_code
from ext.program_file import BlockSpec, ProgramError, Slot, Task, pack, unpack

@final
class Kind:
    name: str
    doc: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: tuple[tuple[str, float | None], ...]
    state: tuple[str, ...]
    var_input: str
    var_param: str
    def words(self, n_in: int, params: Sequence[float]) -> int: ...

def kinds() -> dict[str, Kind]: ...
def size_of(n: int) -> int: ...

@final
class Image:
    n: int
    cycle: int
    def __init__(self, n: int, buffer: Buffer | None = None) -> None: ...
    def get(self, slot: int) -> tuple[float, int, int]: ...
    def value(self, slot: int) -> float: ...
    def status(self, slot: int) -> int: ...
    def back(self, slot: int) -> tuple[float, int]: ...
    def post(self, slot: int, value: float, status: int, t_ns: int) -> None: ...
    def latch(self, now_ns: int) -> int: ...
    def pending_log(self, now_ns: int) -> bytes: ...
    def publish(self) -> None: ...
    def copy_values(self, values: Buffer, statuses: Buffer, slots: Buffer) -> None: ...

@final
class ImageReader:
    n: int
    def __init__(self, buffer: Buffer) -> None: ...
    def snapshot(self, tries: int = 1000) -> tuple[int, int, array[float], bytes, array[int]] | None: ...

@final
class Program:
    image: Image
    names: tuple[str, ...]
    slots: tuple[Slot, ...]
    tasks: tuple[Task, ...]
    base_period_s: float
    digest: bytes
    not_finite: int
    def __init__(self, data: bytes, image: Image) -> None: ...
    def run(self, task: int, dt_s: float, now_ns: int, utc: float, local: float, fresh: int) -> None: ...
    def run_grid(
        self,
        n: int,
        first_cycle: int,
        now_ns: int,
        utc: float,
        local: float,
        fresh: int,
        every: int,
        slots: Buffer,
        values: Buffer,
        statuses: Buffer,
    ) -> int: ...
    def state(self) -> bytes: ...
    def restore(self, data: bytes) -> None: ...
    def block_state(self, block: str) -> dict[str, float]: ...
    def set_state(self, block: str, words: Mapping[str, float]) -> None: ...
    def set_param(self, block: str, name: str, value: float) -> None: ...

class SingleBlock:
    kind: Kind
    n_in: int
    program: Program
    state: list[float]
    def __init__(
        self, kind: str, params: Sequence[float], n_in: int | None = None, wired: Sequence[bool] | None = None
    ) -> None: ...
    def step(
        self,
        inputs: Sequence[tuple[float, int] | None],
        dt: float,
        now: int = 0,
        utc: float = 0.0,
        local: float = 0.0,
        fresh: int = 0,
        back: Sequence[tuple[float, int]] | None = None,
    ) -> list[tuple[float, int]]: ...
    def backward(self) -> list[tuple[float, int]]: ...

class Ticker:
    period_ns: int
    fd: int
    def __init__(self, period_ns: int, fifo_priority: int = 0) -> None: ...
    def start(self, first_ns: int) -> None: ...
    def due_ns(self, k: int) -> int: ...
    def stop(self) -> None: ...
    def take(self) -> tuple[int, int]: ...
    def statistics(self) -> dict[str, float]: ...
    @property
    def realtime(self) -> bool: ...

__all__ = [
    "OPCODES",
    "BlockSpec",
    "Image",
    "ImageReader",
    "Kind",
    "Program",
    "ProgramError",
    "SingleBlock",
    "Slot",
    "Task",
    "Ticker",
    "check_code",
    "kinds",
    "pack",
    "size_of",
    "unpack",
]
