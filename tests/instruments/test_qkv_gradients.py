"""The training gradient of queries, keys and values: means, ratios, and all attention models."""

import pytest
import torch

import saltus
from saltus.errors import SaltusError
from saltus.instruments import Reading
from saltus.instruments.qkv_gradients import QkvGradients
from saltus.models import initial_parameters
from saltus.models.transformer import Decoder
from saltus.random import Draws

NAME = "blocks.0.attention.{}.weight"


def reading(task, query, key, value):
    parts = {"query": query, "key": key, "value": value}
    gradients = {NAME.format(name): part for name, part in parts.items()}
    return Reading(task=task, parameters={}, gradients=gradients)


def test_means_of_magnitudes_and_ratios(task):
    found = QkvGradients().read(
        reading(
            task,
            torch.tensor([[1.0, -2.0], [0.0, 1.0]]),
            torch.tensor([[3.0, -3.0], [3.0, -3.0]]),
            torch.full((2, 2), -4.0),
        )
    )
    assert {name: value.item() for name, value in found.items()} == {
        "qkv-gradients/blocks.0/query": 1.0,
        "qkv-gradients/blocks.0/key": 3.0,
        "qkv-gradients/blocks.0/value": 4.0,
        "qkv-gradients/blocks.0/mean": pytest.approx(8 / 3),
        "qkv-gradients/blocks.0/query-to-value": 0.25,
        "qkv-gradients/blocks.0/key-to-value": 0.75,
    }


def test_ratios_do_not_see_the_scale_of_the_loss_and_are_0_without_any_gradient(task):
    parts = [torch.randn(4, 4) for _ in range(3)]
    plain, scaled, none = (
        QkvGradients().read(reading(task, *(c * part for part in parts))) for c in (1.0, 64.0, 0.0)
    )
    for name in ("query", "key"):
        ratio = f"qkv-gradients/blocks.0/{name}-to-value"
        assert plain[ratio] == scaled[ratio] and none[ratio] == 0
        mean = f"qkv-gradients/blocks.0/{name}"
        assert 64 * plain[mean] == scaled[mean]


def test_the_mean_is_that_of_the_fused_matrix(one):
    seen = one()
    found = QkvGradients().read(seen)
    for block in ("blocks.0", "blocks.1"):
        parts = [
            seen.gradients[f"{block}.attention.{name}.weight"] for name in ("query", "key", "value")
        ]
        fused = torch.cat(parts).abs().mean()
        torch.testing.assert_close(found[f"qkv-gradients/{block}/mean"], fused)


def test_in_a_loop_of_ones_own_and_in_a_model_of_one_layer(task, words):
    model = Decoder(depth=1, heads=2, width=8)
    module = model.build(task.interface)
    module.load_state_dict(initial_parameters(model, module, seed=0))
    batch = task.sample(Draws(0, "mine"), 8)
    task.loss(module(batch["inputs"]), batch).mean().backward()
    found = saltus.read(module, [QkvGradients()])
    own = module.blocks[0].attention.key.weight.grad.abs().mean()
    assert found["qkv-gradients/blocks.0/key"] == own > 0
    assert len(QkvGradients().read(words().one())) == 6


def test_a_model_without_attention_is_one_line(task):
    bare = Reading(task=task, parameters={}, gradients={"readout.weight": torch.ones(2, 2)})
    with pytest.raises(SaltusError, match=r"no parameter '\*\.attention\.query\.weight'"):
        QkvGradients().read(bare)
