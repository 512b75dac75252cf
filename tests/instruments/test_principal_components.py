"""Principal components and correlations against other libraries, and what leaves them alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from saltus.instruments.principal_components import correlation, principal, rank_correlation

sizes = pytest.mark.parametrize(
    ("rows", "width"), [(9, 4), (4, 9), (30, 30), (2, 2), (50, 2)], ids=str
)


def table(rows, width):
    return torch.randn(rows, width, dtype=torch.float64) * torch.linspace(3, 1, width).double()


def close(actual, expected, **tolerance):
    torch.testing.assert_close(
        actual, torch.as_tensor(expected, dtype=torch.float64), **{"rtol": 1e-9, "atol": 1e-9},
        **tolerance,
    )  # fmt: skip


@sizes
def test_they_are_those_of_scikit_learn_up_to_sign(rows, width):
    x = table(rows, width)
    found, other = principal(x), PCA(2).fit(x.numpy())
    close(found.explained, other.explained_variance_ratio_)
    close(found.coordinates.abs(), np.abs(other.transform(x.numpy())))
    if min(rows - 1, width) >= 2:  # a direction along which nothing lies is any
        close(found.directions.abs(), np.abs(other.components_))
    close((x - x.mean(0)) @ found.directions.T, found.coordinates)


@sizes
def test_turning_and_moving_the_rows_changes_nothing_not_even_a_sign(rows, width):
    x = table(rows, width)
    turn = torch.linalg.qr(table(width, width)).Q
    values = [torch.linspace(-1, 1, rows).double()]
    for references in ((), values):
        before, after = principal(x, references), principal(x @ turn + 5, references)
        if references and rows == 2:
            continue  # the second component is nothing, so it has no sign
        close(after.coordinates, before.coordinates)
        close(after.explained, before.explained)


def test_a_sign_is_that_of_what_the_component_is_most_alike():
    x, y = torch.linspace(-1, 1, 7).double(), torch.linspace(-1, 1, 7).double().square()
    for flip in (1, -1):
        rows = torch.stack([flip * 3 * x, 2 * y], dim=1)
        first, second = principal(rows, [y, x]).coordinates.T
        assert correlation(first, x) > 0.99 and correlation(second, y) > 0.99
    largest = principal(torch.tensor([[-9.0, 0], [1, 1], [2, -1]]).double()).coordinates[0, 0]
    assert largest > 0


@pytest.mark.parametrize("shape", [(1, 4), (5, 1), (1, 1)], ids=str)
def test_tables_with_less_than_two_dimensions_have_zeros(shape):
    found = principal(torch.ones(shape, dtype=torch.float64).cumsum(0))
    assert found.coordinates.shape == (shape[0], 2) and found.directions.shape == (2, shape[1])
    assert found.coordinates[:, 1].eq(0).all() and found.explained[1] == 0
    assert found.explained[0].item() == pytest.approx(float(shape[0] > 1))


def test_equal_rows_explain_nothing():
    assert principal(torch.ones(4, 3, dtype=torch.float64)).explained.tolist() == [0, 0]


@given(
    st.integers(2, 12).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(-4, 4), min_size=n, max_size=n),
            st.lists(st.integers(-4, 4), min_size=n, max_size=n),
        )
    )
)
def test_correlations_are_those_of_scipy_with_ties_too(pair):
    one, other = (torch.tensor(values, dtype=torch.float64) for values in pair)
    if len(set(pair[0])) == 1 or len(set(pair[1])) == 1:
        assert correlation(one, other) == 0 and rank_correlation(one, other) == 0
        return
    close(correlation(one, other), np.corrcoef(*pair)[0, 1])
    close(rank_correlation(one, other), spearmanr(*pair).statistic)
