"""Means over matrices and their standard errors, and the baseline along a setting."""

from math import isnan

import pytest
import torch

from saltus.baselines import against_mask_probability, complete, mean_errors
from saltus.errors import SaltusError
from saltus.random import Draws


def sample(p: float, count: int):
    """Rank 1, 4 x 3; the same matrices for every p, masks nested."""
    draws = Draws(0, "test", dtype=torch.float64)
    matrices = draws.uniform(count, 4, 1, low=-1.0) @ draws.uniform(count, 1, 3, low=-1.0)
    return matrices, draws.uniform(count, 4, 3) >= p


def test_errors_are_pooled_over_entries():
    matrices = torch.zeros(2, 1, 3)
    predictions = torch.tensor([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]])
    observed = torch.tensor([[[True, False, True]], [[False, False, True]]])
    found = mean_errors(predictions, matrices, observed)
    assert found.everything.value == pytest.approx(91 / 6)
    assert found.observed.value == pytest.approx((1 + 9 + 36) / 3)
    assert found.missing.value == pytest.approx((4 + 16 + 25) / 3)
    # Of all entries it is the standard error of the matrices' own means, 14/3 and 77/3.
    assert found.everything.error == pytest.approx((77 - 14) / 3 / 2)


def test_the_standard_error_of_a_ratio_is_its_deviation_over_repetitions():
    draws = Draws(1, "test", dtype=torch.float64)
    predictions, matrices = draws.normal(400, 50, 3, 3), torch.zeros(400, 50, 3, 3)
    observed = draws.uniform(400, 50, 3, 3) < draws.uniform(400, 50, 1, 1)
    found = [
        mean_errors(each, zero, seen).missing
        for each, zero, seen in zip(predictions, matrices, observed, strict=True)
    ]
    values, errors = torch.tensor(found).T
    assert errors.mean() == pytest.approx(float(values.std()), rel=0.1)
    assert values.mean() == pytest.approx(1, abs=0.02)


def test_nothing_missing_has_no_mean_and_one_matrix_no_error():
    one = torch.ones(1, 2, 2)
    found = mean_errors(one, one, torch.ones(1, 2, 2, dtype=torch.bool))
    assert isnan(found.missing.value) and isnan(found.missing.error)
    assert found.observed.value == 0 and isnan(found.observed.error)


def test_the_curve_is_that_of_the_solutions():
    points = against_mask_probability([0.0, 0.3, 0.7], sample, 50)
    assert [point.setting for point in points] == [0.0, 0.3, 0.7]
    matrices, observed = sample(0.7, 50)
    found = complete(matrices, observed)
    assert points[2].errors == mean_errors(found.solutions, matrices, observed)
    assert points[2].norm.value == pytest.approx(float(found.nuclear_norms.mean()))
    assert points[2].several == int((~found.unique).sum())
    assert points[0].errors.everything.value == 0 and points[0].norm == points[0].true_norm
    # Masks are nested: what is asked of Z becomes less and less.
    norms = [point.norm.value for point in points]
    assert norms == sorted(norms, reverse=True) and norms[2] < norms[0]
    everything = [point.errors.everything.value for point in points]
    assert everything == sorted(everything)
    assert all(point.gap < 1e-7 and point.residual == 0 for point in points)


def test_regularised_points_allow_residuals():
    (point,) = against_mask_probability([0.3], sample, 20, regularisation=0.01)
    assert point.residual > 0 and point.errors.observed.value > 0


def test_no_matrices_is_one_line():
    with pytest.raises(SaltusError, match="matrices: 0 is not allowed: 1 or more"):
        against_mask_probability([0.3], sample, 0)
