"""Gradients of single samples compared."""

import math

import pytest
import torch

from saltus.instruments import Reading
from saltus.instruments.gradient_balance import GradientBalance


def balance(task, gradients, samples=16):
    reading = Reading(task=task, parameters={}, sample_gradients=gradients)
    results = GradientBalance(samples=samples).read(reading)
    return {name.removeprefix("balance/"): value.item() for name, value in results.items()}


def test_equal_gradients_are_balanced_and_aligned(task):
    same = torch.randn(1, 3, 5).expand(8, 3, 5)
    found = balance(task, {"blocks.0.mlp.input.weight": same})
    assert found["norm-mean"] == pytest.approx(same[0].norm().item())
    assert found["norm-variation"] == pytest.approx(0, abs=1e-6)
    assert found["norm-ratio"] == pytest.approx(1)
    assert found["alignment"] == pytest.approx(1)


def test_orthogonal_and_cancelling_gradients(task):
    assert balance(task, {"x": torch.eye(8)})["alignment"] == pytest.approx(1 / 8)
    assert balance(task, {"x": torch.tensor([[1.0], [-1.0]])})["alignment"] == 0


def test_lengths_3_4_5(task):
    found = balance(task, {"x": torch.tensor([[3.0, 0.0], [0.0, 4.0], [3.0, 4.0]])})
    assert found["norm-mean"] == pytest.approx(4)
    assert found["norm-variation"] == pytest.approx(math.sqrt(2 / 3) / 4)
    assert found["norm-ratio"] == pytest.approx(5 / 3)
    assert found["alignment"] == pytest.approx((2**2 + (8 / 3) ** 2) / (50 / 3))


def test_no_gradient_at_all_is_finite(task):
    found = balance(task, {"x": torch.zeros(4, 3)})
    assert found == {"norm-mean": 0, "norm-variation": 0, "norm-ratio": 1, "alignment": 0}


def test_share_of_queries_and_keys(task):
    gradients = {
        "blocks.0.attention.query.weight": torch.tensor([[1.0], [0.0]]),
        "blocks.1.attention.key.weight": torch.tensor([[0.0], [1.0]]),
        "readout.weight": torch.tensor([[1.0, 1.0], [0.0, 2.0]]),
    }
    assert balance(task, gradients)["share.attention.qk"] == pytest.approx(2 / 8)


def test_the_mean_of_the_samples_gradients_is_the_batchs(one):
    """So alignment compares the training gradient with the samples it is made of."""
    reading = one(dtype=torch.float64)
    for name, gradient in reading.gradients.items():
        torch.testing.assert_close(reading.sample_gradients[name].mean(0), gradient)
    samples = len(reading.losses)
    rows = torch.cat([g.flatten(1) for g in reading.sample_gradients.values()], dim=1)
    batch = torch.cat([g.flatten() for g in reading.gradients.values()])
    found = GradientBalance(samples=samples).read(reading)
    expected = batch.square().sum() / sum(row.square().sum() for row in rows) * samples
    torch.testing.assert_close(found["balance/alignment"], expected)
    torch.testing.assert_close(found["balance/norm-mean"], rows.norm(dim=1).mean())


def test_only_its_own_samples_are_read(one):
    """Another instrument of the same step may have asked for more."""
    reading = one()
    first = {name: value[:3] for name, value in reading.sample_gradients.items()}
    expected = GradientBalance(samples=3).read(Reading(reading.task, {}, sample_gradients=first))
    found = GradientBalance(samples=3).read(reading)
    assert all(found[name].equal(value) for name, value in expected.items())
