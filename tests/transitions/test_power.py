"""Power against tables, brute force and the tests themselves."""

from math import exp, inf, log, sqrt

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.transitions import (
    MeanEffect,
    ShareEffect,
    TimeEffect,
    Times,
    detectable,
    fit_spread,
    log_rank,
    seeds_needed,
)
from saltus.transitions.statistics.power_share import fisher_p
from saltus.transitions.statistics.power_time import _p_values


@pytest.mark.parametrize(("size", "seeds"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_means_need_the_seeds_of_cohens_table(size, seeds):
    """Cohen (1988), table 2.4.1: two-sided 0.05, power 0.80; 393 there, before exact computing."""
    assert seeds_needed(MeanEffect(size, 1.0)) == seeds
    assert seeds_needed(MeanEffect(-3 * size, 3.0)) == seeds


def test_the_power_of_the_t_test_is_the_share_of_simulations_that_it_rejects():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 2, (20_000, 6)), rng.normal(3, 2, (20_000, 6))
    found = MeanEffect(3.0, 2.0).power(6).estimate
    student, welch = (
        np.mean(scipy.stats.ttest_ind(one, other, axis=1, equal_var=equal).pvalue <= 0.05)
        for equal in (True, False)
    )
    assert student == pytest.approx(found, abs=0.014)  # four standard errors
    assert found - 0.04 < welch < found


def test_no_effect_is_seen_as_often_as_alpha_and_a_huge_one_always():
    assert MeanEffect(0.0, 1.0).power(5, 0.1).estimate == pytest.approx(0.1)
    assert MeanEffect(1e6, 1.0).power(3).estimate == 1
    assert TimeEffect(1.0, 0.5).power(12).low < 0.05
    assert ShareEffect(0.5, 0.5).power(12).estimate <= 0.05


@pytest.mark.parametrize("seeds", [2, 5, 9])
def test_fishers_p_is_scipys(seeds):
    leaps = np.arange(seeds + 1)
    found = fisher_p(seeds, leaps, leaps)
    for one in leaps:
        for other in leaps:
            table = [[one, seeds - one], [other, seeds - other]]
            expected = scipy.stats.fisher_exact(table).pvalue
            assert found[one, other] == pytest.approx(expected)


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.9), (0.1, 0.8), (0.9, 0.3), (0.0, 1.0)])
def test_shares_need_the_first_number_of_seeds_that_does(before, after):
    effect, seeds = ShareEffect(before, after), 2
    while effect.power(seeds).estimate < 0.8:
        seeds += 1
    assert seeds_needed(effect) == seeds
    assert effect.power(seeds).estimate == pytest.approx(
        ShareEffect(1 - before, 1 - after).power(seeds).estimate  # no leaps instead of leaps
    )


def test_the_power_of_fishers_test_by_hand():
    """0 against 1: always 4 of 4 against 0 of 4, p = 2/70; with 3 seeds p = 2/20."""
    assert ShareEffect(0.0, 1.0).power(4).estimate == 1
    assert ShareEffect(0.0, 1.0).power(3).estimate == 0


@given(
    seeds=st.integers(2, 9),
    spread=st.floats(0.05, 2),
    ratio=st.floats(0.2, 2),
    budget=st.floats(0.3, 3),
)
def test_the_simulated_p_is_that_of_the_log_rank_test(seeds, spread, ratio, budget):
    effect = TimeEffect(ratio, spread, budget=budget, simulations=4)
    one, other = effect.draw(seeds)
    found = _p_values(one, other, budget)
    for a, b, p in zip(one, other, found, strict=True):
        arms = [Times(np.minimum(each, budget), each <= budget) for each in (a, b)]
        assert p == pytest.approx(log_rank(*arms).best, abs=1e-9)


@pytest.mark.parametrize("seeds", [30, 120])
def test_it_is_so_with_sampled_relabellings_and_with_chi_square_too(seeds):
    one, other = TimeEffect(0.8, 0.5, simulations=3).draw(seeds)
    found = _p_values(one, other, 1.1)
    for a, b, p in zip(one, other, found, strict=True):
        arms = [Times(np.minimum(each, 1.1), each <= 1.1) for each in (a, b)]
        assert p == pytest.approx(log_rank(*arms).best)


def test_the_spread_of_simulated_times_is_the_one_asked_for():
    one, other = TimeEffect(0.5, 0.3, median=200.0).draw(100)
    assert np.std(one) / np.mean(one) == pytest.approx(0.3, rel=0.02)
    assert np.median(one) == pytest.approx(200, rel=0.01)
    assert np.median(other) == pytest.approx(100, rel=0.01)


