"""The bundle: all that the control process needs of a site, made once by the loader.

One file: the binary program (ext.program_file) and a manifest of plain data: devices and points, feeds and offers,
alarms, tasks, records and texts. The control process reads it with the standard library alone; it never sees YAML.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MAGIC: Final = b"LWBUNDLE"
VERSION: Final = 1
_HEAD: Final = struct.Struct("<8sIQ")


class BundleError(ValueError):
    """The file is not a whole bundle of this version."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Program bytes and manifest (JSON-able)."""

    program: bytes
    manifest: dict[str, Any]

    def to_bytes(self) -> bytes:
        """Header, manifest, program; sha256 of all that at the end."""
        text = json.dumps(self.manifest, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()
        body = _HEAD.pack(MAGIC, VERSION, len(text)) + text + self.program
        return body + hashlib.sha256(body).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Read a bundle back. Raises BundleError unless every byte of it is as it was written."""
        if len(data) < _HEAD.size + 32:
            raise BundleError("not a bundle: too short")
        magic, version, length = _HEAD.unpack_from(data)
        if magic != MAGIC:
            raise BundleError("not a bundle")
        if version != VERSION:
            raise BundleError(f"bundle version {version}; this engine reads {VERSION}")
        if hashlib.sha256(data[:-32]).digest() != data[-32:]:
            raise BundleError("the bundle is damaged: its checksum does not fit")
        text = data[_HEAD.size : _HEAD.size + length]
        return cls(program=data[_HEAD.size + length : -32], manifest=json.loads(text))

    def save(self, path: Path) -> None:
        """Write the file, readable by its owner only."""
        path.touch(mode=0o600)
        path.write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read the file. Raises BundleError or OSError."""
        return cls.from_bytes(path.read_bytes())
