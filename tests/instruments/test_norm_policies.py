"""The five norms of the norm-growth paper, M1 to M5."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from saltus.instruments import Instrument, Reading
from saltus.instruments.norm_policies import NormPolicies, encoder_names, mean_column_norm
from saltus.models import group_of, initial_parameters
from saltus.models.base import Interface
from saltus.models.language_model import LanguageModel
from saltus.models.one_layer_attention import OneLayerAttention
from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure
from tiny_experiments import tiny

POLICIES = ("encoder", "total", "mean-column", "per-block", "min-rms")


def root_of_squares(*squares: float) -> float:
    return sqrt(sum(squares))


def test_a_model_that_one_can_add_up_by_hand(task):
    parameters = {
        "token.weight": torch.full((2, 2), 10.0),
        "position.weight": torch.full((3, 2), 0.5),
        "blocks.0.attention.query.weight": torch.tensor([[3.0, 0.0], [0.0, 4.0]]),
        "blocks.0.attention.query.bias": torch.tensor([12.0, 0.0]),
        "blocks.0.attention.log_temperature": torch.tensor(100.0),
        "blocks.1.mlp.up.weight": torch.tensor([[6.0, 8.0]]),
        "final_norm.weight": torch.tensor([1.0, 1.0]),
        "layers.0.batch_norm.running_mean": torch.tensor([77.0]),
        "readout.weight": torch.tensor([[0.0, 5.0], [0.0, 12.0]]),
        "readout.bias": torch.tensor([2.0, 0.0]),
    }
    found = NormPolicies().read(Reading(task=task, parameters=parameters))
    encoder = root_of_squares(9, 16, 144, 100, 2)
    expected = {
        "encoder": encoder,  # a scalar has no axis, and the rest is embeddings and readout
        "total": root_of_squares(encoder**2, 400, 1.5, 1e4, 169, 4),
        "mean-column": (3 + 4 + 6 + 8 + 0 + 13) / 6,
        "blocks.0": 13.0,
        "blocks.1": 10.0,
        "min-rms": 0.5,  # the positions
    }
    assert {name.removeprefix("norm-policies/") for name in found} == set(expected)
    for name, value in expected.items():
        assert found[f"norm-policies/{name}"].item() == pytest.approx(value, rel=1e-6), name


def test_a_head_is_a_layer_of_its_own(task):
    weight = torch.tensor([[3.0], [4.0], [0.0], [2.0]])
    name = "blocks.0.attention.{}.weight"
    for part in ("query", "key", "value"):
        parameters = {name.format(part): weight}
        assert mean_column_norm(parameters, 1) == pytest.approx(sqrt(29))
        assert mean_column_norm(parameters, 2) == pytest.approx((5 + 2) / 2)
    assert mean_column_norm({name.format("output"): weight}, 2) == pytest.approx(sqrt(29))
    assert mean_column_norm({"x.bias": torch.ones(3)}) is None


def expected_column(rows: int, fan_in: int) -> float:
    """E of the norm of `rows` numbers uniform on +-1 / sqrt(fan_in), to the second order.

    Their squares have mean 1 / (3 fan_in) and 4/5 of its square as variance, so the root of their
    sum is sqrt(rows / (3 fan_in)) (1 - (4/5) / (8 rows)).
    """
    return sqrt(rows / (3 * fan_in)) * (1 - 0.1 / rows)


def expected_mean_column(model: LanguageModel, vocabulary: int) -> float:
    """M3 at PyTorch's default start."""
    width, hidden, heads = model.width, model.hidden, model.heads
    own = width // heads
    in_block = [
        (3 * heads * width, expected_column(own, width)),
        (width, expected_column(width, width)),
        (width, expected_column(hidden, width)),
        (hidden, expected_column(width, hidden)),
    ]
    columns = [(model.depth * count, norm) for count, norm in in_block]
    columns.append((width, expected_column(vocabulary, width)))
    return sum(count * norm for count, norm in columns) / sum(count for count, _ in columns)


def test_the_start_of_the_papers_model_has_the_mean_column_norms_of_its_curves():
    """0.1983 for Penn Treebank, 0.2020 for WikiText-2 (section 5 of our spec): it counts columns
    equally, readout included, and heads one by one."""
    paper = LanguageModel()
    assert expected_mean_column(paper, 10_000) == pytest.approx(0.1983, abs=5e-5)
    assert expected_mean_column(paper, 33_278) == pytest.approx(0.2020, abs=1e-4)


