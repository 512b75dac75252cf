"""Attention bias: c on the oracle's keys, from a step on, in training and in generation."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from saltus.experiment import Experiment
from saltus.interventions.attention_bias import AttentionBias
from saltus.models import Tape, initial_parameters
from saltus.models.transformer import Decoder
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.training.ensemble import Ensemble

TASK = MovingWindowSum(length=5, window=2)
LENGTH, FIRST = TASK.interface.positions, TASK.output_rows().start
SCALED = TASK.attended().clone()
SCALED[FIRST] = False
factors = pytest.mark.parametrize("factor", [0.0, 0.2, 2.5, 10.0])


def edit(value, factor, step=0, start=0, task=TASK):
    knobs = {"factor": torch.tensor(factor, dtype=torch.float64), "start": torch.tensor(start)}
    bias = AttentionBias(factor=99.0, start=99)  # the knobs count, not the record
    return bias.edit("blocks.0.attention.pattern", value, knobs, torch.tensor(step), task)


def pattern():
    return torch.rand(3, 2, LENGTH, LENGTH).softmax(-1)


@factors
def test_the_oracles_keys_are_scaled_and_all_else_is_untouched(factor):
    value = pattern()
    changed = edit(value, factor)
    torch.testing.assert_close(changed[..., SCALED], factor * value[..., SCALED])
    assert changed[..., ~SCALED].equal(value[..., ~SCALED])


@factors
def test_the_first_answers_row_stays_as_it_was(factor):
    value = pattern()
    assert edit(value, factor)[..., FIRST, :].equal(value[..., FIRST, :])
    assert TASK.attended()[FIRST].any()  # the oracle has a key there: it is left out on purpose


def test_rows_are_not_normalised_afterwards():
    value = pattern()
    added = 9 * (value * SCALED).sum(-1)
    torch.testing.assert_close(edit(value, 10.0).sum(-1), value.sum(-1) + added)


@given(factor=st.floats(0, 100), start=st.integers(0, 20), step=st.integers(0, 20))
def test_it_acts_from_its_start_on_and_not_before(factor, start, step):
    value = pattern()
    expected = edit(value, factor if step >= start else 1.0)
    assert edit(value, factor, step, start).equal(expected)


def test_factor_one_is_the_identity():
    value = pattern()
    assert edit(value, 1.0).equal(value)


@pytest.mark.parametrize("length", range(1, LENGTH + 1))
def test_a_prefix_is_scaled_as_in_the_whole(length):
    """Generation asks for ever longer prefixes."""
    value = pattern()
    part = edit(value[..., :length, :length], 10.0)
    assert part.equal(edit(value, 10.0)[..., :length, :length])


def test_the_gradient_is_scaled_too():
    value = pattern().requires_grad_()
    (slope,) = torch.autograd.grad(edit(value, 10.0).sum(), value)
    assert slope.equal(torch.where(SCALED, 10.0, 1.0).expand_as(value))


def test_what_is_read_as_the_pattern_is_after_scaling():
    model = Decoder(width=8, attention="linear")
    module = model.build(TASK.interface)
    own = initial_parameters(model, module, 0)
    tokens = TASK.sample(Draws(0, "data"), 2)["inputs"]
    name = "blocks.0.attention.pattern"
    plain, biased = Tape([name]), Tape([name], {name: (lambda _, v: edit(v, 10.0),)})
    functional_call(module, own, (tokens, plain))
    functional_call(module, own, (tokens, biased))
    torch.testing.assert_close(biased.values[name], edit(plain.values[name], 10.0))


def test_members_of_an_ensemble_have_their_own_factor_and_start():
    experiment = Experiment(
        task=TASK,
        model=Decoder(width=8, attention="linear"),
        interventions=(AttentionBias(factor=1.0),),
        steps=4,
        batch=2,
        vary={"interventions.0.factor": (0.5, 3.0), "interventions.0.start": (0, 2)},
    )
    ensemble = Ensemble(experiment.members())
    value = torch.rand(4, 2, 1, LENGTH, LENGTH)
    for step in (0, 1, 2, 3):
        changed = ensemble.tape(step)("blocks.0.attention.pattern", value)
        for row, (factor, start) in enumerate([(0.5, 0), (0.5, 2), (3.0, 0), (3.0, 2)]):
            torch.testing.assert_close(changed[row], edit(value[row], factor, step, start))


def test_only_its_own_layer_is_changed():
    assert AttentionBias(factor=2, layer=3).sites() == ("blocks.3.attention.pattern",)


def test_a_task_without_an_oracle_is_refused():
    class Blind(MovingWindowSum):
        def attended(self, layer=0):
            return None

    try:
        with pytest.raises(ValueError, match="has no oracle attention set for layer 0"):
            AttentionBias(factor=2).check(Blind())
    finally:
        Task.registry["moving-window-sum"] = MovingWindowSum
    AttentionBias(factor=2).check(TASK)
