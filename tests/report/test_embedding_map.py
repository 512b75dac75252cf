"""Embedding maps: neighbours stay neighbours; coordinates are nobody's business."""

import sys

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.report.embedding_map import embedding_map


def clusters():
    """Seven clusters of seven rows, like the columns of a 7 x 7 matrix."""
    generator = np.random.default_rng(0)
    centres = 10 * generator.standard_normal((7, 16))
    return np.tile(centres, (7, 1)) + 0.1 * generator.standard_normal((49, 16))


def test_the_nearest_neighbour_in_the_map_is_of_the_same_cluster():
    found = embedding_map(clusters(), perplexity=5)
    assert found.shape == (49, 2)
    distance = np.linalg.norm(found[:, None] - found[None], axis=-1) + np.diag([np.inf] * 49)
    assert (distance.argmin(1) % 7 == np.arange(49) % 7).all()


def test_a_seed_is_a_map():
    rows = clusters()
    assert np.array_equal(embedding_map(rows, seed=1), embedding_map(rows, seed=1))


@pytest.mark.parametrize("perplexity", [0, -1, 49, 60])
def test_a_perplexity_that_the_rows_do_not_allow_is_refused_in_one_line(perplexity):
    with pytest.raises(SaltusError, match=r"^perplexity: .* below the number of rows, 49$"):
        embedding_map(clusters(), perplexity=perplexity)


def test_rows_that_are_not_numbers_are_refused_in_one_line():
    rows = clusters()
    rows[3, 3] = np.nan
    with pytest.raises(SaltusError, match="NaN"):
        embedding_map(rows)


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(SaltusError, match=r"^scikit-learn is not installed: pip install"):
        embedding_map(clusters())
