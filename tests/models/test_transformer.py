"""The decoder: a stack is its members, causality, the reference forward pass, the size."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, vmap

from saltus.models import SILENT, Interface, initial_parameters
from saltus.models.normalisers import Normaliser
from saltus.models.transformer import Decoder
from saltus.tasks.moving_window_sum import MovingWindowSum

# Short sequences take the written-out attention, long ones the fused kernel.
SHORT, LONG = 7, 21
settings = pytest.mark.parametrize(
    "model",
    [
        Decoder(depth=2, heads=3, width=15, attention=attention, norm=norm, activation=activation)
        for attention in ("softmax", "linear")
        for norm, activation in (("pre", "gelu-tanh"), ("post", "relu"), ("post", "gelu"))
    ]
    + [
        Decoder(depth=2, heads=3, width=15, attention=attention)
        for attention in ("learned-temperature", "norm-softmax", "qk-norm")
    ],
    ids=lambda model: f"{model.attention.kind}-{model.norm}-{model.activation}",
)
lengths = pytest.mark.parametrize("length", [1, SHORT, LONG])
MEMBERS, BATCH, VOCABULARY = 3, 2, 11


def prepared(model, length, dtype=torch.float64, spread=20.0, batch=BATCH):
    """A module, stacked parameters of several members (far from the start) and their tokens."""
    interface = Interface(VOCABULARY, length, VOCABULARY + 2)
    module = model.build(interface).to(dtype)
    loud = model.model_copy(update={"initial_scale": spread})
    own = [initial_parameters(loud, module, seed, dtype=dtype) for seed in range(MEMBERS)]
    # Norms and biases too: every parameter of every member is its own.
    for values in own:
        for name, value in values.items():
            if value.ndim == 1:
                values[name] = value + 0.3 * torch.randn_like(value)
    stacked = {name: torch.stack([values[name] for values in own]) for name in own[0]}
    tokens = torch.randint(VOCABULARY, (MEMBERS, batch, length))
    return module, stacked, tokens


def gradients(parameters, outputs):
    weights = torch.linspace(-1, 1, outputs[0].numel(), dtype=outputs.dtype)
    total = (outputs * weights.view(outputs[0].shape)).sum()
    return torch.autograd.grad(total, list(parameters.values()), materialize_grads=True)


@settings
@lengths
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_a_stack_is_each_member_alone_and_is_the_vmapped_module(model, length):
    module, stacked, tokens = prepared(model, length)
    for value in stacked.values():
        value.requires_grad_()
    together = functional_call(module, stacked, (tokens, SILENT))
    assert together.shape == (MEMBERS, BATCH, length, VOCABULARY + 2)
    slopes = gradients(stacked, together)

    mapped = vmap(lambda own, ids: functional_call(module, own, (ids, SILENT)))(stacked, tokens)
    torch.testing.assert_close(mapped, together, atol=1e-6, rtol=1e-6)
    for one, other in zip(gradients(stacked, mapped), slopes, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)

    for k in range(MEMBERS):
        own = {name: value[k].detach().requires_grad_() for name, value in stacked.items()}
        alone = functional_call(module, own, (tokens[k], SILENT))
        torch.testing.assert_close(alone, together[k], atol=1e-6, rtol=1e-6)
        for slope, row in zip(gradients(own, alone[None]), slopes, strict=True):
            torch.testing.assert_close(slope, row[k], atol=1e-6, rtol=1e-6)


@settings
@lengths
def test_a_float32_stack_is_each_member_alone(model, length):
    module, stacked, tokens = prepared(model, length, torch.float32, spread=1.0)
    together = functional_call(module, stacked, (tokens, SILENT))
    for k in range(MEMBERS):
        own = {name: value[k] for name, value in stacked.items()}
        alone = functional_call(module, own, (tokens[k], SILENT))
        torch.testing.assert_close(alone, together[k], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("attention", sorted(Normaliser.registry))
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("length", [8, 24])
def test_a_member_does_not_depend_on_its_neighbours_by_one_bit(attention, norm, length):
    """For sizes whose every activation fills whole pairs of vector registers (32 numbers).

    Kernels treat the last few numbers of a tensor, and unaligned rows, differently.
    """
    model = Decoder(depth=2, heads=2, width=32, attention=attention, norm=norm)
    module, stacked, tokens = prepared(model, length, torch.float32, batch=8)
    together = functional_call(module, stacked, (tokens, SILENT))
    for k in range(MEMBERS):
        own = {name: value[k : k + 1] for name, value in stacked.items()}
        assert functional_call(module, own, (tokens[k : k + 1], SILENT))[0].equal(together[k])


@settings
@pytest.mark.parametrize("length", [SHORT, LONG])
def test_a_later_token_changes_no_earlier_output_by_one_bit(model, length):
    module, stacked, tokens = prepared(model, length, torch.float32)
    before = functional_call(module, stacked, (tokens, SILENT))
    for place in (1, length // 2, length - 1):
        changed = tokens.clone()
        changed[..., place] = (changed[..., place] + 1) % VOCABULARY
        after = functional_call(module, stacked, (changed, SILENT))
        assert after[..., :place, :].equal(before[..., :place, :])
        assert not after[..., place, :].equal(before[..., place, :])


@settings
def test_a_model_that_is_not_causal_sees_later_tokens(model):
    module, stacked, tokens = prepared(model.model_copy(update={"causal": False}), SHORT)
    changed = tokens.clone()
    changed[..., -1] = (changed[..., -1] + 1) % VOCABULARY
    before = functional_call(module, stacked, (tokens, SILENT))
    after = functional_call(module, stacked, (changed, SILENT))
    assert (after != before).any(-1).all()


@settings
@pytest.mark.parametrize("length", [SHORT, LONG])
def test_the_forward_pass_is_the_one_written_out_with_plain_torch(model, length):
    module, stacked, tokens = prepared(model, length)
    own = {name: value[0] for name, value in stacked.items()}
    torch.testing.assert_close(
        functional_call(module, own, (tokens[0], SILENT)), reference(model, own, tokens[0])
    )


def reference(model, own, tokens):
    """Sections 3.3 and 7.1 of the spec in F.linear, F.layer_norm and einsum."""

    def affine(x, name):
        return F.linear(x, own[f"{name}.weight"], own.get(f"{name}.bias"))

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], own[f"{name}.weight"], own[f"{name}.bias"], 1e-5)

    def attention(x, name):
        split = (*x.shape[:-1], model.heads, -1)
        q, k, v = (affine(x, f"{name}.{part}").view(split) for part in ("query", "key", "value"))
        kind, tau = model.attention.kind, (model.width // model.heads) ** 0.5
        if kind == "qk-norm":
            q, k = norm(q, f"{name}.query_norm"), norm(k, f"{name}.key_norm")
        logits = torch.einsum("bihc,bjhc->bhij", q, k)
        future = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        if kind == "learned-temperature":
            tau = own[f"{name}.log_temperature"].exp()[:, None, None]
        if kind == "norm-softmax":
            seen = logits.masked_fill(future, torch.nan)
            variance = (seen - seen.nanmean(-1, True)).square().nanmean(-1, True)
            tau = variance.where(variance > 0, 1).clamp_max(tau)
        scores = logits / tau
        if kind == "linear":
            weights = scores.masked_fill(future, 0)
        else:
            weights = scores.masked_fill(future, -torch.inf).softmax(-1)
        return affine(torch.einsum("bhij,bjhc->bihc", weights, v).flatten(-2), f"{name}.output")

    def mlp(x, name):
        hidden = affine(x, f"{name}.input")
        kinds = {"gelu": "none", "gelu-tanh": "tanh"}
        bent = (
            F.gelu(hidden, approximate=kinds[model.activation])
            if model.activation in kinds
            else hidden.relu()
        )
        return affine(bent, f"{name}.output")

    x = own["token.weight"][tokens] + own["position.weight"][: tokens.shape[-1]]
    for index in range(model.depth):
        name = f"blocks.{index}"
        if model.norm == "pre":
            x = x + attention(norm(x, f"{name}.attention_norm"), f"{name}.attention")
            x = x + mlp(norm(x, f"{name}.mlp_norm"), f"{name}.mlp")
        else:
            x = norm(x + attention(x, f"{name}.attention"), f"{name}.attention_norm")
            x = norm(x + mlp(x, f"{name}.mlp"), f"{name}.mlp_norm")
    return F.linear(norm(x, "final_norm") if model.norm == "pre" else x, own["readout.weight"])


def test_the_papers_model_has_807936_parameters():
    model = Decoder(depth=1, heads=1, width=256, attention="linear", positions=33)
    module = model.build(MovingWindowSum().interface)
    assert sum(parameter.numel() for parameter in module.parameters()) == 807_936


def test_positions_are_the_tasks_unless_given():
    interface = MovingWindowSum(length=4).interface
    assert Decoder(width=8).build(interface).position.weight.shape == (8, 8)
    assert Decoder(width=8, positions=9).build(interface).position.weight.shape == (9, 8)


def test_a_shorter_input_uses_the_first_position_rows():
    module, stacked, tokens = prepared(Decoder(width=8), SHORT)
    whole = functional_call(module, stacked, (tokens, SILENT))
    part = functional_call(module, stacked, (tokens[..., :3], SILENT))
    torch.testing.assert_close(part, whole[..., :3, :])
