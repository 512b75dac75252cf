"""Where LayerNorm stands, what the mask lets through, which biases there are, and dropout."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call, vmap

from saltus.errors import SaltusError
from saltus.models import SILENT, Interface, Model, Tape, initial_parameters
from saltus.models.encoder import Encoder
from saltus.models.language_model import LanguageModel
from saltus.models.normalisers import Normaliser
from saltus.models.transformer import Blocks, Decoder
from saltus.models.vit import VisionTransformer
from saltus.random import Draws

NORMS, MASKS = ("pre", "post", "branch-out"), ("negative-infinity", "multiplicative")
SWITCHES = ("qkv_bias", "output_bias", "mlp_bias", "norm_bias", "readout_bias")
VOCABULARY, LENGTH = 7, 6
TINY = {"depth": 2, "heads": 2, "width": 8, "hidden": 12}


def prepared(model, members=0, batch=3, length=LENGTH, dtype=torch.float64):
    """A module, parameters far from the start, all of them random, and inputs."""
    image = (3, 8, 8) if isinstance(model, VisionTransformer) else None
    module = model.build(Interface(0 if image else VOCABULARY, length, 5, image=image))
    own = []
    for seed in range(members or 1):
        found = initial_parameters(model, module, seed, dtype=dtype)
        noise = torch.Generator().manual_seed(seed)
        own.append({n: v + torch.randn(v.shape, generator=noise) * 0.4 for n, v in found.items()})
    stacked = {name: torch.stack([v[name] for v in own]).to(dtype) for name in own[0]}
    shape = (len(own), batch, *(image or (length,)))
    inputs = torch.randn(shape, dtype=dtype) if image else torch.randint(VOCABULARY, shape)
    if members:
        return module, stacked, inputs
    return module, {name: value[0] for name, value in stacked.items()}, inputs[0]


def reference(model, own, tokens):
    """Sections 3.1 to 3.4 of the spec of 2010.09697 in F.linear, F.layer_norm and einsum."""

    def affine(x, name):
        return F.linear(x, own[f"{name}.weight"], own.get(f"{name}.bias"))

    def norm(x, name):
        gain, bias = own[f"{name}.weight"], own.get(f"{name}.bias")
        return F.layer_norm(x, x.shape[-1:], gain, bias, model.epsilon)

    def attention(x, name):
        split = (*x.shape[:-1], model.heads, -1)
        q, k, v = (affine(x, f"{name}.{part}").view(split) for part in ("query", "key", "value"))
        scores = torch.einsum("bihc,bjhc->bhij", q, k)
        scores = scores / (model.width // model.heads) ** 0.5 if model.scaled else scores
        past = torch.ones(scores.shape[-2:]).tril().double()
        scores = scores * past if model.mask == "multiplicative" else scores + past.log()
        return affine(torch.einsum("bhij,bjhc->bihc", scores.softmax(-1), v).flatten(-2),
                      f"{name}.output")  # fmt: skip

    def mlp(x, name):
        return affine(affine(x, f"{name}.input").relu(), f"{name}.output")

    x = own["token.weight"][tokens] + own["position.weight"]
    for index, (part, write) in product(
        range(model.depth), (("attention", attention), ("mlp", mlp))
    ):
        name = f"blocks.{index}.{part}"
        if model.norm == "pre":
            x = x + write(norm(x, f"{name}_norm"), name)
        elif model.norm == "post":
            x = norm(x + write(x, name), f"{name}_norm")
        else:
            x = x + norm(write(x, name), f"{name}_norm")
    last = model.norm == "pre" and model.final_norm
    return affine(norm(x, "final_norm") if last else x, "readout")


CASES = [
    *({"norm": norm, "mask": mask} for norm, mask in product(NORMS, MASKS)),
    {"norm": "pre", "final_norm": True},
    *({switch: False} for switch in SWITCHES),
    dict.fromkeys(SWITCHES, False),
    {"scaled": False, "mask": "multiplicative"},
    {"epsilon": 0.0, "norm": "post"},
]
cases = pytest.mark.parametrize("changes", CASES, ids=str)


@cases
def test_the_forward_pass_is_the_one_written_out_with_plain_torch(changes):
    model = LanguageModel(**{**TINY, **changes})
    module, own, tokens = prepared(model, length=20 if changes == {"scaled": False} else LENGTH)
    found = functional_call(module, own, (tokens, SILENT))
    torch.testing.assert_close(found, reference(model, own, tokens))


@cases
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_a_stack_is_each_member_alone_and_is_the_vmapped_module(changes):
    module, stacked, tokens = prepared(LanguageModel(**{**TINY, **changes}), members=3)
    leaves = {name: value.requires_grad_() for name, value in stacked.items()}
    together = functional_call(module, leaves, (tokens, SILENT))
    slopes = torch.autograd.grad(together.square().sum(), list(leaves.values()))
    mapped = vmap(lambda own, ids: functional_call(module, own, (ids, SILENT)))(stacked, tokens)
    torch.testing.assert_close(mapped, together)
    for k in range(3):
        own = {name: value[k].detach().requires_grad_() for name, value in stacked.items()}
        alone = functional_call(module, own, (tokens[k], SILENT))
        torch.testing.assert_close(alone, together[k])
        found = torch.autograd.grad(alone.square().sum(), list(own.values()))
        for slope, row in zip(found, slopes, strict=True):
            torch.testing.assert_close(slope, row[k])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [Decoder, Encoder, LanguageModel, VisionTransformer])
def test_the_residual_stream_is_the_placement_in_every_transformer(kind, norm):
    more = {"patch": 4} if kind is VisionTransformer else {}
    model = kind(**{**TINY, "norm": norm, **more})
    module, own, inputs = prepared(model)
    tape = Tape(capture=("*",))
    functional_call(module, own, (inputs, tape))
    for index, (part, before, after) in product(
        range(2), (("attention", "pre", "mid"), ("mlp", "mid", "post"))
    ):
        name, gains = f"blocks.{index}", f"blocks.{index}.{part}_norm"
        x, branch = tape.values[f"{name}.residual.{before}"], tape.values[f"{name}.{part}.output"]

        def layer_norm(x, gains=gains):
            gain, bias = own[f"{gains}.weight"], own[f"{gains}.bias"]
            return F.layer_norm(x, x.shape[-1:], gain, bias, model.epsilon)

        expected = {
            "pre": lambda x=x, f=branch: x + f,
            "post": lambda x=x, f=branch: layer_norm(x + f),
            "branch-out": lambda x=x, f=branch: x + layer_norm(f),
        }
        torch.testing.assert_close(tape.values[f"{name}.residual.{after}"], expected[norm]())
    assert ("final_norm.weight" in own) == (norm == "pre" and model.final_norm)


@pytest.mark.parametrize("attention", sorted(Normaliser.registry))
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("length", [LENGTH, 20])
def test_the_multiplicative_mask_leaks_and_the_other_does_not_by_one_bit(attention, norm, length):
    fields = {**TINY, "depth": 4, "norm": norm, "attention": attention}
    for mask in MASKS:
        model = LanguageModel(**fields, mask=mask)
        module, own, tokens = prepared(model, length=length)
        changed = tokens.clone()
        place = length - length // 4
        changed[:, place] = (changed[:, place] + 1) % VOCABULARY
        before, after = (functional_call(module, own, (ids, SILENT)) for ids in (tokens, changed))
        gap = (after - before)[:, :place].abs().max()
        # Weights of 0 are what a linear head gives to logits of 0: there is no leak to have.
        leaks = mask == "multiplicative" and attention != "linear"
        assert (gap > 1e-3) if leaks else gap == 0
        assert model.is_causal == (mask == "negative-infinity")


@settings(max_examples=25, deadline=None)
@given(
    place=st.integers(1, 19),
    seed=st.integers(0, 2**20),
    norm=st.sampled_from(NORMS),
    scaled=st.booleans(),
)
def test_no_later_token_moves_an_earlier_logit_under_the_correct_mask(place, seed, norm, scaled):
    """Claim 14 of the spec, as a property: to the bit, whatever the place and the tokens."""
    module, own, _ = prepared(LanguageModel(**TINY, norm=norm, scaled=scaled), length=20)
    draws = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCABULARY, (2, 20), generator=draws)
    changed = tokens.clone()
    changed[:, place:] = torch.randint(VOCABULARY, (2, 20 - place), generator=draws)
    before, after = (functional_call(module, own, (ids, SILENT)) for ids in (tokens, changed))
    assert after[:, :place].equal(before[:, :place])


@pytest.mark.parametrize("attention", sorted(Normaliser.registry))
def test_masked_logits_are_zero_and_every_key_is_normalised(attention):
    model = LanguageModel(**TINY, attention=attention, mask="multiplicative")
    module, own, tokens = prepared(model)
    tape = Tape(capture=("*.attention.*",))
    functional_call(module, own, (tokens, tape))
    logits, pattern = (tape.values[f"blocks.1.attention.{site}"] for site in ("logits", "pattern"))
    assert logits.triu(1).count_nonzero() == 0
    assert logits.tril().count_nonzero() > 0
    tau = tape.values["blocks.1.attention.temperature"]
    normaliser = model.attention
    expected = normaliser.weights(normaliser.scores(logits.clone(), tau, None), None)
    torch.testing.assert_close(pattern, expected)


def test_heads_whose_visible_scores_are_negative_spread_over_the_future():
    """Section 5's closed form: (T (T - 1) / 2 + 1) / T attended positions on average, and more
    than one of them in a share (T - 2) / T of the rows: the paper's 41.01 and 0.9759 at T = 83."""
    length = 83
    model = LanguageModel(
        depth=1, heads=1, width=4, hidden=4, attention="saturated", mask="multiplicative"
    )
    module = model.build(Interface(2, length, 2))
    own = {n: torch.zeros_like(v) for n, v in module.named_parameters()}
    own["blocks.0.attention.query.bias"] = torch.ones(4)
    own["blocks.0.attention.key.bias"] = -torch.ones(4)
    own["position.weight"][:, 0] = torch.arange(length)  # no two scores are tied
    own["blocks.0.attention.key.weight"][0, 0] = -1.0
    tape = Tape(capture=("*.pattern",))
    functional_call(module, own, (torch.zeros(1, length, dtype=torch.long), tape))
    attended = (tape.values["blocks.0.attention.pattern"] > 1e-5).sum(-1).double()
    assert attended.mean().item() == pytest.approx((length * (length - 1) / 2 + 1) / length)
    assert attended.mean().item() == pytest.approx(41.012, abs=5e-4)
    assert (attended > 1).double().mean().item() == pytest.approx((length - 2) / length)


