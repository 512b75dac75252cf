"""Word co-occurrence: Definition 2.1, Assumption 2.3, purity per member, loss and messages."""

from math import log, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.random import Draws
from saltus.tasks.word_cooccurrence import CLASSES, WordCooccurrence, margin

SIZES = st.tuples(st.integers(4, 9), st.integers(1, 6).map(lambda k: 6 * k))
SEEDS = st.integers(0, 99)


def unique(length, examples, spare=0):
    vocabulary = WordCooccurrence.exact_vocabulary(examples, length) + spare
    return WordCooccurrence(length=length, vocabulary=vocabulary, tokens="unique")


def assert_samples_are_of_their_classes(batch):
    tokens, classes = batch["inputs"], batch["classes"]
    first, second, common = ((tokens == id).sum(-1) for id in range(3))
    assert (common == 1).all()
    assert first.equal(((classes == 0) | (classes == 1)).long())
    assert second.equal(((classes == 0) | (classes == 2)).long())
    assert batch["targets"].equal(torch.where(classes == 0, 1.0, -1.0))


@given(size=SIZES, seed=SEEDS, spare=st.integers(0, 5))
def test_unique_training_sets_use_every_random_token_once(size, seed, spare):
    length, examples = size
    task = unique(length, examples, spare)
    batch = task.sample(Draws(seed, "data"), examples)
    assert_samples_are_of_their_classes(batch)
    counts = torch.bincount(batch["inputs"].flatten(), minlength=task.vocabulary)
    assert counts[:3].tolist() == [examples * 2 // 3, examples * 2 // 3, examples]
    assert counts[3:].max() == 1
    assert (counts[3:] == 0).sum() == spare


@given(size=SIZES, seed=SEEDS, tokens=st.sampled_from(["unique", "iid"]))
def test_exact_counts_are_exact(size, seed, tokens):
    length, examples = size
    task = unique(length, examples).model_copy(update={"tokens": tokens})
    batch = task.sample(Draws([seed, seed + 1], "data"), examples)
    assert_samples_are_of_their_classes(batch)
    half, sixth = examples // 2, examples // 6
    for classes in batch["classes"]:
        assert torch.bincount(classes).tolist() == [half, sixth, sixth, sixth]


@pytest.mark.parametrize("stream", ["data", "evaluation"])
def test_sampled_counts_and_random_tokens_have_the_laws_of_definition_2_1(stream):
    samples, task = 20_000, WordCooccurrence(length=5, vocabulary=13, counts="sampled")
    batch = task.sample(Draws(0, stream), samples)
    assert_samples_are_of_their_classes(batch)
    frequencies = torch.bincount(batch["classes"]) / samples
    for measured, expected in zip(frequencies, (1 / 2, 1 / 6, 1 / 6, 1 / 6), strict=True):
        assert abs(measured - expected) < 4 * sqrt(expected / samples)
    tokens = batch["inputs"]
    random = torch.bincount(tokens[tokens >= 3]) / (tokens >= 3).sum()
    assert (random[3:] - 0.1).abs().max() < 0.005
    # Tokens 0, 1 and 2 stand anywhere, and in samples of class 0 in any arrangement.
    both = tokens[batch["classes"] == 0]
    where = torch.stack([(both == id).long().argmax(-1) for id in range(3)], -1)
    arrangements, counts = where.unique(dim=0, return_counts=True)
    assert len(arrangements) == 5 * 4 * 3
    assert (counts / len(both) - 1 / 60).abs().max() < 0.006


def test_repeated_random_tokens_occur_in_iid_samples_only():
    iid = WordCooccurrence(length=6, vocabulary=8)
    tokens = iid.sample(Draws(0, "data"), 60)["inputs"]
    assert any(len(set(row)) < 6 for row in tokens.tolist())


@given(
    size=SIZES,
    seeds=st.lists(SEEDS, min_size=1, max_size=4, unique=True),
    tokens=st.sampled_from(["unique", "iid"]),
    counts=st.sampled_from(["exact", "sampled"]),
    stream=st.sampled_from(["data", "evaluation"]),
)
def test_a_stack_holds_what_each_seed_alone_would_get(size, seeds, tokens, counts, stream):
    length, examples = size
    vocabulary = 3 + examples * length
    task = WordCooccurrence(length=length, vocabulary=vocabulary, tokens=tokens, counts=counts)
    together = task.sample(Draws(seeds, stream, step=3, dtype=torch.float64), examples)
    assert together["inputs"].shape == (len(seeds), examples, length)
    assert together["targets"].dtype == torch.float64
    for row, seed in enumerate(seeds):
        alone = task.sample(Draws(seed, stream, step=3, dtype=torch.float64), examples)
        assert alone.keys() == together.keys()
        assert all(together[name][row].equal(value) for name, value in alone.items())


def test_seeds_differ_in_classes_positions_and_tokens():
    task = unique(5, 12)
    one, other = (task.sample(Draws(seed, "data"), 12)["inputs"] for seed in (0, 1))
    assert not one.equal(other) and not (one == 2).equal(other == 2)


@given(size=SIZES, seed=SEEDS, batch=st.integers(1, 65), tokens=st.sampled_from(["unique", "iid"]))
def test_evaluation_batches_are_fresh_and_of_any_size(size, seed, batch, tokens):
    """The training set's restrictions do not hold for them: the random tokens do."""
    length, examples = size
    task = unique(length, examples).model_copy(update={"tokens": tokens, "unseen": 4})
    seen = task.sample(Draws(seed, "evaluation"), batch)
    assert_samples_are_of_their_classes(seen)
    assert seen["inputs"].shape == (batch, length)
    assert seen["inputs"].max() < task.vocabulary
    other = task.model_copy(update={"evaluation": "unseen"}).sample(
        Draws(seed, "evaluation"), batch
    )
    assert_samples_are_of_their_classes(other)
    assert other["inputs"].equal(task.fresh(Draws(seed, "evaluation"), batch, True)["inputs"])
    random = other["inputs"][other["inputs"] >= 3]
    assert ((random >= task.vocabulary) & (random < task.interface.vocabulary)).all()
    # The same sentences but for the random tokens.
    assert (other["inputs"] < 3).equal(seen["inputs"] < 3)


def test_unseen_tokens_change_no_training_set():
    task = unique(4, 24)
    more = task.model_copy(update={"unseen": 20, "evaluation": "unseen"})
    one, other = (t.sample(Draws(5, "data"), 24)["inputs"] for t in (task, more))
    assert one.equal(other)
    assert more.interface[:3] == (task.vocabulary + 20, 4, 1)


def test_exact_vocabularies_are_those_of_the_spec():
    settings = {(24, 4): 43, (60, 5): 163, (120, 5): 323, (6, 4): 13}
    assert {key: WordCooccurrence.exact_vocabulary(*key) for key in settings} == settings


def test_the_defaults_are_the_papers_experiment():
    task = WordCooccurrence()
    assert task.interface[:3] == (64, 5, 1)
    assert (task.tokens, task.counts) == ("iid", "exact")
    assert task.levels() == {"chance": log(2)}


def test_loss_and_metrics_are_those_of_a_plain_loop():
    task = WordCooccurrence()
    batch = task.fresh(Draws([0, 1], "evaluation", dtype=torch.float64), 37)
    outputs = 3 * torch.randn(2, 37, 5, 2, dtype=torch.float64)
    losses, metrics = task.loss(outputs, batch), task.metrics(outputs, batch)
    assert losses.shape == (2, 37)
    for k in range(2):
        per_class = {name: [] for name in CLASSES}
        right = 0
        for i in range(37):
            z = batch["targets"][k, i] * sum(outputs[k, i, place, 0] for place in range(5))
            torch.testing.assert_close(losses[k, i], torch.log1p(torch.exp(-z)))
            per_class[CLASSES[batch["classes"][k, i]]].append(losses[k, i])
            right += int(z > 0)
        assert metrics["accuracy"][k] == right / 37
        torch.testing.assert_close(metrics["loss"][k], losses[k].mean())
        for name, values in per_class.items():
            torch.testing.assert_close(metrics[f"loss/{name}"][k], torch.stack(values).mean())


def test_an_absent_class_has_loss_0_and_no_nan():
    task = WordCooccurrence()
    batch = task.fresh(Draws(0, "evaluation"), 1)
    metrics = task.metrics(torch.randn(1, 5, 1), batch)
    assert sum(float(value) > 0 for name, value in metrics.items() if "/" in name) == 1
    assert all(value.isfinite() for value in metrics.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_is_stable_for_large_margins(dtype):
    task = WordCooccurrence()
    margins = torch.tensor([-1000.0, -50.0, -30.0, -20.5, 0.0, 30.0, 700.0], dtype=dtype)
    outputs = (margins / 5).reshape(-1, 1, 1).expand(-1, 5, 1).clone().requires_grad_()
    batch = {"targets": torch.ones(7, dtype=dtype)}
    exact = torch.logaddexp(torch.zeros((), dtype=dtype), -margin(outputs, batch))
    losses = task.loss(outputs, batch)
    torch.testing.assert_close(losses, exact.detach(), atol=0, rtol=8 * torch.finfo(dtype).eps)
    (slopes,) = torch.autograd.grad(losses.sum(), outputs)
    expected = (-torch.sigmoid(-margins)).reshape(-1, 1, 1).expand(-1, 5, 1)
    torch.testing.assert_close(
        slopes, expected, atol=0, rtol=1e-5 if dtype == torch.float32 else 1e-13
    )


@pytest.mark.parametrize(
    ("fields", "batch", "message"),
    [
        ({}, 8, "batch: 8 samples in exact counts: allowed: multiples of 6"),
        (
            {"tokens": "unique"},
            60,
            "batch: 60 samples of 5 unique tokens need a vocabulary of 163, not 64",
        ),
        (
            {"tokens": "unique", "counts": "sampled"},
            16,
            "batch: 16 samples of 5 unique tokens need a vocabulary of 67, not 64",
        ),
        ({"length": 3}, 6, "task.length: 3 is not allowed: input should be greater than or equal"),
        (
            {"evaluation": "unseen"},
            6,
            "task: evaluation unseen needs unseen tokens: allowed: unseen >= 1",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(fields, batch, message):
    task = {"kind": "word-cooccurrence", **fields}
    data = {"task": task, "model": "one-layer-attention", "steps": 1, "batch": batch}
    with pytest.raises(SaltusError, match=message):
        Experiment.of(data)


def test_a_sampled_unique_set_fits_the_vocabulary_it_asks_for():
    task = WordCooccurrence(vocabulary=67, tokens="unique", counts="sampled")
    for seed in range(20):
        batch = task.sample(Draws(seed, "data"), 16)
        assert_samples_are_of_their_classes(batch)
        random = batch["inputs"][batch["inputs"] >= 3]
        assert len(random.unique()) == len(random)


def test_any_model_of_the_house_can_be_asked():
    experiment = Experiment.of(
        {
            "task": "word-cooccurrence",
            "model": {"kind": "decoder", "width": 8, "causal": False},
            "steps": 1,
            "batch": 12,
        }
    )
    assert experiment.task.interface.outputs == 1
