"""Edits of attention: uniform and batch-mean patterns, and written head outputs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import vmap

from saltus.errors import SaltusError
from saltus.models.edits import ablations, batch_mean, on_heads, unchanged, uniform, writing

SITE = "blocks.0.attention.pattern"


def scores(*lead, heads=3, keys=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, 4, heads, keys, keys, generator=generator, dtype=torch.float64)


def causal(scores):
    return scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf).softmax(-1)


def test_uniform_is_one_over_the_keys_that_a_query_may_look_at():
    pattern = uniform(scores().softmax(-1))
    assert pattern.equal(torch.full_like(pattern, 1 / 5))
    pattern = uniform(causal(scores()))
    expected = torch.ones(5, 5, dtype=torch.float64).tril()
    assert pattern.equal((expected / expected.sum(-1, keepdim=True)).expand(4, 3, 5, 5))


@given(keys=st.integers(1, 6), looks_ahead=st.booleans())
def test_uniform_rows_sum_to_one_and_uniform_is_a_fixed_point(keys, looks_ahead):
    pattern = scores(keys=keys)
    pattern = pattern.softmax(-1) if looks_ahead else causal(pattern)
    once = uniform(pattern)
    torch.testing.assert_close(once.sum(-1), torch.ones_like(once.sum(-1)))
    assert uniform(once).equal(once)


def test_linear_attention_is_causal_where_the_future_is_zero():
    assert uniform(scores().tril())[0, 0, 1].tolist() == [0.5, 0.5, 0, 0, 0]
    assert uniform(scores())[0, 0, 1].tolist() == [0.2] * 5


def test_each_member_of_a_stack_is_causal_or_not_on_its_own():
    both = torch.stack([scores().softmax(-1), causal(scores())])
    together = uniform(both)
    assert all(together[k].equal(uniform(both[k])) for k in range(2))
    assert vmap(uniform)(both).equal(together)


def test_batch_mean_is_the_same_for_every_sample_and_idempotent():
    pattern = scores(2).softmax(-1)
    mean = batch_mean(pattern)
    torch.testing.assert_close(mean[1, 3], sum(pattern[1, b] for b in range(4)) / 4)
    torch.testing.assert_close(batch_mean(mean), mean)
    assert vmap(batch_mean)(pattern).equal(mean)


@pytest.mark.parametrize("replace", [uniform, batch_mean])
def test_only_the_named_heads_are_replaced(replace):
    pattern = scores(2).softmax(-1)
    changed = on_heads(replace, [0, 2])(SITE, pattern)
    assert changed[:, :, 1].equal(pattern[:, :, 1])
    assert changed[:, :, [0, 2]].equal(replace(pattern)[:, :, [0, 2]])
    assert on_heads(replace, [])(SITE, pattern).equal(pattern)


def test_ablations_are_gathered_by_layer():
    edits = ablations([(1, 0), (0, 2), (1, 2)], "uniform")
    assert edits.keys() == {SITE, "blocks.1.attention.pattern"}
    pattern = scores().softmax(-1)
    (edit,) = edits["blocks.1.attention.pattern"]
    assert edit("", pattern).equal(on_heads(uniform, [0, 2])("", pattern))
    assert ablations([], "batch-mean") == {}


def test_writing_goes_to_chosen_heads_and_positions_alone():
    own, value = torch.zeros(2, 4, 3, 5, 6), torch.rand(2, 4, 3, 5, 6)
    assert writing(value)("", own).equal(value)
    assert writing(own, [0])("", own).equal(own)
    positions = torch.tensor([True, False, False, True, False])
    changed = writing(value, [1], positions)("", own)
    expected = torch.zeros_like(own)
    expected[:, :, 1, [0, 3]] = value[:, :, 1, [0, 3]]
    assert changed.equal(expected)
    masked = torch.rand(2, 4, 5) < 0.5
    changed = writing(value, None, masked)("", own)
    for member, sample, head, position in torch.cartesian_prod(*map(torch.arange, (2, 4, 3, 5))):
        here = (member, sample, head, position)
        assert changed[here].equal((value if masked[member, sample, position] else own)[here])


@pytest.mark.parametrize("head", [3, -1])
def test_a_head_that_is_not_there_is_one_line(head):
    pattern = scores().softmax(-1)
    for edit in (on_heads(uniform, [0, head]), writing(pattern, [head])):
        with pytest.raises(SaltusError) as caught:
            edit(SITE, pattern)
        assert str(caught.value) == f"heads: {SITE} has no head {head}; allowed: 0 to 2"


def test_unchanged_changes_nothing():
    pattern = scores()
    assert unchanged(SITE, pattern) is pattern
