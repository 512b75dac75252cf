"""Instruments in somebody else's loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import saltus
from saltus.errors import SaltusError
from saltus.instruments.attention_entropy import AttentionEntropy
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.gradient_norms import GradientNorms
from saltus.instruments.norms import Norms
from saltus.models.base import initial_parameters
from saltus.models.transformer import Decoder
from saltus.random import Draws
from saltus.tasks.moving_window_sum import MovingWindowSum


def test_norms_of_a_stranger_are_its_norms() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    module(torch.randn(5, 3)).square().sum().backward()
    values = saltus.read(module, [Norms(), GradientNorms()])
    norm = torch.cat([p.flatten() for p in module.parameters()]).norm()
    gradient = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
    torch.testing.assert_close(values["norm/parameters"], norm)
    torch.testing.assert_close(values["gradient/total"], gradient)


def test_reading_changes_nothing() -> None:
    module = nn.Linear(3, 2)
    module(torch.randn(5, 3)).sum().backward()
    before = [(p.clone(), p.grad.clone()) for p in module.parameters()]
    saltus.read(module, [Norms(), GradientNorms()])
    assert module.training and all(p.requires_grad for p in module.parameters())
    for parameter, (value, gradient) in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter, value) and torch.equal(parameter.grad, gradient)


def test_a_module_with_sites_gives_everything_on_a_batch() -> None:
    task = MovingWindowSum(length=5)
    config = Decoder(width=8, heads=2)
    module = config.build(task.interface)
    module.load_state_dict(initial_parameters(config, module, 0))
    batch = task.sample(Draws(0, "mine"), 6)
    values = saltus.read(module, [Evaluation(), AttentionEntropy()], task, batch)
    loss = task.loss(module(batch["inputs"]), batch).mean()
    torch.testing.assert_close(values["evaluation/loss"], loss.detach())
    assert values["entropy/blocks.0"].shape == (2,)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SaltusError, match="evaluation: it needs a task and a batch"):
        saltus.read(nn.Linear(2, 2), [Evaluation()])
