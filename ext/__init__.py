"""Compiled kernels of the engine. This module is their only door: import names from `ext`, never from below it."""

from importlib import import_module as _import_module
from pkgutil import iter_modules as _iter_modules

from ext.image import Image, ImageReader, size_of
from ext.opcodes import OPCODES
from ext.opcodes import check as check_code
from ext.program import Program, SingleBlock
from ext.program_file import BlockSpec, ProgramError, Slot, Task, pack, unpack
from ext.registry import Kind, kinds
from ext.ticker import Ticker

# One file, one registration: importing a kernel file registers the kinds it holds.
for _module in sorted(m.name for m in _iter_modules(__path__)):
    _import_module(f"{__name__}.{_module}")

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
