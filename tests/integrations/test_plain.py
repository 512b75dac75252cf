"""Instruments in somebody else's loop."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

import saltus
from saltus.errors import SaltusError
from saltus.instruments.attention_entropy import AttentionEntropy
from saltus.instruments.component_switching import ComponentSwitching
from saltus.instruments.copy_check import CopyCheck
from saltus.instruments.embedding_geometry import EmbeddingGeometry, tokens_of
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.gradient_norms import GradientNorms
from saltus.instruments.grid_attention import GridAttention
from saltus.instruments.head_ablation import HeadAblation
from saltus.instruments.linear_probe import LinearProbe
from saltus.instruments.local_attention_gradients import LocalAttentionGradients, local_gradients
from saltus.instruments.norm_dynamics import NormDynamics
from saltus.instruments.norms import Norms
from saltus.instruments.softmax_jacobian import SoftmaxJacobian, norm_softmax_jacobian
from saltus.models import Tape
from saltus.models.base import initial_parameters
from saltus.models.edits import ablations
from saltus.models.encoder import Encoder
from saltus.models.transformer import Decoder
from saltus.random import Draws
from saltus.tasks.matrix_completion import MatrixCompletion
from saltus.tasks.moving_window_sum import MovingWindowSum


def test_norms_of_a_stranger_are_its_norms() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    module(torch.randn(5, 3)).square().sum().backward()
    values = saltus.read(module, [Norms(), GradientNorms()])
    norm = torch.cat([p.flatten() for p in module.parameters()]).norm()
    gradient = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
    torch.testing.assert_close(values["norm/parameters"], norm)
    torch.testing.assert_close(values["gradient/total"], gradient)


def test_reading_changes_nothing() -> None:
    module = nn.Linear(3, 2)
    module(torch.randn(5, 3)).sum().backward()
    before = [(p.clone(), p.grad.clone()) for p in module.parameters()]
    saltus.read(module, [Norms(), GradientNorms()])
    assert module.training and all(p.requires_grad for p in module.parameters())
    for parameter, (value, gradient) in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter, value) and torch.equal(parameter.grad, gradient)


def test_a_module_with_sites_gives_everything_on_a_batch() -> None:
    task = MovingWindowSum(length=5)
    config = Decoder(width=8, heads=2)
    module = config.build(task.interface)
    module.load_state_dict(initial_parameters(config, module, 0))
    batch = task.sample(Draws(0, "mine"), 6)
    values = saltus.read(module, [Evaluation(), AttentionEntropy()], task, batch)
    loss = task.loss(module(batch["inputs"]), batch).mean()
    torch.testing.assert_close(values["evaluation/loss"], loss.detach())
    assert values["entropy/blocks.0"].shape == (2,)


def test_the_record_tells_how_attention_is_made() -> None:
    module, task, batch = decoder(attention={"kind": "norm-softmax"})
    record = Decoder(width=8, heads=2, attention={"kind": "norm-softmax"})
    parts = [SoftmaxJacobian(), LocalAttentionGradients()]
    found = saltus.read(module, parts, task, batch, model=record)
    tape = Tape(["blocks.0.attention.*"])
    module(batch["inputs"], tape)
    sites = {name.rsplit(".", 1)[1]: value for name, value in tape.values.items()}
    own = (sites[name] for name in ("query", "key", "value", "temperature"))
    sizes = local_gradients(*own, record.attention, causal=True)
    for part, gradient in sizes._asdict().items():
        name = f"local-attention-gradients/blocks.0/{part}/all"
        torch.testing.assert_close(found[name], gradient.abs().mean())
    visible = torch.ones(sites["logits"].shape[-2:], dtype=torch.bool).tril()
    exact = norm_softmax_jacobian(
        sites["pattern"], sites["logits"], sites["temperature"], visible, variance=True
    ).exact
    torch.testing.assert_close(found["softmax-jacobian/blocks.0"], exact.mean().detach())
    # Another record, another claim about the same module.
    plain = saltus.read(module, parts, task, batch, model=Decoder(width=8, heads=2))
    assert plain["softmax-jacobian/blocks.0"] != found["softmax-jacobian/blocks.0"]
    assert found.keys() == plain.keys()


def test_only_a_record_is_a_model() -> None:
    module, task, batch = decoder()
    with pytest.raises(SaltusError, match="softmax-jacobian: a module of your own"):
        saltus.read(module, [SoftmaxJacobian()], task, batch)
    unchecked = inspect.unwrap(saltus.read)  # while testing, annotations would refuse it first
    with pytest.raises(SaltusError) as caught:
        unchecked(module, [SoftmaxJacobian()], task, batch, model=module)
    assert str(caught.value) == (
        "model: Transformer is no record of a model; allowed: one of saltus.models such as "
        "VisionTransformer(...), which says how the module was built"
    )


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SaltusError, match="evaluation: it needs a task and a batch"):
        saltus.read(nn.Linear(2, 2), [Evaluation()])


def decoder(**fields):
    """A module with its task and a batch."""
    task = MovingWindowSum(length=5)
    config = Decoder(width=8, heads=2, **fields)
    module = config.build(task.interface)
    module.load_state_dict(initial_parameters(config, module, 0))
    return module, task, task.sample(Draws(0, "mine"), 6)


def test_what_runs_the_model_again_runs_this_one_and_leaves_it_as_it_was() -> None:
    module, task, batch = decoder()
    module.blocks[0].mlp.eval()  # a part in a mode of its own
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = saltus.read(module, [HeadAblation()], task, batch)
    loss = task.loss(module(batch["inputs"]), batch).mean().detach()
    torch.testing.assert_close(found["head-ablation/intact/loss"], loss)
    tape = Tape(edits=ablations([(0, 1)], "uniform"))
    loss = task.loss(module(batch["inputs"], tape), batch).mean().detach()
    torch.testing.assert_close(found["head-ablation/loss/blocks.0"][1], loss)
    assert module.training and not module.blocks[0].mlp.training
    assert all(value.equal(before[name]) for name, value in module.state_dict().items())


def test_a_donor_is_given_by_the_module_s_names() -> None:
    module, task, batch = decoder()
    donor = {name: value + 0.1 for name, value in module.state_dict().items()}
    found = saltus.read(module, [ComponentSwitching()], task, batch, donor)
    module.load_state_dict(donor)
    loss = task.loss(module(batch["inputs"]), batch).mean().detach()
    torch.testing.assert_close(found["component-switching/donor/loss"], loss)


def test_what_asks_for_no_batch_is_read_without_one() -> None:
    module, task, _ = decoder()
    found = saltus.read(module, [EmbeddingGeometry()], task)
    rows = module.token.weight.detach()[tokens_of(task)]
    torch.testing.assert_close(found["embedding-geometry/token/norms"], rows.norm(dim=-1))
    with pytest.raises(SaltusError, match=r"embedding-geometry: it needs a task$"):
        saltus.read(module, [EmbeddingGeometry()])
    with pytest.raises(SaltusError, match=r"copy-check: it needs a task and a batch$"):
        saltus.read(module, [CopyCheck(values=(3,))], task)


def test_a_batch_alone_costs_no_forward_pass() -> None:
    config = Encoder(width=8, heads=2)
    task = MatrixCompletion(rows=3, columns=3)
    module, passes = config.build(task.interface), []
    module.register_forward_hook(lambda *_: passes.append(None))
    batch = task.sample(Draws(0, "mine"), 40)
    saltus.read(module, [LinearProbe(train=32, test=8)], task, batch)
    assert len(passes) == 3  # to fit, then over both parts to test, and none beside them


def test_a_module_without_a_tape_can_be_run_again_but_not_edited() -> None:
    class Last(nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(tokens, 18).float()

    _, task, batch = decoder()
    assert saltus.read(Last(), [CopyCheck(values=(3,))], task, batch)
    with pytest.raises(SaltusError) as caught:
        saltus.read(Last(), [HeadAblation()], task, batch)
    assert str(caught.value) == (
        "module Last: its forward takes no tape, so it has no sites to read or to overwrite"
    )


def test_what_analyses_miss_is_named() -> None:
    module, task, batch = decoder()
    other = MovingWindowSum(length=5, modulus=7)
    for instrument, given, line in (
        (HeadAblation(), (), "head-ablation: it needs a task and a batch"),
        (ComponentSwitching(), (task, batch), "component-switching: it mixes two checkpoints: "),
        (NormDynamics(), (), "norm-dynamics: the update that follows needs saltus.start, not a"),
        (Evaluation(task=other), (task, batch), "evaluation: it has a task of its own: give that"),
        (GridAttention(), (task, batch), "grid-attention: task moving-window-sum has no grid"),
    ):
        with pytest.raises(SaltusError, match=line):
            saltus.read(module, [instrument], *given)
    assert saltus.read(module, [Evaluation(task=other)], other, batch)
