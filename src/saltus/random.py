"""Randomness as a pure function of (seed, stream, step): no state, O(1) seek to any step.

Each member of an ensemble owns its streams: what seed k draws does not depend on which other
seeds are drawn beside it. On the CPU the numbers come from the counter-based Philox-4x64
generator keyed by (seed, stream) with the step in its counter; elsewhere from the device's own
generator, seeded by a hash of the three, so CPU and GPU runs see different numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Draws:
    """Random tensors for one step of one stream, for one seed or for a stack of seeds.

    With a single int as `seeds`, every draw has the shape asked for. With a sequence of K seeds
    it has a leading axis of K, and row k holds exactly the numbers that seed k alone would get.
    The n-th call is a pure function of (seed, stream, step, n) and its arguments.
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
        self.seeds = [seeds] if isinstance(seeds, int) else list(seeds)
        self.stream, self.step, self.calls = stream, step, 0
        self.device, self.dtype = torch.device(device), dtype

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float[*shape] in [low, high); rounding can give `high` where low is not 0."""
        return self._draw("uniform", shape) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Float[*shape] standard normal."""
        return self._draw("normal", shape)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Long[*shape] uniform on low, ..., high - 1."""
        if high <= low:
            raise ValueError(f"empty range [{low}, {high})")
        return self._draw("integers", shape, low, high)

    def permutation(self, length: int, *shape: int) -> Tensor:
        """Long[*shape, length]: independent uniform permutations of 0, ..., length - 1."""
        return self._draw("uniform", (*shape, length)).argsort(dim=-1, stable=True)

    def _draw(self, law: str, shape: tuple[int, ...], low: int = 0, high: int = 1) -> Tensor:
        draw = self._philox if self.device.type == "cpu" else self._device
        count = math.prod(shape)  # by a number and not a shape, numpy draws in half the time
        rows = [draw(seed, law, count, low, high) for seed in self.seeds]
        self.calls += 1
        return torch.stack(rows).view(len(rows), *shape) if self.stacked else rows[0].view(shape)

    def _philox(self, seed: int, law: str, count: int, low: int, high: int) -> Tensor:
        generator = _positioned(seed, self.stream, self.step, self.calls)
        if law == "integers":
            return torch.from_numpy(generator.integers(low, high, count))
        kind = np.float64 if self.dtype == torch.float64 else np.float32
        draw = generator.random if law == "uniform" else generator.standard_normal
        return torch.from_numpy(draw(count, dtype=kind)).to(self.dtype)

    def _device(self, seed: int, law: str, count: int, low: int, high: int) -> Tensor:
        name = f"{_key(seed, self.stream)}\0{self.step}\0{self.calls}".encode()
        word = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") >> 1
        generator = torch.Generator(self.device).manual_seed(word)
        if law == "integers":
            return torch.randint(low, high, (count,), generator=generator, device=self.device)
        draw = torch.rand if law == "uniform" else torch.randn
        return draw(count, generator=generator, device=self.device, dtype=self.dtype)


@lru_cache(maxsize=65536)
def _key(seed: int, stream: str) -> int:
    """128 bits that name a stream of a seed."""
    digest = hashlib.blake2b(f"{seed}\0{stream}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def _positioned(seed: int, stream: str, step: int, call: int) -> np.random.Generator:
    """The stream's generator at the first number of a call; moving it costs a microsecond."""
    generator, state = _generator(seed, stream)
    # A call may use 2^128 blocks before it meets the next, a step 2^64 calls.
    state["state"]["counter"][:] = (0, 0, call, step)
    generator.bit_generator.state = state
    return generator


@lru_cache(maxsize=4096)
def _generator(seed: int, stream: str) -> tuple[np.random.Generator, dict[str, Any]]:
    """A generator and its untouched state (an empty buffer) to write a counter into."""
    generator = np.random.Generator(np.random.Philox(key=_key(seed, stream)))
    return generator, dict(generator.bit_generator.state)
