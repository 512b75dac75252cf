"""Freezing: the chosen parameters keep their bits, the others move."""

import pytest
import torch

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.interventions.freeze import Freeze
from saltus.models import select
from saltus.models.transformer import Decoder
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.training.ensemble import Ensemble
from saltus.training.optimizers import AdamW

EXPERIMENT = Experiment(
    task=MovingWindowSum(length=4),
    model=Decoder(width=8),
    optimizer=AdamW(learning_rate=0.1, weight_decay=0.5, clip=1.0),
    steps=4,
    batch=2,
    seeds=(0, 1),
)
NAMES = Ensemble(EXPERIMENT.members()).names


@pytest.mark.parametrize("groups", [("mlp",), ("attention", "norm"), ("*.bias",), ("*",)])
def test_names_are_selected_from_the_start_on(groups):
    freeze = Freeze(groups=groups, start=2)
    assert freeze.frozen(NAMES, 0) == freeze.frozen(NAMES, 1) == []
    assert freeze.frozen(NAMES, 2) == freeze.frozen(NAMES, 99) == select(NAMES, groups)


@pytest.mark.parametrize("groups", [("mlp",), ("attention.qk", "embeddings.token"), ("*",)])
@pytest.mark.parametrize("start", [0, 2])
def test_frozen_parameters_keep_their_bits_and_all_others_move(groups, start):
    """Weight decay does not touch them either."""
    freeze = Freeze(groups=groups, start=start)
    ensemble = Ensemble(EXPERIMENT.model_copy(update={"interventions": (freeze,)}).members())
    frozen = select(NAMES, groups)
    for step in range(4):
        before = {name: value.detach().clone() for name, value in ensemble.parameters.items()}
        ensemble.differentiate(step)
        ensemble.update(step)
        for name, value in ensemble.parameters.items():
            still = step >= start and name in frozen
            for row in range(2):
                assert value[row].equal(before[name][row]) == still, (step, name)


@pytest.mark.parametrize("groups", [("mlp",), ("attention", "norm"), ("*.bias",)])
def test_outside_is_all_the_rest(groups):
    inside, outside = Freeze(groups=groups), Freeze(groups=groups, outside=True)
    assert outside.frozen(NAMES, 0) == [n for n in NAMES if n not in inside.frozen(NAMES, 0)]
    with pytest.raises(SaltusError, match=r"^parameters: there are none outside \*$"):
        Freeze(groups=("*",), outside=True).initialise(dict.fromkeys(NAMES, torch.zeros(1)), 0)


def test_a_frozen_start_leaves_the_other_parameters_starts_alone():
    parameters = {name: torch.randn(2) for name in NAMES}
    assert Freeze(groups=("mlp",)).initialise(parameters, 0) is parameters


def test_a_group_that_is_not_there_is_refused_before_training():
    freeze = Freeze(groups=("mlpp",), start=1000)
    with pytest.raises(SaltusError) as caught:
        Ensemble(EXPERIMENT.model_copy(update={"interventions": (freeze,)}).members())
    assert str(caught.value).startswith(
        "parameters: unknown group 'mlpp'; did you mean 'mlp'? Allowed: attention.output, "
    )
