"""Ranges hold what matters, ticks are round, labels keep their distance."""

import numpy as np
import pytest

from saltus.report.axes import Axis, leaves_frame, place_levels, tick_label, value_axis
from saltus.report.fan import fan
from saltus.report.figure import Curve, Level, Panel


def panel(values, log=False):
    values = np.atleast_2d(np.asarray(values, dtype=float))
    spread = fan(np.arange(values.shape[1]), values)
    return Panel("p", "p", "", (Curve("a", 0, spread, (), len(values)),), log=log)


def test_ticks_are_round_and_inside():
    assert Axis(0.0, 1.0).ticks() == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert Axis(0.0, 800.0).ticks(4) == [0, 200, 400, 600, 800]
    assert Axis(1e-3, 10.0, log=True).ticks() == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10])


def test_tick_labels_are_short():
    assert [tick_label(v) for v in (0.0, -0.5, 20_000.0, 2_500_000.0)] == [
        "0",
        "−0.5",
        "20k",
        "2.5M",
    ]


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
