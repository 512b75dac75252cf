"""ResNets are torchvision's, written out with plain torch, alone and stacked."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from saltus.models import SILENT, Interface, Model, Tape, group_of, initial_parameters
from saltus.models.convolution import Convolution
from saltus.models.resnet import BLOCKS, ResNet

IMAGE = (3, 12, 9)
SIZES = {9: 4_910_922, 18: 11_181_642, 34: 21_289_802}
RUNNING = ("running_mean", "running_variance")


def prepared(layers=9, members=0, image=IMAGE, batch=2, dtype=torch.float64):
    """A module, parameters away from the start, and images."""
    model = ResNet(layers=layers)
    module = model.build(Interface(0, 1, 5, image=image))
    seeds = range(members or 1)
    own = [initial_parameters(model, module, seed, dtype=dtype) for seed in seeds]
    for values in own:
        for name, value in values.items():
            if value.ndim == 1:
                values[name] = value + 0.3 * torch.rand_like(value)
    parameters = {name: torch.stack([values[name] for values in own]) for name in own[0]}
    images = torch.randn(len(own), batch, *image, dtype=dtype)
    if members:
        return module, parameters, images
    return module, {name: value[0] for name, value in parameters.items()}, images[0]


def reference(own, x, blocks, training):
    """Section 4.2 of the spec in F.conv2d, F.batch_norm and F.max_pool2d; the new statistics."""
    statistics = {}

    def normed(x, name, stride, side):
        x = F.conv2d(x, own[f"{name}.convolution.weight"], None, stride, side // 2)
        norm = f"{name}.batch_norm"
        mean, variance = (own[f"{norm}.{part}"].detach().clone() for part in RUNNING)
        weight, bias = own[f"{norm}.weight"], own[f"{norm}.bias"]
        x = F.batch_norm(x, mean, variance, weight, bias, training)
        if training:
            statistics.update({f"{norm}.running_mean": mean, f"{norm}.running_variance": variance})
        return x

    x = F.max_pool2d(normed(x, "stem", 2, 7).relu(), 3, 2, 1)
    for stage, count in enumerate(blocks):
        for block in range(count):
            name = f"stages.{stage}.block.{block}"
            stride = 2 if stage and not block else 1
            branch = normed(normed(x, f"{name}.first", stride, 3).relu(), f"{name}.second", 1, 3)
            if stride == 2:
                x = normed(x, f"{name}.shortcut", 2, 1)
            x = (x + branch).relu()
    pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
    outputs = F.linear(pooled, own["readout.weight"], own["readout.bias"])
    return outputs.unsqueeze(-2), statistics


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("layers", [9, 18])
def test_the_forward_pass_is_the_one_written_out_with_plain_torch(layers, training):
    module, own, images = prepared(layers)
    tape = Tape(training=training)
    outputs = functional_call(module, own, (images, tape))
    assert outputs.shape == (2, 1, 5)
    expected, statistics = reference(own, images, BLOCKS[layers], training)
    torch.testing.assert_close(outputs, expected)
    assert tape.statistics.keys() == statistics.keys()
    for name, value in statistics.items():
        torch.testing.assert_close(tape.statistics[name], value)


def test_slopes_are_those_of_the_plain_network():
    module, own, images = prepared()
    for value in own.values():
        value.requires_grad_()
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5, -1.0], dtype=torch.float64)
    outputs = functional_call(module, own, (images, Tape(training=True)))
    expected, _ = reference(own, images, BLOCKS[9], True)
    found = [
        torch.autograd.grad((y * weights).sum(), list(own.values()), materialize_grads=True)
        for y in (outputs, expected)
    ]
    for name, mine, other in zip(own, *found, strict=True):
        torch.testing.assert_close(mine, other, msg=lambda text, name=name: f"{name}: {text}")
        assert mine.any() == (not name.endswith(RUNNING))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("image", [(3, 16, 16), (3, 7, 5)], ids=["square", "ragged"])
def test_a_member_of_a_stack_is_the_member_alone_bit_for_bit(training, image):
    module, stacked, images = prepared(9, 3, image, dtype=torch.float32)

    def passed(parameters, images):
        own = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        tape = Tape(training=training)
        outputs = functional_call(module, own, (images.clone(), tape))
        slopes = torch.autograd.grad(outputs.sum(), list(own.values()), materialize_grads=True)
        return [outputs, *slopes, *tape.statistics.values()]

    together = passed(stacked, images)
    for k in (0, 2):
        row = {name: value[k : k + 1] for name, value in stacked.items()}
        for found, alone in zip(together, passed(row, images[k : k + 1]), strict=True):
            assert found[k].equal(alone[0])
    # A single model, without the member axis, takes the same kernels but for the readout's.
    own = {name: value[1] for name, value in stacked.items()}
    alone = functional_call(module, own, (images[1], Tape(training=training)))
    torch.testing.assert_close(alone, together[0][1])


@pytest.mark.parametrize("layers", SIZES)
def test_parameters_are_counted_as_in_the_docstring(layers):
    with torch.device("meta"):
        module = ResNet(layers=layers).build(Interface(0, 1, 10, image=(3, 56, 56)))
    counts = {name: value.numel() for name, value in module.named_parameters()}
    learned = sum(count for name, count in counts.items() if group_of(name) != "statistics")
    assert learned == SIZES[layers]
    convolutions = [name for name in counts if group_of(name) == "convolution"]
    deep = [name for name in convolutions if "shortcut" not in name]
    assert len(deep) == {9: 9, 18: 17, 34: 33}[layers] and len(convolutions) == len(deep) + 3
    groups = {"convolution", "norm.batch", "statistics", "readout"}
    assert {group_of(name) for name in counts} == groups


def test_the_start_is_torchvisions():
    model = ResNet()
    module = model.build(Interface(0, 1, 10, image=IMAGE))
    own = initial_parameters(model, module, seed=3)
    for name, value in own.items():
        if name.endswith("convolution.weight"):
            outputs, _, high, wide = value.shape
            deviation = (2 / (outputs * high * wide)) ** 0.5
            assert abs(value.std() / deviation - 1) < 5 / math.sqrt(2 * value.numel()), name
        elif name.startswith("readout"):
            assert value.abs().max() <= 512**-0.5
        else:
            one = name.endswith(("weight", "running_variance"))
            assert value.equal(torch.full_like(value, float(one))), name
    spread = own["readout.weight"].std() * 512**0.5
    assert abs(spread - 3**-0.5) < 0.02


def test_sites_are_tokens_and_what_is_written_there_is_used():
    module, own, images = prepared()
    tape = Tape(["embedding", "stages.*", "final"])
    outputs = functional_call(module, own, (images, tape))
    shapes = {name: tuple(value.shape) for name, value in tape.values.items()}
    assert shapes == {
        "embedding": (2, 3 * 3, 64),
        "stages.0.block.0": (2, 3 * 3, 64),
        "stages.1.block.0": (2, 2 * 2, 128),
        "stages.2.block.0": (2, 1, 256),
        "stages.3.block.0": (2, 1, 512),
        "final": (2, 1, 512),
    }
    assert outputs.equal(functional_call(module, own, (images, SILENT)))
    silenced = Tape(edits={"stages.3.block.0": (lambda site, value: value * 0,)})
    expected = own["readout.bias"].expand(2, 1, 5)
    torch.testing.assert_close(functional_call(module, own, (images, silenced)), expected)


def test_a_convolution_is_the_sum_it_stands_for():
    layer = Convolution(2, 1, side=3, stride=2).double()
    weight, x = torch.randn(1, 2, 3, 3).double(), torch.randn(1, 2, 5, 4).double()
    found = functional_call(layer, {"weight": weight}, (x,))
    assert found.shape == (1, 1, 3, 2)
    padded = F.pad(x, (1, 1, 1, 1))
    for row in range(3):
        for column in range(2):
            patch = padded[0, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            assert found[0, 0, row, column].item() == pytest.approx(
                (patch * weight[0]).sum().item()
            )


def test_the_smallest_image_fits():
    module, own, images = prepared(image=(1, 1, 1))
    assert functional_call(module, own, (images, Tape(training=True))).isfinite().all()


def test_what_cannot_be_is_refused_in_one_line():
    with pytest.raises(
        ValueError, match=r"^layers: 10 is not allowed: input should be 9, 18 or 34"
    ):
        Model.parse({"kind": "resnet", "layers": 10})
    with pytest.raises(ValueError, match=r"^takes images; the task gives tokens$"):
        ResNet().check(Interface(5, 3, 2))
