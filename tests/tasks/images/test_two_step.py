"""Two-step images: what a batch says of itself, member by member."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import vmap

from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.images import VARIANTS, TwoStepImage

KINDS = {
    **{name: TwoStepImage(variant=name) for name in VARIANTS},
    "always-top-right": TwoStepImage(control="always-top-right"),
    "predict-z": TwoStepImage(control="predict-z"),
    "oracle": TwoStepImage(variant="T2", control="oracle"),
    "released": TwoStepImage(imbalance={"p": 0.8, "law": "released"}),
    "corrected": TwoStepImage(variant="T7", imbalance={"p": 0.2}),
    "colours": TwoStepImage(variant="T5", imbalance={"p": 0.2}),
    "authors-exact": TwoStepImage(sampler="authors-exact"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_of_a_stack_is_that_seed_alone(kind):
    task, seeds = KINDS[kind], (4, 7, 2)
    together = task.sample(Draws(seeds, "data", 5), 33)
    outputs = torch.randn(3, 33, 1, task.outputs)
    losses, metrics = task.loss(outputs, together), task.metrics(outputs, together)
    for row, seed in enumerate(seeds):
        alone = task.sample(Draws(seed, "data", 5), 33)
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            assert torch.equal(together[name][row], value), name
        assert torch.equal(losses[row], task.loss(outputs[row], alone))
        for name, value in task.metrics(outputs[row], alone).items():
            assert torch.equal(metrics[name][row], value), name


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_types_are_those_of_the_interface(kind):
    task = KINDS[kind]
    batch = task.sample(Draws([0, 1], "data", dtype=torch.float64), 5)
    assert batch["inputs"].shape == (2, 5, *task.interface.image)
    assert batch["inputs"].dtype == torch.float64
    for name in ("targets", "z"):
        assert batch[name].shape == (2, 5)
    for name in ("roles", "cells", "colours"):
        assert batch[name].shape == (2, 5, 2, 2)
    for name, classes in task.label_classes().items():
        values = task.labels(batch)[name]
        assert values.shape == (2, 5)
        assert values.dtype == torch.int64
        assert values.min() >= 0
        assert values.max() < classes
    assert task.labels(batch).keys() == task.label_classes().keys()


def test_the_kind_alone_is_the_main_task_on_digits():
    task = Task.parse("two-step-image")
    assert task == TwoStepImage()
    assert task.layout is VARIANTS["T1"]
    assert task.interface == (0, 1, 10, 0, (3, 16, 16))
    assert task.label_classes()["class-0"] == 10
    assert TwoStepImage(variant="T4").label_classes()["class-0"] == 11
    assert TwoStepImage(control="predict-z").interface.outputs == 2


def test_validation_shows_other_images_in_the_same_way():
    task = TwoStepImage(sampler="authors-exact")
    held_out = task.validation
    assert held_out == TwoStepImage(split="validation")
    assert held_out.validation == held_out
    where = torch.device("cpu"), torch.float32
    seen = {tuple(image.flatten().tolist()) for image in task.album(*where).pixels[1:]}
    other = {tuple(image.flatten().tolist()) for image in held_out.album(*where).pixels[1:]}
    assert len(seen) == 1437
    assert len(other) == 360
    assert not seen & other


def test_the_loss_is_smoothed_cross_entropy():
    task = TwoStepImage(label_smoothing=0.25)
    batch = {"targets": torch.tensor([3, 0]), "z": torch.tensor([0, 1])}
    outputs = torch.randn(2, 1, 10, dtype=torch.float64)
    smooth = 0.75 * F.one_hot(batch["targets"], 10).double() + 0.25 / 10
    expected = -(smooth * outputs[:, 0].log_softmax(-1)).sum(-1)
    torch.testing.assert_close(task.loss(outputs, batch), expected, atol=1e-12, rtol=0)
    plain = -outputs[:, 0].log_softmax(-1).gather(-1, batch["targets"][:, None]).mean()
    torch.testing.assert_close(task.metrics(outputs, batch)["loss-plain"], plain)


def test_metrics_count_ranks_and_sort_by_z():
    task = TwoStepImage()
    # The label has rank 0, 1, 4 and 5 in samples of z = 1, 0, 1, 1.
    outputs = -torch.arange(10.0).repeat(4, 1, 1)
    batch = {"targets": torch.tensor([0, 1, 4, 5]), "z": torch.tensor([1, 0, 1, 1])}
    found = {name: value.item() for name, value in task.metrics(outputs, batch).items()}
    assert found["accuracy"] == 0.25
    assert found["accuracy-top2"] == 0.5
    assert found["accuracy-top5"] == 0.75
    assert found["accuracy-z0"] == 0
    assert found["accuracy-z1"] == pytest.approx(1 / 3)
    only = {"targets": torch.tensor([0]), "z": torch.tensor([1])}
    assert task.metrics(outputs[:1], only)["accuracy-z0"].isnan()
    # Outputs that are all alike, or no numbers, are no knowledge.
    assert task.metrics(torch.zeros(4, 1, 10), batch)["accuracy"] == 0.25
    assert task.metrics(torch.full((4, 1, 10), torch.nan), batch)["accuracy-top5"] == 0
    assert "accuracy-top2" not in TwoStepImage(control="predict-z").metrics(
        torch.zeros(1, 1, 2), {"targets": torch.tensor([0]), "z": torch.tensor([0])}
    )


def test_loss_and_metrics_can_be_mapped_over_members():
    task = TwoStepImage()
    batch, outputs = task.sample(Draws([0, 1], "data"), 6), torch.randn(2, 6, 1, 10)
    torch.testing.assert_close(vmap(task.loss)(outputs, batch), task.loss(outputs, batch))
    for name, value in vmap(task.metrics)(outputs, batch).items():
        torch.testing.assert_close(value, task.metrics(outputs, batch)[name], equal_nan=True)


def test_a_twin_is_the_next_sample_with_all_that_belongs_to_it():
    task = TwoStepImage()
    for seeds in (0, [0, 1]):
        batch = task.sample(Draws(seeds, "data"), 4)
        twin = task.corrupted(batch)
        assert twin.keys() == batch.keys()
        for name, value in batch.items():
            axis = 0 if seeds == 0 else 1
            assert torch.equal(twin[name].select(axis, 1), value.select(axis, 0)), name


@pytest.mark.parametrize("tokens", [1, 2, 4, 5, 9, 10, 16, 17, 64, 65, 196, 197])
def test_a_token_has_the_role_of_the_cell_that_holds_its_centre(tokens):
    task = TwoStepImage(variant="T2")
    batch = task.sample(Draws([0, 1], "data"), 3)
    found = task.roles(batch, tokens)
    side = int(tokens**0.5)
    extra = tokens - side**2
    for number, name in ((1, "indicator"), (2, "target")):
        assert found[name].shape == (2, 3, tokens)
        assert not found[name][..., :extra].any()
        for index in range(side**2):
            row, column = ((place + 0.5) / side >= 0.5 for place in divmod(index, side))
            expected = batch["roles"][..., int(row), int(column)] == number
            assert torch.equal(found[name][..., extra + index], expected)


@pytest.mark.parametrize("tokens", [0, 3, 8, 18])
def test_tokens_that_are_no_square_are_refused(tokens):
    batch = TwoStepImage().sample(Draws(0, "data"), 1)
    with pytest.raises(ValueError, match=f"{tokens} tokens: allowed: a square number"):
        TwoStepImage().roles(batch, tokens)