@pytest.mark.parametrize(
    "changes", [{"mask": "multiplicative"}, {"norm": "branch-out"}, {"mlp_bias": False}], ids=str
)
def test_a_member_does_not_depend_on_its_neighbours_by_one_bit(changes):
    model = Decoder(depth=2, heads=2, width=32, **changes)
    module, stacked, tokens = prepared(model, members=3, batch=8, length=8, dtype=torch.float32)
    together = functional_call(module, stacked, (tokens, SILENT))
    for k in range(3):
        own = {name: value[k : k + 1] for name, value in stacked.items()}
        assert functional_call(module, own, (tokens[k : k + 1], SILENT))[0].equal(together[k])


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("kind", [Decoder, Encoder, VisionTransformer])
def test_a_switch_takes_away_its_biases_and_nothing_else(kind, switch):
    where = {
        "qkv_bias": ("attention.query.", "attention.key.", "attention.value."),
        "output_bias": ("attention.output.",),
        "mlp_bias": (".mlp.",),
        "norm_bias": ("_norm.",),
        "readout_bias": ("readout.",),
    }[switch]
    more = {"patch": 4} if kind is VisionTransformer else {}
    names = {on: set(prepared(kind(**{**TINY, **more, switch: on}))[1]) for on in (True, False)}
    lost = names[True] - names[False]
    assert names[False] < names[True]
    assert lost == {
        n for n in names[True] if n.endswith("bias") and any(part in n for part in where)
    }


