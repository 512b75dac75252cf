"""Least nuclear norm: closed forms, certificates, symmetries, and cvxpy as the reference."""

from math import inf, nan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltus.baselines import complete
from saltus.baselines.certificate import dual_bound, is_unique
from saltus.errors import SaltusError


def low_rank(count: int, rows: int, columns: int, rank: int, missing: float, seed: int = 0):
    """Matrices as the paper draws them, and masks."""
    draw = torch.Generator().manual_seed(seed)
    left, right = (
        torch.rand(count, size, rank, generator=draw, dtype=torch.float64) * 2 - 1
        for size in (rows, columns)
    )
    matrices = (left @ right.mT * 100).round() / 100
    return matrices, torch.rand(count, rows, columns, generator=draw) >= missing


def matrix(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float64)


def test_all_observed_is_the_matrix_itself():
    matrices, observed = low_rank(4, 5, 3, 1, 0.0)
    found = complete(matrices, observed)
    assert torch.equal(found.solutions, matrices)
    assert torch.allclose(found.nuclear_norms, torch.linalg.matrix_norm(matrices, "nuc"))
    assert (found.gaps < 1e-8).all() and found.unique.all()


def test_nothing_observed_is_zero():
    matrices, observed = low_rank(2, 3, 4, 2, 0.0)
    for weight in (None, 0.1):
        found = complete(matrices.fill_(nan), ~observed, weight)
        assert torch.equal(found.solutions, torch.zeros_like(matrices))
        assert found.gaps.tolist() == [0, 0] and found.unique.all()


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        (1.0, 0.5, 0.5, 0.25),  # rank 1: z = b c / a
        (2.0, -1.0, 1.5, -0.75),
        (1.0, 2.0, 1.0, 1.0),  # rank 1 would cost more than z = a
        (-1.0, 2.0, 1.0, -1.0),
        (0.5, -2.0, 1.0, -0.5),
        (0.0, 1.0, 1.0, 0.0),
    ],
)
def test_one_missing_entry_of_four_has_a_closed_form(a, b, c, expected):
    """|Z|*^2 = a^2 + b^2 + c^2 + z^2 + 2 |a z - b c| is least at z = a clip(b c / a^2, -1, 1)."""
    observed = torch.tensor([[[True, True], [True, False]]])
    found = complete(matrix([a, b], [c, nan]), observed)
    assert found.solutions[0, 1, 1] == pytest.approx(expected, abs=1e-6)
    squares = a**2 + b**2 + c**2 + expected**2 + 2 * abs(a * expected - b * c)
    assert found.nuclear_norms[0] == pytest.approx(squares**0.5, abs=1e-8)
    assert found.unique.all()


def test_several_solutions_are_found_out_and_the_middle_one_is_given():
    """[[1, t], [t, 1]] has nuclear norm 2 for every |t| <= 1."""
    diagonal = torch.eye(2, dtype=torch.bool).unsqueeze(0)
    for method in ("interior-point", "cvxpy"):
        found = complete(matrix([1, 0], [0, 1]), diagonal, method=method)
        assert found.unique.tolist() == [False]
        assert found.nuclear_norms[0] == pytest.approx(2, abs=1e-8)
        assert found.solutions[0] == pytest.approx(torch.eye(2), abs=1e-6)


def test_an_empty_row_becomes_zero():
    matrices, observed = low_rank(8, 4, 5, 2, 0.3)
    observed[:, 2] = False
    found = complete(matrices, observed)
    assert found.solutions[:, 2].abs().max() < 1e-8
    rest = [0, 1, 3]
    alone = complete(matrices[:, rest], observed[:, rest])
    assert torch.allclose(found.nuclear_norms, alone.nuclear_norms, atol=1e-7)


def test_a_single_row_is_filled_with_zeros():
    observed = torch.tensor([[[True, False, True]]])
    found = complete(matrix([3.0, 7.0, 4.0]), observed)
    assert found.solutions[0, 0] == pytest.approx(torch.tensor([3.0, 0.0, 4.0]), abs=1e-8)
    assert found.nuclear_norms.item() == pytest.approx(5, abs=1e-8)


