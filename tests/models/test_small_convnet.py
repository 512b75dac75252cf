"""The small convolutional network, written out with plain torch, alone and stacked."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from saltus.models import Interface, Tape, group_of, initial_parameters
from saltus.models.small_convnet import SmallConvnet


def prepared(image, members=1, batch=4, dtype=torch.float64):
    model = SmallConvnet()
    module = model.build(Interface(0, 1, 10, image=image))
    own = [initial_parameters(model, module, seed, dtype=dtype) for seed in range(members)]
    stacked = {name: torch.stack([values[name] for values in own]) for name in own[0]}
    for name, value in stacked.items():
        if value.ndim == 2:
            stacked[name] = value + 0.3 * torch.rand_like(value)
    return module, stacked, torch.randn(members, batch, *image, dtype=dtype)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("image", [(3, 16, 16), (1, 5, 9)], ids=["16 x 16", "5 x 9"])
def test_the_forward_pass_is_the_one_written_out_with_plain_torch(image, training):
    module, stacked, images = prepared(image)
    own = {name: value[0] for name, value in stacked.items()}
    x = images[0]
    for index, stride in enumerate((1, 2, 2, 2)):
        x = F.conv2d(x, own[f"layers.{index}.convolution.weight"], None, stride, 1)
        norm = f"layers.{index}.batch_norm."
        running = [own[f"{norm}running_{part}"].clone() for part in ("mean", "variance")]
        x = F.batch_norm(x, *running, own[f"{norm}weight"], own[f"{norm}bias"], training).relu()
    expected = F.linear(x.flatten(1), own["readout.weight"], own["readout.bias"])
    outputs = functional_call(module, own, (images[0], Tape(training=training)))
    torch.testing.assert_close(outputs, expected.unsqueeze(-2))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_member_of_a_stack_is_the_member_alone_bit_for_bit(training):
    module, stacked, images = prepared((3, 16, 16), members=3, batch=8, dtype=torch.float32)

    def passed(parameters, images):
        own = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        outputs = functional_call(module, own, (images.clone(), Tape(training=training)))
        slopes = torch.autograd.grad(outputs.sum(), list(own.values()), materialize_grads=True)
        return [outputs, *slopes]

    together = passed(stacked, images)
    for k in range(3):
        row = {name: value[k : k + 1] for name, value in stacked.items()}
        for found, alone in zip(together, passed(row, images[k : k + 1]), strict=True):
            assert found[k].equal(alone[0])


def test_sizes_groups_and_sites():
    module, stacked, images = prepared((3, 16, 16), members=2)
    sizes = {name: value[0].numel() for name, value in stacked.items()}
    learned = sum(size for name, size in sizes.items() if group_of(name) != "statistics")
    filters = 9 * (3 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    assert learned == filters + 2 * (32 + 32 + 64 + 64) + 256 * 10 + 10
    groups = {"convolution", "norm.batch", "statistics", "readout"}
    assert {group_of(name) for name in sizes} == groups
    tape = Tape(["*"])
    functional_call(module, stacked, (images, tape))
    assert {name: tuple(value.shape) for name, value in tape.values.items()} == {
        "embedding": (2, 4, 256, 32),
        "stages.0.block.0": (2, 4, 64, 32),
        "stages.1.block.0": (2, 4, 16, 64),
        "stages.2.block.0": (2, 4, 4, 64),
        "final": (2, 4, 1, 256),
    }
    # What the readout reads is the last feature map, channel by channel.
    last, final = tape.values["stages.2.block.0"], tape.values["final"]
    assert final.squeeze(-2).equal(last.transpose(-1, -2).flatten(-2))
