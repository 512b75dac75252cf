"""Normalisers: section 7's identities, a float64 reference with loops, and their derivatives."""

from __future__ import annotations

from itertools import product
from math import exp, isfinite, log, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import grad, vmap

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models.normalisers import SHORT, Linear, Normaliser, NormSoftmax, Softmax

VARIANCE, DEVIATION = NormSoftmax(), NormSoftmax(statistic="deviation")
statistics = pytest.mark.parametrize("norm", [VARIANCE, DEVIATION], ids=lambda n: n.statistic)
precisions = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
causality = pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])


def future_of(length, causal=True):
    return torch.ones(length, length, dtype=torch.bool).triu(1) if causal else None


def weights_of(normaliser, logits, tau, future):
    """From logits to weights, as `Attention` does it."""
    return normaliser.weights(normaliser.scores(logits.clone(), tau, future), future)


def spread_of(norm, logits, future):
    """The statistic of every query's visible logits, in plain words, [..., query]."""
    rows = []
    for query in range(logits.shape[-2]):
        seen = logits[..., query, :] if future is None else logits[..., query, : query + 1]
        keys, gaps = seen.shape[-1], seen - seen.mean(-1, keepdim=True)
        total = gaps.square().sum(-1)
        rows.append((total / max(1, keys - 1)).sqrt() if norm is DEVIATION else total / keys)
    return torch.stack(rows, -1)


def logits_with(norm, wanted, future, length, dtype=torch.float64):
    """Logits whose every row has mean 0 and the statistic that is asked for, where it has two
    visible keys or more."""
    fixed = torch.Generator().manual_seed(1)
    raw = torch.randn(2, 3, length, length, dtype=torch.float64, generator=fixed)
    seen = torch.ones(length, length) if future is None else (~future).double()
    raw = raw - (raw * seen).sum(-1, keepdim=True) / seen.sum(-1, keepdim=True)
    now = spread_of(norm, raw, future).unsqueeze(-1)
    factor = wanted / now if norm is DEVIATION else (wanted / now).sqrt()
    return (raw * torch.where(now > 0, factor, 1.0)).to(dtype)


@statistics
@causality
@pytest.mark.parametrize("length", [1, 2, 5, SHORT, SHORT + 5])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 30.0])
def test_norm_softmax_is_the_formula_with_loops(norm, causal, length, scale):
    tau, future = sqrt(8), future_of(length, causal)
    logits = scale * torch.randn(2, length, length, dtype=torch.float64)
    found = weights_of(norm, logits, tau, future)
    for head, query in product(range(2), range(length)):
        own = logits[head, query, : query + 1 if causal else length].tolist()
        keys, mean = len(own), sum(own) / len(own)
        total = sum((u - mean) ** 2 for u in own)
        if norm is DEVIATION:
            spread = sqrt(total / (keys - 1)) if keys > 1 else 0.0
        else:
            spread = total / keys
        # The formula leaves constant logits undefined: any temperature gives equal weights.
        scores = [(u - mean) / min(tau, spread) if spread else 0.0 for u in own]
        top = sum(exp(s - max(scores)) for s in scores)
        expected = [exp(s - max(scores)) / top for s in scores] + [0.0] * (length - keys)
        torch.testing.assert_close(
            found[head, query], torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=1e-7
        )


@precisions
@causality
@pytest.mark.parametrize("normaliser", [Softmax(), VARIANCE, DEVIATION], ids=str)
def test_i_adding_a_constant_to_a_row_changes_no_weight(normaliser, causal, dtype):
    future = future_of(7, causal)
    logits = torch.randn(2, 3, 7, 7, dtype=dtype)
    moved = logits + torch.randn(2, 3, 7, 1, dtype=dtype)
    torch.testing.assert_close(
        weights_of(normaliser, moved, 2.0, future),
        weights_of(normaliser, logits, 2.0, future),
        atol=1e-5 if dtype == torch.float32 else 1e-12,
        rtol=1e-4 if dtype == torch.float32 else 1e-10,
    )