@pytest.mark.parametrize("weight", [0.01, 0.3, 5.0])
def test_regularised_and_all_observed_is_soft_thresholding(weight):
    """min |Z - X|^2 / N + weight |Z|* lowers every singular value by N weight / 2, to 0 at least
    (Cai, Candes and Shen 2010)."""
    matrices, observed = low_rank(4, 4, 3, 2, 0.0)
    U, values, Vh = torch.linalg.svd(matrices, full_matrices=False)
    expected = U @ torch.diag_embed((values - 12 * weight / 2).clamp(min=0)) @ Vh
    found = complete(matrices, observed, weight)
    assert torch.allclose(found.solutions, expected, atol=1e-6)
    assert (found.gaps < 1e-9).all()


def test_a_vanishing_weight_gives_the_exact_solution():
    matrices, observed = low_rank(4, 6, 6, 2, 0.3)
    exact, close = complete(matrices, observed), complete(matrices, observed, 1e-6)
    assert torch.allclose(exact.solutions, close.solutions, atol=1e-3)
    assert (close.residuals < 1e-3).all() and (close.residuals > 0).all()
    assert (exact.residuals == 0).all()


@pytest.mark.parametrize("weight", [None, 0.002])
def test_cvxpy_agrees(weight):
    matrices, observed = low_rank(8, 7, 7, 2, 0.4, seed=3)
    ours = complete(matrices, observed, weight)
    theirs = complete(matrices, observed, weight, "cvxpy")
    assert torch.allclose(ours.objectives, theirs.objectives, atol=1e-7)
    assert torch.equal(ours.unique, theirs.unique) and ours.unique.sum() > 0
    only = ours.unique
    assert torch.allclose(ours.solutions[only], theirs.solutions[only], atol=1e-4)
    assert (theirs.gaps.abs() < 1e-7).all() and (theirs.residuals < 0.1).all()
    assert (ours.gaps < 1e-8).all()


def test_one_by_one_is_the_same_as_together():
    matrices, observed = low_rank(6, 5, 4, 2, 0.5)
    together = complete(matrices, observed)
    for i in range(len(matrices)):
        alone = complete(matrices[i : i + 1], observed[i : i + 1])
        assert torch.allclose(together.solutions[i], alone.solutions[0], atol=1e-5)
        assert together.unique[i] == alone.unique[0]


@pytest.mark.parametrize("weight", [None, 0.01])
def test_symmetries_of_the_problem_are_those_of_the_answer(weight):
    matrices, observed = low_rank(16, 5, 6, 2, 0.5)
    found = complete(matrices, observed, weight).solutions
    turned = complete(matrices.mT, observed.mT, weight).solutions.mT
    order = [3, 0, 4, 1, 2]
    sorted_ = complete(matrices[:, order], observed[:, order], weight).solutions
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0], dtype=torch.float64)[:, None]
    flipped = complete(matrices * signs, observed, weight).solutions * signs
    assert torch.allclose(turned, found, atol=1e-4)
    assert torch.allclose(sorted_, found[:, order], atol=1e-4)
    assert torch.allclose(flipped, found, atol=1e-4)


def test_rows_that_are_observed_alike_may_be_rotated():
    matrices, observed = low_rank(8, 5, 5, 2, 0.3)
    observed[:, 1] = observed[:, 0]
    rotation = torch.eye(5, dtype=torch.float64)
    rotation[:2, :2] = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    found = complete(matrices, observed)
    rotated = complete(rotation @ matrices, observed)
    assert torch.allclose(rotated.nuclear_norms, found.nuclear_norms, atol=1e-7)
    assert torch.allclose(rotated.solutions, rotation @ found.solutions, atol=1e-4)


def test_scale_goes_through():
    matrices, observed = low_rank(8, 5, 5, 2, 0.4)
    found = complete(matrices, observed)
    for scale in (1e-6, 1e6):
        scaled = complete(matrices * scale, observed)
        assert torch.allclose(scaled.solutions / scale, found.solutions, atol=1e-5)
        assert torch.equal(scaled.unique, found.unique)


