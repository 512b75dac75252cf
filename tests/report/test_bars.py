"""Bars: means with intervals over names, on an axis that is honest about lengths."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.report.bars import bar_panel, bars
from saltus.report.bars.page import draw_bars, spots
from saltus.report.bars.paper import draw_bars as on_paper
from saltus.report.paths import WIDE
from saltus.report.text import number
from saltus.transitions import mean_interval

SEEDS = {"row heads": [0.3, 0.4, 0.2], "column heads": [0.5, 0.6, 0.9], "none": [0.01, np.nan]}


def test_every_name_has_its_mean_and_interval():
    (series,) = bar_panel("p", SEEDS).series
    assert [each.estimate for each in series.means] == [
        mean_interval(own).estimate for own in SEEDS.values()
    ]
    assert [len(own) for own in series.each] == [3, 3, 1]
    assert (series.means[2].count, np.isinf(series.means[2].low)) == (1, True)


def test_page_and_paper_show_the_same_numbers():
    made = bars("t", [bar_panel("p", SEEDS, "MSE", levels=[("intact", 0.1)])])
    (panel,), (x,) = made.panels, made.axes
    page = draw_bars(made)
    dots = re.findall(r'd="M(\d+) \d+l0 0" class="dots"', page)
    means = [each.estimate for each in panel.series[0].means]
    assert [int(at) / WIDE for at in dots] == pytest.approx([x.place(v) for v in means], abs=6e-4)
    (axes,) = on_paper(made).axes
    assert axes.get_xlim() == (x.low, x.high)
    assert [patch.get_width() for patch in axes.patches] == means
    assert [text.get_text() for text in axes.get_yticklabels()] == list(SEEDS)
    said = spots(panel, x)
    assert [spot.head for spot in said] == list(SEEDS)
    assert said[0].rows[0][2] == number(means[0]) and "3 seeds" in said[0].rows[0][3]
    assert said[2].rows[0][3] == "1 seed"
    assert "intact 0.1" in page and "MSE" in page


def test_bars_begin_at_zero_and_dots_need_not():
    high = {"a": [5.0, 5.1], "b": [5.2, 5.3]}
    filled, dots, log = (bars("t", [bar_panel("p", high, **how)])
                         for how in ({}, {"zero": False}, {"log": True}))  # fmt: skip
    assert filled.axes[0].low == 0 and 'class="filled"' in draw_bars(filled)
    for other in (dots, log):
        assert other.axes[0].low > 4 and 'class="filled"' not in draw_bars(other)
    below = bars("t", [bar_panel("p", {"a": [-1.0, -1.1]})])
    assert below.axes[0].low < -1.1 and below.axes[0].high >= 0


def test_an_interval_of_two_seeds_does_not_flatten_the_others():
    made = bars("t", [bar_panel("p", {"a": [0.0, 1.0], "b": [0.5, 0.6, 0.7]})])
    (series,), (x,) = made.panels[0].series, made.axes
    assert series.means[0].high > 6 and x.high < 3
    assert "some intervals leave the frame" in draw_bars(made) and on_paper(made)


def test_several_series_stand_below_each_other_and_may_miss_names():
    methods = {"encoder": SEEDS, "nuclear norm": {"none": [0.2, 0.3], "all": [1.0, 1.2]}}
    panel = bar_panel("p", methods)
    assert panel.categories == ("row heads", "column heads", "none", "all")
    assert np.isnan(panel.series[1].means[0].estimate)
    made = bars("t", [panel, bar_panel("alone", SEEDS)])
    assert made.legend == {"encoder": 0, "nuclear norm": 1}
    page = draw_bars(made)
    assert page.count('class="legend"') == 1 and on_paper(made)
    first = spots(panel, made.axes[0])[0]
    assert [row[0] for row in first.rows] == ["encoder", "nuclear norm"]
    assert "encoder: 3 seeds" in made.caption


def test_nothing_and_single_seeds_are_said():
    empty = bars("t", [bar_panel("p", {"a": [np.nan]})])
    assert empty.caption == "No values." and draw_bars(empty) and on_paper(empty)
    assert draw_bars(bars("t", [bar_panel("p", {"a": [-1.0]}, log=True)]))
    one = bars("t", [bar_panel("p", {"a": [1.0], "b": [2.0]})])
    assert one.caption.startswith("1 seed: single values")
    assert 'class="interval"' not in draw_bars(one)
    shared = bars("t", [bar_panel("p", {"a": [1.0]}), bar_panel("q", {"a": [9.0]})], shared=True)
    assert shared.axes[0] == shared.axes[1]


@given(st.dictionaries(st.text(max_size=40), st.lists(st.floats(-1e6, 1e6), max_size=4),
                       min_size=1, max_size=4))  # fmt: skip
def test_any_names_and_numbers_are_drawn(values):
    made = bars("t", [bar_panel("p", values), bar_panel("q", values, log=True)])
    page = draw_bars(made)
    assert all(re.fullmatch(r"[MLz0-9 .\-l]+", d) for d in re.findall(r' d="([^"]*)"', page))
    assert {name for name in re.findall(r"<([a-zA-Z]+)", page)} <= {
        "figure", "div", "span", "svg", "path", "g", "figcaption", "script",
    }  # fmt: skip
