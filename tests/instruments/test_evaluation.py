"""Evaluation on fresh samples."""

import dataclasses

import torch

from saltus.instruments.evaluation import Evaluation, writes
from saltus.tasks import Task


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


class Mute(Task):
    """A task without an output part to write."""
