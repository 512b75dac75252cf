"""Two-step masked language modelling: what the sequences say, and what strategies cost on them."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.random import Draws
from saltus.tasks.two_step_mlm import MASK, TwoStepMlm

TASK = TwoStepMlm()
SETTINGS = [
    {},
    {"payloads": 3, "same": 0.8, "masking": 0.4, "fillers": 5},
    {"places": "random", "cues": 5, "length": 9, "same": 0.3},
]
SIZES = st.builds(
    TwoStepMlm,
    payloads=st.integers(2, 12),
    cues=st.integers(2, 4),
    fillers=st.integers(1, 9),
    length=st.integers(5, 20),
    masking=st.floats(0, 0.9),
    same=st.floats(0, 1),
    places=st.sampled_from(["fixed", "random"]),
)


def drawn(task, batch=64, seed=0, step=0):
    return task.sample(Draws(seed, "data", step), batch)


def predictions(task, batch, strategy):
    """Log-probabilities [batch, position, vocabulary] of one who knows so much of the rule."""
    inputs, size = batch["inputs"], task.interface.vocabulary
    rows = len(inputs)
    first = 1 + task.payloads
    pairs = inputs[(inputs >= 1) & (inputs < first)].view(rows, 2)
    choice = torch.nn.functional.one_hot(pairs, size).double()
    share = torch.tensor([task.same, 1 - task.same], dtype=torch.float64)
    guess = torch.zeros(size, dtype=torch.float64)
    guess[1:first] = 1 / task.payloads
    if strategy == "start":
        slot = guess.expand(rows, size)
    elif strategy == "one-target":
        likelier = int(task.same < 0.5)
        high = float(share[likelier])
        right = high + (1 - high) / task.payloads
        slot = guess * task.payloads * (1 - right) / (task.payloads - 1)
        slot = slot.where(choice[:, likelier] == 0, torch.tensor(right, dtype=torch.float64))
    elif strategy == "plateau":
        slot = (choice * share[:, None]).sum(1)
    else:
        z = labels_by_hand(task, batch)[1]
        slot = choice[torch.arange(rows), 1 - z]
    outputs = torch.full((*inputs.shape, size), 0.0, dtype=torch.float64)
    outputs[..., first + task.cues :] = 1 / task.fillers
    outputs[:, -1] = slot
    return outputs.log().clamp_min(-1e30)


def labels_by_hand(task, batch):
    """(y, z) of each sample, read from the inputs alone."""
    answers, same = [], []
    for row in batch["inputs"].tolist():
        first = 1 + task.payloads
        payloads = [token for token in row if 1 <= token < first]
        cues = [token for token in row if first <= token < first + task.cues]
        assert len(payloads) == len(cues) == 2
        same.append(int(cues[0] == cues[1]))
        answers.append(payloads[1 - same[-1]])
    return torch.tensor(answers), torch.tensor(same)


@given(task=SIZES, seed=st.integers(0, 99))
def test_the_slot_holds_what_the_cues_say(task, seed):
    batch = drawn(task, 8, seed)
    inputs, targets, masked = batch["inputs"], batch["targets"], batch["masked"]
    assert inputs.shape == targets.shape == masked.shape == (8, task.length)
    answers, same = labels_by_hand(task, batch)
    assert torch.equal(targets[:, -1], answers)
    found = task.labels(batch)
    assert torch.equal(found["y"], answers - 1)
    assert torch.equal(found["z"], same)
    assert task.label_classes() == {"y": task.payloads, "z": 2}
    assert masked[:, -1].all()
    assert torch.equal(inputs == MASK, masked)
    assert torch.equal(inputs[~masked], targets[~masked])
    first_filler = 1 + task.payloads + task.cues
    assert (targets[..., :-1][masked[..., :-1]] >= first_filler).all()
    assert targets.max() < task.interface.vocabulary
    assert targets.min() >= 1


@given(task=SIZES, seed=st.integers(0, 99))
def test_roles_and_the_twin(task, seed):
    batch = drawn(task, 8, seed)
    roles = task.roles(batch, task.length)
    assert (roles["indicator"].sum(-1) == 2).all()
    assert (roles["target"].sum(-1) == 2).all()
    twin = task.corrupted(batch)
    assert torch.equal(twin["z"], 1 - batch["z"])
    answers, same = labels_by_hand(task, twin)
    assert torch.equal(twin["targets"][:, -1], answers)
    assert torch.equal(twin["z"], same)
    assert ((twin["inputs"] != batch["inputs"]).sum(-1) == 1).all()
    assert torch.equal(twin["inputs"] == MASK, twin["masked"])


def test_the_places_are_those_of_the_papers_cells():
    roles = TASK.roles(drawn(TASK), 16)
    cue, payload = torch.zeros(16, dtype=torch.bool), torch.zeros(16, dtype=torch.bool)
    cue[[0, 11]] = payload[[3, 7]] = True
    assert (roles["indicator"] == cue).all()
    assert (roles["target"] == payload).all()
    anywhere = drawn(TwoStepMlm(places="random"), 4000)
    where = TwoStepMlm(places="random").roles(anywhere, 16)
    for role in where.values():
        assert torch.allclose(
            role[:, :-1].double().mean(0), torch.tensor(2 / 15).double(), atol=0.03
        )
        assert not role[:, -1].any()


@pytest.mark.parametrize("loss_on", ["slot", "all"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_levels_are_what_strategies_cost_on_samples(setting, loss_on):
    task = TwoStepMlm(loss_on=loss_on, **setting)
    batch = drawn(task, 3000)
    for strategy, level in task.levels().items():
        outputs = predictions(task, batch, strategy)
        losses = task.loss(outputs, batch)
        error = float(losses.std()) / len(losses) ** 0.5
        assert abs(float(losses.mean()) - level) < 4 * error + 1e-6, strategy
        # A guess among the payloads that is right as often as it claims to be.
        guess = outputs[:, -1].exp().gather(-1, batch["targets"][:, -1:])
        right = task.accuracy_levels()[strategy]
        if strategy != "plateau" or task.same == 0.5:
            assert abs(float(guess.mean()) - expected_share(task, strategy, right)) < 0.03


def expected_share(task, strategy, accuracy):
    """The mean probability of the right answer under a strategy's own predictions."""
    if strategy != "one-target":
        return accuracy
    return accuracy**2 + (1 - accuracy) ** 2 / (task.payloads - 1)


