"""Seeded draws for generators of data: SplitMix64 (Steele, Lea, Flood 2014) as a counter-based generator.

The same algorithm as the compiled noise. A draw depends on the seed, the labels and its number alone: never on which
other draws were made before, on the platform or on the version of a library.
"""

from __future__ import annotations

import math
from typing import Final

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15


def mix64(z: int) -> int:
    """Finaliser of SplitMix64: a bijection of 64-bit numbers that scatters neighbours."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def signal_seed(seed: int, *labels: str | int) -> int:
    """Whole number in 0 .. 2^53 - 1 (exact as a float) for a seed and names, e.g. of a plant and a signal."""
    key = mix64((seed + _GOLDEN) & _MASK)
    for label in labels:
        for byte in f"{label}/".encode():
            key = mix64((key ^ byte) + _GOLDEN & _MASK)
    return key >> 11


class Draws:
    """Numbered draws for (seed, labels).

    seed: any whole number; labels: names or numbers that set this stream apart from others of the same seed.
    """

    __slots__ = ("_key",)

    def __init__(self, seed: int, *labels: str | int) -> None:
        self._key = mix64(signal_seed(seed, *labels))

    def uniform(self, n: int) -> float:
        """Draw n, n >= 0, in (0, 1]."""
        return ((mix64((self._key + (n + 1) * _GOLDEN) & _MASK) >> 11) + 1) * 2.0**-53

    def normal(self, n: int) -> float:
        """Draw n, n >= 0, with mean 0 and standard deviation 1 (Box and Muller 1958)."""
        return math.sqrt(-2.0 * math.log(self.uniform(2 * n))) * math.cos(2.0 * math.pi * self.uniform(2 * n + 1))

    def ar1(self, count: int, rho: float) -> list[float]:
        """`count` values of a stationary AR(1) process with standard deviation 1 and correlation rho, -1 < rho < 1."""
        spread = math.sqrt(1.0 - rho * rho)
        values: list[float] = []
        x = 0.0
        for n in range(count):
            e = self.normal(n)
            x = e if n == 0 else rho * x + spread * e
            values.append(x)
        return values