def test_a_model_at_its_default_start_has_the_expected_mean_column_norm(task):
    model = LanguageModel(depth=2, heads=4, width=64, hidden=48)
    interface = Interface(vocabulary=50, positions=10, outputs=50)
    module = model.build(interface)
    found = []
    for seed in range(4):
        parameters = initial_parameters(model, module, seed)
        reading = Reading(task=task, model=model, parameters=parameters)
        found.append(NormPolicies(policies=["mean-column"]).read(reading))
    values = [each["norm-policies/mean-column"].item() for each in found]
    assert sum(values) / 4 == pytest.approx(expected_mean_column(model, 50), rel=2e-3)


def test_all_but_token_position_and_readout_is_the_encoder_and_of_the_papers_size():
    module = LanguageModel(depth=1).build(Interface(vocabulary=20, positions=8, outputs=20))
    parameters = dict(module.named_parameters())
    chosen = encoder_names(parameters)
    assert {name.partition(".")[0] for name in parameters.keys() - set(chosen)} == {
        "token", "position", "readout",
    }  # fmt: skip
    assert 12 * sum(parameters[name].numel() for name in chosen) == 37_837_824


def test_they_split_the_norm_of_everything(one):
    reading = one(dtype=torch.float64)
    found = NormPolicies().read(reading)
    whole = torch.cat([value.flatten() for value in reading.parameters.values()]).norm()
    torch.testing.assert_close(found["norm-policies/total"], whole)
    outside = [
        value.flatten()
        for name, value in reading.parameters.items()
        if group_of(name).startswith(("embeddings", "readout"))
    ]
    rest = whole.square() - torch.cat(outside).norm().square()
    torch.testing.assert_close(found["norm-policies/encoder"].square(), rest)
    final = torch.stack([reading.parameters[f"final_norm.{n}"] for n in ("weight", "bias")]).norm()
    of_blocks = sum(found[f"norm-policies/blocks.{i}"].square() for i in (0, 1))
    torch.testing.assert_close(of_blocks + final.square(), rest)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_alone_is_what_it_is_among_all(policy, one):
    every, alone = NormPolicies().read(one()), NormPolicies(policies=[policy]).read(one())
    assert alone and all(every[name].equal(value) for name, value in alone.items())
    assert len(alone) == (2 if policy == "per-block" else 1)


def test_every_policy_scales_with_the_parameters(one):
    reading = one(dtype=torch.float64)
    scaled = {name: 3 * value for name, value in reading.parameters.items()}
    larger = Reading(task=reading.task, model=reading.model, parameters=scaled)
    found = NormPolicies().read(reading)
    for name, value in NormPolicies().read(larger).items():
        torch.testing.assert_close(value, 3 * found[name])


def test_what_a_model_holds_fixed_counts_nowhere(task):
    model = OneLayerAttention(width=8, neurons=8)
    parameters = {name: torch.ones(2, 2) for name in ("attention.weight", "readout.weight")}
    plain = NormPolicies().read(Reading(task=task, parameters=parameters))
    assert plain["norm-policies/total"] == pytest.approx(sqrt(8))
    if model.fixed:
        own = {name: torch.ones(2, 2) for name in [*parameters, model.fixed[0]]}
        found = NormPolicies().read(Reading(task=task, model=model, parameters=own))
        assert found["norm-policies/total"] <= sqrt(8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_is_the_same_to_the_last_bit_in_any_company(dtype, stacked, mapped):
    stack = stacked(dtype=dtype)
    together = mapped(NormPolicies(), stack)
    for member in range(5):
        alone = mapped(NormPolicies(), stack, slice(member, member + 1))
        assert all(together[name][member].equal(value[0]) for name, value in alone.items())
        single = NormPolicies().read(stack.one(member))
        for name, value in single.items():
            torch.testing.assert_close(value, together[name][member], rtol=1e-6, atol=0)


def test_it_is_read_in_training_and_is_its_yaml():
    experiment = tiny(instruments=[{"kind": "norm-policies", "policies": ["encoder", "min-rms"]}])
    ensemble = Ensemble(experiment.members())
    found = measure(ensemble, experiment.instruments, 0)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "norm-policies/encoder": (3,),
        "norm-policies/min-rms": (3,),
    }
    assert Instrument.parse(experiment.instruments[0].model_dump()) == experiment.instruments[0]