def test_the_papers_levels():
    """Section 2 of our spec."""
    expected = {"start": 2.3026, "one-target": 1.6769, "plateau": 0.6238, "floor": 0.0}
    assert TASK.levels() == pytest.approx(expected, abs=5e-5)
    assert TASK.accuracy_levels()["plateau"] == pytest.approx(0.55)
    assert TwoStepMlm(same=1.0).levels()["plateau"] == 0.0
    every = TwoStepMlm(masking=0.0, loss_on="all").levels()
    assert every == TwoStepMlm().levels()


def test_statistics_of_samples():
    task = TwoStepMlm(same=0.7, masking=0.25)
    batch = drawn(task, 20_000)
    assert batch["z"].double().mean() == pytest.approx(0.7, abs=0.015)
    fillers = batch["masked"][:, [1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14]].double()
    assert torch.allclose(fillers.mean(0), torch.tensor(0.25).double(), atol=0.015)
    assert not batch["masked"][:, [0, 3, 7, 11]].any()
    shares = task.labels(batch)["y"].bincount(minlength=10) / 20_000
    assert torch.allclose(shares, torch.tensor(0.1), atol=0.01)
    # Neither cue alone tells anything of z.
    for place in (0, 11):
        cue = batch["inputs"][:, place] == 11
        assert batch["z"][cue].double().mean() == pytest.approx(0.7, abs=0.02)


def test_metrics_tell_the_two_steps_apart():
    batch = drawn(TASK, 4000)
    solved = TASK.metrics(predictions(TASK, batch, "floor"), batch)
    assert solved["accuracy"] == solved["accuracy/either"] == 1
    assert solved["loss/slot"] == 0
    wrong = predictions(TASK, TASK.corrupted(batch), "floor")
    metrics = TASK.metrics(wrong, batch)
    assert metrics["accuracy"] == pytest.approx(0.1, abs=0.02)  # the payloads are the same
    assert metrics["accuracy/either"] == 1
    blind = TASK.metrics(predictions(TASK, batch, "start"), batch)
    assert blind["accuracy/either"] == pytest.approx(1 - 0.9**2, abs=0.03)
    assert blind["loss/slot"] == pytest.approx(log(10))


@given(task=SIZES, seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True))
def test_a_stack_holds_what_each_seed_alone_would_get(task, seeds):
    together = task.sample(Draws(seeds, "data", step=3), 4)
    outputs = torch.randn(len(seeds), 4, task.length, task.interface.vocabulary)
    losses, metrics = task.loss(outputs, together), task.metrics(outputs, together)
    for row, seed in enumerate(seeds):
        alone = task.sample(Draws(seed, "data", step=3), 4)
        assert all(together[name][row].equal(value) for name, value in alone.items())
        assert losses[row].equal(task.loss(outputs[row], alone))
        for name, value in task.metrics(outputs[row], alone).items():
            assert metrics[name][row].equal(value)


@pytest.mark.parametrize(
    ("field", "value"), [("length", 4), ("payloads", 1), ("same", 1.5), ("masking", 1.0)]
)
def test_sizes_that_cannot_be_are_refused(field, value):
    task = {"kind": "two-step-mlm", field: value}
    with pytest.raises(SaltusError, match=rf"task\.{field}: {value} is not allowed"):
        Experiment.of({"task": task, "model": "encoder", "steps": 1, "batch": 1})
