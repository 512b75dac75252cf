"""The derivative of attention weights against automatic differentiation, and its extremes."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd.functional import jacobian

import saltus
from saltus.errors import SaltusError
from saltus.instruments import Reading
from saltus.instruments.softmax_jacobian import SoftmaxJacobian, jacobian_norm
from saltus.models.encoder import Encoder
from saltus.models.normalisers import NormSoftmax
from saltus.models.transformer import Decoder
from saltus.random import Draws

NORMALISERS = {
    "softmax": "softmax",
    "linear": "linear",
    "variance": {"kind": "norm-softmax", "statistic": "variance"},
    "deviation": {"kind": "norm-softmax", "statistic": "deviation"},
    "learned": "learned-temperature",
    "qk-norm": "qk-norm",
}


def dense(weights, temperature):
    """The matrix itself."""
    return (torch.diag(weights) - torch.outer(weights, weights)) / temperature


@given(keys=st.integers(1, 30), scale=st.floats(0, 1e3), temperature=st.floats(0.1, 10))
def test_the_norm_is_that_of_the_matrix(keys, scale, temperature):
    weights = (torch.randn(keys, dtype=torch.float64) * scale).softmax(-1)
    expected = torch.linalg.matrix_norm(dense(weights, temperature))
    torch.testing.assert_close(jacobian_norm(weights, temperature), expected)
    cubes = weights.square().sum() - 2 * weights.pow(3).sum() + weights.square().sum() ** 2
    torch.testing.assert_close(cubes.clamp_min(0).sqrt() / temperature, expected)


@pytest.mark.parametrize("keys", [2, 16, 197])
def test_uniform_attention(keys):
    weights = torch.full((keys,), 1 / keys, dtype=torch.float64)
    found = jacobian_norm(weights, 8.0).item()
    assert found == pytest.approx(math.sqrt(keys - 1) / keys / 8)


def test_attention_on_one_key_but_for_a_trace_keeps_its_small_norm():
    """In float32 the sum of powers is 0 here: 1 - 2 + 1, to rounding."""
    assert jacobian_norm(torch.eye(5), 1.0).tolist() == [0.0] * 5
    trace = torch.tensor([1.0, 1e-6, 0.0])
    torch.testing.assert_close(jacobian_norm(trace, 1.0).item(), 2e-6, rtol=1e-5, atol=0)


def test_a_query_has_its_maximum_over_temperatures_in_between():
    """197 Gaussian logits of variance 0.2, as in the paper's ViT when it starts."""
    logits = torch.randn(200, 197, dtype=torch.float64) * 0.2**0.5
    temperatures = torch.logspace(-4, 4, 81, dtype=torch.float64)
    norms = jacobian_norm(
        (logits / temperatures[:, None, None]).softmax(-1), temperatures[:, None, None]
    )
    for curve in (norms.median(-1).values, norms[:, 0], norms[:, 1]):
        best = int(curve.argmax())
        assert 1e-3 < temperatures[best] < 0.2
        assert max(curve[0], curve[-1]) < 1e-4 * curve[best]
        assert (curve[best:].diff() < 0).all()


def test_the_mean_over_queries_does_not_vanish_at_small_temperatures():
    """It tends to the density at 0 of the gap between the two best keys: here 1, that of an
    exponential gap."""
    gaps = -torch.rand(200_000, dtype=torch.float64).log()
    logits = torch.stack([gaps, torch.zeros_like(gaps)], dim=-1)
    for tau in (0.02, 0.005):
        norms = jacobian_norm((logits / tau).softmax(-1), tau)
        assert norms.mean().item() == pytest.approx(1.0, abs=0.1) and norms.median() < 1e-10


def test_temperatures_broadcast_as_the_site_does():
    weights = torch.randn(2, 3, 4, 5, dtype=torch.float64).softmax(-1)
    temperature = torch.rand(3, 1, 1, dtype=torch.float64) + 0.5
    found = jacobian_norm(weights, temperature)
    assert found.shape == (2, 3, 4)
    one = torch.linalg.matrix_norm(dense(weights[1, 2, 3], temperature[2].item()))
    torch.testing.assert_close(found[1, 2, 3], one)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("spread", [0.3, 3.0], ids=["below", "above"])
@pytest.mark.parametrize("name", NORMALISERS)
def test_it_is_the_derivative_of_the_model_s_own_normaliser(task, name, spread, causal):
    family = Decoder if causal else Encoder
    model = family(depth=1, heads=2, width=4, attention=NORMALISERS[name])
    normaliser, tau = model.attention, 1.5
    logits = torch.randn(2, 2, 5, 5, dtype=torch.float64) * spread
    future = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None

    def weights(u, future=future):
        return normaliser.weights(normaliser.scores(u.clone(), tau, future), future)

    sites = {
        "blocks.0.attention.pattern": weights(logits),
        "blocks.0.attention.logits": logits,
        "blocks.0.attention.temperature": torch.full((1, 1, 1, 1), tau, dtype=torch.float64),
    }
    reading = Reading(task=task, parameters={}, model=model, sites=sites)
    found = SoftmaxJacobian().read(reading)
    for head in range(2):
        norms = []
        for u in logits[:, head]:
            whole = jacobian(weights, u[None, None])[0, 0, :, :, 0, 0]
            norms += [torch.linalg.matrix_norm(whole[i, :, i]) for i in range(5)]
        torch.testing.assert_close(
            found["softmax-jacobian/blocks.0.heads"][head], sum(norms) / len(norms)
        )
        typical = torch.stack(norms).median()
        torch.testing.assert_close(found["softmax-jacobian/blocks.0.median"][head], typical)
    mean = found["softmax-jacobian/blocks.0.heads"].mean()
    torch.testing.assert_close(found["softmax-jacobian/blocks.0"], mean)
    held = found.get("softmax-jacobian/blocks.0.held")
    assert (held is not None) == (name == "deviation")
    assert held is None or (held >= found["softmax-jacobian/blocks.0.heads"]).all()


@pytest.mark.parametrize("statistic", ["variance", "deviation"])
def test_constant_logits_are_those_of_softmax(task, statistic):
    model = Encoder(depth=1, heads=1, width=4, attention=NormSoftmax(statistic=statistic))
    sites = {
        "blocks.0.attention.pattern": torch.full((1, 1, 5, 5), 0.2),
        "blocks.0.attention.logits": torch.full((1, 1, 5, 5), 3.0),
        "blocks.0.attention.temperature": torch.full((1, 1, 1, 1), 2.0),
    }
    found = SoftmaxJacobian().read(Reading(task=task, parameters={}, model=model, sites=sites))
    assert found["softmax-jacobian/blocks.0"].item() == pytest.approx(0.4 / 2)


def test_a_model_without_a_site_for_the_temperature(words):
    reading = words().one()
    named = [f"blocks.0.attention.{name}" for name in ("pattern", "heads")]
    reading = dataclasses.replace(reading, sites={name: reading.sites[name] for name in named})
    found = SoftmaxJacobian().read(reading)["softmax-jacobian/blocks.0"]
    pattern = reading.sites["blocks.0.attention.pattern"]
    torch.testing.assert_close(found, jacobian_norm(pattern, 16**0.5).mean())


def test_a_stranger_s_module_is_one_line(task):
    model = Decoder(depth=1, heads=2, width=8)
    module = model.build(task.interface)
    batch = task.sample(Draws(0, "mine"), 4)
    with pytest.raises(SaltusError, match="softmax-jacobian: a module of your own does not say"):
        saltus.read(module, [SoftmaxJacobian()], task, batch)
