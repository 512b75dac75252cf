"""Laws of norm growth, their exponent and the choice among them; what lengths and angles tell."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress

from saltus.errors import SaltusError
from saltus.transitions.statistics.growth import (
    LAWS,
    aligned,
    choose,
    exponent_interval,
    fit,
    misaligned,
    motion_of_pairs,
    motion_of_vectors,
    power,
)

STEPS = np.arange(1.0, 61.0) * 50
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "growth.md").read_text("utf-8")


def noise(seed, *shape, memory=0.0):
    """Gaussian noise of unit variance, correlated along the last axis."""
    own = np.random.default_rng(seed).standard_normal(shape)
    for step in range(1, shape[-1]):
        own[..., step] = memory * own[..., step - 1] + (1 - memory**2) ** 0.5 * own[..., step]
    return own


@pytest.mark.parametrize("law", LAWS)
def test_a_fit_is_scipy_s_regression(law):
    steps = STEPS / 500  # so that exp(-t) is more than one point
    norms = 3 + 0.1 * noise(0, 60) + steps**0.7
    found, expected = fit(steps, norms, law), linregress(LAWS[law](steps), norms)
    assert found.slope == pytest.approx(expected.slope, rel=1e-10)
    assert found.intercept == pytest.approx(expected.intercept, rel=1e-10)
    assert found.r_squared == pytest.approx(expected.rvalue**2, rel=1e-10)


def test_members_are_fitted_each_by_itself():
    norms = np.sqrt(STEPS) + 0.5 * noise(1, 3, 2, 60)
    together, free = fit(STEPS, norms, "root"), power(STEPS, norms)
    assert together.slope.shape == free.exponent.shape == (3, 2)
    for k in np.ndindex(3, 2):
        alone = fit(STEPS, norms[k], "root")
        assert (together.slope[k], together.r_squared[k]) == (alone.slope, alone.r_squared)
        assert free.exponent[k] == power(STEPS, norms[k]).exponent
        assert free.memory[k] == power(STEPS, norms[k]).memory


@settings(max_examples=40, deadline=None)
@given(
    exponent=st.floats(0.1, 2.5),
    slope=st.floats(0.5, 50) | st.floats(-50, -0.5),
    intercept=st.floats(-100, 100),
    unit=st.sampled_from([1e-3, 1.0, 5100.0]),
)
def test_a_power_is_found_whatever_its_scale(exponent, slope, intercept, unit):
    steps = np.arange(40) * unit
    found = power(steps, slope * (np.arange(40) / 39) ** exponent + intercept)
    assert found.exponent == pytest.approx(exponent, abs=1e-4)
    assert found.slope * steps[-1] ** found.exponent == pytest.approx(slope, rel=1e-2)
    assert found.intercept == pytest.approx(intercept, rel=1e-3, abs=abs(slope) * 1e-2)
    assert found.r_squared == pytest.approx(1, abs=1e-6) and not found.at_border


def test_no_power_has_a_smaller_error_than_the_one_found():
    norms = 5 + STEPS**0.6 + noise(2, 60)
    best = power(STEPS, norms)
    for p in np.linspace(0.05, 2.9, 58):
        assert linregress(STEPS**p, norms).rvalue ** 2 <= best.r_squared + 1e-12


def test_a_logarithm_has_the_lowest_power_and_an_exponential_the_highest():
    assert power(STEPS, np.log(STEPS)).exponent == pytest.approx(0.02)
    assert power(STEPS, np.log(STEPS)).at_border
    assert power(STEPS, np.exp(STEPS / 300)).at_border


def test_memory_is_the_correlation_of_consecutive_residuals():
    steps = np.arange(400.0)  # of few steps a fit with three parameters takes memory away
    for memory in (0.0, 0.6, 0.95):
        found = power(steps, steps**0.5 + 0.01 * noise(3, 20, 400, memory=memory)).memory
        assert found.mean() == pytest.approx(memory, abs=0.04)


def test_a_constant_norm_has_no_share_to_explain():
    found = fit(STEPS, np.full(60, 2.0), "linear")
    assert found.slope == 0 and found.intercept == 2 and np.isnan(found.r_squared)


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_the_interval_of_one_trajectory_covers(memory):
    norms = (STEPS / 3000) ** 0.5 + 0.01 * noise(4, 30, 60, memory=memory)
    found = [exponent_interval(STEPS, each) for each in norms]
    covered = np.mean([each.low <= 0.5 <= each.high for each in found])
    assert covered >= 0.85 and {each.count for each in found} == {1}
    assert np.median([each.high - each.low for each in found]) < 0.4


def test_the_interval_over_seeds_is_student_s():
    norms = (STEPS / 3000) ** 0.5 + 0.01 * noise(5, 6, 60)
    each = power(STEPS, norms).exponent
    found = exponent_interval(STEPS, norms)
    half = 2.5706 * each.std(ddof=1) / 6**0.5
    assert (found.estimate, found.count) == (pytest.approx(each.mean()), 6)
    assert found.high - found.low == pytest.approx(2 * half, rel=1e-4)


@pytest.mark.parametrize("law", ["root", "linear", "logarithm"])
@pytest.mark.parametrize("shape", [(60,), (4, 60)], ids=["one trajectory", "four seeds"])
def test_the_law_behind_the_norms_is_chosen(law, shape):
    clean = LAWS[law](STEPS)
    norms = 10 + (clean - clean[0]) / np.ptp(clean) + 0.02 * noise(6, *shape, memory=0.5)
    found = choose(STEPS, norms)
    assert found.law == found.best == law
    assert found.errors[law].shape == shape[:-1]
    assert {each.count for each in found.margins.values()} == {4 if len(shape) > 1 else 1}


def test_noise_and_a_constant_are_undecided():
    laws = {choose(STEPS, 10 + noise(seed, 4, 60)).law for seed in range(10)}
    assert laws == {None}
    assert choose(STEPS, np.full(60, 3.0)).law is None
    # Between √t and t there is nothing to choose where noise is as large as what sets them apart.
    norms = (STEPS / 3000) ** 0.72 + 0.05 * noise(7, 4, 60)
    assert choose(STEPS, norms, ("root", "linear")).law is None


def test_the_error_is_that_of_blocks_left_out():
    norms = STEPS**0.6 + noise(8, 60)
    missed = []
    for block in np.array_split(np.arange(60), 10):
        kept = ~np.isin(np.arange(60), block)
        line = linregress(STEPS[kept], norms[kept])
        missed.append(np.mean((norms[block] - line.slope * STEPS[block] - line.intercept) ** 2))
    found = choose(STEPS, norms, ("root", "linear"))
    assert found.errors["linear"] == pytest.approx(np.sqrt(np.mean(missed)), rel=1e-10)


def test_all_laws_see_the_same_steps():
    steps = STEPS - 50
    norms = np.sqrt(steps) + noise(9, 60)
    with_log, without = choose(steps, norms), choose(steps[1:], norms[1:], ("root", "linear"))
    np.testing.assert_array_equal(with_log.errors["root"], without.errors["root"])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 12), size=st.integers(1, 30))
def test_growth_is_squares_and_cross_term(seed, count, size):
    theta = np.random.default_rng(seed).standard_normal((3, count, size)).cumsum(-2)
    found = motion_of_vectors(theta)
    scale = np.square(found.norms).sum(-1)
    error = np.abs(found.growth - found.squares - found.cross) / scale
    assert error.max() < 1e-9
    np.testing.assert_array_equal(found.grows, np.diff(found.norms) > 0)


def test_pairs_tell_what_vectors_tell():
    theta = np.random.default_rng(0).standard_normal((2, 9, 40)).cumsum(-2)
    whole = motion_of_vectors(theta)
    products = (theta[:, :-1] * theta[:, 1:]).sum(-1)
    pairs = motion_of_pairs(whole.norms, products / whole.norms[:, 1:] / whole.norms[:, :-1])
    for name in ("lengths", "inner", "alignment", "growth", "squares", "cross"):
        np.testing.assert_allclose(getattr(pairs, name), getattr(whole, name), rtol=1e-9)
    steps = np.diff(theta, axis=-2)
    expected = (theta[:, :-1] * theta[:, 1:]).sum(-1) - np.square(theta[:, :-1]).sum(-1)
    expected /= np.linalg.norm(steps, axis=-1) * np.linalg.norm(theta[:, :-1], axis=-1)
    np.testing.assert_allclose(whole.alignment, expected, rtol=1e-9)  # M8 as it is written


def test_a_step_along_the_parameters_and_one_that_never_comes():
    found = motion_of_vectors([[3.0, 4.0], [6.0, 8.0], [6.0, 8.0], [3.0, 4.0]])
    np.testing.assert_allclose(found.alignment, [1, np.nan, -1])
    np.testing.assert_allclose(found.lengths, [5, 0, 5])
    assert found.growth == 0 and found.squares == 50 and found.cross == -50


def test_orthogonal_steps_add_their_squares():
    """Section 7, item 6."""
    walk = np.zeros((201, 201))
    walk[:, 0] = 3
    for step in range(1, 201):
        walk[step:, step] = 0.7
    found = motion_of_vectors(walk)
    np.testing.assert_allclose(found.norms, np.sqrt(9 + 0.49 * np.arange(201)), rtol=1e-12)
    assert found.cross == 0 and found.squares == pytest.approx(200 * 0.49)


@pytest.mark.parametrize("kappa, expected", [(0.1, 0.0050), (0.5, 0.1250), (1.0, 0.5000)])
def test_misaligned_growth_is_a_power_of_half_kappa_squared(kappa, expected):
    """Section 7, item 7: t from 1,000 to 100,000."""
    t = np.arange(1, 100_001)
    norms = misaligned(2.0, t**-0.5, kappa)
    found = linregress(np.log(t[999:]), np.log(norms[1000:])).slope
    assert found == pytest.approx(expected, abs=5e-5)
    if kappa == 1:
        np.testing.assert_allclose(np.square(norms[1:]), (t + 1) * 4.0, rtol=1e-10)


@pytest.mark.parametrize("kappa, expected", [(0.1, 0.19994), (0.5, 0.9985)])
def test_aligned_growth_is_an_exponential_of_the_root(kappa, expected):
    """Section 7, item 8."""
    t = np.arange(1, 100_001)
    norms = aligned(2.0, t**-0.5, kappa)
    found = linregress(np.sqrt(t[999:]), np.log(norms[1000:])).slope
    assert found == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: fit([0, 1, 2, 3], np.ones(4), "cubic"), "law: unknown law 'cubic'"),
        (lambda: fit([0, 1, 2], np.ones(3), "root"), "steps: 4 or more of them, rising"),
        (lambda: fit([0, 1, 1, 2], np.ones(4), "root"), "steps: 4 or more of them, rising"),
        (lambda: fit([-1, 0, 1, 2], np.ones(4), "root"), "steps: 4 or more of them, rising"),
        (lambda: fit([0, 1, 2, 3], np.ones(5), "root"), "norms: shape"),
        (lambda: power([0, 1, 2, 3], [1, np.nan, 1, 1]), "norms: a step or a norm is not finite"),
        (lambda: power(STEPS, STEPS, lowest=0), "lowest: 0 is not allowed"),
        (lambda: choose(STEPS, STEPS, ["root"]), "laws: root is not allowed"),
        (lambda: choose(STEPS, STEPS, blocks=1), "blocks: 1 is not allowed with 60 steps"),
        (lambda: choose(STEPS, STEPS, blocks=31), "blocks: 31 is not allowed with 60 steps"),
        (lambda: exponent_interval(STEPS, np.ones((1, 2, 60))), "norms: 3 axes are not allowed"),
        (lambda: exponent_interval(STEPS, STEPS, confidence=1.2), "confidence"),
        (lambda: motion_of_pairs([1, 2, 3], [1.0]), "cosines: shape"),
        (lambda: motion_of_pairs([1, 2], [1.1]), "cosines: norms must be 0 or more"),
        (lambda: motion_of_vectors([[1.0, 2.0]]), "vectors: shape"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_cannot_be_fitted_gets_one_line(call, message):
    with pytest.raises(SaltusError) as error:
        call()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_the_page_prints_what_it_says(capsys):
    """All of it but how often an interval covers, which takes many trajectories."""
    namespace: dict = {}
    blocks = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == PAGE.count("```python") == 8
    for source, printed in blocks:
        many = "trajectories = 200" in source
        exec(compile(source.replace("trajectories = 200", "trajectories = 2"), "growth.md", "exec"),
             namespace)  # fmt: skip
        said = capsys.readouterr().out
        assert said.splitlines()[0] == printed.splitlines()[0]
        assert many or said == printed
    assert max(map(len, PAGE.splitlines())) <= 100
