"""The authors' sampler (claim C16 of our spec), and that the task follows it."""

import pytest
import torch

from saltus.errors import SaltusError
from saltus.random import Draws
from saltus.tasks.images import TwoStepImage
from saltus.tasks.images.order import epoch_steps, walk

CPU = torch.device("cpu")


def test_60_000_images_in_batches_of_512():
    assert epoch_steps(60_000, 512) == 117
    epoch = torch.cat([walk(step, 512, 60_000, CPU) for step in range(117)])
    assert len(epoch) == 59_904
    assert len(epoch.unique()) == 19_968
    assert torch.equal(epoch, epoch[::3].repeat_interleave(3))  # three times in a row
    for step in (0, 1, 116):  # the same in every epoch
        assert torch.equal(walk(step, 512, 60_000, CPU), walk(step + 117 * 4, 512, 60_000, CPU))


def test_a_batch_is_a_piece_of_the_order_whatever_its_size():
    whole = walk(0, 1280, 1437, CPU)
    for batch in (1, 7, 128, 1000):
        for step in range(3):
            place = step % epoch_steps(1437, batch) * batch
            assert torch.equal(walk(step, batch, 1437, CPU), whole[place : place + batch])


def test_a_batch_larger_than_an_epoch_is_refused():
    message = "batch 1281 is not allowed with 1437 images: at most 1280"
    with pytest.raises(SaltusError, match=message):
        walk(0, 1281, 1437, CPU)


def test_the_task_shows_the_walk_at_the_top_right_and_draws_the_rest():
    task, plain = TwoStepImage(sampler="authors-exact"), TwoStepImage()
    shown = [task.sample(Draws(seed, "data", 13), 96)["inputs"] for seed in (0, 1)]
    album = task.album(CPU, torch.float32)
    order = album.start[1] + walk(13, 96, 1437, CPU)
    expected = flat(album.pixels[order])
    for images in shown:
        torch.testing.assert_close(flat(images[:, :, :8, 8:].mean(1)), expected)
    assert not torch.equal(shown[0][:, :, 8:, :8], shown[1][:, :, 8:, :8])
    # 13 batches of 96 are an epoch of 1280.
    assert torch.equal(walk(0, 96, 1437, CPU), walk(13, 96, 1437, CPU))
    # Everything but the walked cell is what the plain sampler draws.
    other = plain.sample(Draws(0, "data", 13), 96)["inputs"]
    assert torch.equal(shown[0][:, :, 8:], other[:, :, 8:])
    assert not torch.equal(shown[0][:, :, :8, 8:], other[:, :, :8, 8:])


def flat(images):
    rows = images.flatten(1)
    return rows / rows.norm(dim=1, keepdim=True)