def test_more_seeds_larger_effects_and_longer_budgets_are_seen_more_often():
    powers = [TimeEffect(0.8, 0.3).power(seeds).estimate for seeds in (5, 10, 20, 40)]
    assert powers == sorted(powers) and powers[-1] > powers[0] + 0.4
    powers = [TimeEffect(ratio, 0.3).power(12).estimate for ratio in (0.9, 0.8, 0.6)]
    assert powers == sorted(powers)
    powers = [TimeEffect(0.7, 0.3, budget=each).power(12).estimate for each in (0.6, 0.8, inf)]
    assert powers == sorted(powers)


@given(unit=st.floats(1e-2, 1e4))
def test_the_unit_of_time_does_not_matter(unit):
    one = TimeEffect(0.7, 0.4, budget=1.5, simulations=100).power(8)
    other = TimeEffect(0.7, 0.4, median=unit, budget=1.5 * unit, simulations=100).power(8)
    assert abs(one.estimate - other.estimate) <= 0.01  # a time that rounds beyond the budget


def test_seeds_needed_for_a_time_are_enough_and_one_less_are_not():
    effect = TimeEffect(0.7, 0.3)
    seeds = seeds_needed(effect)
    assert seeds is not None and effect.power(seeds).estimate >= 0.8
    assert effect.power(seeds - 1).estimate < 0.8
    assert effect.power(seeds).count == 4000


@pytest.mark.parametrize(
    "effect",
    [MeanEffect(1.0, 2.0), MeanEffect(-1.0, 2.0), ShareEffect(0.4, 1.0), ShareEffect(0.8, 0.0),
     TimeEffect(0.5, 0.3, simulations=500), TimeEffect(2.0, 0.3, simulations=500)],
    ids=["up", "down", "more", "fewer", "faster", "slower"],
)  # fmt: skip
def test_a_detectable_effect_is_seen_and_a_smaller_one_is_not(effect):
    found = detectable(effect, 15)
    nothing, most = effect.extremes
    assert found is not None and min(nothing, most) <= found.size <= max(nothing, most)
    assert found.power(15).estimate >= 0.8
    smaller = effect.of_size(nothing + 0.97 * (found.size - nothing))
    assert smaller.power(15).estimate < 0.8


def test_what_cannot_be_seen():
    assert detectable(TimeEffect(0.5, 0.3), 3) is None  # 3 against 3: p is never below 0.1
    assert detectable(ShareEffect(0.5, 1.0), 4) is None
    assert seeds_needed(MeanEffect(0.01, 1.0)) is None


def test_a_spread_is_fitted_back():
    rng = np.random.default_rng(0)
    sigma = sqrt(log(1 + 0.4**2))
    drawn = [median * np.exp(sigma * rng.normal(size=400)) for median in (100.0, 30.0)]
    settings = [Times(np.minimum(each, 110.0), each <= 110) for each in drawn]
    found = fit_spread(settings)
    assert found.medians == (pytest.approx(100, rel=0.06), pytest.approx(30, rel=0.06))
    assert found.spread == pytest.approx(0.4, rel=0.1)
    assert found.seeds == 800 and found.leaps < 700


def test_without_censoring_the_spread_is_the_deviation_of_the_logarithms():
    values = np.array([3.0, 5.0, 4.0, 8.0])
    found = fit_spread([Times(values, np.ones(4, bool))])
    sigma = np.log(values).std(ddof=1)
    assert found.spread == pytest.approx(sqrt(exp(sigma**2) - 1), rel=1e-4)
    assert found.medians[0] == pytest.approx(exp(np.log(values).mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: TimeEffect(0.0, 0.3), "ratio: 0 is not allowed"),
        (lambda: TimeEffect(0.8, -1.0), "spread: -1 is not allowed"),
        (lambda: TimeEffect(0.8, 0.3, budget=0.0), "budget: 0 is not allowed"),
        (lambda: ShareEffect(0.5, 1.5), "to: 1.5 is not allowed"),
        (lambda: MeanEffect(0.5, 0.0), "deviation: 0 is not allowed"),
        (lambda: MeanEffect(0.5, 1.0).power(1), "seeds: 1 is not allowed"),
        (lambda: seeds_needed(MeanEffect(0.5, 1.0), power=1.0), "power: 1 is not allowed"),
        (lambda: seeds_needed(MeanEffect(0.0, 1.0)), "effect: 0 is no effect"),
        (lambda: detectable(MeanEffect(0.5, 1.0), 5, alpha=0.0), "alpha: 0 is not allowed"),
        (lambda: fit_spread([Times(np.ones(3), np.zeros(3, bool))]), "spread: 0 leaps"),
        (lambda: fit_spread([Times(np.ones(3), np.ones(3, bool))]), "spread: all seeds leap"),
    ],
    ids=["ratio", "spread", "budget", "share", "deviation", "seeds", "power", "nothing", "alpha",
         "never", "always"],
)  # fmt: skip
def test_bad_input_gets_one_line(act, message):
    with pytest.raises(SaltusError, match=message):
        act()
