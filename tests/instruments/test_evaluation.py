"""Evaluation on fresh samples."""

import dataclasses

import pytest
import torch
from pydantic import ValidationError

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments import Instrument
from saltus.instruments.evaluation import Evaluation, writes
from saltus.models import Tape
from saltus.tasks import Task
from saltus.tasks.word_cooccurrence import WordCooccurrence
from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure
from tiny_experiments import tiny


def test_loss_and_metrics_are_the_tasks(one, task):
    reading = one(dtype=torch.float64)
    results = Evaluation().read(reading)
    logs = reading.outputs.log_softmax(-1)
    picked = [
        -logs[b, t, reading.batch["targets"][b, t]]
        for b in range(logs.shape[0])
        for t in range(logs.shape[1])
    ]
    torch.testing.assert_close(results["evaluation/loss"], sum(picked) / len(picked))
    for name, value in task.metrics(reading.outputs, reading.batch).items():
        assert results[f"evaluation/{name}"].equal(value)


def test_accuracy_counts_written_tokens(one, task):
    reading = one()
    right = task.answer(reading.batch)
    written = right.clone()
    written[:, 2:] += 1
    written[0, 0] += 1
    results = Evaluation().read(dataclasses.replace(reading, generated=written))
    torch.testing.assert_close(results["evaluation/accuracy"], torch.tensor((7 * 2 - 1) / (7 * 6)))
    torch.testing.assert_close(results["evaluation/accuracy-first"], torch.tensor(6 / 7))
    results = Evaluation().read(dataclasses.replace(reading, generated=right))
    assert results["evaluation/accuracy"] == results["evaluation/accuracy-first"] == 1


def test_a_model_that_does_not_write_has_no_accuracy(one, task):
    lean = Evaluation(generate=False)
    assert not lean.needs(task).generated
    assert "evaluation/accuracy" not in lean.read(dataclasses.replace(one(), generated=None))
    mute = Mute(kind="mute")
    assert not writes(mute) and not Evaluation().needs(mute).generated
    reading = dataclasses.replace(one(), task=mute, generated=None)
    assert Evaluation().read(reading).keys() == {"evaluation/loss"}


def test_another_task_is_evaluated_under_another_name(words):
    """The reading is on the other task's batch; its losses and metrics are that task's."""
    unseen = WordCooccurrence(length=4, vocabulary=13, unseen=3, evaluation="unseen")
    instrument = Evaluation(task=unseen, label="unseen")
    own = words().task
    assert instrument.needs(own).task == unseen and not instrument.needs(own).training
    instrument.check(own)
    reading = dataclasses.replace(words().one(), task=unseen)
    found = instrument.read(reading)
    assert found["unseen/loss"].equal(reading.losses.mean())
    metrics = unseen.metrics(reading.outputs, reading.batch)
    assert found.keys() == {f"unseen/{name}" for name in metrics} | {"unseen/loss"}


def test_another_task_must_have_the_same_tokens_and_outputs(task, words):
    instrument = Evaluation(task=task.model_copy(update={"modulus": 9}))
    with pytest.raises(ValueError, match=r"task moving-window-sum has 10 tokens and 10 outputs, "):
        instrument.check(task)
    with pytest.raises(SaltusError) as caught:
        Experiment.of(
            {
                "task": task,
                "model": "decoder",
                "steps": 1,
                "batch": 4,
                "instruments": [{"kind": "evaluation", "task": words().task}],
            }
        )
    assert str(caught.value) == (
        "experiment: instruments.0 (evaluation): task word-cooccurrence has 16 tokens and 1 "
        "outputs, the experiment's 8 and 8"
    )


def test_training_is_the_batch_that_the_step_learns_from():
    parts = [Evaluation(training=True), Evaluation()]
    made = Ensemble(tiny(instruments=parts, seeds=2).members())
    losses = made.differentiate(1)
    found = measure(made, parts, 1)
    assert found["training/loss"].equal(losses)
    assert not found["training/loss"].equal(found["evaluation/loss"])
    batch = made.training_batch(1)
    outputs = made.lifted(made.parameters, batch["inputs"], Tape())
    for name, value in made.task.metrics(outputs, batch).items():
        assert found[f"training/{name}"].equal(value)


def test_what_is_read_of_a_training_batch_has_a_name_of_its_own(task):
    part = Evaluation(training=True)
    assert part.label == "training" and part.needs(task).training
    assert Instrument.parse(part.model_dump()) == part
    assert Evaluation(training=True, label="seen").label == "seen"
    assert Evaluation(training=False).label == "evaluation"


@pytest.mark.parametrize(("name", "value"), [("samples", 8), ("task", "moving-window-sum")])
def test_a_training_batch_is_what_it_is(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: not allowed with training"):
        Instrument.parse({"kind": "evaluation", "training": True, name: value})


@pytest.mark.parametrize("label", ["", "Unseen", "un/seen", "-x", "a b"])
def test_labels_are_plain_words(label):
    with pytest.raises(ValidationError, match="should match pattern"):
        Evaluation(label=label)


class Mute(Task):
    """A task without an output part to write."""
