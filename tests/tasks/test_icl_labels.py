"""In-context labels: what the sequences say, and what strategies cost on them."""

import itertools
from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.random import Draws
from saltus.tasks.icl_labels import IclLabels

TASK = IclLabels()
SETTINGS = [{}, {"pairs": 6, "items": 7, "label_alphabet": 5, "shown": 3}]


@st.composite
def tasks(draw):
    shown, each = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    return IclLabels(
        pairs=shown * each,
        shown=shown,
        items=shown * each + draw(st.integers(0, 5)),
        label_alphabet=shown + draw(st.integers(0, 3)),
        loss_on=draw(st.sampled_from(["query", "all"])),
    )


def drawn(task, batch=64, seed=0, step=0):
    return task.sample(Draws(seed, "data", step), batch)


def predictions(task, batch, strategy):
    """Log-probabilities [batch, 2 n + 1, vocabulary] of one who knows so much of the rule."""
    inputs, size = batch["inputs"], task.interface.vocabulary
    outputs = torch.zeros(*inputs.shape, size, dtype=torch.float64)
    if strategy == "start":
        outputs[..., task.items :] = 1 / task.label_alphabet
        return outputs.log().clamp_min(-1e30)
    each = task.pairs // task.different
    for sample, row in enumerate(inputs.tolist()):
        labels = row[1::2]
        for k in range(task.pairs):  # a label of those seen may come again, or a new one
            seen = {label: labels[:k].count(label) for label in labels[:k]}
            for label in range(task.items, size):
                left = each - seen[label] if label in seen else 0.0
                if label not in seen:
                    new = task.label_alphabet - len(seen)
                    left = (task.different - len(seen)) * each / new
                outputs[sample, 2 * k, label] = left / (task.pairs - k)
        if strategy == "plateau":
            for label in labels:
                outputs[sample, -1, label] += 1 / task.pairs
        else:
            outputs[sample, -1, row[row.index(row[-1]) + 1]] = 1
    return outputs.log().clamp_min(-1e30)


@given(task=tasks(), seed=st.integers(0, 99))
def test_the_answer_is_the_label_behind_the_same_item(task, seed):
    batch = drawn(task, 6, seed)
    found, roles = task.labels(batch), task.roles(batch, task.interface.positions)
    for sample, row in enumerate(batch["inputs"].tolist()):
        items, labels, query = row[:-1:2], row[1::2], row[-1]
        assert len(set(items)) == task.pairs
        assert all(0 <= item < task.items for item in items)
        assert all(task.items <= label < task.interface.vocabulary for label in labels)
        assert len(set(labels)) == task.different
        assert {labels.count(label) for label in labels} == {task.pairs // task.different}
        place = items.index(query)
        assert batch["targets"][sample].tolist() == [*row[1:], labels[place]]
        assert (found["y"][sample], found["z"][sample]) == (labels[place] - task.items, place)
        assert roles["indicator"][sample].nonzero().flatten().tolist() == [2 * place]
        assert roles["target"][sample].nonzero().flatten().tolist() == list(range(1, len(row), 2))
    assert task.label_classes() == {"y": task.label_alphabet, "z": task.pairs}


@pytest.mark.parametrize("loss_on", ["query", "all"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_levels_are_what_strategies_cost_on_samples(setting, loss_on):
    task = IclLabels(loss_on=loss_on, **setting)
    batch = drawn(task, 400)
    for strategy, level in task.levels().items():
        losses = task.loss(predictions(task, batch, strategy), batch)
        error = float(losses.std()) / len(losses) ** 0.5
        assert abs(float(losses.mean()) - level) < 4 * error + 1e-6, strategy


def test_the_entropy_of_the_labels_is_the_logarithm_of_their_number():
    task = IclLabels(pairs=4, items=4, label_alphabet=3, shown=2, loss_on="all")
    possible = [
        row
        for row in itertools.product(range(3), repeat=4)
        if len(set(row)) == 2 and all(row.count(label) == 2 for label in row)
    ]
    assert task.levels()["floor"] == pytest.approx(log(len(possible)) / 5)
    assert task.levels()["plateau"] == pytest.approx((log(len(possible)) + log(2)) / 5)
    assert TASK.levels() == pytest.approx({"start": log(8), "plateau": log(8), "floor": 0.0})


def test_labels_items_and_places_are_uniform():
    task = IclLabels(pairs=4, items=6, label_alphabet=5, shown=2)
    batch = drawn(task, 20_000)
    inputs = batch["inputs"]
    for place in range(9):
        first, count = (0, 6) if place % 2 == 0 else (6, 5)
        shares = (inputs[:, place] - first).bincount(minlength=count) / 20_000
        assert torch.allclose(shares, torch.tensor(1 / count), atol=0.015)
    assert torch.allclose(batch["z"].bincount() / 20_000, torch.tensor(0.25), atol=0.015)
    # What the query is says nothing of its label.
    answer = task.labels(batch)["y"][inputs[:, -1] == 3].bincount(minlength=5)
    assert torch.allclose(answer / answer.sum(), torch.tensor(0.2), atol=0.03)


def test_metrics_tell_the_two_steps_apart():
    task = IclLabels(pairs=4, items=6, label_alphabet=8, shown=4)
    batch = drawn(task, 300)
    solved = task.metrics(predictions(task, batch, "floor"), batch)
    assert solved["accuracy"] == solved["accuracy/shown"] == 1
    assert solved["loss/query"] == 0
    noise = 1e-3 * torch.rand(300, 9, task.interface.vocabulary)  # to break ties
    guess = task.metrics(predictions(task, batch, "plateau") + noise, batch)
    assert guess["accuracy"] == pytest.approx(1 / 4, abs=0.1)
    assert guess["accuracy/shown"] == 1
    assert guess["loss/query"] == pytest.approx(log(4), abs=1e-2)


@given(task=tasks(), seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True))
def test_a_stack_holds_what_each_seed_alone_would_get(task, seeds):
    together = task.sample(Draws(seeds, "data", step=3), 4)
    outputs = torch.randn(len(seeds), 4, 2 * task.pairs + 1, task.interface.vocabulary)
    losses, metrics = task.loss(outputs, together), task.metrics(outputs, together)
    for row, seed in enumerate(seeds):
        alone = task.sample(Draws(seed, "data", step=3), 4)
        assert all(together[name][row].equal(value) for name, value in alone.items())
        assert losses[row].equal(task.loss(outputs[row], alone))
        for name, value in task.metrics(outputs[row], alone).items():
            assert metrics[name][row].equal(value)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"items": 5}, "items 5 must be at least pairs 8"),
        ({"shown": 3}, "pairs 8 must be a multiple of shown 3"),
        ({"label_alphabet": 4}, "label_alphabet 4 must be at least pairs 8, or give shown"),
        ({"label_alphabet": 2, "shown": 4}, "label_alphabet 2 must be at least shown 4"),
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(fields, problem):
    task = {"kind": "icl-labels", **fields}
    with pytest.raises(SaltusError, match=f"task: {problem}"):
        Experiment.of({"task": task, "model": "decoder", "steps": 1, "batch": 1})
