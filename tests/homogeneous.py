"""A tiny language model whose degrees of homogeneity are known."""

from __future__ import annotations

from typing import Any

import torch

from saltus.models import initial_parameters
from saltus.models.language_model import LanguageModel
from saltus.random import Draws
from saltus.tasks.moving_window_sum import MovingWindowSum

BIAS_FREE = dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias", "readout_bias"), False)
SMALL = {"depth": 2, "heads": 2, "width": 8, "hidden": 24, "epsilon": 0.0, **BIAS_FREE}


class Homogeneous:
    """In float64, norms moved off their start. With LayerNorm on what sublayers write, without
    epsilon, without biases but its own and without queries, states are exactly 1-homogeneous and
    outputs 2-homogeneous, for attention is uniform at any scale. Enough hidden units that no token
    finds them all dead, which LayerNorm without epsilon could not divide by."""

    def __init__(self, queries: bool = False, length: int = 5, **changes: Any) -> None:
        self.model = LanguageModel.model_validate({**SMALL, **changes})
        self.task = MovingWindowSum(length=length, alphabet=4)
        self.module = self.model.build(self.task.interface).double()
        own = initial_parameters(self.model, self.module, 3, dtype=torch.float64)
        for name, value in own.items():
            if "query" in name and not queries:
                value.zero_()
            if "norm" in name:
                value += 0.3 * torch.randn_like(value)
        self.module.load_state_dict(own)
        self.parameters = own
        self.batch = self.task.sample(Draws(0, "mine", dtype=torch.float64), 4)
