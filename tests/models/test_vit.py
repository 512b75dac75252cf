"""The vision transformer: the paper's size, plain torch's numbers, and branches left out."""

import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models import SILENT, Interface, Model, Tape, group_of, initial_parameters
from saltus.models.vit import SinePositions, VisionTransformer, cut
from saltus.random import Draws
from saltus.training.optimizers import AdamW

PAPER = Interface(0, 1, 10, image=(3, 56, 56))
SMALL = Interface(0, 1, 5, image=(3, 8, 12))
TINY = {"depth": 3, "width": 16, "heads": 2, "patch": (4, 3)}
settings = pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pooling": "mean"},
        {"position_table": "sine", "hidden": 24},
        {"pooling": "mean", "position_table": "sine", "patch": 2},  # 24 tokens: the fused kernel
    ],
    ids=["class token", "mean", "sine", "mean, sine, patch 2"],
)


def prepared(changes, members=0, dtype=torch.float64, batch=4, scale=15.0):
    """A module, parameters of one or several members, far from the start, and images."""
    model = VisionTransformer(**{**TINY, "initial_scale": scale, **changes})
    module = model.build(SMALL)
    own = [initial_parameters(model, module, seed, dtype=dtype) for seed in range(members or 1)]
    for values in own:
        for name, value in values.items():
            if value.ndim == 1:
                values[name] = value + 0.3 * torch.randn_like(value)
    stacked = {name: torch.stack([values[name] for values in own]) for name in own[0]}
    images = torch.randn(len(own), batch, 3, 8, 12, dtype=dtype)
    if members:
        return model, module, stacked, images
    return model, module, {name: value[0] for name, value in stacked.items()}, images[0]


