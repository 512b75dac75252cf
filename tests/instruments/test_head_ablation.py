"""Head ablation against a forward pass written by hand, and what must change nothing."""

import pytest
import torch

import by_hand
import saltus
from analysed import HEADS, One, ensemble_of
from saltus import kernels
from saltus.errors import SaltusError
from saltus.instruments.head_ablation import HeadAblation
from saltus.interventions.ablation import AblateHeads
from saltus.models.edits import batch_mean, uniform
from saltus.training.readings import measure

SETTINGS = pytest.mark.parametrize("name", ["adding", "completing"])
MODES = pytest.mark.parametrize("mode", ["uniform", "batch-mean"])
REPLACE = {"uniform": uniform, "batch-mean": batch_mean}


def read(one, **fields):
    return saltus.read(one.module, [HeadAblation(**fields)], one.task, one.batch)


def expected(one, heads, mode):
    """The loss and metrics of the forward pass by hand with some heads ablated."""

    def pattern(layer, head, weights):
        replaced = REPLACE[mode](weights.unsqueeze(1)).squeeze(1)
        return replaced if (layer, head) in heads else weights

    outputs = by_hand.forward(one.parameters, one.batch["inputs"], HEADS, one.encoder, pattern)
    loss = one.task.loss(outputs, one.batch).mean()
    return {"loss": loss, **one.task.metrics(outputs, one.batch)}


@SETTINGS
@MODES
def test_each_head_is_what_a_pass_by_hand_gives(name, mode):
    one = One(name)
    found = read(one, mode=mode)
    for metric, value in expected(one, (), mode).items():
        torch.testing.assert_close(found[f"head-ablation/intact/{metric}"], value)
    for layer in range(2):
        for head in range(HEADS):
            for metric, value in expected(one, {(layer, head)}, mode).items():
                every = found[f"head-ablation/{metric}/blocks.{layer}"]
                assert every.shape == (HEADS,)
                torch.testing.assert_close(every[head], value)
    every = found["head-ablation/loss/blocks.0"]
    assert (every - found["head-ablation/intact/loss"]).abs().min() > 1e-4  # something happened


@SETTINGS
@MODES
def test_a_set_of_heads_goes_at_once(name, mode):
    one, heads = One(name), ((0, 1), (1, 0), (1, 1))
    found = read(one, mode=mode, sets={"three": heads, "none": ()}, label="sets")
    for metric, value in expected(one, set(heads), mode).items():
        torch.testing.assert_close(found[f"sets/three/{metric}"], value)
        assert found[f"sets/none/{metric}"].equal(found[f"sets/intact/{metric}"])
    assert not [name for name in found if "blocks" in name]


@SETTINGS
def test_making_a_uniform_head_uniform_changes_nothing(name):
    """With no queries all scores are equal (the keys' biases cancel in a softmax)."""
    one = One(name)
    for part in ("weight", "bias"):
        getattr(one.module.blocks[1].attention.query, part).data[8:] = 0  # head 1 of layer 1
    found = read(one)
    intact, every = found["head-ablation/intact/loss"], found["head-ablation/loss/blocks.1"]
    torch.testing.assert_close(every[1], intact, rtol=1e-13, atol=0)
    assert not torch.isclose(every[0], intact)


@SETTINGS
@MODES
def test_ablating_a_head_that_nobody_reads_changes_nothing(name, mode):
    one = One(name)
    one.module.blocks[0].attention.output.weight.data[:, :8] = 0  # head 0 of layer 0
    found = read(one, mode=mode)
    for metric in ("loss", *one.task.metrics(one.module(one.batch["inputs"]), one.batch)):
        every = found[f"head-ablation/{metric}/blocks.0"]
        assert every[0].equal(found[f"head-ablation/intact/{metric}"])


def test_the_mean_over_one_sample_is_that_sample():
    one = One("completing", batch=1)
    found = read(one, mode="batch-mean")
    for name, value in found.items():
        metric = name.removeprefix("head-ablation/").rpartition("/")[0]
        if "blocks" in name:
            torch.testing.assert_close(
                value, found[f"head-ablation/intact/{metric}"].expand(HEADS), rtol=1e-12, atol=0
            )


@MODES
def test_it_is_what_a_model_under_the_intervention_reads(mode):
    """The analysis afterwards and the change in force agree."""
    heads = ((0, 1), (1, 0))
    # A kernel is used where nobody may change the weights, which differs in last bits.
    with kernels.switched_off():
        plain = ensemble_of("completing", [0, 1])
        ablated = ensemble_of(
            "completing", [0, 1], interventions=[AblateHeads(heads=heads, mode=mode, start=2)]
        )
    assert plain.flat.equal(ablated.flat)  # not yet in force
    instrument = HeadAblation(mode=mode, sets={"two": heads}, samples=32)
    found = measure(plain, [instrument], 2)["head-ablation/two/loss"]
    then = measure(ablated, [instrument], 2)
    assert then["head-ablation/intact/loss"].equal(found)
    assert not found.equal(measure(plain, [instrument], 2)["head-ablation/intact/loss"])


def test_heads_that_are_not_there_and_taken_names_are_one_line():
    one = One("adding")
    with pytest.raises(SaltusError, match="no head 2; allowed: 0 to 1"):
        read(one, sets={"far": [(0, 2)]})
    with pytest.raises(SaltusError, match=r"the model has no site 'blocks\.4\.attention\.heads'"):
        read(one, sets={"deep": [(4, 0)]})
    for sets, line in (
        ({"intact": [[0, 0]]}, "'intact' is the model as it is; allowed: any other name"),
        ({"Row head": [[0, 0]]}, "is not allowed"),
        ({"a": [[0, -1]]}, "-1 is not allowed"),
    ):
        with pytest.raises(ValueError, match=line):
            HeadAblation.parse({"kind": "head-ablation", "sets": sets})
