"""Gradient rescaling: the three formulas, zeros, and which optimisers notice."""

from __future__ import annotations

import pytest
import torch

from saltus.errors import SaltusError
from saltus.interventions.gradient_rescaling import PARTS, GradientRescaling
from saltus.models.one_layer_attention import OneLayerAttention
from saltus.models.transformer import Decoder
from saltus.training.ensemble import Ensemble
from saltus.training.launch import check
from tiny_experiments import tiny

MODEL = Decoder(width=12, heads=3, depth=2)
modes = pytest.mark.parametrize("mode", ["mean", "to-value", "per-head-to-value"])


def gradients(model=MODEL):
    sizes = {"query": 1e-3, "key": 0.1, "value": 5.0}
    found = {"readout.weight": torch.randn(4, 12, dtype=torch.float64)}
    for layer in range(getattr(model, "depth", 1)):
        for part, size in sizes.items():
            name = f"blocks.{layer}.attention.{part}"
            found[f"{name}.weight"] = size * torch.randn(12, 12, dtype=torch.float64)
            found[f"{name}.bias"] = size * torch.randn(12, dtype=torch.float64)
    return found


def rescaled(mode, given, model=MODEL):
    found = {name: value.clone() for name, value in given.items()}
    GradientRescaling(mode=mode).rescale(found, model, 0)
    return found


def weights(values, layer=0):
    return [values[f"blocks.{layer}.attention.{part}.weight"] for part in PARTS]


def size(value):
    return value.abs().mean()


def test_mean_gives_all_three_the_mean_of_all_entries():
    given = gradients()
    found = rescaled("mean", given)
    for layer in range(2):
        before = weights(given, layer)
        target = size(torch.cat(before))
        for old, new in zip(before, weights(found, layer), strict=True):
            torch.testing.assert_close(new, old * target / size(old))


def test_to_value_gives_queries_and_keys_the_size_of_the_values():
    given = gradients()
    found = rescaled("to-value", given)
    for layer in range(2):
        before, after = weights(given, layer), weights(found, layer)
        assert after[2].equal(before[2])
        for old, new in zip(before, after, strict=True):
            torch.testing.assert_close(new, old * size(before[2]) / size(old))


def test_per_head_to_value_does_so_for_the_rows_of_each_head():
    given = gradients()
    found = rescaled("per-head-to-value", given)
    before, after = weights(given), weights(found)
    assert after[2].equal(before[2])
    for head in range(3):
        rows = slice(4 * head, 4 * head + 4)
        for old, new in zip(before, after, strict=True):
            ratio = size(before[2][rows]) / size(old[rows])
            torch.testing.assert_close(new[rows], old[rows] * ratio)


@modes
def test_nothing_else_is_touched(mode):
    given = gradients()
    for name, value in rescaled(mode, given).items():
        part = name.rpartition(".")[0].rpartition(".")[2]
        if name.endswith("bias") or part not in PARTS:
            assert value.equal(given[name]), name


@modes
@pytest.mark.parametrize("zero", [("query",), ("value",), PARTS])
def test_gradients_of_zeros_stay_finite(mode, zero):
    given = gradients()
    for part in zero:
        given[f"blocks.0.attention.{part}.weight"].zero_()
    given["blocks.1.attention.key.weight"].mul_(1e-310)  # denormal numbers
    found = rescaled(mode, given)
    assert all(value.isfinite().all() for value in found.values())
    for part in zero:
        assert not found[f"blocks.0.attention.{part}.weight"].any()


def test_a_model_of_one_head_has_one_head():
    given, model = gradients(OneLayerAttention()), OneLayerAttention()
    by_head = rescaled("per-head-to-value", given, model)
    for name, value in rescaled("to-value", given, model).items():
        torch.testing.assert_close(by_head[name], value)


@modes
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_adamw_hardly_notices_and_sgd_does(mode, optimizer):
    """Distance to the training without it, in lengths of the way that W_Q and W_K have gone.

    A factor that hardly changes drops out of Adam's quotient; a tiny epsilon lets it.
    """
    rate = {"adamw": {"learning_rate": 1e-4, "epsilon": 1e-16}, "sgd": {"learning_rate": 1e-2}}

    def trained(*interventions) -> list[torch.Tensor]:
        made = Ensemble(
            tiny(
                optimizer={"kind": optimizer, **rate[optimizer]},
                interventions=list(interventions),
                instruments=[],
                engine={"precision": "float64"},
                examples=16,
                batch=16,
                seeds=2,
            ).members()
        )
        for step in range(4):
            made.differentiate(step)
            made.update(step)
        return [
            (made.parameters[name] - made.initial[name]).detach().flatten()
            for name in made.names
            if name.endswith(("query.weight", "key.weight"))
        ]

    plain = torch.cat(trained())
    changed = torch.cat(trained({"kind": "gradient-rescaling", "mode": mode}))
    distance = float((changed - plain).norm() / plain.norm())
    assert distance < 0.02 if optimizer == "adamw" else distance > 0.5


def test_a_model_without_attention_is_refused():
    convolutional = tiny(
        task={"kind": "two-step-image"},
        model="small-convnet",
        instruments=[],
        interventions=["gradient-rescaling"],
    )
    with pytest.raises(SaltusError) as caught:
        check(convolutional)
    assert str(caught.value) == (
        "gradient-rescaling: the model has no attention; allowed: those with it"
    )
