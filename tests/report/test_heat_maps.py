"""Heat maps: means with intervals, one scale of colours, and the same numbers wherever drawn."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.report.heat_maps import heat_map, heat_maps
from saltus.report.heat_maps.page import CELLS, draw_heat_maps, spots
from saltus.report.heat_maps.paper import draw_heat_maps as on_paper
from saltus.report.shades import Shade, css, shade_of
from saltus.report.text import number
from saltus.transitions import mean_interval

VALUES = np.random.default_rng(0).normal(size=(5, 3, 4))
CELL = re.compile(r'<div class="cell[^"]*"[^>]*><span>([^<]*)</span></div>')


def test_every_cell_is_a_mean_with_its_interval():
    made = heat_map("m", VALUES)
    for row, column in np.ndindex(3, 4):
        expected = mean_interval(VALUES[:, row, column])
        got = (made.values[row, column], made.low[row, column], made.high[row, column])
        assert got == (expected.estimate, expected.low, expected.high)
    assert (made.seeds, made.rows, made.columns) == (5, ("0", "1", "2"), ("0", "1", "2", "3"))


def test_without_several_seeds_there_is_no_interval():
    table, single = heat_map("m", VALUES[0]), heat_map("m", VALUES[:1])
    assert (table.seeds, single.seeds) == (0, 1) and table.low is single.low is None
    assert heat_maps("t", [table]).caption == "Computed, without seeds."
    assert heat_maps("t", [single]).caption.startswith("1 seed: single values")
    assert "5 seeds. Colour: mean over seeds" in heat_maps("t", [heat_map("m", VALUES)]).caption
    both = heat_maps("t", [heat_map("a", VALUES), heat_map("b", VALUES[:3])]).caption
    assert "a: 5 seeds and b: 3 seeds" in both


def test_page_and_paper_show_the_same_numbers_and_say_them():
    made = heat_maps("t", [heat_map("m", VALUES, x_label="head")], unit="nats")
    page = draw_heat_maps(made)
    (found,) = made.maps
    assert CELL.findall(page) == [number(v, 2) for v in found.values.ravel()]
    axes = on_paper(made).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), found.values)
    assert [text.get_text() for text in axes.texts] == CELL.findall(page)
    assert "nats" in page
    said = spots(found)[5]
    assert said.head == "1, head 1" and (said.x, said.y) == (1.5 / 4, 1.5 / 3)
    assert said.rows[0][2] == number(found.values[1, 1])
    assert number(found.low[1, 1]) in said.rows[0][3] and "5 seeds" in said.rows[0][3]


def test_a_scale_is_shared_or_not():
    maps = [heat_map("a", VALUES[0]), heat_map("b", 10 * VALUES[0])]
    together, apart = heat_maps("t", maps).shades, heat_maps("t", maps, shared=False).shades
    assert together[0] == together[1] != apart[0] and apart[1] == together[1]
    clims = [axes.images[0].get_clim() for axes in on_paper(heat_maps("t", maps)).axes[:2]]
    assert clims == [(together[0].low, together[0].high)] * 2


def test_colours_go_from_none_to_full():
    line = shade_of([np.array([2.0, 4.0, np.nan])])
    assert line.places(np.array([1.0, 2.0, 3.0, 4.0, 9.0])).tolist() == [0, 0, 0.5, 1, 1]
    both = shade_of([np.array([-1.0, 3.0])], diverging=True, center=1.0)
    assert both.places(np.array([-1.0, 0.0, 1.0, 3.0])).tolist() == [-1, -0.5, 0, 1]
    log = shade_of([np.array([0.01, 1.0, -5.0, 0.0])], log=True)
    assert log.places(np.array([0.01, 0.1, 1.0, 0.0, -1.0])).tolist() == pytest.approx(
        [0, 0.5, 1, 0, 0]
    )
    assert np.isnan(log.places(np.array([np.nan]))[0])
    assert shade_of([np.array([7.0, 7.0])]) == Shade(6.5, 7.5)
    assert shade_of([np.array([1e-9, 1.0])]).low == 0 and shade_of([]).ends == [0, 1]
    assert "--v:50.0%" in css(0.5) and "negative" in css(-0.1) and "positive" in css(0.0)


def test_scales_that_cannot_be_are_refused():
    with pytest.raises(SaltusError, match="cannot be logarithmic"):
        shade_of([np.ones(2)], diverging=True, log=True)
    with pytest.raises(SaltusError, match="from -1 is not allowed: above 0"):
        shade_of([np.ones(2)], log=True, span=(-1.0, 1.0))
    with pytest.raises(SaltusError, match="heat map 'm': 2 rows named, it has 3"):
        heat_map("m", VALUES, rows=["a", "b"])


def test_missing_values_are_hatched_and_outlines_drawn():
    values, outlined = VALUES[0].copy(), np.zeros((3, 4), dtype=bool)
    values[1, 2], outlined[0, 0] = np.nan, True
    made = heat_maps("t", [heat_map("m", values, outlined=outlined)])
    page = draw_heat_maps(made)
    assert len(re.findall(r'class="cell[^"]* none"', page)) == 1
    assert len(re.findall(r'class="cell[^"]* outlined"', page)) == 1
    assert "Hatched: no value." in made.caption
    axes = on_paper(made).axes[0]
    assert axes.images[0].get_array().mask[1, 2] and axes.collections
    nothing = heat_maps("t", [heat_map("m", np.full((2, 3, 4), np.nan))])
    assert "–" in draw_heat_maps(nothing) and on_paper(nothing)


def test_many_cells_go_onto_a_canvas():
    side = int(CELLS**0.5)
    small, large = (heat_maps("t", [heat_map("m", np.ones((n, n)))]) for n in (side, side + 1))
    assert "<canvas" not in draw_heat_maps(small)
    page = draw_heat_maps(large)
    assert page.count("<canvas") == 1 and "<input" not in page and "cell" not in page
    assert on_paper(large)


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=6), st.text(max_size=30))
def test_any_name_is_escaped(names, title):
    made = heat_maps(title, [heat_map(title, np.zeros((1, len(names))), [title], names)])
    page = draw_heat_maps(made)
    opened = re.findall(r"<(/?[a-zA-Z]+)", page)
    assert {name.strip("/") for name in opened} <= {"figure", "div", "span", "i", "figcaption",
                                                    "script"}  # fmt: skip
