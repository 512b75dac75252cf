"""Ablated heads: in force in training and in generation, from a step on."""

import pytest
import torch
from torch.func import functional_call

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.interventions.ablation import AblateHeads
from saltus.models import Tape
from saltus.models.edits import ablations, batch_mean, uniform
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure
from tiny_experiments import tiny

SITE = "blocks.1.attention.pattern"
MODES = pytest.mark.parametrize(
    ("mode", "replace"), [("uniform", uniform), ("batch-mean", batch_mean)]
)


def ensemble(*interventions, **changes) -> Ensemble:
    return Ensemble(tiny(interventions=list(interventions), **changes).members())


def ablate(**fields) -> dict:
    return {"kind": "ablate-heads", "heads": [[1, 0]], **fields}


@MODES
@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_the_head_s_pattern_is_replaced_from_its_start_on(mode, replace, attention):
    model = {"kind": "decoder", "width": 16, "heads": 2, "depth": 2, "attention": attention}
    made = ensemble(ablate(mode=mode, start=2), model=model)
    value = torch.rand(3, 4, 2, 9, 9).tril()
    for step in range(4):
        changed = made.tape(step)(SITE, value)
        expected = value.clone()
        if step >= 2:
            expected[:, :, 0] = replace(value)[:, :, 0]
        torch.testing.assert_close(changed, expected)
        assert made.tape(step)("blocks.0.attention.pattern", value).equal(value)


def test_members_have_their_own_start():
    varied = {"interventions.0.start": (0, 3)}
    made = ensemble(ablate(), vary=varied, seeds=1)
    value = torch.rand(2, 4, 2, 9, 9).tril()
    changed = made.tape(1)(SITE, value)
    assert not changed[0].equal(value[0]) and changed[1].equal(value[1])


def test_an_ablated_head_learns_neither_query_nor_key():
    made = ensemble(ablate(heads=[[0, 1]]))
    made.differentiate(0)
    for part in ("query", "key"):
        gradient = made.gradients[f"blocks.0.attention.{part}.weight"].unflatten(1, (2, 8))
        assert gradient[:, 0].any() and not gradient[:, 1].any()
    value = made.gradients["blocks.0.attention.value.weight"].unflatten(1, (2, 8))
    assert value[:, 1].any()


def test_the_loss_is_that_of_a_module_with_the_edit():
    made = ensemble(ablate(mode="batch-mean"))
    losses, batch = made.differentiate(0), made.training_batch(0)
    for k in range(3):
        own = {name: value[k] for name, value in made.parameters.items()}
        tape = Tape(edits=ablations([(1, 0)], "batch-mean"))
        outputs = functional_call(made.module, own, (batch["inputs"][k], tape))
        loss = made.task.loss(outputs, {name: value[k] for name, value in batch.items()}).mean()
        torch.testing.assert_close(losses[k], loss)


def test_the_model_writes_without_the_head():
    """Generation of a model whose every head is uniform is that of the edited module."""
    heads = [[layer, head] for layer in range(2) for head in range(2)]
    made = ensemble(ablate(heads=heads))
    found = measure(made, [made.experiment.instruments[0]], 0)
    batch = made.draw("evaluation", 0, 32)
    for k in range(3):
        own = {name: value[k] for name, value in made.parameters.items()}
        sample = {name: value[k] for name, value in batch.items()}

        def apply(inputs, own=own):
            tape = Tape(edits=ablations([tuple(head) for head in heads], "uniform"))
            return functional_call(made.module, own, (inputs, tape))

        written = made.task.generate(apply, sample)
        right = (written == made.task.answer(sample)).float().mean()
        torch.testing.assert_close(found["evaluation/accuracy"][k], right)


@pytest.mark.parametrize("mode", ["uniform", "batch-mean"])
def test_a_prefix_is_ablated_as_in_the_whole(mode):
    """Token by token generation asks for ever longer prefixes, whose uniform rows are the same."""
    made, value = ensemble(ablate(mode=mode)), torch.rand(3, 4, 2, 9, 9).tril()
    for length in range(1, 10):
        part = made.tape(0)(SITE, value[..., :length, :length])
        torch.testing.assert_close(part, made.tape(0)(SITE, value)[..., :length, :length])


def test_bad_heads_are_one_line():
    with pytest.raises(SaltusError, match=r"interventions.0.heads: \[\] is not allowed: "):
        tiny(interventions=[ablate(heads=[])])
    with pytest.raises(SaltusError, match=r"interventions.0.heads.0.1: -1 is not allowed: "):
        tiny(interventions=[ablate(heads=[[0, -1]])])
    with pytest.raises(SaltusError, match=f"heads: {SITE} has no head 2; allowed: 0 to 1"):
        ensemble(ablate(heads=[[1, 2]])).differentiate(0)


def test_it_is_data():
    experiment = Experiment(
        task=MovingWindowSum(length=4),
        model={"kind": "decoder"},
        interventions=(AblateHeads(heads=((0, 0),), mode="batch-mean", start=3),),
        steps=1,
        batch=1,
    )
    assert Experiment.from_yaml(experiment.to_yaml()) == experiment
