"""Ranges hold what matters, ticks are round, labels keep their distance."""

import numpy as np
import pytest

from saltus.report.axes import (
    Axis,
    leaves_frame,
    marks_flipped,
    place_levels,
    tick_label,
    value_axis,
    x_axes,
    x_axis,
)
from saltus.report.compose import mark
from saltus.report.compose import panel as compose
from saltus.report.fan import fan
from saltus.report.figure import Curve, Level, Panel
from saltus.report.text import number


def panel(values, log=False):
    values = np.atleast_2d(np.asarray(values, dtype=float))
    spread = fan(np.arange(values.shape[1]), values)
    return Panel("p", "p", "", (Curve("a", 0, spread, (), len(values)),), log=log)


def test_ticks_are_round_and_inside():
    assert Axis(0.0, 1.0).ticks() == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert Axis(0.0, 800.0).ticks(4) == [0, 200, 400, 600, 800]
    assert Axis(1e-3, 10.0, log=True).ticks() == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10])


def test_tick_labels_are_short():
    texts = {0.0: "0", -0.5: "−0.5", 20_000.0: "20k", 2_500_000.0: "2.5M", 2e-5: "2·10⁻⁵"}
    assert [tick_label(v) for v in texts] == list(texts.values())
    assert [number(v) for v in (1e-12, -3.25e-7, 1.5e9)] == ["10⁻¹²", "−3.25·10⁻⁷", "1.5·10⁹"]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.1, 1000.0, ["0.1", "1", "10", "100", "1000"]),
        (1e-2, 1e5, ["10⁻²", "10⁰", "10²", "10⁴"]),
        (1.25e-3, 0.08, ["0.002", "0.005", "0.01", "0.02", "0.05"]),
        (3e-13, 2e-12, ["5·10⁻¹³", "10⁻¹²", "2·10⁻¹²"]),
        (3.1, 4.4, ["3.5", "4"]),
    ],
)
def test_logarithmic_ticks_suit_the_width_of_their_range(low, high, texts):
    labels = Axis(low, high, log=True).labels(4)
    assert [text for _, text in labels] == texts
    assert all(low <= value <= high * (1 + 1e-9) for value, _ in labels)


def test_panels_over_the_same_quantity_share_their_x_axis():
    def over(label, low, high, **how):
        return compose("p", [("a", np.geomspace(low, high, 9), np.ones((2, 9)))], x_label=label,
                       x_log=True, **how)  # fmt: skip

    first, second, third = x_axes([over("t", 1, 10), over("t", 2, 90), over("η", 1, 10)])
    assert first == second == Axis(1.0, 90.0, log=True)
    assert (third.low, third.high) == pytest.approx((1.0, 10.0))
    dots = x_axis([over("η", 1, 10, dots=True)])
    assert dots.low < 1 and dots.high > 10  # dots at the ends are seen whole


@pytest.mark.parametrize("x_log", [False, True])
def test_an_axis_without_points_or_with_one_has_a_range(x_log):
    for x in (np.zeros(0), np.zeros(1), np.ones(1)):
        made = compose("p", [("a", x, np.ones((2, len(x))))], x_log=x_log)
        axis = x_axis([made])
        assert axis.high > axis.low and (axis.low > 0 or not x_log)


def test_names_of_marks_make_way_for_each_other():
    axis = Axis(1.0, 1000.0, log=True)

    def sides(*times):
        return marks_flipped([mark("m", [time]) for time in times], axis)

    assert sides(10.0) == [False] and sides(900.0) == [True]
    assert sides(20.0, 40.0) == sides(20.0, 40.0, np.nan)[:2] == [True, False]
    assert sides(1.1, 2.0) == [False, False]  # no room at the left
    assert sides(10.0, 500.0) == [False, True]


def test_names_of_marks_have_room_above_a_logarithmic_axis():
    bare = compose("p", [("a", np.arange(3), np.array([[1.0, 0.1, 0.01]] * 2))], log=True)
    named = compose("p", [("a", np.arange(3), np.array([[1.0, 0.1, 0.01]] * 2))], log=True,
                    marks=[mark("m", [1.0])])  # fmt: skip
    assert value_axis([named]).high > 1.3 * value_axis([bare]).high
    assert value_axis([named]).low == value_axis([bare]).low


def test_a_member_on_its_way_to_infinity_does_not_flatten_the_others():
    values = np.tile(np.linspace(3, 1, 20), (8, 1))
    values[0, -3:] = 1e9
    axis = value_axis([panel(values)])
    assert axis.low < 1 and 3 < axis.high < 12
    assert leaves_frame(panel(values), axis)


@pytest.mark.parametrize("log", [False, True])
def test_constant_and_empty_panels_have_a_range(log):
    for values in (np.ones((3, 5)), np.zeros((3, 5)), np.full((3, 5), np.nan)):
        axis = value_axis([panel(values, log)])
        assert axis.high > axis.low


def test_what_is_not_positive_lies_below_a_logarithmic_axis():
    places = Axis(1e-2, 1.0, log=True).places(np.array([-1.0, 0.0, 0.1, np.nan]))
    assert places[:3] == pytest.approx([-1, -1, 0.5]) and np.isnan(places[3])


def test_labels_of_close_levels_are_moved_apart():
    levels = [Level("plateau", 2.63), Level("start", 2.64), Level("floor", 0.0)]
    places = dict(place_levels(levels, Axis(0.0, 3.0), 0.05))
    tops = sorted(places.values())
    assert min(np.diff(tops)) >= 0.05 - 1e-9 and tops[-1] <= 1
    assert places["start 2.64"] < places["plateau 2.63"]
