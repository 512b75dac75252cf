"""Attention maps for papers: the page's bytes, at the steps around the leap."""

import numpy as np

from saltus.report import publication
from saltus.report.attention import maps, maps_of
from saltus.report.clock import Clock
from saltus.report.detected import Leaps
from saltus.report.gather import Group
from saltus.report.map_figure import ROWS, map_figures, phases, weights_of
from saltus.report.publication_maps import draw_maps
from saltus.transitions import Plateau, Transition

LEAP = Transition(Plateau(2.0, 0.0, 10.0), 100.0, 24.0, 30.0, 34.0, 38.0, 1.0)


def recorded(run, values, steps):
    return maps(Group("a", 0, run, tuple(range(len(run.seeds)))), "blocks.0", steps, values)


def test_the_steps_are_those_around_the_leap(make_run):
    run = make_run(seeds=1)
    found = recorded(run, np.ones((1, 11, 1, 3, 3)), np.arange(0, 101, 10))
    leaps = Leaps(((LEAP,),), Clock())
    named = [(int(found.steps[place]), name) for place, name in phases(found, leaps)]
    assert named == [(0, "start"), (20, "before"), (30, "during the leap"), (40, "after"),
                     (100, "end")]  # fmt: skip
    early = Leaps(((Transition(None, 100.0, 1.0, 2.0, 3.0, 4.0, 1.0),),), Clock())
    assert [name for _, name in phases(found, early)] == ["start", "after", "end"]
    for nothing in (None, Leaps(((Transition(None, 100.0),),), Clock())):
        assert [int(found.steps[p]) for p, _ in phases(found, nothing)] == [0, 20, 50, 80, 100]


def test_a_tile_is_the_map_that_the_page_shows(make_run):
    values = np.random.default_rng(0).normal(size=(2, 3, 2, 5, 5))
    found = recorded(make_run(seeds=2), values, np.array([0, 10, 20]))
    (figure,) = map_figures([found], {})
    assert [row.label for row in figure.rows] == ["a\nblocks.0, head 0", "a\nblocks.0, head 1"]
    view, row = found.views[0], figure.rows[1]
    for place, tile in enumerate(row.tiles):
        assert tile.title == f"step {10 * place}"
        np.testing.assert_array_equal(tile.weights, weights_of(view, place, 1))
        expected = np.clip(values.mean(0)[place, 1], -view.scale, view.scale)
        np.testing.assert_allclose(tile.weights, expected, atol=view.scale / 127)
    drawing = draw_maps(figure)
    images = [axes.images[0] for axes in drawing.axes if axes.images]
    assert len(images) >= 6
    np.testing.assert_array_equal(images[4].get_array(), row.tiles[1].weights)
    assert images[0].get_clim() == (-view.scale, view.scale)
    assert "2 seeds" in figure.caption and "no band" in figure.caption


def test_needed_keys_are_outlined_and_unsigned_weights_begin_at_white(make_run):
    run = make_run(seeds=1)
    found = recorded(run, np.full((1, 2, 1, 32, 32), 0.25), np.array([0, 10]))
    (figure,) = map_figures([found], {})
    (axes, *_) = draw_maps(figure).axes
    assert axes.images[0].get_clim() == (0, 0.25) and axes.images[0].get_cmap()(0.0)[:3] == (
        1,
        1,
        1,
    )
    (outline,) = axes.collections
    assert len(outline.get_paths()) == found.needed.sum()
    assert "Outlined" in figure.caption


def test_many_heads_make_several_figures(make_run):
    found = recorded(make_run(seeds=1), np.ones((1, 1, ROWS + 1, 2, 2)), np.array([0]))
    figures = map_figures([found], {})
    assert [len(figure.rows) for figure in figures] == [ROWS, 1]
    assert figures[1].title == "Attention over training 2 of 2"
    assert map_figures([], {}) == []


def test_maps_of_a_run_can_be_written(make_run):
    (figure,) = map_figures(maps_of({"a": make_run()}), {})
    for suffix, head in ((".svg", b"<?xm"), (".pdf", b"%PDF")):
        data = publication.render(figure, suffix)
        assert data[:4] == head and data == publication.render(figure, suffix)
