"""Descent tends to gradient flow at first order, whatever the model; Adam does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.flow.convergence import Convergence, convergence, refined, refinements
from saltus.flow.twin import pace
from saltus.training.launch import start

TRAINING = {"seeds": 2, "steps": 3, "engine": {"workers": 1}}
DECODER = {
    **TRAINING,
    "task": {"kind": "moving-window-sum", "length": 3, "alphabet": 3, "modulus": 3},
    "model": {"kind": "decoder", "width": 8, "initial_deviation": 0.3},
    "optimizer": {"kind": "sgd", "learning_rate": 0.02},
    "batch": 8,
    "examples": 8,
}
WORDS = {
    **TRAINING,
    "task": {"kind": "word-cooccurrence", "length": 4, "vocabulary": 13, "tokens": "unique"},
    "model": {
        "kind": "one-layer-attention", "width": 6, "neurons": 4,
        "initialisation": "normal", "sigma0": 0.3, "sigma1": 0.3,
    },
    "optimizer": {"kind": "sgd", "learning_rate": 0.2},
    "batch": 6,
    "examples": 6,
}  # fmt: skip
SCHEDULE = {"shape": "cosine", "warmup": 2}


def measured(tmp_path, base, factors, **changes) -> Convergence:
    experiment = Experiment.of({**base, **changes})
    return convergence(experiment, lambda each: start(each, tmp_path), factors)


@pytest.mark.parametrize("base", [DECODER, WORDS], ids=["decoder", "word co-occurrence"])
def test_gradient_descent_is_of_first_order_over_two_decades(tmp_path, base):
    found = measured(tmp_path, base, (1, 10, 100))
    assert found.rates[0] == pytest.approx(100 * found.rates[-1])
    assert found.errors[:, -1] == pytest.approx(0, abs=1e-2)
    for slopes in (found.slopes, found.local):
        assert slopes == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "optimizer",
    [
        {"learning_rate": 0.05, "momentum": 0.5},
        {"learning_rate": 0.2, "weight_decay": 0.5, "schedule": SCHEDULE},
    ],
    ids=["heavy ball", "decay, on a schedule"],
)
def test_so_are_momentum_weight_decay_and_schedules(tmp_path, optimizer):
    found = measured(tmp_path, WORDS, (4, 32), optimizer={"kind": "sgd", **optimizer})
    assert found.slopes == pytest.approx(1, abs=0.1)


def test_minibatches_of_a_fixed_set_tend_to_its_flow_as_well(tmp_path):
    task = {**WORDS["task"], "counts": "sampled", "vocabulary": 21}
    found = measured(tmp_path, WORDS, (2, 32), batch=3, task=task)
    assert found.errors[:, -1] == pytest.approx(found.errors[:, 0] / 16, rel=0.5)


def test_adam_stays_away_however_small_its_steps(tmp_path):
    found = measured(tmp_path, WORDS, (1, 16), optimizer={"kind": "adam", "learning_rate": 1e-2})
    assert found.errors.min() > 1
    assert found.slopes == pytest.approx(0, abs=0.1)


@given(
    power=st.floats(0.2, 4), scale=st.floats(1e-3, 1e3), lost=st.integers(0, 3),
    rates=st.lists(st.integers(1, 10_000), min_size=4, max_size=8, unique=True),
)  # fmt: skip
def test_the_slope_of_a_power_law_is_its_power(power, scale, lost, rates):
    sizes = 1.0 / np.array(rates)
    errors = scale * sizes**power
    known = errors.copy()
    known[: min(lost, len(rates) - 2)] = np.nan
    found = Convergence(sizes, np.stack([errors, known]))
    assert found.slopes == pytest.approx(power, rel=1e-6)
    assert found.local[0] == pytest.approx(power, rel=1e-6)


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "inverse-sqrt"])
def test_finer_steps_take_the_same_time_up_to_a_step(shape):
    optimizer = {"kind": "sgd", "learning_rate": 0.2, "schedule": {"shape": shape, "warmup": 3}}
    base = Experiment.of({**WORDS, "steps": 20, "optimizer": optimizer})
    times = [pace(refined(base, factor)).sum() for factor in (1, 10, 1000)]
    assert times == pytest.approx([times[-1]] * 3, abs=0.2)
    assert times[1] == pytest.approx(times[-1], abs=0.02)


def test_every_refinement_ends_at_a_moment_of_the_one_flow():
    base = Experiment.of({**WORDS, "optimizer": {**WORDS["optimizer"], "schedule": SCHEDULE}})
    pairs, flow = refinements(base, (1, 3, 10))
    assert flow.steps == 3
    assert set(flow.optimizer.at) == {pair.times[-1] for pair in pairs}
    assert refinements(Experiment.of(WORDS), (1, 3, 10))[1].steps == 1
    assert [pair.discrete.name for pair in pairs] == [f"experiment-over-{f}" for f in (1, 3, 10)]


@pytest.mark.parametrize(
    ("factors", "changes", "line"),
    [
        ((1,), {}, "factors: 1 is not allowed: two or more different whole numbers from 1"),
        ((2, 2), {}, "factors: 2, 2 is not allowed: two or more different whole numbers from 1"),
        ((0, 2), {}, "factors: 0, 2 is not allowed: two or more different whole numbers from 1"),
        (
            (1, 2),
            {"optimizer": {"kind": "gradient-flow", "duration": 1.0}},
            "optimizer: gradient-flow has no steps; allowed: sgd, adam, adamw",
        ),
        (
            (1, 2),
            {"optimizer": {**WORDS["optimizer"], "schedule": {"shape": "inverse-sqrt"}}},
            "optimizer.schedule: inverse-sqrt without warmup is no function of the share of "
            "training, so its steps cannot be refined; allowed: warmup 1 or more",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_refined_is_refused_in_one_line(factors, changes, line):
    with pytest.raises(SaltusError) as refused:
        refinements(Experiment.of({**WORDS, **changes}), factors)
    assert str(refused.value) == line
