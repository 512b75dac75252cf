"""Saturation against passes by hand in float64, and models whose saturation is known."""

import pytest
import torch

import by_hand
import saltus
from analysed import HEADS, One, ensemble_of
from homogeneous import Homogeneous
from saltus.errors import SaltusError
from saltus.instruments.saturation import Saturation
from saltus.models import Model
from saltus.random import Draws
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.word_cooccurrence import WordCooccurrence
from saltus.training.isolation import Watch
from saltus.training.readings import measure

SETTINGS = pytest.mark.parametrize("name", ["adding", "completing"])
LAYERS = ("blocks.0", "blocks.1", "final")
BOTH = Saturation(modes=("scale", "zeta"))


def read(one, instrument=BOTH):
    return saltus.read(one.module, [instrument], one.task, one.batch)


def zeta(weights):
    """Argmax with exact ties."""
    largest = (weights == weights.amax(-1, keepdim=True)).double()
    return largest / largest.sum(-1, keepdim=True)


def final(one, factor=1.0, pattern=by_hand.same):
    """What the readout reads, by hand."""
    own = {name: factor * value for name, value in one.parameters.items()}
    own["readout.weight"] = torch.eye(own["readout.weight"].shape[1], dtype=torch.float64)
    own["readout.bias"] = torch.zeros(len(own["readout.weight"]), dtype=torch.float64)
    return by_hand.forward(own, one.batch["inputs"], HEADS, one.encoder, pattern)


@SETTINGS
def test_the_final_state_is_compared_with_a_pass_by_hand(name):
    one, cosine = One(name), torch.nn.CosineSimilarity(dim=-1)
    found = read(one)
    here = final(one)
    expected = cosine(here, final(one, factor=1000.0)).mean()
    torch.testing.assert_close(found["saturation/final"], expected, rtol=1e-6, atol=1e-7)
    saturated = final(one, pattern=lambda layer, head, weights: zeta(weights))
    torch.testing.assert_close(
        found["saturation/zeta/final"], cosine(here, saturated).mean(), rtol=1e-6, atol=1e-7
    )
    assert found["saturation/final"] < 0.99 and found["saturation/zeta/final"] < 0.999
    names = [f"saturation/{mode}{at}" for mode in ("", "zeta/") for at in LAYERS]
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize("norm", ["pre", "post", "branch-out"])
def test_without_a_final_norm_the_last_block_is_the_final_state(norm):
    one = One("adding", model={"norm": norm})
    found = read(one)
    same = found["saturation/final"].equal(found["saturation/blocks.1"])
    assert same == (norm != "pre")


@SETTINGS
def test_what_is_saturated_already_stays(name):
    one = One(name)
    with torch.no_grad():
        for value in one.module.parameters():
            value *= 1e4
    # A tie of rounding may break otherwise, at one token.
    assert all(value > 0.999 for value in read(one).values())


def test_scaling_what_the_states_do_not_depend_on_changes_nothing():
    one = One("adding")
    for found in read(one, Saturation(groups=("readout",))).values():
        torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-8, atol=0)
    some = read(one, Saturation(groups=("mlp",)))["saturation/blocks.0"]
    assert some < 0.999


def test_a_homogeneous_model_with_uniform_heads_is_saturated_from_the_start():
    for name, value in read(Homogeneous()).items():
        assert abs(value.item() - 1) < 1e-8, name


def test_padding_does_not_count_unless_asked_for():
    one = One("adding")
    real = torch.rand(one.batch["inputs"].shape) < 0.5
    real[:, 0] = True
    every = read(one)
    one.batch = {**one.batch, "real": real}
    alone, counted = read(one), read(one, BOTH.model_copy(update={"padding": "included"}))
    here, there = final(one), final(one, factor=1000.0)
    expected = torch.cosine_similarity(here, there, dim=-1)[real].mean()
    torch.testing.assert_close(alone["saturation/final"], expected, rtol=1e-6, atol=1e-7)
    assert not alone["saturation/final"].equal(every["saturation/final"])
    assert all(counted[name].equal(value) for name, value in every.items())


@SETTINGS
def test_a_member_is_the_same_to_the_last_bit_in_any_company(name):
    together = measure(ensemble_of(name, [4, 0]), [BOTH], 2)
    for row, seed in enumerate([4, 0]):
        made, watch = ensemble_of(name, [seed]), Watch()
        with watch:
            alone = measure(made, [BOTH], 2)
        differing = [key for key in alone if not alone[key][0].equal(together[key][row])]
        assert not differing or watch.ragged


def test_a_model_without_blocks_has_a_final_state_alone():
    task = WordCooccurrence(length=4, vocabulary=16)
    model = Model.parse({"kind": "one-layer-attention", "width": 8})
    module = model.build(task.interface)
    with torch.no_grad():
        for value in module.parameters():
            value.normal_()
    batch = task.sample(Draws(0, "data"), 6)
    found = saltus.read(module, [BOTH], task, batch)
    assert list(found) == ["saturation/final", "saturation/zeta/final"]


def test_what_cannot_be_saturated_is_told_in_a_line():
    module = torch.nn.Linear(2, 2)
    task = MovingWindowSum(length=4)
    with pytest.raises(SaltusError, match="takes no tape") as refused:
        saltus.read(module, [BOTH], task, {"inputs": torch.zeros(1, 2)})
    assert "\n" not in str(refused.value)