@precisions
@causality
@given(c=st.floats(0.01, 10))
def test_ii_below_the_cap_the_deviation_is_scale_free(causal, dtype, c):
    """Scores have unit sample deviation, and weights do not change under u -> c u."""
    tau, future = 8.0, future_of(6, causal)
    logits = logits_with(DEVIATION, 0.79, future, 6, dtype)  # c times it stays below the cap
    scores = DEVIATION.scores(logits.clone(), tau, future)
    deviations = spread_of(DEVIATION, scores, future)[..., 1:]
    torch.testing.assert_close(deviations, torch.ones_like(deviations), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        weights_of(DEVIATION, c * logits, tau, future),
        weights_of(DEVIATION, logits, tau, future),
        atol=1e-5,
        rtol=1e-4,
    )


@precisions
@causality
@given(c=st.floats(0.1, 3))
def test_iii_below_the_cap_a_smaller_variance_is_sharper(causal, dtype, c):
    """Scores have deviation 1 / sqrt(variance), and u -> c u multiplies them by 1 / c."""
    tau, future = 8.0, future_of(6, causal)
    logits = logits_with(VARIANCE, 0.5, future, 6, dtype)
    scores = VARIANCE.scores(logits.clone(), tau, future)
    found = spread_of(VARIANCE, scores, future)[..., 1:]
    torch.testing.assert_close(found, torch.full_like(found, 1 / 0.5), atol=0, rtol=1e-5)
    again = VARIANCE.scores(c * logits, tau, future)
    torch.testing.assert_close(again, scores / c, atol=1e-5, rtol=1e-4)
    if c < 1:
        weights, sharper = (s.masked_fill(future_of(6), -torch.inf) for s in (scores, again))
        assert (sharper.softmax(-1).amax(-1) >= weights.softmax(-1).amax(-1) - 1e-6).all()


@statistics
@precisions
@causality
@pytest.mark.parametrize("beyond", [1.0001, 3.0])
def test_iv_above_the_cap_it_is_plain_softmax(norm, causal, dtype, beyond):
    tau, future = 1.5, future_of(9, causal)
    logits = logits_with(norm, beyond * tau, future, 9, dtype)
    torch.testing.assert_close(
        weights_of(norm, logits, tau, future),
        weights_of(Softmax(), logits, tau, future),
        atol=1e-5 if dtype == torch.float32 else 1e-12,
        rtol=1e-4 if dtype == torch.float32 else 1e-10,
    )


@statistics
@pytest.mark.parametrize("hidden", [1e4, torch.inf, -torch.inf, torch.nan])
def test_statistics_run_over_the_keys_that_a_query_sees(norm, hidden):
    future = future_of(6)
    logits = torch.randn(2, 6, 6, dtype=torch.float64)
    other = logits.masked_fill(future, hidden)
    assert weights_of(norm, other, 8.0, future).equal(weights_of(norm, logits, 8.0, future))

    def total(u):
        return (norm.scores(u, torch.tensor(8.0), future) * coefficients).sum()

    coefficients = torch.randn(2, 6, 6, dtype=torch.float64)
    slope = grad(total)(other)
    assert slope.isfinite().all() and not slope[:, future].any()
    torch.testing.assert_close(slope, grad(total)(logits))


@statistics
@precisions
@causality
@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
def test_constant_logits_give_equal_weights_and_finite_gradients(norm, causal, dtype, value):
    future = future_of(7, causal)
    logits = torch.full((2, 7, 7), value, dtype=dtype, requires_grad=True)
    scores = norm.scores(logits, 8.0, future)
    weights = norm.weights(scores, future)
    counts = torch.full((7,), 7) if future is None else (~future).sum(-1)
    equal = (1 / counts.to(dtype)).unsqueeze(-1).expand(7, 7)
    equal = equal if future is None else equal.masked_fill(future, 0)
    torch.testing.assert_close(weights, equal.expand(2, 7, 7), atol=1e-6, rtol=1e-6)
    (slope,) = torch.autograd.grad((weights * torch.randn(7, 7, dtype=dtype)).sum(), logits)
    assert slope.isfinite().all()


