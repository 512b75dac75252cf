"""Scatters: every point where it belongs, in the colour of its kind or value."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.report.paths import HIGH, WIDE
from saltus.report.scatters import scatter, scatters
from saltus.report.scatters.page import draw_scatters, spots
from saltus.report.scatters.paper import draw_scatters as on_paper

POINTS = np.random.default_rng(0).normal(size=(6, 2))
DOT = re.compile(r'<path d="M(-?\d+) (-?\d+)l0 0" class="dots ([^"]*)"')


def test_dots_lie_on_the_axes():
    made = scatters("t", [scatter("p", POINTS, kinds="aabbcc")], "seed 0")
    ((x, y),) = made.axes
    found = DOT.findall(draw_scatters(made))[-6:]
    for (across, down, kind), point, place in zip(found, POINTS, (0, 0, 1, 1, 2, 2), strict=True):
        assert int(across) / WIDE == pytest.approx(x.place(point[0]), abs=1 / WIDE)
        assert int(down) / HIGH == pytest.approx(1 - y.place(point[1]), abs=1 / HIGH)
        assert kind == f"k{place}"
    drawn = on_paper(made).axes[0]
    assert drawn.get_xlim() == (x.low, x.high) and drawn.get_ylim() == (y.low, y.high)
    together = np.concatenate([each.get_offsets() for each in drawn.collections])
    np.testing.assert_array_equal(together, POINTS)


def test_panels_share_their_axes_or_not():
    panels = [scatter("a", POINTS), scatter("b", 5 * POINTS)]
    together, apart = scatters("t", panels, "seed 0"), scatters("t", panels, "s", shared=False)
    assert together.axes[0] == together.axes[1] == apart.axes[1] != apart.axes[0]
    assert "All panels have the same axes." in together.caption
    assert "Each panel has its own axes." in apart.caption
    assert together.caption.startswith("Points of seed 0: a single model, without a band.")


def test_values_have_shades():
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, np.nan])
    made = scatters("t", [scatter("p", POINTS, values=values)], "seed 0", unit="v", diverging=True)
    page = draw_scatters(made)
    shades = re.findall(r"--v:([\d.]+)%;--hue:var\(--(\w+)\)", page)
    assert shades == [("100.0", "negative"), ("50.0", "negative"), ("0.0", "positive"),
                      ("50.0", "positive"), ("100.0", "positive")]  # fmt: skip
    assert 'class="dots ink"' in page and "shade-bar" in page
    drawn = on_paper(made).axes[0].collections[0]
    assert drawn.get_clim() == (-2, 2) and drawn.get_array().mask.tolist() == [False] * 5 + [True]


def test_points_without_a_place_are_left_out_and_counted():
    lost = POINTS.copy()
    lost[2, 0], lost[3] = np.nan, np.inf
    made = scatters("t", [scatter("p", lost)], "seed 0")
    assert draw_scatters(made).count('visibility="hidden"') == 2
    assert len(spots(made.panels[0], *made.axes[0])) == 4
    assert "Not finite and left out: 2." in made.caption
    empty = scatters("t", [scatter("p", np.full((2, 2), np.nan))], "seed 0")
    assert draw_scatters(empty) and on_paper(empty)


def test_what_does_not_fit_is_refused():
    with pytest.raises(SaltusError, match="scatter 'p': 5 names for 6 points"):
        scatter("p", POINTS, names="abcde")
    with pytest.raises(SaltusError, match="scatter 'p': 2 values for 6 points"):
        scatter("p", POINTS, values=np.ones(2))
    with pytest.raises(SaltusError, match="8 kinds of points; at most 7 have a colour"):
        scatters("t", [scatter("p", np.ones((8, 2)), kinds=range(8))], "seed 0")


@given(st.lists(st.text(max_size=20), min_size=2, max_size=7, unique=True))
def test_any_name_is_escaped_and_read_out(names):
    points = np.arange(2.0 * len(names)).reshape(-1, 2)
    made = scatters("t", [scatter("p", points, names=names, kinds=names)], "seed 0")
    page = draw_scatters(made)
    assert {name for name in re.findall(r"<([a-zA-Z]+)", page)} <= {
        "figure", "ul", "li", "svg", "path", "div", "span", "figcaption", "script",
    }  # fmt: skip
    assert [spot.head for spot in spots(made.panels[0], *made.axes[0])] == names
