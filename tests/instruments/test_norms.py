"""Norms of parameters and gradients."""

import math

import pytest
import torch

from saltus.instruments import Reading
from saltus.instruments.gradient_norms import GradientNorms
from saltus.instruments.norms import Norms, joint, length
from saltus.models import group_of


def flat(tensors):
    return torch.cat([value.double().flatten() for value in tensors.values()])


@pytest.mark.parametrize(
    ("instrument", "source", "total"),
    [
        (Norms(), "parameters", "norm/parameters"),
        (Norms(per="parameter"), "parameters", "norm/parameters"),
        (GradientNorms(), "gradients", "gradient/total"),
        (GradientNorms(per="parameter"), "gradients", "gradient/total"),
    ],
    ids=repr,
)
def test_pythagoras(instrument, source, total, one):
    """The parts' squares add up to the whole's, and the whole is the norm of one long vector."""
    reading = one(dtype=torch.float64)
    results = instrument.read(reading)
    whole = results.pop(total)
    torch.testing.assert_close(whole, flat(getattr(reading, source)).norm())
    torch.testing.assert_close(sum(part.square() for part in results.values()), whole.square())


def test_groups_are_the_named_ones_and_each_is_its_parameters(one):
    reading = one(dtype=torch.float64)
    results = Norms().read(reading)
    assert {name.removeprefix("norm/") for name in results} == {
        "parameters", "attention.qk", "attention.value", "attention.output", "mlp", "readout",
        "embeddings.token", "embeddings.position", "norm.attention", "norm.mlp", "norm.final",
    }  # fmt: skip
    own = {k: v for k, v in reading.parameters.items() if group_of(k) == "attention.qk"}
    assert len(own) == 8
    torch.testing.assert_close(results["norm/attention.qk"], flat(own).norm())


def test_a_3_4_12_box(task):
    parameters = {
        "readout.weight": torch.tensor([[3.0, 0.0], [0.0, 4.0]]),
        "x": torch.tensor(-12.0),
    }
    results = Norms().read(Reading(task=task, parameters=parameters))
    assert {name: value.item() for name, value in results.items()} == {
        "norm/parameters": 13.0,
        "norm/readout": 5.0,
        "norm/other": 12.0,
    }


def test_a_million_float32_numbers_are_summed_exactly_enough():
    value = torch.randn(1024, 1024) * 0.02
    assert length(value).item() == pytest.approx(value.double().norm().item(), rel=1e-6)
    assert length(value.bfloat16()).dtype == torch.float32


def test_joint_is_elementwise():
    lengths = joint([torch.tensor([3.0, 5.0]), torch.tensor([4.0, 12.0])])
    assert lengths.tolist() == [5.0, 13.0]
    assert joint([torch.tensor(1.0)] * 7).item() == pytest.approx(math.sqrt(7))