@pytest.mark.parametrize("changes", [CASES[1], CASES[3], CASES[5], CASES[12], {"scaled": False}])
def test_what_is_conserved_is_conserved_without_biases_and_under_every_mask(changes):
    model = LanguageModel(**{**TINY, **changes})
    module, own, tokens = prepared(model)
    leaves = {name: value.requires_grad_() for name, value in own.items()}
    loss = functional_call(module, leaves, (tokens, SILENT)).square().mean()
    slopes = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    there, back = (
        model.conserved({name: own[name].detach() + way * slopes[name] for name in own})
        for way in (1.0, -1.0)
    )
    assert len(there) == 3 * model.depth
    for name, value in there.items():  # of second degree: this difference is the derivative
        torch.testing.assert_close(value, back[name], rtol=1e-10, atol=1e-10)


RATE = 0.3


def masks_of(model, draws, members=0):
    """What dropout multiplied the branches by, [part, ..., sample, position, feature]."""
    module, own, tokens = prepared(model, members=members, batch=16)
    tape = Tape(capture=("*.residual.*", "*.output"), noise=draws, training=True)
    functional_call(module, own, (tokens, tape))
    found = []
    for name, (part, before, after) in product(
        ("blocks.0", "blocks.1"), (("attention", "pre", "mid"), ("mlp", "mid", "post"))
    ):
        moved = tape.values[f"{name}.residual.{after}"] - tape.values[f"{name}.residual.{before}"]
        found.append(moved / tape.values[f"{name}.{part}.output"])
    return torch.stack(found)


