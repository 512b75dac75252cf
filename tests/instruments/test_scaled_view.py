"""Parameters at c theta, and the cosines that compare what they give."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.instruments.scaled_view import cosine, real_tokens, scaled, token_mean
from saltus.models.groups import group_of

NAMES = (
    "token.weight", "blocks.0.attention.query.weight", "blocks.0.mlp.input.bias",
    "blocks.1.mlp.input.bias", "stem.batch_norm.running_mean", "readout.weight",
)  # fmt: skip


def parameters():
    return {name: torch.randn(2, 3) for name in NAMES}


@given(st.floats(1e-3, 1e4))
def test_everything_learned_is_scaled_and_nothing_given_is_touched(factor):
    own = parameters()
    before = {name: value.clone() for name, value in own.items()}
    found = scaled(own, factor)
    assert list(found) == list(own)
    for name, value in own.items():
        assert value.equal(before[name])
        still = name.endswith("running_mean")
        assert found[name].equal(value if still else value * factor)


def test_by_one_is_the_same_bits_and_there_and_back_is_exact_for_powers_of_two():
    own = parameters()
    assert all(value.equal(own[name]) for name, value in scaled(own, 1.0).items())
    back = scaled(scaled(own, 1024.0), 1 / 1024)
    assert all(value.equal(own[name]) for name, value in back.items())


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("mlp", {"mlp"}),
        ("blocks.0.*", {"attention.qk", "mlp"}),
        (("!embeddings", "!readout"), {"attention.qk", "mlp"}),
        ((), {"attention.qk", "mlp", "embeddings.token", "readout"}),
    ],
)
def test_a_pattern_selects_groups(pattern, chosen):
    own = parameters()
    found = scaled(own, 3.0, pattern)
    moved = {name for name, value in found.items() if not value.equal(own[name])}
    assert {group_of(name) for name in moved} == chosen
    assert ("blocks.1.mlp.input.bias" in moved) == (pattern != "blocks.0.*")


def test_a_mask_selects_elements():
    own = parameters()
    where = torch.tensor([True, False, True])
    found = scaled(own, 3.0, mask={"readout.weight": where})["readout.weight"]
    expected = own["readout.weight"].clone()
    expected[:, where] *= 3
    assert found.equal(expected)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"factor": 0.0}, "factor: 0.0 is not allowed: a positive finite number"),
        ({"factor": float("nan")}, "factor: nan is not allowed"),
        ({"pattern": "mpl"}, "unknown group 'mpl'"),
        ({"mask": {"x": torch.ones(1).bool()}}, "mask: there is no parameter 'x'"),
        ({"mask": {"token.weight": torch.ones(4).bool()}}, r"broadcast to \[2, 3\]"),
        ({"mask": {"token.weight": torch.ones(2, 3)}}, "booleans"),
    ],
    ids=["zero", "nan", "group", "name", "shape", "dtype"],
)
def test_what_cannot_be_scaled_is_told_in_a_line(fields, line):
    with pytest.raises(SaltusError, match=line) as refused:
        scaled(parameters(), **{"factor": 2.0, **fields})
    assert "\n" not in str(refused.value)


def test_cosines_have_their_closed_forms():
    one = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    other = torch.tensor([[6.0, 8.0], [1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([1, 0.5**0.5, 0], dtype=torch.float64)
    torch.testing.assert_close(cosine(one, other), expected, rtol=1e-8, atol=0)
    flat = torch.cosine_similarity(one.flatten(), other.flatten(), dim=0)
    torch.testing.assert_close(cosine(one, other, axes=2), flat, rtol=1e-8, atol=0)


def test_huge_entries_do_not_overflow():
    one, other = torch.randn(2, 5, 8)
    torch.testing.assert_close(cosine(1e30 * one, 1e-20 * other), cosine(one, other))


def test_means_are_over_the_real_tokens_of_a_member():
    values = torch.tensor([[[1.0, 2.0, 9.0], [6.0, 9.0, 9.0]]])
    real = torch.tensor([[[True, True, False], [True, False, False]]])
    assert token_mean(values, real).tolist() == [3.0]
    assert real_tokens({"real": real}, values).equal(real)
    for unfit in ({}, {"real": real[..., :2]}, {"real": real.float()}):
        assert real_tokens(unfit, values).all()