@pytest.mark.parametrize(("patch", "count"), [(4, 3_750_666), (7, 3_742_218)])
def test_the_papers_models_have_its_parameters(patch, count):
    module = VisionTransformer(patch=patch).build(PAPER)
    assert sum(parameter.numel() for parameter in module.parameters()) == count
    assert module.position.weight.shape == ((56 // patch) ** 2 + 1, 256)


@settings
def test_the_forward_pass_is_the_one_written_out_with_plain_torch(changes):
    model, module, own, images = prepared(changes)
    outputs = functional_call(module, own, (images, SILENT))
    assert outputs.shape == (4, 1, 5)
    torch.testing.assert_close(outputs, reference(model, own, images))


def reference(model, own, images):
    """Section 4.1 of the spec in F.conv2d, F.layer_norm and F.scaled_dot_product_attention."""

    def affine(x, name):
        return F.linear(x, own[f"{name}.weight"], own.get(f"{name}.bias"))

    def norm(x, name):
        return F.layer_norm(x, (model.width,), own[f"{name}.weight"], own[f"{name}.bias"], 1e-6)

    sides = model.patch if isinstance(model.patch, tuple) else (model.patch, model.patch)
    filters = own["patch.weight"].view(model.width, 3, *sides)
    x = F.conv2d(images, filters, own["patch.bias"], stride=sides).flatten(2).transpose(1, 2)
    if model.pooling == "class-token":
        x = torch.cat([own["class_token"].expand(len(x), 1, -1), x], 1)
    if model.position_table == "learned":
        x = x + own["position.weight"]
    else:
        x = x + sines(x.shape[1], model.width)
    for index in range(model.depth):
        name = f"blocks.{index}"
        seen = norm(x, f"{name}.attention_norm")
        split = [
            affine(seen, f"{name}.attention.{part}")
            .unflatten(-1, (model.heads, -1))
            .transpose(1, 2)
            for part in ("query", "key", "value")
        ]
        heads = F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
        x = x + affine(heads, f"{name}.attention.output")
        hidden = affine(norm(x, f"{name}.mlp_norm"), f"{name}.mlp.input")
        assert hidden.shape[-1] == (model.hidden or 2 * model.width)
        x = x + affine(F.gelu(hidden), f"{name}.mlp.output")
    x = norm(x, "final_norm")
    read = x[:, :1] if model.pooling == "class-token" else x.mean(1, keepdim=True)
    return affine(read, "readout")


def sines(length, width):
    rows = [
        [
            (math.sin if i % 2 == 0 else math.cos)(position / 10000 ** (2 * (i // 2) / width))
            for i in range(width)
        ]
        for position in range(length)
    ]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("width", [6, 7])
def test_sine_rows_are_exact_and_no_parameters(width):
    module = SinePositions(5, width)
    assert list(module.parameters()) == []
    rows = module(torch.zeros(2, 5, width, dtype=torch.float64))
    torch.testing.assert_close(rows[1], sines(5, width), atol=1e-15, rtol=0)


def test_patches_go_row_by_row_and_channel_by_channel():
    images = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6).float()
    patches = cut(images, (2, 3))
    assert patches.shape == (2, 4, 18)
    assert patches[1, 2].equal(images[1, :, 2:4, 0:3].flatten())
    assert cut(images.unsqueeze(0), (2, 3))[0].equal(patches)


@settings
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_stack_is_each_member_alone(changes, training):
    _, module, stacked, images = prepared({**changes, "stochastic_depth": 0.4}, members=3)
    for value in stacked.values():
        value.requires_grad_()

    def passed(parameters, images, seeds):
        noise = Draws(seeds, "noise", 7, dtype=torch.float64)
        outputs = functional_call(
            module, parameters, (images, Tape(noise=noise, training=training))
        )
        return outputs, torch.autograd.grad(outputs.sum(), list(parameters.values()))

    outputs, slopes = passed(stacked, images, [3, 4, 5])
    for k in range(3):
        own = {name: value[k].detach().requires_grad_() for name, value in stacked.items()}
        alone, single = passed(own, images[k], 3 + k)
        torch.testing.assert_close(alone, outputs[k])
        for mine, row in zip(single, slopes, strict=True):
            torch.testing.assert_close(mine, row[k])


def test_a_member_of_a_stack_is_the_member_alone_bit_for_bit():
    """For sizes of whole vectors; the engine sees to others (`training.isolation`)."""
    changes = {"width": 32, "stochastic_depth": 0.4}
    _, module, stacked, images = prepared(changes, 3, torch.float32, batch=32)

    def passed(parameters, images, seeds):
        own = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        noise = Draws(seeds, "noise", 2)
        outputs = functional_call(module, own, (images, Tape(noise=noise, training=True)))
        return [outputs, *torch.autograd.grad(outputs.sum(), list(own.values()))]

    together = passed(stacked, images, [0, 1, 2])
    for k in range(3):
        row = {name: value[k : k + 1] for name, value in stacked.items()}
        for found, alone in zip(together, passed(row, images[k : k + 1], [k]), strict=True):
            assert found[k].equal(alone[0])


def test_evaluation_leaves_nothing_out():
    _, module, own, images = prepared({"stochastic_depth": 0.9})
    _, other, *_ = prepared({"stochastic_depth": 0.0})
    whole = functional_call(module, own, (images, SILENT))
    assert whole.equal(functional_call(other, own, (images, SILENT)))
    assert whole.equal(functional_call(other, own, (images, Tape(training=True))))


def left_out(seeds, step, batch=2000, depth=5):
    """Which samples do without which branch, {site: [..., batch]}, and what the others have."""
    model = VisionTransformer(depth=depth, width=2, heads=1, patch=4, stochastic_depth=0.4)
    module = model.build(Interface(0, 1, 2, image=(1, 4, 4)))
    own = initial_parameters(model, module, 0)
    lead = () if isinstance(seeds, int) else (len(seeds),)
    if lead:
        own = {name: value.expand(*lead, *value.shape) for name, value in own.items()}
    # A branch is what a block's residual gains: `residual.mid` less `.pre`, `.post` less `.mid`.
    noise = Draws(seeds, "noise", step)
    tape = Tape(["blocks.*"], noise=noise, training=True)
    functional_call(module, own, (torch.rand(*lead, batch, 1, 4, 4), tape))
    gone, kept = {}, {}
    for index in range(depth):
        block, stream = f"blocks.{index}", f"blocks.{index}.residual"
        for site, before, after in (("attention", "pre", "mid"), ("mlp", "mid", "post")):
            gain = tape.values[f"{stream}.{after}"] - tape.values[f"{stream}.{before}"]
            branch = tape.values[f"{block}.{site}.output"]
            gone[f"{block}.{site}"] = (gain == 0).all(-1).all(-1)
            kept[f"{block}.{site}"] = (gain, branch)
    return gone, kept


def test_branches_are_left_out_by_samples_linearly_in_depth_and_right_on_average():
    gone, kept = left_out(0, 0)
    for name, samples in gone.items():
        chance = 0.4 * int(name.split(".")[1]) / 4
        error = 5 * (chance * (1 - chance) / 2000) ** 0.5
        assert abs(samples.double().mean() - chance) <= error, name
        gain, branch = kept[name]
        staying = (~samples).double()[:, None, None]
        torch.testing.assert_close(
            gain, branch * staying.float() / (1 - chance), atol=1e-6, rtol=1e-3
        )
    last = [gone["blocks.4.attention"], gone["blocks.4.mlp"]]
    both = (last[0] & last[1]).double().mean()
    assert abs(both - 0.16) < 5 * (0.16 * 0.84 / 2000) ** 0.5  # each branch has draws of its own


def test_the_same_seed_and_step_leave_out_the_same_whoever_is_there():
    together, _ = left_out([4, 9, 2], 6, batch=64)
    for row, seed in enumerate((4, 9, 2)):
        alone, _ = left_out(seed, 6, batch=64)
        assert all(together[name][row].equal(value) for name, value in alone.items())
    later, _ = left_out(4, 7, batch=64)
    other, _ = left_out(5, 6, batch=64)
    first, _ = left_out(4, 6, batch=64)
    name = "blocks.4.mlp"
    assert not first[name].equal(later[name]) and not first[name].equal(other[name])


def test_the_start_is_the_papers():
    model = VisionTransformer(depth=1)
    module = model.build(PAPER)
    own = initial_parameters(model, module, 1)
    for name, value in own.items():
        if name.startswith("patch."):
            assert value.abs().max() <= 48**-0.5
            assert value.abs().max() > 0.9 * 48**-0.5
        elif value.ndim == 1:
            assert value.equal(torch.full_like(value, float("norm.weight" in name))), name
        else:
            assert abs(value.std() / 0.02 - 1) < 5 / math.sqrt(2 * value.numel()), name


def test_no_weight_decay_where_the_paper_has_none():
    """Section 6 of the spec: none on 1-D tensors, biases, positions and the class token."""
    none = {"weight_decay": 0.0}
    patterns = ("norm", "*.bias", "embeddings.position", "embeddings.class")
    optimizer = AdamW(learning_rate=1e-3, weight_decay=0.05, groups=dict.fromkeys(patterns, none))
    module = VisionTransformer(depth=2).build(PAPER)
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    decayed = {
        name: share.rule.weight_decay for share in optimizer.shares(shapes) for name in share.names
    }
    assert decayed.keys() == shapes.keys()
    for name, shape in shapes.items():
        exempt = len(shape) == 1 or name in ("position.weight", "class_token")
        assert decayed[name] == (0.0 if exempt else 0.05), name
    assert decayed["patch.weight"] == 0.05


def test_every_parameter_has_a_group():
    module = VisionTransformer(depth=1).build(PAPER)
    names = [name for name, _ in module.named_parameters()]
    assert "other" not in {group_of(name) for name in names}
    assert group_of("patch.weight") == group_of("patch.bias") == "embeddings.patch"
    assert group_of("class_token") == "embeddings.class"
    assert group_of("position.weight") == "embeddings.position"


def test_what_gradient_flow_keeps_needs_no_biases():
    """Under query -> A query, key -> A^-T key the outputs stay; so Q Q^T - K K^T is kept."""
    model, module, own, images = prepared({"activation": "relu"})
    kept = model.conserved(own)
    assert set(kept) == {f"blocks.{i}.{part}" for i in range(3) for part in ("qk", "vo", "relu")}
    query, key = (own[f"blocks.1.attention.{part}.weight"][:8] for part in ("query", "key"))
    torch.testing.assert_close(kept["blocks.1.qk"][0], query @ query.T - key @ key.T)
    leaves = {name: value.clone().requires_grad_() for name, value in own.items()}
    loss = functional_call(module, leaves, (images, SILENT)).square().sum()
    slopes = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    # d C / dt along the flow is zero: the derivative of C in the direction of the gradient.
    moved = {name: value + 1e-6 * slopes[name] for name, value in own.items()}
    back = {name: value - 1e-6 * slopes[name] for name, value in own.items()}
    for name, value in model.conserved(moved).items():
        assert (value - model.conserved(back)[name]).abs().max() < 1e-8 * max(
            1.0, float(loss.detach())
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 0}, r"^patch: 0 is not allowed: input should be greater than or equal to 1"),
        ({"patch": [1, 2, 3]}, r"^patch: \[1, 2, 3\] is not allowed: "),
        ({"norm": "input"}, r"^norm: 'input' is not allowed: input should be 'pre', 'post' or"),
        ({"mask": "multiplicative"}, r"^mask multiplicative is for causal models and causal is"),
        ({"positions": 4}, r"^positions: 4 is not allowed: "),
        ({"causal": True}, r"^causal: True is not allowed: "),
        ({"stochastic_depth": 1.0}, r"^stochastic_depth: 1.0 is not allowed: "),
        ({"width": 10, "heads": 4}, r"width 10 must be a multiple of heads 4"),
    ],
    ids=str,
)
def test_a_model_that_cannot_be_is_refused_in_one_line(changes, message):
    with pytest.raises((ValueError, SaltusError), match=message) as caught:
        Model.parse({"kind": "vit", **changes})
    assert "\n" not in str(caught.value)


def test_an_image_that_does_not_fit_is_refused_in_one_line():
    VisionTransformer(patch=(14, 28)).check(PAPER)
    with pytest.raises(
        ValueError, match=r"^patch 5 x 7 does not fill an image of 56 x 56; allowed"
    ):
        VisionTransformer(patch=(5, 7)).check(PAPER)
    with pytest.raises(ValueError, match=r"^takes images; the task gives tokens$"):
        VisionTransformer().check(Interface(5, 3, 2))


PAGE = Path(__file__).resolve().parents[2] / "docs" / "vision-models.md"


def test_the_page_on_vision_models_runs_and_its_yaml_is_an_experiment():
    text = PAGE.read_text("utf-8")
    for source in re.findall(r"```python\n(.*?)```", text, re.DOTALL):  # they assert their claims
        exec(compile(source, PAGE.name, "exec"), {})
    (written,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    experiment = Experiment.from_yaml(written)
    module = experiment.model.build(experiment.task.interface)
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    decays = [share.rule.weight_decay for share in experiment.optimizer.shares(shapes)]
    assert decays == [0.0, 0.0, 0.0, 0.0, 0.05]
    lines = text.split("\n")
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100
