"""In-context regression: the sequences, the oracle and its closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.random import Draws
from saltus.tasks.icl_regression import IclRegression

SIZES = st.builds(IclRegression, dimensions=st.integers(1, 6), pairs=st.integers(1, 9))


def drawn(task, batch=64, seed=0, step=0):
    return task.sample(Draws(seed, "data", step), batch)


def as_outputs(task, predicted):
    """Predictions of every y where the model gives them, and noise elsewhere."""
    outputs = torch.full((len(predicted), 2 * task.pairs + 1, 1), 99.0)
    outputs[:, ::2, 0] = predicted
    return outputs


@given(task=SIZES, seed=st.integers(0, 99))
def test_one_weight_vector_gives_all_answers_of_a_sequence(task, seed):
    batch = drawn(task, 5, seed)
    d, inputs = task.dimensions, batch["inputs"]
    assert inputs.shape == (5, 2 * task.pairs + 1, d + 1)
    assert inputs.shape[-2:] == (task.interface.positions, task.interface.features)
    assert not inputs[:, ::2, -1].any()
    assert not inputs[:, 1::2, :-1].any()
    assert torch.equal(inputs[:, 1::2, -1], batch["targets"][:, :-1])
    for x, y in zip(inputs[:, ::2, :-1].double(), batch["targets"].double(), strict=True):
        weights, *_ = np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)
        assert np.allclose(x.numpy() @ weights, y.numpy(), atol=1e-4)


@given(task=SIZES, seed=st.integers(0, 99))
def test_the_oracle_is_least_squares_on_the_examples_before(task, seed):
    batch = drawn(task, 4, seed)
    found = task.oracle(batch)
    inputs = batch["inputs"][:, ::2, :-1].double().numpy()
    answers = batch["targets"].double().numpy()
    for sample in range(4):
        for k in range(task.pairs + 1):
            weights, *_ = np.linalg.lstsq(inputs[sample, :k], answers[sample, :k], rcond=None)
            expected = inputs[sample, k] @ weights
            assert float(found[sample, k]) == pytest.approx(expected, abs=1e-3)
    stacked = task.sample(Draws([seed, seed + 1], "data"), 4)
    assert torch.allclose(task.oracle(stacked)[0], found, atol=1e-3)


@pytest.mark.parametrize("loss_on", ["query", "all"])
@pytest.mark.parametrize("pairs", [2, 5, 7])
def test_levels_are_what_predictions_cost_on_samples(pairs, loss_on):
    task = IclRegression(dimensions=5, pairs=pairs, loss_on=loss_on)
    batch = drawn(task, 4000)
    guesses = {"start": torch.zeros(4000, pairs + 1), "floor": task.oracle(batch)}
    for name, predicted in guesses.items():
        losses = task.loss(as_outputs(task, predicted), batch)
        error = float(losses.std()) / len(losses) ** 0.5
        assert abs(float(losses.mean()) - task.levels()[name]) < 4 * error + 1e-3
    by_examples = task.metrics(as_outputs(task, guesses["floor"]), batch)
    expected = torch.tensor([max(5 - k, 0) for k in range(pairs + 1)]).float()
    assert torch.allclose(by_examples["loss/by-examples"], expected, atol=0.5)
    assert torch.equal(by_examples["loss/query"], by_examples["loss/by-examples"][-1])


def test_levels_in_closed_form():
    assert IclRegression().levels() == pytest.approx({"start": 5, "floor": 15 / 11})
    query = IclRegression(dimensions=4, pairs=3, loss_on="query")
    assert query.levels() == {"start": 4, "floor": 1}


def test_the_twin_has_the_weights_of_the_other_sign():
    task = IclRegression()
    batch = drawn(task)
    twin = task.corrupted(batch)
    assert torch.equal(twin["inputs"][:, ::2], batch["inputs"][:, ::2])
    assert torch.equal(twin["targets"], -batch["targets"])
    assert torch.allclose(task.oracle(twin), -task.oracle(batch), atol=1e-4)


@given(task=SIZES, seeds=st.lists(st.integers(0, 99), min_size=1, max_size=5, unique=True))
def test_a_stack_holds_what_each_seed_alone_would_get(task, seeds):
    together = task.sample(Draws(seeds, "data", step=3), 4)
    outputs = torch.randn(len(seeds), 4, 2 * task.pairs + 1, 1)
    losses, metrics = task.loss(outputs, together), task.metrics(outputs, together)
    for row, seed in enumerate(seeds):
        alone = task.sample(Draws(seed, "data", step=3), 4)
        assert all(together[name][row].equal(value) for name, value in alone.items())
        assert losses[row].equal(task.loss(outputs[row], alone))
        for name, value in task.metrics(outputs[row], alone).items():
            assert metrics[name][row].equal(value)
