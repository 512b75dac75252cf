"""Saturated attention: zeta, what softmax does on the way to it, and the heads of the theory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models import SILENT
from saltus.models.attention import Attention
from saltus.models.layers import LayerNorm
from saltus.models.normalisers import Normaliser
from saltus.models.saturated import Saturated, zeta

INFINITY = float("inf")
numbers = st.floats(-50, 50, allow_subnormal=False)
rows = st.lists(numbers, min_size=1, max_size=9)
tied_rows = st.lists(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0]), min_size=2, max_size=9)
scales = st.floats(1, 1e3)


def row(values):
    return torch.tensor(values, dtype=torch.float64)


@given(values=rows, tolerance=st.sampled_from([0.0, 1e-6, 0.1]))
def test_zeta_is_uniform_on_the_largest_scores_within_the_tolerance(values, tolerance):
    top = max(values)
    tied = [top - value <= tolerance * max(1.0, abs(top)) for value in values]
    expected = [float(one) / sum(tied) for one in tied]
    assert zeta(row(values), tolerance).tolist() == pytest.approx(expected, abs=1e-15)


@given(values=rows, scale=st.sampled_from([0.5, 2.0, 1024.0]))
def test_exact_zeta_does_not_depend_on_the_scale_or_the_order(values, scale):
    plain = zeta(row(values), 0.0)
    assert zeta(scale * row(values), 0.0).equal(plain)
    assert zeta(row(values).flip(0), 0.0).flip(0).equal(plain)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 0.0], [0.5, 0.5, 0.0]),
        ([7.0], [1.0]),
        ([1.0, 1.0 - 5e-7, 1.0 - 5e-6], [0.5, 0.5, 0.0]),
        ([1e9, 1e9 - 500.0, 1e9 - 5000.0], [0.5, 0.5, 0.0]),  # relative where the top is large
        ([1e-9, 0.0], [0.5, 0.5]),  # and absolute where it is small
        ([-INFINITY, -2.0, -INFINITY], [0.0, 1.0, 0.0]),
        ([INFINITY, 0.0, INFINITY], [0.5, 0.0, 0.5]),
    ],
    ids=str,
)
def test_zeta_in_numbers(values, expected):
    assert zeta(row(values)).tolist() == expected


def test_zeta_of_what_is_no_number_is_no_number():
    assert zeta(row([1.0, float("nan")])).isnan().all()


@given(values=st.lists(numbers, min_size=2, max_size=9), scale=scales)
def test_the_softmax_of_scaled_scores_moves_by_no_more_than_the_gap_allows(values, scale):
    """Section 7.3: |softmax(cx) - softmax(x)| <= (n - 1) e^-D / (1 + (n - 1) e^-D)."""
    x = row(values)
    first, second = x.sort(descending=True).values[:2]
    rest = (len(values) - 1) * (second - first).exp()
    error = ((scale * x).softmax(-1) - x.softmax(-1)).abs().max()
    assert error <= rest / (1 + rest) + 1e-12


def test_the_bound_by_the_norm_does_not_hold():
    x = row([10.0, 9.9])
    error = ((1000 * x).softmax(-1) - x.softmax(-1)).abs().max()
    assert error.item() == pytest.approx(0.475, abs=5e-4)
    assert error > (-x.norm()).exp()


@given(values=tied_rows, scale=scales)
def test_softmax_becomes_zeta_as_fast_as_the_gap_says(values, scale):
    """Section 7.4: error <= (n - |M|) e^{-c D'} / |M|, and ties give 1 / |M| to rounding."""
    a = row(values)
    limit = zeta(a, 0.0)
    tied = (limit > 0).sum()
    gap = a.max() - a[limit == 0].max() if (limit == 0).any() else torch.tensor(INFINITY)
    bound = (len(values) - tied) * torch.exp(-scale * gap) / tied
    found = (scale * a).softmax(-1)
    assert (found - limit).abs().max() <= bound + 1e-12
    shared = found[limit > 0]
    assert shared.equal(shared[:1].expand_as(shared))


@pytest.mark.parametrize("length", [5, 20])
def test_the_normaliser_respects_the_mask_and_is_softmax_at_a_great_scale(length):
    fixed = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, length, length, generator=fixed, dtype=torch.float64)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    for mask in (future, None):
        part = Saturated()
        found = part.weights(part.scores(logits.clone(), 2.0, mask), mask)
        shown = logits if mask is None else logits.masked_fill(mask, -INFINITY)
        torch.testing.assert_close(found, (shown * 1e8).softmax(-1))
        torch.testing.assert_close(found.sum(-1), torch.ones(2, 3, length).double())
        if mask is not None:
            assert found.masked_select(mask).count_nonzero() == 0


