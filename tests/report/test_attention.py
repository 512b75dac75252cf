"""Attention maps: bytes that say what was recorded."""

import numpy as np

from saltus.report.attention import MOST, maps, maps_of, view
from saltus.report.gather import Group


def one(run):
    """All members of a run as one group."""
    return Group("a", 0, run, tuple(range(len(run.seeds))))


def decoded(found):
    codes = found.weights.astype(float)
    return ((codes - 128) / 127 if found.signed else codes / 255) * found.scale


def test_bytes_keep_weights_to_half_a_step_of_the_scale():
    generator = np.random.default_rng(0)
    for values in (generator.uniform(0, 1, (3, 2, 8, 8)), generator.normal(size=(3, 2, 8, 8))):
        found = view("v", values)
        inside = np.clip(values, -found.scale, found.scale)
        assert np.abs(decoded(found) - inside).max() <= found.scale / (127 if found.signed else 255)
        assert found.signed == bool(values.min() < 0)
    assert view("v", np.zeros((1, 1, 2, 2))).weights.tolist() == [[[[0, 0], [0, 0]]]]


def test_the_mean_over_seeds_leaves_out_what_is_not_finite(make_run):
    values = np.ones((3, 1, 1, 2, 2))
    values[1], values[2] = 3.0, np.nan
    found = maps(one(make_run(seeds=3)), "blocks.0", np.array([0]), values)
    mean, first = found.views
    np.testing.assert_allclose(decoded(mean), 2.0)
    np.testing.assert_allclose(decoded(first), 1.0)
    assert first.name == "seed 0" and found.seeds == 3


def test_many_steps_are_thinned_with_both_ends_kept(make_run):
    steps = np.arange(0, 500)
    found = maps(one(make_run(seeds=1)), "blocks.0", steps, np.ones((1, 500, 1, 4, 4)))
    assert len(found.steps) == MOST and found.steps[0] == 0 and found.steps[-1] == 499
    large = maps(one(make_run(seeds=1)), "blocks.0", steps, np.ones((1, 500, 8, 49, 49)))
    assert 6 <= len(large.steps) < 12


def test_the_needed_keys_are_shown_only_where_they_fit(make_run):
    run = make_run(seeds=1)  # its maps are 6 × 6, the task's set is larger
    assert [found.needed for found in maps_of({"a": run})] == [None]
    full = maps(one(run), "blocks.0", np.array([0]), np.ones((1, 1, 1, 32, 32)))
    assert full.needed is not None and full.needed.any()


def test_settings_of_a_grid_have_maps_of_their_own(make_run):
    rates = [{"optimizer.learning_rate": rate} for rate in (0.1, 0.1, 0.1, 0.2)]
    found = maps_of({"grid": make_run(overrides=rates)})
    assert [layer.seeds for layer in found] == [3, 1]
    assert [layer.views[1].name for layer in found] == ["seed 0", "seed 3"]
