"""Painting and deciding, sample by sample, against plain loops in float64."""

import pytest
import torch

from saltus.random import Draws
from saltus.tasks.images import VARIANTS, TwoStepImage
from saltus.tasks.images.colours import RGB
from saltus.tasks.images.painting import paint, ring
from saltus.tasks.images.scenes import draw

CPU = torch.device("cpu")


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_are_cells_times_tints(variant):
    task = TwoStepImage(variant=variant)
    album = task.album(CPU, torch.float64)
    scene = draw(task.layout, album, Draws(3, "data", dtype=torch.float64), 6)
    shown = task.sample(Draws(3, "data", dtype=torch.float64), 6)["inputs"]
    for sample in range(6):
        for place, home in enumerate(scene.order[sample].tolist()):
            row, column = divmod(place, 2)
            cell = shown[sample, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            pixels = album.pixels[scene.image[sample, home]]
            assert torch.equal(cell, pixels * scene.tint[sample, home][:, None, None])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_tint_is_its_colour_with_noise(variant):
    task = TwoStepImage(variant=variant)
    scene = draw(task.layout, task.album(CPU, torch.float32), Draws(0, "data"), 4000)
    names = [*task.layout.palette, None]
    for cell, role in enumerate(task.layout.cells):
        if role.role == "blank":
            assert (scene.colour[:, cell] == len(task.layout.palette)).all()
            continue
        for group in scene.colour[:, cell].unique().tolist():
            assert names[group] in role.colours
            noise = scene.tint[scene.colour[:, cell] == group, cell] - torch.tensor(
                RGB[names[group]]
            )
            assert noise.mean(0).abs().max() < 5 * 0.05 / len(noise) ** 0.5
            assert noise.std() == pytest.approx(0.05, abs=5 * 0.05 / (6 * len(noise)) ** 0.5)


def test_an_oracle_frames_the_cell_that_holds_the_label():
    task = TwoStepImage(variant="T2", control="oracle")
    batch = task.sample(Draws(1, "data"), 40)
    for image, y, z, cells, roles in zip(
        *(batch[name] for name in ("inputs", "targets", "z", "cells", "roles")), strict=True
    ):
        framed = [
            (row, column)
            for row in (0, 1)
            for column in (0, 1)
            if (image[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8][:, ring(8)] == 1).all()
        ]
        assert len(framed) == 1
        row, column = framed[0]
        assert row == 1 - z
        assert roles[row, column] == 2
        assert cells[row, column] == y


def test_a_border_is_a_pixel_of_a_small_cell_and_two_of_a_large_one():
    assert ring(8).sum() == 64 - 36
    assert ring(28).sum() == 28**2 - 24**2
    album = TwoStepImage().album(CPU, torch.float32)
    none = torch.zeros(1, 4, dtype=torch.bool)
    nowhere = paint(album, torch.zeros(1, 4).long(), torch.ones(1, 4, 3), none)
    assert not nowhere.any()


def test_where_both_answers_are_in_one_cell_the_frame_itself_is_z():
    batch = TwoStepImage(variant="T6", control="oracle").sample(Draws(1, "data"), 30)
    framed = (batch["inputs"][:, :, :8, 8:][:, :, ring(8)] == 1).all(-1).all(-1)
    assert torch.equal(framed.long(), batch["z"])
