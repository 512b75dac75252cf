"""Randomness as a pure function of (seed, stream, step): no state, O(1) seek to any step.

Each member of an ensemble owns its streams: what seed k draws does not depend on which other
seeds are drawn beside it. On the CPU the numbers come from the counter-based Philox-4x64
generator keyed by (seed, stream) with the step in its counter; elsewhere from the device's own
generator, seeded by a hash of the three, so CPU and GPU runs see different numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


class Draws:
    """Random tensors for one step of one stream, for one seed or for a stack of seeds.

    With a single int as `seeds`, every draw has the shape asked for. With a sequence of K seeds
    it has a leading axis of K, and row k holds exactly the numbers that seed k alone would get.
    Successive calls continue the same stream.
    """

    def __init__(
        self,
        seeds: int | Sequence[int],
        stream: str,
        step: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.stacked = not isinstance(seeds, int)
        members = [seeds] if isinstance(seeds, int) else list(seeds)
        self.device, self.dtype = torch.device(device), dtype
        if self.device.type == "cpu":
            self.generators = [_philox(seed, stream, step) for seed in members]
        else:
            self.generators = [_device_generator(s, stream, step, self.device) for s in members]

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float[*shape] in [low, high); rounding can give `high` where low is not 0."""
        return self._fill("uniform", shape) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Float[*shape] standard normal."""
        return self._fill("normal", shape)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Long[*shape] uniform on low, ..., high - 1."""
        if high <= low:
            raise ValueError(f"empty range [{low}, {high})")
        rows = []
        for generator in self.generators:
            if isinstance(generator, np.random.Generator):
                rows.append(torch.from_numpy(generator.integers(low, high, shape)))
            else:
                rows.append(
                    torch.randint(low, high, shape, generator=generator, device=self.device)
                )
        return self._join(rows)

    def permutation(self, length: int, *shape: int) -> Tensor:
        """Long[*shape, length]: independent uniform permutations of 0, ..., length - 1."""
        keys = self._fill("uniform", (*shape, length))
        return keys.argsort(dim=-1, stable=True)

    def _fill(self, law: str, shape: tuple[int, ...]) -> Tensor:
        rows = []
        for generator in self.generators:
            if isinstance(generator, np.random.Generator):
                kind = np.float64 if self.dtype == torch.float64 else np.float32
                draw = generator.random if law == "uniform" else generator.standard_normal
                rows.append(torch.from_numpy(draw(shape, dtype=kind)).to(self.dtype))
            else:
                draw = torch.rand if law == "uniform" else torch.randn
                rows.append(draw(shape, generator=generator, device=self.device, dtype=self.dtype))
        return self._join(rows)

    def _join(self, rows: list[Tensor]) -> Tensor:
        return torch.stack(rows) if self.stacked else rows[0]


@lru_cache(maxsize=65536)
def _key(seed: int, stream: str) -> int:
    """128 bits that name a stream of a seed."""
    digest = hashlib.blake2b(f"{seed}\0{stream}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def _philox(seed: int, stream: str, step: int) -> np.random.Generator:
    # The step fills the counter's top word: a step may use 2^192 blocks before it meets the next.
    return np.random.Generator(np.random.Philox(key=_key(seed, stream), counter=step << 192))


def _device_generator(seed: int, stream: str, step: int, device: torch.device) -> torch.Generator:
    word = hashlib.blake2b(f"{_key(seed, stream)}\0{step}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(word, "little") >> 1)
