"""The variance of raw logits over the keys that a query may see."""

import statistics

import pytest
import torch

from saltus.errors import SaltusError
from saltus.instruments import Reading
from saltus.instruments.attention_logits import AttentionLogits

NORMALISERS = ["softmax", "linear", "norm-softmax", "qk-norm", "learned-temperature"]


def read(task, logits, causal=False):
    pattern = torch.ones_like(logits)
    sites = {
        "blocks.0.attention.logits": logits,
        "blocks.0.attention.pattern": pattern.tril() if causal else pattern,
    }
    found = AttentionLogits().read(Reading(task=task, parameters={}, sites=sites))
    assert found.keys() == {
        "attention-logits/blocks.0/variance",
        "attention-logits/blocks.0/deviation",
    }
    return [found[f"attention-logits/blocks.0/{name}"].item() for name in ("variance", "deviation")]


@pytest.mark.parametrize("causal", [False, True])
def test_by_plain_loops(task, causal):
    logits = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    spreads = [
        statistics.pvariance(row[: i + 1] if causal else row)
        for head in logits.flatten(0, 1).tolist()
        for i, row in enumerate(head)
        if i or not causal
    ]
    expected = [statistics.mean(spreads), statistics.mean(v**0.5 for v in spreads)]
    assert read(task, logits, causal) == pytest.approx(expected)


def test_a_constant_alters_nothing_and_a_factor_scales(task):
    logits = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    variance, deviation = read(task, logits)
    assert read(task, logits + 7) == pytest.approx([variance, deviation])
    assert read(task, 3 * logits) == pytest.approx([9 * variance, 3 * deviation])


def test_what_lies_in_the_future_does_not_count(task):
    logits = torch.randn(2, 3, 6, 6)
    hidden = torch.where(torch.ones(6, 6, dtype=torch.bool).triu(1), float("inf"), logits)
    assert read(task, hidden, causal=True) == read(task, logits, causal=True)


@pytest.mark.parametrize("attention", NORMALISERS)
def test_on_a_causal_model_with_any_normaliser(one, attention):
    seen = one(attention=attention, dtype=torch.float64)
    found = AttentionLogits().read(seen)
    logits = seen.sites["blocks.1.attention.logits"]
    rows = [logits[..., i, : i + 1].var(-1, correction=0).mean() for i in range(1, 12)]
    torch.testing.assert_close(found["attention-logits/blocks.1/variance"], sum(rows) / 11)


def test_a_model_without_the_site_is_one_line(of_sites):
    with pytest.raises(SaltusError, match=r"no site 'blocks\.\*\.attention\.logits'"):
        AttentionLogits().read(of_sites(blocks__0__attention__pattern=torch.ones(1, 1, 2, 2)))
