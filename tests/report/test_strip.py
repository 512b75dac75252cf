"""Films on paper: the page's film, at the steps around the leap, or evenly spread."""

from dataclasses import replace

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.report import publication
from saltus.report.attention import attention_film, maps, phases
from saltus.report.clock import Clock
from saltus.report.detected import Leaps
from saltus.report.films import Film, Take, film, take
from saltus.report.films.paper import draw_strip
from saltus.report.films.strip import FRAMES, ROWS, strips
from saltus.report.gather import Group
from saltus.report.scatters import scatter, scatters
from saltus.transitions import Plateau, Transition

LEAP = Transition(Plateau(2.0, 0.0, 10.0), 100.0, 24.0, 30.0, 34.0, 38.0, 1.0)


def recorded(run, values, steps):
    return maps(Group("a", 0, run, tuple(range(len(run.seeds)))), "blocks.0", steps, values)


def films(*tracks):
    return Film("f", (Take("mean", tracks),), "caption")


def test_the_steps_are_those_around_the_leap():
    steps, leaps = np.arange(0, 101, 10), Leaps(((LEAP,),), Clock())
    named = [(int(steps[place]), name) for place, name in phases(steps, leaps)]
    assert named == [(0, "start"), (20, "before"), (30, "during the leap"), (40, "after"),
                     (100, "end")]  # fmt: skip
    early = Leaps(((Transition(None, 100.0, 1.0, 2.0, 3.0, 4.0, 1.0),),), Clock())
    assert [name for _, name in phases(steps, early)] == ["start", "after", "end"]
    for nothing in (None, Leaps(((Transition(None, 100.0),),), Clock())):
        assert [int(steps[p]) for p, _ in phases(steps, nothing)] == [0, 20, 50, 80, 100]


def test_a_tile_is_the_map_that_the_page_shows(make_run):
    values = np.random.default_rng(0).normal(size=(2, 3, 2, 5, 5))
    mean, _ = recorded(make_run(seeds=2), values, np.array([0, 10, 20]))
    mean = replace(mean, moments=())
    (strip,) = strips(films(mean))
    assert [row.label for row in strip.rows] == ["a\nblocks.0, head 0", "a\nblocks.0, head 1"]
    row = strip.rows[1]
    assert [tile.title for tile in row.tiles] == ["step 0", "step 10", "step 20"]
    for place, tile in enumerate(row.tiles):
        np.testing.assert_allclose(tile.values, values.mean(0)[place, 1])
    images = [axes.images[0] for axes in draw_strip(strip).axes if axes.images]
    assert len(images) == 6
    np.testing.assert_array_equal(images[4].get_array(), row.tiles[1].values)
    assert images[0].get_clim() == (-mean.scale, mean.scale)


def test_needed_keys_are_outlined_and_unsigned_weights_begin_at_white(make_run):
    found, _ = recorded(make_run(seeds=1), np.full((1, 2, 1, 32, 32), 0.25), np.array([0, 10]))
    (axes, *_) = draw_strip(strips(films(found))[0]).axes
    assert axes.images[0].get_clim() == (0, 0.25)
    assert axes.images[0].get_cmap()(0.0)[:3] == (1, 1, 1)
    (outline,) = axes.collections
    assert len(outline.get_paths()) == found.outlined.sum()


def test_many_heads_make_several_strips(make_run):
    found, _ = recorded(make_run(seeds=1), np.ones((1, 1, ROWS + 1, 2, 2)), np.array([0]))
    made = strips(films(found))
    assert [len(strip.rows) for strip in made] == [ROWS, 1]
    assert made[1].title == "f 2 of 2"


def test_a_scatter_on_paper_is_six_of_its_frames_on_one_scale():
    steps = np.arange(0, 110, 10)
    points = np.random.default_rng(0).normal(size=(11, 4, 2))
    frames = scatters("tokens", [scatter("", each, kinds="aabb") for each in points], "seed 0")
    made = film("The leap", [take("seed 0", clouds=[(steps, frames)])])
    (strip,) = strips(made)
    assert len(strip.rows[0].tiles) == FRAMES
    drawn = draw_strip(strip).axes
    assert [axes.get_title(loc="left") for axes in drawn] == [
        f"step {step}" for step in (0, 20, 40, 60, 80, 100)
    ]
    assert len({axes.get_xlim() for axes in drawn}) == 1
    np.testing.assert_array_equal(drawn[1].collections[0].get_offsets(), points[2, :2])


def test_the_film_of_a_run_can_be_written(make_run):
    (strip,) = strips(attention_film({"a": make_run()}))
    assert "4 seeds" in strip.caption and "Shown: mean over seeds." in strip.caption
    for suffix, head in ((".svg", b"<?xm"), (".pdf", b"%PDF")):
        data = publication.render(strip, suffix)
        assert data[:4] == head and data == publication.render(strip, suffix)


def test_takes_that_show_different_things_are_refused():
    steps, one = np.arange(2), np.ones((2, 1, 3, 3))
    good = take("seed 0", [("blocks.0", steps, one)])
    with pytest.raises(SaltusError, match=r"film 'f': every take must show the same"):
        film("f", [good, take("seed 1", [("blocks.1", steps, one)])])
    with pytest.raises(SaltusError, match=r"film 'f': every take must show the same"):
        film("f", [take("seed 0")])
    with pytest.raises(SaltusError, match="without frames"):
        film("f", [take("seed 0", [("blocks.0", steps[:0], one[:0])])])
    frames = scatters("tokens", [scatter("", np.ones((2, 2)))] * 2, "seed 0")
    with pytest.raises(SaltusError, match="3 steps need as many panels"):
        take("seed 0", clouds=[(np.arange(3), frames)])
