"""Attention against a float64 reference with explicit loops, and its derivative."""

from math import exp, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.models.attention import FUSED_FROM, Attention
from saltus.models.normalisers import Linear, Normaliser, Softmax, _SmallSoftmax
from saltus.models.sites import SILENT, Tape
from saltus.models.transformer import Decoder

LENGTHS = [1, 2, 5, FUSED_FROM - 1, FUSED_FROM, FUSED_FROM + 7]


def attention(width=6, heads=2, causal=True, normaliser="softmax", bias=True):
    module = Attention(width, heads, causal, Normaliser.parse(normaliser), bias).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("normaliser", ["softmax", "linear"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_the_one_written_with_loops(length, normaliser, causal, bias):
    module = attention(6, 2, causal, normaliser, bias)
    x = torch.randn(length, 6, dtype=torch.float64)
    expected, patterns = looped(module, x)
    torch.testing.assert_close(module(x, SILENT, "a"), expected)
    tape = Tape(["a.pattern"])
    torch.testing.assert_close(module(x, tape, "a"), expected)
    torch.testing.assert_close(tape.values["a.pattern"], patterns)


def looped(module, x):
    """Section 7.1 of the spec, one number at a time."""
    length, width = x.shape
    depth = width // module.heads

    def project(part, row):
        bias = part.bias.tolist() if part.bias is not None else [0.0] * width
        return [
            sum(part.weight[o, i].item() * row[i] for i in range(width)) + bias[o]
            for o in range(width)
        ]

    rows = x.tolist()
    query, key, value = (
        [project(part, row) for row in rows] for part in (module.query, module.key, module.value)
    )
    mixed = [[0.0] * width for _ in rows]
    patterns = torch.zeros(module.heads, length, length, dtype=torch.float64)
    for head in range(module.heads):
        own = range(head * depth, (head + 1) * depth)
        for i in range(length):
            seen = range(i + 1) if module.causal else range(length)
            scores = [sum(query[i][c] * key[j][c] for c in own) / sqrt(depth) for j in seen]
            if module.normaliser.kind == "softmax":
                total = sum(exp(score) for score in scores)
                scores = [exp(score) / total for score in scores]
            for j, weight in zip(seen, scores, strict=True):
                patterns[head, i, j] = weight
                for c in own:
                    mixed[i][c] += weight * value[j][c]
    outputs = [project(module.output, row) for row in mixed]
    return torch.tensor(outputs, dtype=torch.float64), patterns


@given(rows=st.integers(1, 5), length=st.integers(1, FUSED_FROM), scale=st.floats(0, 300))
def test_the_small_softmax_is_softmax(rows, length, scale):
    scores = torch.randn(2, rows, length, dtype=torch.float64) * scale
    torch.testing.assert_close(_SmallSoftmax.apply(scores, None), scores.softmax(-1))


def test_the_small_softmax_has_its_derivative():
    scores = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_SmallSoftmax.apply, (scores, None))
    masked = torch.tensor([False, True, False, False, True])
    assert torch.autograd.gradcheck(_SmallSoftmax.apply, (scores, masked))
    expected = scores.masked_fill(masked, float("-inf")).softmax(-1)
    torch.testing.assert_close(_SmallSoftmax.apply(scores, masked), expected)


@pytest.mark.parametrize("length", [4, FUSED_FROM + 1])
@pytest.mark.parametrize("normaliser", ["softmax", "linear"])
def test_attention_has_its_derivative(length, normaliser):
    module = attention(4, 2, True, normaliser)
    x = torch.randn(length, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: module(x, SILENT, "a"), (x,))


@pytest.mark.parametrize("length", [3, FUSED_FROM, FUSED_FROM + 5])
@pytest.mark.parametrize("causal", [True, False])
def test_a_softmax_pattern_is_a_distribution_over_what_may_be_seen(length, causal):
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    pattern = Softmax().weights(torch.randn(2, 3, length, length), future if causal else None)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 3, length))
    assert (pattern >= 0).all()
    assert not causal or (pattern[..., future] == 0).all()


@pytest.mark.parametrize("causal", [True, False])
def test_a_linear_pattern_is_the_scores_themselves(causal):
    scores = torch.randn(2, 3, 5, 5)
    future = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
    assert Linear().weights(scores, future).equal(scores.tril() if causal else scores)


@pytest.mark.parametrize("length", [4, FUSED_FROM + 3])
def test_softmax_ignores_a_shift_of_a_row(length):
    scores, shift = torch.randn(2, length, length).double(), torch.randn(2, length, 1).double()
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    moved = Softmax().weights(scores + shift, future)
    torch.testing.assert_close(moved, Softmax().weights(scores, future))


