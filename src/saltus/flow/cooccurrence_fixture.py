"""U0: word co-occurrence without random numbers, to compare implementations digit by digit."""

from __future__ import annotations

import torch
from torch import Tensor

from saltus.models.inner_products import KEY, NEURONS, QUERY, READOUT, VALUE
from saltus.tasks.base import Batch

SAMPLES = (  # token numbers from 1, as the spec writes them
    (1, 4, 3, 2),
    (3, 2, 1, 5),
    (2, 1, 6, 3),
    (7, 3, 8, 1),
    (9, 2, 3, 10),
    (11, 12, 3, 13),
)
VOCABULARY, WIDTH, NEURON_COUNT = 13, 16, 8


def fixture() -> tuple[Batch, dict[str, Tensor]]:
    """The training set and the parameters of section 11.1 of our spec of 2410.09605, float64.

    Six samples of four tokens (n = 6, L = 4, d = 13, m = 16, m1 = 8). Every matrix, in the paper's
    orientation, is X[r, c] = 0.3 sqrt(2) sin(phase + 12.9898 r + 78.233 c + 37.719 r c) with
    phase 1, 2, 3, 4 for W, W_V, W_K, W_Q; a = (+1, -1, +1, ...).
    """
    classes = torch.tensor([0, 0, 0, 1, 2, 3])
    targets = torch.where(classes == 0, 1.0, -1.0).double()
    tokens = torch.tensor(SAMPLES) - 1
    return {"inputs": tokens, "targets": targets, "classes": classes}, {
        QUERY: _waves(4, WIDTH, VOCABULARY).T.contiguous(),
        KEY: _waves(3, WIDTH, VOCABULARY).T.contiguous(),
        VALUE: _waves(2, WIDTH, VOCABULARY).T.contiguous(),
        NEURONS: _waves(1, NEURON_COUNT, WIDTH),
        READOUT: torch.tensor([[1.0, -1.0] * (NEURON_COUNT // 2)], dtype=torch.float64),
    }


def _waves(phase: float, rows: int, columns: int) -> Tensor:
    r = torch.arange(rows, dtype=torch.float64).unsqueeze(1)
    c = torch.arange(columns, dtype=torch.float64)
    return 0.3 * 2**0.5 * torch.sin(phase + 12.9898 * r + 78.233 * c + 37.719 * r * c)