def test_float32_is_solved_in_float64():
    matrices, observed = low_rank(4, 5, 5, 2, 0.3)
    found = complete(matrices.float(), observed)
    assert found.solutions.dtype == torch.float64 and (found.gaps < 1e-8).all()


def test_no_matrices_no_solutions():
    found = complete(torch.zeros(0, 3, 2), torch.zeros(0, 3, 2, dtype=torch.bool))
    assert found.solutions.shape == (0, 3, 2) and found.unique.shape == (0,)


def test_any_dual_is_a_bound_from_below():
    matrices, observed = low_rank(32, 5, 5, 2, 0.4)
    known = matrices.where(observed, 0)
    draw = torch.Generator().manual_seed(1)
    for slack in (0.0, 0.7):
        anything = torch.randn(32, 5, 5, generator=draw, dtype=torch.float64).where(observed, 0)
        weights = torch.full((32,), slack, dtype=torch.float64)
        bound = dual_bound(anything, known, weights)
        seen = observed.sum((1, 2))
        for i in range(4):
            weight = None if slack == 0 else float(2 * slack / seen[i])
            best = complete(matrices[i : i + 1], observed[i : i + 1], weight).objectives / (
                weight or 1
            )
            assert bound[i] <= best + 1e-9


def test_a_solution_with_too_few_observed_entries_is_not_unique():
    # Rank 2 leaves three unknowns, and two entries are observed.
    two = torch.tensor([[[True, False], [False, True]]])
    assert is_unique(torch.eye(2, dtype=torch.float64).unsqueeze(0), two).tolist() == [False]
    assert is_unique(matrix([1, 1], [1, 1]), two).tolist() == [True]  # one unknown


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    rank=st.integers(0, 3),
    missing=st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]),
    weight=st.sampled_from([None, 1e-3, 0.1]),
    seed=st.integers(0, 1000),
)
def test_every_answer_is_certified(rows, columns, rank, missing, weight, seed):
    matrices, observed = low_rank(3, rows, columns, rank, missing, seed)
    found = complete(matrices, observed, weight)
    assert found.solutions.isfinite().all()
    assert (found.gaps < 1e-7).all() and (found.gaps > -1e-12).all()
    assert weight is not None or (found.residuals == 0).all()
    assert weight is not None or torch.equal(found.objectives, found.nuclear_norms)
    # The truth agrees with what is observed, so the least norm is not above its norm.
    truth = torch.linalg.matrix_norm(matrices, "nuc")
    assert weight is not None or (found.nuclear_norms <= truth + 1e-8).all()


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_observed_entries_must_be_finite(value):
    matrices, observed = low_rank(3, 2, 4, 1, 0.0)
    matrices[1, 0, 2] = value
    message = f"matrices: {value} at row 0, column 2 of matrix 1 is not allowed: observed "
    with pytest.raises(SaltusError, match=message):
        complete(matrices, observed)
    observed[1, 0, 2] = False
    assert complete(matrices, observed).solutions.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regularisation": 0.0}, "regularisation: 0.0 is not allowed: a finite number above 0"),
        ({"regularisation": -1.0}, "regularisation: -1.0 is not allowed"),
        ({"regularisation": nan}, "regularisation: nan is not allowed"),
        ({"regularisation": inf}, "regularisation: inf is not allowed"),
        ({"method": "cvxpi"}, "method: unknown method 'cvxpi'; did you mean 'cvxpy'?"),
        ({"processes": 0}, "processes: 0 is not allowed: 1 or more"),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(SaltusError, match=message.replace("?", r"\?")):
        complete(*low_rank(1, 2, 2, 1, 0.0), **options)


def test_a_matrix_without_rows_is_none():
    with pytest.raises(SaltusError, match="matrices: 0 x 3 is not allowed: 1 x 1 or more"):
        complete(torch.zeros(2, 0, 3), torch.zeros(2, 0, 3, dtype=torch.bool))
