"""A fixed training set: passed through once per epoch, in an order of its own for each."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.random import Draws
from saltus.training.ensemble import Ensemble
from tiny_experiments import tiny, trajectory

DISTINCT = {"kind": "moving-window-sum", "length": 8, "alphabet": 16, "modulus": 17}


def experiment(examples=12, batch=4, seeds=(0, 1), **changes) -> Experiment:
    plain = {"task": DISTINCT, "instruments": [], "seeds": list(seeds)}
    return tiny(examples=examples, batch=batch, **plain | changes)


def rows_of(batch, whole) -> list[list[int]]:
    """Which samples of each member's whole set a batch consists of, in order."""
    places = []
    for row in range(len(whole["inputs"])):
        same = (batch["inputs"][row][:, None] == whole["inputs"][row][None]).all(-1)
        assert (same.sum(1) == 1).all()
        places.append(same.int().argmax(1).tolist())
    return places


def test_a_task_of_distinct_samples_is_what_these_tests_need():
    whole = Ensemble(experiment(seeds=range(10)).members()).examples["inputs"]
    assert all(len(own.unique(dim=0)) == 12 for own in whole)


@settings(max_examples=10)
@given(
    batch=st.integers(1, 12), seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True)
)
def test_every_sample_is_met_at_most_once_per_epoch_and_once_where_batches_divide(batch, seeds):
    ensemble = Ensemble(experiment(batch=batch, seeds=seeds).members())
    per_epoch = 12 // batch
    for epoch in range(3):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        met = [rows_of(ensemble.training_batch(step), ensemble.examples) for step in steps]
        for row in range(len(seeds)):
            places = [place for step in met for place in step[row]]
            assert len(places) == len(set(places)) == batch * per_epoch
            if 12 % batch == 0:
                assert sorted(places) == list(range(12))


def test_orders_differ_between_epochs_and_seeds_and_are_the_draws_of_their_own_stream():
    ensemble = Ensemble(experiment(batch=4, seeds=(0, 1, 5)).members())
    orders = {}
    for epoch in range(4):
        met = [
            rows_of(ensemble.training_batch(step), ensemble.examples)
            for step in range(3 * epoch, 3 * epoch + 3)
        ]
        for row, seed in enumerate((0, 1, 5)):
            orders[epoch, seed] = [place for step in met for place in step[row]]
            drawn = Draws(seed, "order", epoch).permutation(12)
            assert orders[epoch, seed] == drawn.tolist()
    assert len({tuple(order) for order in orders.values()}) == len(orders)


def test_a_batch_is_a_function_of_seed_and_step_alone():
    """Asked for in any order, in any company; whole samples travel together."""
    one = Ensemble(experiment(seeds=(3,)).members())
    many = Ensemble(experiment(seeds=(7, 3, 0)).members())
    for step in (5, 0, 2, 11, 5):
        alone, together = one.training_batch(step), many.training_batch(step)
        for name, value in together.items():
            assert value[1].equal(alone[name][0]), name
    whole, batch = one.examples, one.training_batch(7)
    for i, place in enumerate(rows_of(batch, whole)[0]):
        assert all(batch[name][0, i].equal(whole[name][0, place]) for name in whole)


def test_the_set_is_the_batch_of_step_0_of_the_data_stream_whatever_the_batch():
    for batch in (3, 12):
        ensemble = Ensemble(experiment(batch=batch).members())
        for row, seed in enumerate((0, 1)):
            drawn = ensemble.task.sample(Draws(seed, "data", 0), 12)
            assert all(ensemble.examples[name][row].equal(drawn[name]) for name in drawn)


def test_full_batch_is_the_whole_set_in_its_own_order_at_every_step():
    ensemble = Ensemble(experiment(batch=12).members())
    for step in (0, 1, 17):
        batch = ensemble.training_batch(step)
        assert all(batch[name].equal(value) for name, value in ensemble.examples.items())


def test_full_batch_descent_falls_at_every_small_step():
    plain = experiment(
        batch=12,
        optimizer={"kind": "sgd", "learning_rate": 0.05},
        engine={"workers": 1, "precision": "float64"},
    )
    ensemble = Ensemble(plain.members())
    losses = torch.stack(trajectory(ensemble, 12)[1])
    assert (losses.diff(dim=0) < 0).all()


def test_without_examples_every_step_has_fresh_samples():
    ensemble = Ensemble(tiny(instruments=[], batch=4).members())
    first, second = (ensemble.training_batch(step)["inputs"] for step in (0, 1))
    assert not first.equal(second)
    assert ensemble.training_batch(0)["inputs"].equal(first)


def test_words_in_exact_counts_keep_them_over_an_epoch():
    """18 samples of which 9 hold both targets: batches of 6 differ, their union does not."""
    words = {
        "task": {"kind": "word-cooccurrence", "length": 4, "vocabulary": 60, "tokens": "unique"},
        "model": {"kind": "one-layer-attention", "width": 8, "neurons": 8},
    }
    ensemble = Ensemble(experiment(examples=18, batch=6, **words).members())
    for epoch in range(3):
        batches = [ensemble.training_batch(3 * epoch + part) for part in range(3)]
        classes = torch.cat([batch["classes"] for batch in batches], dim=1)
        for row in range(2):
            assert classes[row].bincount().tolist() == [9, 3, 3, 3]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"examples": 8, "batch": 16}, "batch 16 is larger than examples 8"),
        ({"examples": 0}, "examples: 0 is not allowed: input should be greater than or equal to 1"),
        ({"examples": 2.5}, "examples: 2.5 is not allowed: input should be a valid integer, "
         "got a number with a fractional part"),
        ({"task": "word-cooccurrence", "examples": 20, "batch": 6, "instruments": []},
         "examples: 20 samples in exact counts: allowed: multiples of 6"),
        ({"task": "word-cooccurrence", "batch": 20, "instruments": []},
         "batch: 20 samples in exact counts: allowed: multiples of 6"),
        ({"task": {"kind": "word-cooccurrence", "tokens": "unique"}, "examples": 24, "batch": 6,
          "instruments": []},
         "examples: 24 samples of 5 unique tokens need a vocabulary of 67, not 64"),
    ],
)  # fmt: skip
def test_sets_that_cannot_be_are_refused_in_one_line(change, problem):
    with pytest.raises(SaltusError) as caught:
        tiny(**change)
    assert str(caught.value) == f"experiment: {problem}"


def test_a_batch_smaller_than_the_set_needs_no_exact_counts():
    tiny(task="word-cooccurrence", examples=24, batch=5, instruments=[])