TEMPERATURES = {
    "a number": ("softmax", None),
    "learned": ("learned-temperature", None),
    "put in its site": ("softmax", 0.4),
    "behind a LayerNorm": ("qk-norm", None),
    "put in its site, behind a LayerNorm": ("qk-norm", 3.0),
}


@pytest.mark.parametrize(("normaliser", "tau"), TEMPERATURES.values(), ids=list(TEMPERATURES))
@pytest.mark.parametrize("causal", [True, False])
def test_the_fused_path_is_the_written_out_one(normaliser, tau, causal):
    module = attention(12, 3, causal, normaliser)
    x = torch.randn(2, FUSED_FROM + 3, 12, dtype=torch.float64)
    edits = {} if tau is None else {"a.temperature": (lambda _, v: torch.full_like(v, tau),)}

    def run(capture):
        outputs = module(x, Tape(capture, edits), "a")
        slopes = torch.autograd.grad(outputs.square().sum(), list(module.parameters()))
        return outputs, slopes

    for fused, written in zip(run(()), run(("a.pattern",)), strict=True):
        torch.testing.assert_close(fused, written)


@pytest.mark.parametrize("kind", sorted(Normaliser.registry))
@pytest.mark.parametrize("length", [5, FUSED_FROM + 1])
def test_what_stands_at_the_sites_is_the_chain_from_products_to_heads(kind, length):
    module = attention(8, 2, True, kind)
    x, tape = torch.randn(3, length, 8, dtype=torch.float64), Tape(["*"])
    torch.testing.assert_close(module(x, tape, "a"), module(x, SILENT, "a"))
    at = {name.removeprefix("a."): value for name, value in tape.values.items()}
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    torch.testing.assert_close(at["logits"], at["query"] @ at["key"].mT)
    normaliser = module.normaliser
    scores = normaliser.scores(at["logits"].clone(), at["temperature"], future)
    torch.testing.assert_close(at["scores"], scores)
    torch.testing.assert_close(at["pattern"], normaliser.weights(scores, future))
    torch.testing.assert_close(at["heads"], at["pattern"] @ at["value"])


def started(kind):
    """Attention with query and key as softmax's, the rest of a normaliser at its start."""
    model = Decoder(width=8, heads=2, attention=kind)
    module = attention(8, 2, True, kind)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" in name or "temperature" in name:
                parameter.fill_(model.start(f"blocks.0.attention.{name}").mean)
    return module


@pytest.mark.parametrize("length", [5, FUSED_FROM + 1])
def test_a_learned_temperature_starts_as_softmax(length):
    module, x = started("learned-temperature"), torch.randn(2, length, 8, dtype=torch.float64)
    plain = attention(8, 2, True, "softmax")
    plain.load_state_dict(module.state_dict(), strict=False)
    torch.testing.assert_close(module(x, SILENT, "a"), plain(x, SILENT, "a"))
    assert module.log_temperature.exp().allclose(torch.full((2,), 2.0, dtype=torch.float64))


def test_normed_queries_and_keys_start_with_scores_of_at_most_sqrt_of_the_head_width():
    """Both have length sqrt(d), so that |q . k| / sqrt(d) <= sqrt(d)."""
    module, tape = started("qk-norm"), Tape(["*"])
    module(100 * torch.randn(5, 6, 8, dtype=torch.float64), tape, "a")
    for part in ("query", "key"):
        lengths = tape.values[f"a.{part}"].norm(dim=-1)
        torch.testing.assert_close(lengths, torch.full_like(lengths, 2.0), atol=1e-3, rtol=0)
    assert tape.values["a.scores"].abs().max() <= 2


@pytest.mark.parametrize("kind", ["norm-softmax", "softmax", "learned-temperature"])
@pytest.mark.parametrize("length", [5, FUSED_FROM + 1])
def test_under_bfloat16_temperatures_and_statistics_are_float32(kind, length):
    module = attention(8, 2, True, kind).float()
    tape = Tape(["*"], {"a.temperature": (lambda _, value: value / 3,)})
    with torch.autocast("cpu", torch.bfloat16):
        outputs = module(torch.randn(2, length, 8), tape, "a")
    assert outputs.dtype == tape.values["a.logits"].dtype == torch.bfloat16
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    tau = tape.values["a.temperature"]
    assert tau.dtype == torch.float32
    scores = module.normaliser.scores(tape.values["a.logits"].float(), tau, future)
    assert tape.values["a.scores"].equal(scores)