DROPPING = LanguageModel(**TINY, norm="pre", dropout=RATE)


def test_dropout_leaves_out_numbers_of_samples_positions_and_features():
    masks = masks_of(DROPPING, Draws(0, "noise", 4, dtype=torch.float64))
    left_out = masks.abs() < 1e-9
    kept = masks[~left_out]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - RATE)))
    error = (RATE * (1 - RATE) / masks.numel()) ** 0.5
    assert abs(left_out.double().mean() - RATE) < 5 * error
    # No axis shares its draws with another place on it.
    for axis in range(masks.ndim):
        first = left_out.select(axis, 0)
        assert not any(left_out.select(axis, k).equal(first) for k in range(1, masks.shape[axis]))


def test_dropout_is_a_function_of_the_seed_and_the_step():
    def drawn(seed, step):
        return masks_of(DROPPING, Draws(seed, "noise", step, dtype=torch.float64)).abs() < 1e-9

    assert drawn(0, 4).equal(drawn(0, 4))
    assert not drawn(0, 4).equal(drawn(1, 4))
    assert not drawn(0, 4).equal(drawn(0, 5))
    stack = masks_of(DROPPING, Draws([7, 0, 3], "noise", 4, dtype=torch.float64), members=3)
    assert (stack[:, 1].abs() < 1e-9).equal(drawn(0, 4))


@pytest.mark.parametrize("norm", NORMS)
def test_there_is_no_dropout_outside_training_and_its_norm_comes_after(norm):
    model = LanguageModel(**TINY, norm=norm, dropout=RATE)
    assert model.differs_in_training
    assert not model.model_copy(update={"dropout": 0.0}).differs_in_training
    module, own, tokens = prepared(model)
    plain = functional_call(module, own, (tokens, SILENT))
    torch.testing.assert_close(plain, reference(model, own, tokens))
    noise = Draws(0, "noise", dtype=torch.float64)
    tape = Tape(capture=("*.residual.*",), noise=noise, training=True)
    assert not functional_call(module, own, (tokens, tape)).allclose(plain)
    if norm == "branch-out":  # what is written has been normalised after numbers were left out
        moved = tape.values["blocks.1.residual.post"] - tape.values["blocks.1.residual.mid"]
        gain, bias = (own[f"blocks.1.mlp_norm.{part}"] for part in ("weight", "bias"))
        normal = (moved - bias) / gain
        torch.testing.assert_close(normal.mean(-1), torch.zeros(3, LENGTH).double())
        torch.testing.assert_close(
            normal.var(-1, correction=0), torch.ones(3, LENGTH).double(), atol=1e-3, rtol=0
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "decoder", "norm": "input"}, r"^norm: 'input' is not allowed: .*'branch-out'"),
        ({"kind": "decoder", "mask": "zero"}, r"^mask: 'zero' is not allowed: .*'multiplicative'"),
        (
            {"kind": "encoder", "mask": "multiplicative"},
            r"^mask multiplicative is for causal",
        ),
        ({"kind": "decoder", "dropout": 1.0}, r"^dropout: 1.0 is not allowed: .*less than 1"),
        ({"kind": "decoder", "epsilon": -1}, r"^epsilon: -1 is not allowed: .*equal to 0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line(fields, message):
    with pytest.raises((ValueError, SaltusError), match=message) as caught:
        Model.parse(fields)
    assert "\n" not in str(caught.value)


def test_every_transformer_has_the_fields():
    wanted = {"norm", "final_norm", "mask", "dropout", "scaled", "epsilon", *SWITCHES}
    kinds = [part for part in Model.registry.values() if issubclass(part, Blocks)]
    assert len(kinds) >= 4
    assert all(wanted <= set(part.model_fields) for part in kinds)
