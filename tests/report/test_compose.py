"""Figures from arrays: any x axis, curves with and without seeds, events, and honest captions."""

import numpy as np
import pytest

from saltus.report.compose import (
    CURVES_WITH_SEEDS,
    SEED_LINES,
    curve,
    figure,
    mark,
    panel,
    slope,
)
from saltus.report.fan import LIMIT
from saltus.report.figure import Reference, reference_colors

TIMES = np.array([0.0, 0.1, 1.0, 10.0, 100.0])


def values(seeds=6):
    return np.random.default_rng(0).normal(size=(seeds, len(TIMES)))


def test_a_curve_is_the_quantiles_over_seeds_at_any_x():
    given = values()
    made = curve("a", TIMES, given, 2)
    np.testing.assert_array_equal(made.fan.x, TIMES)
    np.testing.assert_allclose(made.fan.median, np.median(given, axis=0))
    assert (made.seeds, made.color, len(made.lines)) == (6, 2, 6)


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show():
    made = panel("p", [("a", TIMES, values())], x_log=True,
                 references=[Reference("r", TIMES, TIMES)])  # fmt: skip
    (drawn,) = made.curves
    assert drawn.fan.x.tolist() == drawn.lines[0].x.tolist() == TIMES[1:].tolist()
    assert made.references[0].x.tolist() == TIMES[1:].tolist()
    # and so for a curve that was made for another axis
    again = panel("p", [curve("a", TIMES, values(), 0)], x_log=True)
    assert again.curves[0].fan.x.min() > 0


def test_values_of_one_dimension_are_a_curve_without_seeds():
    made = figure("f", [panel("p", [("computed", TIMES, TIMES**2)])])
    (drawn,) = made.panels[0].curves
    assert drawn.seeds == 0 and not drawn.lines
    assert made.caption == "Computed, without seeds."
    mixed = figure("f", [panel("p", [("computed", TIMES, TIMES), ("run", TIMES, values())])])
    assert mixed.caption.startswith("6 seeds. Line: median")


def test_whole_numbers_and_half_precision_are_drawn_too():
    made = panel("p", [("a", np.arange(3), np.ones((2, 3), dtype=np.float32)),
                       ("b", np.arange(3), np.ones((2, 3), dtype=int))])  # fmt: skip
    assert [each.fan.median.dtype for each in made.curves] == [np.float64, np.float64]


def test_colours_are_dealt_in_order_and_a_made_curve_keeps_its_own():
    given = [("a", TIMES, values()), ("b", TIMES, values()), curve("total", TIMES, values(), 6)]
    assert panel("p", given).legend == {"a": 0, "b": 1, "total": 6}


def test_many_curves_go_without_their_single_seeds():
    few = [(str(n), TIMES, values()) for n in range(CURVES_WITH_SEEDS)]
    assert all(each.lines for each in panel("p", few).curves)
    many = panel("p", [*few, ("one more", TIMES, values())])
    assert not any(each.lines for each in many.curves)
    assert "Thin lines" in figure("f", [panel("p", few)]).caption
    assert "Thin lines" not in figure("f", [many]).caption
    crowd = figure("f", [panel("p", [("a", TIMES, values(SEED_LINES + 1))])])
    assert f"the first {SEED_LINES} seeds" in crowd.caption


def test_a_long_curve_is_thinned_along_the_axis_on_which_it_is_drawn():
    steps = np.arange(1, 30_001)
    given = np.log(steps)[None].repeat(3, 0)
    even, log = curve("a", steps, given, 0), curve("a", steps, given, 0, x_log=True)
    assert len(even.fan.x) <= LIMIT and len(log.fan.x) <= LIMIT
    assert (even.fan.x <= 100).sum() < 5
    decades = [((log.fan.x > low) & (log.fan.x <= 10 * low)).sum() for low in (10, 100, 1000)]
    assert min(decades) > 25
    assert log.fan.x[0] == 1 and log.fan.x[-1] == 30_000


def test_an_event_that_never_came_is_later_than_all_others():
    found = mark("T1", [3.0, np.nan, 1.0, None, 2.0])
    assert (found.median, found.each, found.seeds) == (3.0, (1.0, 2.0, 3.0), 5)
    assert mark("T1", np.array([1.0, np.nan, np.nan])).median is None
    assert mark("T1", [1, np.int64(3)]).median == 2.0
    assert mark("T1", []).median is None


def test_a_slope_is_a_power_law_through_its_point():
    found = slope("slope 1.5", 1.5, through=(10.0, 2.0), span=(1.0, 1000.0))
    assert (found.x[0], found.x[-1]) == pytest.approx((1.0, 1000.0))
    np.testing.assert_allclose(found.y, 2.0 * (found.x / 10) ** 1.5)


def test_captions_count_seeds_by_curve_and_by_panel():
    def said(*amounts):
        panels = [
            panel(f"panel {place}", [("loss" if same else f"loss {place}", TIMES, values(seeds))])
            for place, (seeds, same) in enumerate(amounts)
        ]
        return figure("f", panels).caption.partition(" Line:")[0]

    assert said((6, True), (6, True)) == "6 seeds."
    assert said((6, False), (6, False)) == "6 seeds per curve."
    assert said((6, False), (4, False)) == "loss 0: 6 seeds and loss 1: 4 seeds."
    assert said((6, True), (4, True)) == "panel 0: 6 seeds and panel 1: 4 seeds."
    assert said((1, True)) == "1 seed: a single curve, without a band."


def test_captions_say_who_is_missing_and_what_the_marks_are():
    broken = values()
    broken[2, 3] = np.inf
    one = panel("p", [("a", TIMES, broken)], marks=[mark("T1", [1.0])])
    text = figure("f", [one], "A note.").caption
    assert "1 of 6 in a" in text and text.endswith("ticks below: each seed's. A note.")
    two = panel("p", [("a", TIMES, values())], marks=[mark("T1", [1.0]), mark("T2", [2.0])])
    assert "those of the first event lowest" in figure("f", [two]).caption


def test_panels_share_a_legend_only_where_colours_mean_the_same():
    a, b = ("a", TIMES, values()), ("b", TIMES, values())
    assert figure("f", [panel("1", [a, b]), panel("2", [a])]).one_legend
    assert not figure("f", [panel("1", [a]), panel("2", [b])]).one_legend  # a colour twice
    assert not figure("f", [panel("1", [a, b]), panel("2", [b, a])]).one_legend  # a label twice


def test_a_reference_of_several_colours_has_none_in_the_legend():
    lines = [Reference(label, TIMES, TIMES, color) for label, color in
             (("limit", 0), ("limit", 1), ("other", 2), ("slope", None))]  # fmt: skip
    made = panel("p", [("a", TIMES, values())], references=lines)
    assert reference_colors([made]) == {"limit": None, "other": 2, "slope": None}