@statistics
@causality
@pytest.mark.parametrize("cap", [0.01, 100.0], ids=["above the cap", "below the cap"])
def test_norm_softmax_has_its_derivative(norm, causal, cap):
    future = future_of(5, causal)
    logits = torch.randn(2, 5, 5, dtype=torch.float64, requires_grad=True)
    tau = torch.tensor(cap)
    assert torch.autograd.gradcheck(lambda u: norm.scores(u, tau, future), (logits,))
    assert torch.autograd.gradcheck(
        lambda u: norm.weights(norm.scores(u, tau, future), future), (logits,)
    )


@statistics
@causality
def test_mapped_over_members_each_with_its_own_cap_it_is_each_alone(norm, causal):
    future, caps = future_of(5, causal), torch.tensor([0.2, 1.0, 8.0], dtype=torch.float64)
    logits = torch.randn(3, 2, 5, 5, dtype=torch.float64)

    def total(u, tau):
        return norm.weights(norm.scores(u, tau, future), future).square().sum()

    values, slopes = vmap(total)(logits, caps), vmap(grad(total))(logits, caps)
    stacked = weights_of(norm, logits, caps.view(3, 1, 1, 1), future).square().sum((1, 2, 3))
    torch.testing.assert_close(stacked, values)
    for k in range(3):
        torch.testing.assert_close(values[k], total(logits[k], caps[k]))
        torch.testing.assert_close(slopes[k], grad(total)(logits[k], caps[k]))


@statistics
def test_statistics_of_half_precision_logits_are_taken_in_float32(norm):
    """Differences of large logits, which half precision would round away or overflow."""
    logits = (1000 + 8 * torch.randint(-4, 5, (2, 6, 6))).to(torch.bfloat16)
    found = norm.scores(logits, 8.0, None)
    assert found.dtype == torch.float32
    assert found.equal(norm.scores(logits.float(), 8.0, None))


def test_linear_weights_are_the_scores_and_zero_in_the_future():
    logits = torch.randn(2, 5, 5)
    torch.testing.assert_close(weights_of(Linear(), logits, 4.0, future_of(5)), logits.tril() / 4)
    torch.testing.assert_close(weights_of(Linear(), 2 * logits, 4.0, None), logits / 2)


@pytest.mark.parametrize("kind", sorted(Normaliser.registry))
@pytest.mark.parametrize("tau", [0.3, 8.0])
def test_a_temperature_may_be_a_number_or_a_tensor(kind, tau):
    normaliser = Normaliser.parse(kind)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    one = weights_of(normaliser, logits, tau, future_of(4))
    same = torch.full((2, 1, 1, 1), tau, dtype=torch.float64)
    torch.testing.assert_close(weights_of(normaliser, logits, same, future_of(4)), one)


@pytest.mark.parametrize("kind", sorted(Normaliser.registry))
def test_it_is_read_from_its_kind_and_written_as_a_mapping(kind):
    normaliser = Normaliser.parse(kind)
    assert Normaliser.parse(normaliser.model_dump()) == normaliser
    model = {"kind": "decoder", "attention": kind}
    data = {"task": "moving-window-sum", "model": model, "steps": 1, "batch": 4}
    assert Experiment.of(data).data()["model"]["attention"] == normaliser.model_dump()


def test_the_one_layer_model_refuses_what_hides_its_inner_products():
    model = {"kind": "one-layer-attention", "attention": "qk-norm"}
    with pytest.raises(SaltusError) as caught:
        Experiment.of({"task": "word-cooccurrence", "model": model, "steps": 1, "batch": 6})
    assert str(caught.value) == (
        "experiment: model.attention: qk-norm puts a LayerNorm before W_K^T W_Q, which this model "
        "is read by; allowed: learned-temperature, linear, norm-softmax, saturated, softmax"
    )


def test_the_exact_levels_of_a_gaussian_row():
    """u ~ N(0, v): entropy of the weights is ln N - s^2 v / 2 at multiplier s, for large N."""
    logits = 0.2**0.5 * torch.randn(1, 50, 4000, dtype=torch.float64)
    for norm, multiplier in ((Softmax(), 1 / 8), (DEVIATION, 0.2**-0.5)):
        weights = weights_of(norm, logits, 8.0, None)
        entropy = float(-(weights * weights.log()).sum(-1).mean())
        assert isfinite(entropy)
        assert entropy == pytest.approx(log(4000) - multiplier**2 * 0.2 / 2, abs=0.02)
