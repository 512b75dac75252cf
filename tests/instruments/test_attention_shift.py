"""How far attention has moved, and where single tokens look: plain loops and hand-made patterns."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from saltus.instruments import Reading
from saltus.instruments.attention_shift import AttentionShift
from saltus.instruments.token_attention import TokenAttention
from saltus.tasks.word_cooccurrence import WordCooccurrence

SITE = "blocks.0.attention.pattern"
UNIFORM = torch.full((3, 2, 4, 4), 0.25)  # [sample, head, query, key]


def shifted(now: torch.Tensor, then: torch.Tensor) -> list[float]:
    reading = Reading(
        task=WordCooccurrence(), parameters={}, sites={SITE: now}, initial_sites={SITE: then}
    )
    found = AttentionShift().read(reading)
    names = ["attention-shift/blocks.0", "attention-shift/blocks.0/from-uniform"]
    assert list(found) == names
    return [float(found[name]) for name in names]


def test_what_has_not_moved_has_shift_0():
    assert shifted(UNIFORM, UNIFORM) == [0, 0]
    pattern = torch.eye(4).expand(3, 2, 4, 4)
    assert shifted(pattern, pattern) == [0, 0.75]


def test_one_weight_in_one_head_of_one_sample_is_seen_whatever_its_sign():
    moved = UNIFORM.clone()
    moved[2, 1, 0, 3] -= 0.125
    assert shifted(moved, UNIFORM) == [0.125, 0.125]
    assert shifted(UNIFORM, moved) == [0.125, 0]


@pytest.mark.parametrize("kind", ["stacked", "words"])
def test_plain_loops_over_real_patterns_agree(request, kind):
    reading = request.getfixturevalue(kind)(dtype=torch.float64).one(1)
    found = AttentionShift().read(reading)
    layers = [name for name in reading.sites if name.endswith("attention.pattern")]
    assert len(found) == 2 * len(layers)
    for site in layers:
        now, then = reading.sites[site], reading.initial_sites[site]
        gaps = [abs(a - b) for a, b in zip(now.flatten(), then.flatten(), strict=True)]
        away = [abs(a - 1 / now.shape[-1]) for a in now.flatten()]
        name = f"attention-shift/{site.removesuffix('.attention.pattern')}"
        assert found[name] == max(gaps) > 0
        assert found[f"{name}/from-uniform"] == max(away)


def test_it_reads_the_training_batch_under_two_sets_of_parameters():
    needs = AttentionShift().needs(WordCooccurrence())
    assert needs.training and needs.initial and needs.sites


def mean_attention(reading: Reading, query: int, key: int, head: int) -> float:
    weights = [
        float(reading.sites[SITE][i, head, q, k])
        for i, sentence in enumerate(reading.batch["inputs"].tolist())
        for q, asking in enumerate(sentence)
        for k, asked in enumerate(sentence)
        if asking == query and asked == key
    ]
    return sum(weights) / len(weights) if weights else 0.0


@pytest.mark.parametrize("kind", ["stacked", "words"])
def test_token_attention_by_plain_loops(request, kind):
    reading = request.getfixturevalue(kind)(dtype=torch.float64).one(3)
    tokens = (2, 0, 5)  # in this order
    found = TokenAttention(tokens=tokens).read(reading)["token-attention/blocks.0"]
    heads = reading.sites[SITE].shape[1]
    assert found.shape == (heads, 3, 3)
    for head in range(heads):
        for i, query in enumerate(tokens):
            for j, key in enumerate(tokens):
                expected = mean_attention(reading, query, key, head)
                assert float(found[head, i, j]) == pytest.approx(expected, rel=1e-12)


def test_tokens_that_are_nowhere_together_have_0():
    sentences = torch.tensor([[0, 1, 3, 3], [0, 2, 2, 3]])
    pattern = torch.arange(32.0).view(2, 1, 4, 4)
    reading = Reading(
        task=WordCooccurrence(), parameters={}, batch={"inputs": sentences}, sites={SITE: pattern}
    )
    found = TokenAttention(tokens=(0, 1, 2, 7)).read(reading)["token-attention/blocks.0"][0]
    # 0 asks 0 in both samples; 2 asks 2 at four places of the second.
    assert found[0, 0] == (0 + 16) / 2 and found[2, 2] == (21 + 22 + 25 + 26) / 4
    assert found[1, 2] == found[2, 1] == 0 and not found[3].any() and not found[:, 3].any()


def test_patterns_in_low_precision_are_summed_in_float32(words):
    reading = words(dtype=torch.float32).one()
    low = {SITE: reading.sites[SITE].bfloat16()}
    found = TokenAttention(tokens=(0, 1)).read(dataclasses.replace(reading, sites=low))
    assert found["token-attention/blocks.0"].dtype == torch.float32


@pytest.mark.parametrize("token", [-1, 64])
def test_tokens_outside_the_vocabulary_are_refused(token):
    with pytest.raises(ValueError, match=f"tokens: {token} is not allowed: 0 to 63"):
        TokenAttention(tokens=(0, token)).check(WordCooccurrence())
