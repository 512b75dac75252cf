"""The numbers of the methods: every order condition, and scipy's tables digit by digit."""

from functools import cache

import numpy as np
import pytest
from scipy.integrate import DOP853 as SCIPY_853
from scipy.integrate import RK45 as SCIPY_45

from saltus.flow.dense import dense_weights
from saltus.flow.tableaus import DOP853, DOPRI5, METHODS, Row, Tableau

Tree = tuple["Tree", ...]  # a rooted tree is the sorted tuple of the trees above its root


@cache
def forests(nodes: int) -> list[Tree]:
    """Every multiset of rooted trees with so many nodes together."""
    if nodes == 0:
        return [()]
    found = {
        tuple(sorted((*rest, tree)))
        for size in range(1, nodes + 1)
        for tree in trees(size)
        for rest in forests(nodes - size)
    }
    return sorted(found)


@cache
def trees(order: int) -> list[Tree]:
    return forests(order - 1)


def order(tree: Tree) -> int:
    return 1 + sum(map(order, tree))


def gamma(tree: Tree) -> int:
    """The density: order times the densities of the branches."""
    return order(tree) * int(np.prod([gamma(branch) for branch in tree], dtype=int))


def dense_row(row: Row, size: int) -> np.ndarray:
    return np.array([row.get(stage, 0.0) for stage in range(size)])


def matrix(tableau: Tableau) -> np.ndarray:
    """A, with the stages for dense output."""
    rows = [{}, *tableau.stages, *tableau.extra]
    return np.array([dense_row(row, tableau.size) for row in rows])


def stage_values(tree: Tree, a: np.ndarray) -> np.ndarray:
    """The elementary weight of a tree at every stage: Π over branches of A · its values."""
    found = np.ones(len(a))
    for branch in tree:
        found = found * (a @ stage_values(branch, a))
    return found


def residual(tableau: Tableau, weights: Row, up_to: int, right: bool | float) -> float:
    """The largest violation of an order condition: Σ b Φ(t) = right^order(t) / γ(t)."""
    a, b = matrix(tableau), dense_row(weights, tableau.size)
    return max(
        abs(b @ stage_values(tree, a) - right ** order(tree) / gamma(tree))
        for nodes in range(1, up_to + 1)
        for tree in trees(nodes)
    )


def test_the_rooted_trees_are_all_there() -> None:
    assert [len(trees(order)) for order in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]


@pytest.mark.parametrize("tableau", METHODS.values(), ids=METHODS)
def test_the_step_meets_all_conditions_of_its_order_and_none_higher(tableau: Tableau) -> None:
    step = tableau.stages[-1]
    assert residual(tableau, step, tableau.order, 1.0) < 1e-13
    assert residual(tableau, step, tableau.order + 1, 1.0) > 1e-6


def test_error_estimates_vanish_to_the_order_of_their_embedded_method() -> None:
    # DOPRI5 compares with order 4; DOP853 with two methods, of order 5 and 3.
    for tableau, embedded in ((DOPRI5, (4,)), (DOP853, (5, 3))):
        for error, known in zip(tableau.errors, embedded, strict=True):
            assert residual(tableau, error, known, 0.0) < 1e-13
            assert residual(tableau, error, known + 1, 0.0) > 1e-6


@pytest.mark.parametrize(("tableau", "known"), [(DOP853, 7), (DOPRI5, 4)], ids=METHODS)
@pytest.mark.parametrize("part", [0.05, 0.3, 0.5, 0.87, 0.999])
def test_dense_output_meets_the_conditions_of_its_order(
    tableau: Tableau, known: int, part: float
) -> None:
    assert residual(tableau, dense_weights(tableau, part), known, part) < 1e-12


@pytest.mark.parametrize("tableau", METHODS.values(), ids=METHODS)
def test_dense_output_joins_the_ends(tableau: Tableau) -> None:
    assert set(dense_weights(tableau, 0.0).values()) == {0.0}
    step = {**dict.fromkeys(dense_weights(tableau, 1.0), 0.0), **tableau.stages[-1]}
    assert dense_weights(tableau, 1.0) == step


def test_the_coefficients_are_scipys() -> None:
    a = matrix(DOP853)
    assert np.array_equal(a[:12, :12], SCIPY_853.A)
    assert np.array_equal(a[12, :12], SCIPY_853.B)
    assert np.array_equal(a[13:], SCIPY_853.A_EXTRA)
    assert np.array_equal(dense_row(DOP853.errors[0], 13), SCIPY_853.E5)
    assert np.array_equal(dense_row(DOP853.errors[1], 13), SCIPY_853.E3)
    assert np.array_equal([dense_row(row, 16) for row in DOP853.dense], SCIPY_853.D)
    a = matrix(DOPRI5)
    assert np.array_equal(a[:6, :5], SCIPY_45.A)
    assert np.array_equal(a[6, :6], SCIPY_45.B)
    assert np.array_equal(dense_row(DOPRI5.errors[0], 7), SCIPY_45.E)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_the_dense_output_of_order_4_is_scipys(part: float) -> None:
    theirs = SCIPY_45.P @ part ** np.arange(1, 5)
    assert dense_row(dense_weights(DOPRI5, part), 7) == pytest.approx(theirs, abs=1e-14)
