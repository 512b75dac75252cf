"""Survival curves: right-continuous stairs, the same in the page and in files."""

import numpy as np
import pytest

from saltus.report import publication
from saltus.report.axes import value_axis, x_axes
from saltus.report.survival import survival_figure, survival_panel
from saltus.report.svg import draw, readout
from saltus.transitions.statistics.survival import Times, kaplan_meier


def times(*given):
    """Negative: the seed ended there, and had not leapt."""
    values = np.array(given, dtype=float)
    return Times(np.abs(values), values > 0)


SLOW, FAST = times(100, 200, 300, -400, -400), times(50, 60, 70, 80)


def test_the_share_falls_at_the_leaps_and_nowhere_else():
    (stairs,) = survival_panel("p", {"a": SLOW}).stairs
    x = np.array([0.0, 99.9, 100.0, 199.0, 200.0, 300.0, 399.0])
    np.testing.assert_allclose(stairs.at(x), [1, 1, 0.8, 0.8, 0.6, 0.4, 0.4])
    assert stairs.at_risk([0, 100, 100.1, 400, 401]).tolist() == [5, 5, 4, 2, 0]
    across, share = stairs.corners(stairs.share, 0.0)
    # Every corner lies on the stairs: its share is the one at its x, or just before it.
    before = stairs.at(np.maximum(across - 1e-6, 0))
    assert ((share == stairs.at(across)) | (share == before)).all()
    assert (across[0], across[-1]) == (0, 400) and (np.diff(across) >= 0).all()
    area = float((np.diff(across) * share[1:]).sum())
    assert area == pytest.approx(100 + 80 + 60 + 40)  # the mean time up to 400
    assert stairs.unfinished.tolist() == [400, 400]


def test_the_band_is_the_interval_of_the_estimate():
    (stairs,) = survival_panel("p", {"a": SLOW}).stairs
    found = kaplan_meier(SLOW)
    np.testing.assert_array_equal(stairs.low, found.low)
    np.testing.assert_array_equal(stairs.high, found.high)


def test_a_logarithmic_axis_begins_before_the_first_leap():
    panel = survival_panel("p", {"a": times(0.5, 2, 300), "b": times(-1000)})
    assert panel.x_log  # the times span a factor of 2000
    (x,) = x_axes([panel])
    assert x.log and x.low == 0.25 and x.high > 1000
    across, share = panel.stairs[0].corners(panel.stairs[0].share, x.low)
    assert across[0] == x.low and share[0] == 1
    assert not survival_panel("p", {"a": times(10, 20)}).x_log
    assert survival_panel("p", {"a": times(10, 20)}, x_log=True).x_log


def test_colours_are_given_or_dealt():
    assert survival_panel("p", {"a": SLOW, "b": FAST}).legend == {"a": 0, "b": 1}
    assert survival_panel("p", {"b": FAST}, colors={"a": 0, "b": 4}).legend == {"b": 4}


def test_the_caption_counts_seeds_and_those_that_never_leapt():
    figure = survival_figure({"slow": SLOW, "fast": FAST}, "leap of the loss", x_label="time τ")
    for part in (
        "slow: 5 seeds, 2 of them never",
        "fast: 4 seeds, all of them",
        "95 %",
        "leap of the loss",
    ):
        assert part in figure.caption
    assert figure.panels[0].x_label == "time τ"


def test_both_drawings_show_the_same_stairs():
    figure = survival_figure({"slow": SLOW, "fast": FAST})
    (panel,) = figure.panels
    said = readout(figure, x_axes(figure.panels))["panels"][0]["stairs"]
    (axes,) = publication.draw(figure).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    for each, stairs in zip(said, panel.stairs, strict=True):
        assert each["x"] == stairs.x.tolist() and each["times"] == stairs.times.tolist()
        across, share = lines[stairs.label].get_data()
        expected = stairs.corners(stairs.share, 0.0)
        np.testing.assert_allclose((across, share), expected)
    low, high = axes.get_ylim()
    assert (low, high) == (value_axis([panel]).low, value_axis([panel]).high) and low < 0 < 1 < high
    texts = {text.get_text() for text in axes.texts}
    assert {"slow", "fast", "seeds at risk", "5", "4", "2"} <= texts


def test_the_page_has_a_row_of_seeds_at_risk_for_each_group_unless_crowded():
    page = draw(survival_figure({"slow": SLOW, "fast": FAST}), 300)
    assert page.count('class="risk-row') == 2 and 'class="band interval"' in page
    assert page.count('class="ended"') == 1  # two seeds ended at the same step
    crowd = draw(survival_figure({str(n): FAST for n in range(9)}), 300)
    assert "risk-row" not in crowd
    assert publication.render(survival_figure({str(n): FAST for n in range(9)}), ".svg")


def test_groups_without_seeds_are_left_out():
    none = Times(np.empty(0), np.empty(0, dtype=bool))
    assert survival_panel("p", {"a": none, "b": FAST}).legend == {"b": 1}
    empty = survival_figure({"a": none})
    assert draw(empty, 200) and publication.render(empty, ".svg")
    whole = survival_figure({"a": times(0, 0, 0)})
    assert draw(whole, 200) and publication.render(whole, ".png")
