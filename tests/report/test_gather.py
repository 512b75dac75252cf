"""From runs to figures: what is drawn, what it is called, what the caption owns up to."""

import numpy as np
import pytest

from saltus.report import gather
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.transitions import Transition, largest


def test_the_loss_has_closed_forms_and_the_leap(make_run):
    run = make_run()
    figure = gather.loss_figure({"baseline": run, "other": run})
    assert [panel.title for panel in figure.panels] == ["baseline", "other"]
    first = figure.panels[0]
    assert {level.label: level.value for level in first.levels} == MovingWindowSum().levels()
    (mark,) = first.marks
    found = [largest(each) for each in run.transitions("loss/train")]
    assert mark.each == tuple(sorted(each.step for each in found))
    assert (mark.label, mark.median) == ("leap", np.median([each.step for each in found]))
    assert mark.span == (np.median([e.onset for e in found]), np.median([e.end for e in found]))
    assert mark.median == pytest.approx(33, abs=1)  # they leap at 30, 32, 34 and 36
    assert "ticks below: each seed's leap" in figure.caption


def test_without_a_leap_the_marks_are_those_of_the_accuracy(make_run, monkeypatch):
    run = make_run()
    monkeypatch.setattr(type(run), "transitions", lambda *_: [(Transition(None, 60.0),)] * 4)
    (mark,) = gather.loss_figure({"baseline": run}).panels[0].marks
    accuracy = run.series("evaluation/accuracy")
    reached = [accuracy.steps[row.argmax()] for row in accuracy.values >= 0.5]
    assert mark.label == "half right"
    assert sorted(reached) == list(mark.each) and mark.median == np.median(reached)


def test_what_is_half_right_from_the_start_is_no_event(make_run, monkeypatch):
    run = make_run(leap=-30)
    assert (run.series("evaluation/accuracy").values[:, 0] > 0.5).all()
    monkeypatch.setattr(type(run), "transitions", lambda *_: [(Transition(None, 60.0),)] * 4)
    assert gather.loss_figure({"baseline": run}).panels[0].marks == ()


def test_half_right_stands_on_the_accuracy_of_a_single_group(make_run):
    run = make_run()
    names = ["loss/train", "evaluation/accuracy"]
    alone = gather.series_figure({"a": run}, names, "t")
    assert [[mark.label for mark in panel.marks] for panel in alone.panels] == [[], ["half right"]]
    assert gather.HALF_NOTE in alone.caption
    both = gather.series_figure({"a": run, "b": run}, names, "t")
    assert not any(panel.marks for panel in both.panels)


def test_a_leap_that_most_seeds_never_made_has_no_median(make_run):
    (mark,) = gather.loss_figure({"a": make_run(leap=59)}).panels[0].marks
    assert mark.median is None and 0 < len(mark.each) < mark.seeds == 4


def test_a_diverged_member_is_left_out_and_named(make_run):
    figure = gather.loss_figure({"a": make_run(broken=(1,))})
    curve = figure.panels[0].curves[0]
    assert curve.broken == 1 and curve.fan.counts[-1] == 3
    assert np.isfinite(curve.fan.median).all()
    assert "1 of 4 in a" in figure.caption and "4 seeds." in figure.caption


def test_colours_stand_for_the_same_arm_in_every_figure(make_run):
    arms = {"a": make_run(), "b": make_run()}
    loss = gather.loss_figure(arms)
    both = gather.series_figure(arms, ["loss/train", "nothing"], "t")
    assert loss.legend == both.legend == {"a": 0, "b": 1}
    assert len(both.panels) == 1


def test_settings_of_a_grid_are_never_mixed(make_run):
    rates = [{"optimizer.learning_rate": rate} for rate in (0.1, 0.1, 0.2, 0.2)]
    figure = gather.loss_figure({"grid": make_run(overrides=rates)})
    (panel,) = figure.panels
    assert [curve.label for curve in panel.curves] == [
        "learning_rate = 0.1",
        "learning_rate = 0.2",
    ]
    assert [curve.seeds for curve in panel.curves] == [2, 2]


def test_settings_are_named_by_their_last_word_where_it_is_enough():
    keys = ["model.width", "task.width", "optimizer.learning_rate"]
    assert list(gather.short_names(keys).values()) == ["model.width", "task.width", "learning_rate"]


def test_many_leaps_in_a_panel_have_no_shades(make_run):
    rates = [{"optimizer.learning_rate": rate} for rate in (0.1, 0.2, 0.3, 0.4)]
    figure = gather.loss_figure({"grid": make_run(overrides=rates)})
    assert [mark.span for mark in figure.panels[0].marks] == [None] * 4
    assert gather.UNSHADED_NOTE in figure.caption and gather.LEAP_NOTE not in figure.caption


def test_captions_say_what_the_band_is(make_run):
    many = gather.loss_figure({"a": make_run()})
    assert "25 % to 75 %" in many.caption and "minimum to maximum" in many.caption
    single = gather.loss_figure({"a": make_run(seeds=1)})
    assert "1 seed: a single curve, without a band" in single.caption


def test_series_without_anything_make_no_figure(make_run):
    assert gather.series_figure({"a": make_run()}, ["nothing"], "t") is None
    assert gather.loss_figure({}) is None
    assert gather.scalar_names(make_run()) == ["evaluation/accuracy", "loss/train"]


def flow(**how):
    """Settings of a gradient flow to time 600, in place of training."""
    optimizer = {"kind": "gradient-flow", "duration": 600.0, **how}
    return {"optimizer": optimizer, "examples": 64, "batch": 64, "steps": 60}


def test_a_run_that_follows_a_flow_is_drawn_over_its_time(make_run):
    figure = gather.loss_figure({"a": make_run(changes=flow(first=0.6))})
    (panel,) = figure.panels
    assert (panel.x_label, panel.x_log) == ("time", True)
    np.testing.assert_allclose(panel.curves[0].fan.x, np.geomspace(0.6, 600, 60))
    (mark,) = panel.marks
    step = gather.loss_figure({"a": make_run("steps")}).panels[0].marks[0].median
    moments = np.insert(np.geomspace(0.6, 600, 60), 0, 0.0)
    assert mark.median == pytest.approx(np.interp(step, np.arange(61), moments), rel=0.01)
    even = gather.loss_figure({"a": make_run("even", changes=flow())}).panels[0]
    assert not even.x_log and even.curves[0].fan.x[-1] == 600


def test_flows_and_training_lie_over_each_other_by_steps(make_run):
    timed = make_run("a", changes=flow())
    clocked = make_run("b", changes=flow(clock="model"))
    one = gather.series_figure({"a": timed}, ["loss/train"], "t").panels[0]
    other = gather.series_figure({"b": clocked}, ["loss/train"], "t").panels[0]
    assert one.x_label == "time" and other.x_label == "time on the model's clock"
    for arms in ({"a": timed, "b": clocked}, {"a": timed, "c": make_run("c")}):
        mixed = gather.series_figure(arms, ["loss/train"], "t").panels[0]
        assert mixed.x_label == "training step" and mixed.curves[0].fan.x[-1] == 60
