"""Draws is a pure function of (seed, stream, step): no state, no company, no order."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from saltus.random import Draws

SEEDS = st.integers(0, 2**63)
SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
STREAMS = st.sampled_from(["data", "evaluation", "initialisation/token.weight"])
STEPS = st.integers(0, 2**40)
LAWS = {
    "uniform": lambda draws, shape: draws.uniform(*shape, low=-2.0, high=3.0),
    "normal": lambda draws, shape: draws.normal(*shape),
    "integers": lambda draws, shape: draws.integers(-3, 9, *shape),
    "permutation": lambda draws, shape: draws.permutation(4, *shape),
}
MANY = 200_000


@pytest.mark.parametrize("law", LAWS)
@given(seeds=st.lists(SEEDS, min_size=1, max_size=5), shape=SHAPES, stream=STREAMS, step=STEPS)
def test_row_k_of_a_stack_is_seed_k_alone(law, seeds, shape, stream, step):
    draw = LAWS[law]
    together = draw(Draws(seeds, stream, step), shape)
    assert len(together) == len(seeds)
    for row, seed in zip(together, seeds, strict=True):
        assert row.equal(draw(Draws(seed, stream, step), shape))


@given(seeds=st.lists(SEEDS, min_size=2, max_size=4), order=st.randoms(use_true_random=False))
def test_successive_draws_of_a_stack_continue_each_seeds_own_stream(seeds, order):
    calls = [(order.choice(list(LAWS)), (order.randint(0, 7),)) for _ in range(4)]
    stack, alone = Draws(seeds, "data", 3), [Draws(seed, "data", 3) for seed in seeds]
    for law, shape in calls:
        together = LAWS[law](stack, shape)
        assert all(
            row.equal(LAWS[law](one, shape)) for row, one in zip(together, alone, strict=True)
        )


@given(seed=SEEDS, stream=STREAMS, step=STEPS, before=st.lists(st.tuples(SEEDS, STREAMS, STEPS)))
def test_what_was_drawn_before_does_not_matter(seed, stream, step, before):
    first = Draws(seed, stream, step).normal(8)
    for other in before:
        Draws(*other).normal(3)
    assert Draws(seed, stream, step).normal(8).equal(first)


@given(
    one=st.tuples(SEEDS, STREAMS, STEPS),
    other=st.tuples(SEEDS, STREAMS, STEPS),
    part=st.sampled_from([0, 1, 2]),
)
def test_another_seed_stream_or_step_gives_other_numbers(one, other, part):
    assume(one[part] != other[part])
    changed = (*one[:part], other[part], *one[part + 1 :])
    assert not Draws(*one).normal(8).equal(Draws(*changed).normal(8))


def test_neighbouring_steps_seeds_and_streams_do_not_overlap():
    """No number of one appears in another: the streams are not shifted copies."""
    found = [
        set(Draws(seed, stream, step, dtype=torch.float64).normal(500).tolist())
        for seed in (0, 1)
        for stream in ("data", "datb")
        for step in (0, 1, 2)
    ]
    assert len(set.union(*found)) == sum(map(len, found)) == 12 * 500


def test_global_generators_are_neither_read_nor_changed():
    before = [torch.get_rng_state(), np.random.get_state()[1].copy()]
    numbers = [draw(Draws([0, 1], "data", 5), (7,)) for draw in LAWS.values()]
    assert torch.get_rng_state().equal(before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    torch.manual_seed(99)
    np.random.seed(99)
    again = [draw(Draws([0, 1], "data", 5), (7,)) for draw in LAWS.values()]
    assert all(a.equal(b) for a, b in zip(numbers, again, strict=True))


def test_the_numbers_of_a_seed_stay_what_they_were_when_runs_were_kept():
    """A run resumed under a later version of Saltus must see the same data."""
    assert Draws(0, "data", 0).integers(0, 1000, 4).tolist() == [232, 988, 229, 841]
    assert Draws(7, "data", 123).uniform(2, high=8.0).mul(2**20).long().tolist() == [
        6532988,
        1918756,
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_have_the_moments_of_a_normal(dtype):
    x = Draws(1, "data", dtype=dtype).normal(MANY).double()
    error = MANY**-0.5
    assert abs(x.mean()) < 5 * error
    assert abs(x.var() - 1) < 5 * 2**0.5 * error
    assert abs((x**3).mean()) < 5 * 15**0.5 * error
    assert abs((x**4).mean() - 3) < 5 * 96**0.5 * error


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniforms_fill_their_range_evenly(dtype):
    x = Draws(2, "data", dtype=dtype).uniform(MANY, low=-1.0, high=3.0).double()
    assert x.min() >= -1 and x.max() < 3
    assert abs(x.mean() - 1) < 5 * (16 / 12 / MANY) ** 0.5
    chi_square_is_plausible(torch.bincount(((x + 1) * 4).long(), minlength=16))


def test_draws_have_the_dtype_asked_for():
    for dtype in (torch.float32, torch.float64):
        draws = Draws(0, "data", dtype=dtype)
        assert draws.normal(2).dtype == draws.uniform(2).dtype == dtype
    assert Draws(0, "data").integers(0, 5, 2).dtype == torch.int64


@given(low=st.integers(-50, 50), span=st.integers(1, 9), seed=SEEDS)
def test_integers_lie_in_their_range_and_reach_all_of_it(low, span, seed):
    drawn = Draws(seed, "data").integers(low, low + span, 600)
    assert set(drawn.tolist()) == set(range(low, low + span))


@pytest.mark.parametrize("span", [2, 16, 17])
def test_integers_are_uniform(span):
    chi_square_is_plausible(torch.bincount(Draws(3, "data").integers(0, span, MANY)))


@pytest.mark.parametrize("span", [0, -1])
def test_an_empty_range_is_refused(span):
    with pytest.raises(ValueError, match=r"empty range \[4, "):
        Draws(0, "data").integers(4, 4 + span, 3)


@given(length=st.integers(0, 12), shape=SHAPES, seed=SEEDS)
def test_a_permutation_holds_every_index_once(length, shape, seed):
    drawn = Draws(seed, "data").permutation(length, *shape)
    assert drawn.shape == (*shape, length)
    assert drawn.sort(-1).values.equal(torch.arange(length).expand(*shape, length))


def test_all_permutations_are_equally_likely():
    drawn = Draws(4, "data").permutation(4, 60_000)
    code = (drawn * torch.tensor([64, 16, 4, 1])).sum(-1)
    counts = torch.bincount(code)
    chi_square_is_plausible(counts[counts > 0])
    assert (counts > 0).sum() == 24


def chi_square_is_plausible(counts):
    """Within six standard deviations of its mean, degrees of freedom df, variance 2 df."""
    expected, df = counts.sum() / len(counts), len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - df) < 6 * (2 * df) ** 0.5
