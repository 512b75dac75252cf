"""Labels of many samples, drawn in pieces so that their pixels need little memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from saltus.random import Draws
from saltus.tasks.base import Batch
from saltus.tasks.images import TwoStepImage

PIECE = 5000


@pytest.fixture(scope="session")
def many() -> Callable[..., Batch]:
    """Everything but the pixels of so many samples, 50,000 if not said."""

    def draw(task: TwoStepImage, samples: int = 50_000) -> Batch:
        pieces = []
        for step in range(samples // PIECE):
            batch = task.sample(Draws(0, "data", step), PIECE)
            pieces.append({name: value for name, value in batch.items() if name != "inputs"})
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}

    return draw
