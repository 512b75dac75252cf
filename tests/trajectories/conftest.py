"""A small random walk in the shape of a GPT-2, and its checkpoints as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]
SHAPES = {
    "transformer.wte.weight": (30, 8),
    "transformer.h.0.ln_1.weight": (8,),
    "transformer.h.0.attn.c_attn.weight": (8, 24),
    "transformer.h.1.mlp.c_fc.weight": (8, 32),
    "transformer.h.1.mlp.c_fc.bias": (32,),
    "lm_head.weight": (30, 8),
}


@pytest.fixture
def walk() -> Callable[..., list[State]]:
    """`walk(count, seed=0, drift=0.0, dtype=torch.float32)`: the states of a random walk."""
    return _walk


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., list[Path]]:
    """Writes states as step-0.safetensors, step-100.safetensors, …; returns the files."""

    def written(states: Sequence[State], every: int = 100) -> list[Path]:
        paths = [tmp_path / f"step-{i * every}.safetensors" for i in range(len(states))]
        for path, state in zip(paths, states, strict=True):
            save_file(state, path)
        return paths

    return written


def _walk(
    count: int, seed: int = 0, drift: float = 0.0, dtype: torch.dtype = torch.float32
) -> list[State]:
    """`count` states; every step is random of deviation 0.05, plus `drift` in one direction."""
    random = torch.Generator().manual_seed(seed)

    def draw(name: str) -> Tensor:
        return torch.randn(SHAPES[name], generator=random)

    states = [{name: draw(name) for name in SHAPES}]
    along = {name: draw(name) for name in SHAPES}
    for _ in range(count - 1):
        last = states[-1]
        states.append({n: last[n] + 0.05 * draw(n) + drift * along[n] for n in SHAPES})
    return [{name: value.to(dtype) for name, value in state.items()} for state in states]
