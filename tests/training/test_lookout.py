"""What is told of a training while it runs: how far, how low, and who has leapt."""

import numpy as np
import pytest

from saltus.runs.metrics_log import Column
from saltus.training.lookout import NEWS, Lookout


def losses(steps):
    """One of two members leaps at step 300."""
    at, noise = np.arange(steps + 1), np.random.default_rng(0).normal(size=(steps + 1, 2))
    return np.stack([np.where(at < 300, 2.6, 1.3), 0 * at + 2.6], axis=1) + 0.01 * noise


def heard(values, first=0, recorded=None):
    said = []
    steps = len(values) - 1
    lookout = Lookout(0, 2, steps, lambda *news: said.append(news), lambda: recorded)
    for step in range(first, steps + 1):
        lookout(step, values[step])
    return said


def test_progress_is_told_now_and_then_and_at_the_end():
    said = heard(losses(1001))
    assert [news[0] for news in said] == [0] * len(said)
    assert [news[1] for news in said] == [*range(0, 1001, 1001 // NEWS), 1001]
    assert said[-1][2] == pytest.approx(1.95, abs=0.05)


def test_it_says_how_many_have_leapt():
    said = {step: leapt for _, step, _, leapt in heard(losses(600))}
    assert {leapt for step, leapt in said.items() if step < 300} == {0}
    assert {leapt for step, leapt in said.items() if step > 315} == {1}


def test_a_resumed_training_knows_who_leapt_before():
    values = losses(600)
    recorded = Column("loss/train", np.arange(480), values[:480])  # the last 80 are read again
    said = heard(values, 400, recorded)
    assert said[0][1] == 402 and {leapt for *_, leapt in said} == {1}


def test_a_mean_without_a_finite_loss_is_nan():
    values = losses(10)
    values[:, 0] = np.nan
    assert np.isfinite(heard(values)[-1][2])
    values[:] = np.inf
    assert np.isnan(heard(values)[-1][2])
