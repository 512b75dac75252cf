"""Attention as a film: what was recorded, thinned and averaged; and the bytes that say so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from saltus.report.attention import MOST, attention_film, maps, maps_of
from saltus.report.axes import Axis
from saltus.report.films import Maps
from saltus.report.films.page import FINE, cloud_codes, map_codes
from saltus.report.gather import Group


def one(run):
    """All members of a run as one group."""
    return Group("a", 0, run, tuple(range(len(run.seeds))))


def decoded(track):
    """As film.js does it."""
    codes = map_codes(track.shade.places(track.values), track.signed).astype(float)
    shares = (codes - 128) / 127 if track.signed else (codes - 1) / 254
    return np.where(codes == 0, np.nan, shares * track.scale)


def track(values):
    return Maps("a", "blocks.0", np.arange(len(values)), np.asarray(values, dtype=float))


def test_bytes_keep_weights_to_half_a_step_of_the_scale():
    generator = np.random.default_rng(0)
    for values in (generator.uniform(0, 1, (3, 2, 8, 8)), generator.normal(size=(3, 2, 8, 8))):
        found = track(values)
        inside = np.clip(values, -found.scale, found.scale)
        half = found.scale / (2 * (127 if found.signed else 254))
        assert np.abs(decoded(found) - inside).max() <= half * (1 + 1e-9)
        assert found.signed == bool(values.min() < 0)
    assert decoded(track(np.zeros((1, 1, 2, 2)))).tolist() == [[[[0, 0], [0, 0]]]]


def test_zero_stays_zero_and_what_is_missing_stays_missing():
    for least in (0.0, -1.0):
        found = decoded(track([[[[0.0, np.nan, 0.5, least]]]]))[0, 0, 0]
        assert found[0] == 0 and np.isnan(found[1])
        assert found[2] == pytest.approx(0.5, abs=0.01)
    assert np.isnan(decoded(track(np.full((1, 1, 2, 2), np.nan)))).all()


@given(arrays.arrays(float, (5, 2), elements=st.floats(-10, 10)))
def test_points_keep_their_places_to_half_a_step_of_the_axis(points):
    x, y = Axis(-10, 10), Axis(-20, 20)
    codes = cloud_codes(points, x, y)
    assert codes.max() < FINE
    np.testing.assert_allclose(codes[:, 0] / (FINE - 1) * 20 - 10, points[:, 0], atol=20 / FINE)
    np.testing.assert_allclose(20 - codes[:, 1] / (FINE - 1) * 40, points[:, 1], atol=40 / FINE)
    points[2, 1] = np.nan
    assert cloud_codes(points, x, y)[2].tolist() == [FINE, FINE]


def test_the_mean_over_seeds_leaves_out_what_is_not_finite(make_run):
    values = np.ones((3, 1, 1, 2, 2))
    values[1], values[2] = 3.0, np.nan
    mean, first = maps(one(make_run(seeds=3)), "blocks.0", np.array([0]), values)
    assert (mean.values == 2).all() and (first.values == 1).all()


def test_many_steps_are_thinned_with_both_ends_kept(make_run):
    steps, run = np.arange(0, 500), make_run(seeds=1)
    found, _ = maps(one(run), "blocks.0", steps, np.ones((1, 500, 1, 4, 4)))
    assert len(found.steps) == MOST and found.steps[0] == 0 and found.steps[-1] == 499
    large, _ = maps(one(run), "blocks.0", steps, np.ones((1, 500, 8, 49, 49)))
    assert 6 <= len(large.steps) < 12


def test_the_needed_keys_are_shown_only_where_they_fit(make_run):
    run = make_run(seeds=1)  # its maps are 6 × 6, the task's set is larger
    assert [mean.outlined for (mean, _), _ in maps_of(one(run))] == [None]
    full, _ = maps(one(run), "blocks.0", np.array([0]), np.ones((1, 1, 1, 32, 32)))
    assert full.outlined is not None and full.outlined.any()


def test_settings_of_a_grid_have_maps_of_their_own(make_run):
    rates = [{"optimizer.learning_rate": rate} for rate in (0.1, 0.1, 0.1, 0.2)]
    made = attention_film({"grid": make_run(overrides=rates)})
    assert [each.name for each in made.takes] == ["mean over seeds", "first seed"]
    assert [each.of for each in made.takes[0].tracks] == ["learning_rate = 0.1",
                                                          "learning_rate = 0.2"]  # fmt: skip
    assert "learning_rate = 0.1: 3 seeds" in made.caption
    assert attention_film({}) is None