def test_no_gradient_reaches_the_scores_and_values_have_theirs():
    module = attention(8, heads=2)
    own = {n: torch.randn_like(v).requires_grad_() for n, v in module.named_parameters()}
    out = functional_call(module, own, (torch.randn(3, 5, 8).double(), SILENT, "a"))
    found = torch.autograd.grad(out.square().sum(), list(own.values()))
    slopes = dict(zip(own, found, strict=True))
    for name, slope in slopes.items():
        silent = name.startswith(("query", "key"))
        assert (slope.count_nonzero() == 0) == silent, name


def attention(width, heads=1):
    return Attention(width, heads, causal=True, normaliser=Saturated()).double()


def headed(module, **weights):
    """The module's outputs with some weights, the output projection as it comes and no biases."""
    own = {name: torch.zeros_like(value) for name, value in module.named_parameters()}
    own["output.weight"] = torch.eye(len(own["output.weight"])).double()
    own |= {f"{name}.weight": value.double() for name, value in weights.items()}
    return lambda x: functional_call(module, own, (x.double(), SILENT, "a"))


def counted(word):
    """(#a - #b) / t at every position of a word of a and b, by a head with zero queries."""
    tokens = F.one_hot(torch.tensor([["ab".index(letter) for letter in word]]), 2)
    head = headed(attention(2), value=torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    return head(tokens)[0]


@given(word=st.text("ab", min_size=1, max_size=40))
def test_a_uniform_head_counts_and_layer_norm_takes_the_majority(word):
    """Section 7.9, and two features (u, 0) whose LayerNorm is (sign u, -sign u)."""
    found = counted(word)
    excess = [2 * word[: t + 1].count("a") - (t + 1) for t in range(len(word))]
    shares = [e / (t + 1) for t, e in enumerate(excess)]
    assert found[:, 0].tolist() == pytest.approx(shares, abs=1e-14)
    norm = LayerNorm(2, eps=0.0).double()
    gains = {"weight": torch.ones(2).double(), "bias": torch.zeros(2).double()}
    if excess[-1]:
        sign = functional_call(norm, gains, (found[-1:],))[0, 0].item()
        assert sign == pytest.approx(1.0 if excess[-1] > 0 else -1.0)


@given(count=st.integers(1, 20))
def test_the_count_is_zero_at_the_end_of_a_n_b_n(count):
    assert counted("a" * count + "b" * count)[-1].abs().max() < 1e-15


@given(data=st.data())
def test_the_count_is_zero_at_the_end_of_balanced_brackets_and_never_below(data):
    depth, word = 0, ""
    for left in range(data.draw(st.integers(1, 12)) * 2, 0, -1):
        opens = depth == 0 or (depth < left and data.draw(st.booleans()))
        depth, word = depth + (1 if opens else -1), word + ("a" if opens else "b")
    found = counted(word)[:, 0]
    assert found[-1].abs() < 1e-15
    assert found.min() > -1e-15


@given(tokens=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_head_that_compares_tokens_averages_the_visible_positions_of_its_own(tokens):
    """Section 7.10: M = identity on one-hot tokens, V = identity; features beside the token show
    which positions were averaged."""
    kinds, length = 4, 12
    width = kinds + length
    states = torch.zeros(len(tokens), width).double()
    for place, token in enumerate(tokens):
        states[place, token] = states[place, kinds + place] = 1.0
    same = torch.diag(torch.tensor([1.0] * kinds + [0.0] * length))
    found = headed(attention(width), query=same, key=same, value=torch.eye(width))(states[None])
    for t, token in enumerate(tokens):
        alike = [states[j] for j in range(t + 1) if tokens[j] == token]
        torch.testing.assert_close(found[0, t], torch.stack(alike).mean(0))


def test_it_is_a_kind_of_attention_and_refuses_what_cannot_be_in_one_line():
    assert Normaliser.parse("saturated") == Saturated(tolerance=1e-6)
    assert not Saturated.plain
    model = {"kind": "decoder", "attention": {"kind": "saturated", "tolerance": -1}}
    with pytest.raises(
        SaltusError, match=r"model.attention.tolerance: -1 is not allowed"
    ) as caught:
        Experiment.of({"task": "moving-window-sum", "model": model, "steps": 1, "batch": 2})
    assert "\n" not in str(caught.value)
