"""The word co-occurrence study: recipes, what claims compute, and a small run through all of it."""

from __future__ import annotations

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.runs import Run
from saltus.studies import Verdict, find_study
from saltus.studies.word_cooccurrence.figures import figures, first
from saltus.studies.word_cooccurrence.phases import slopes
from saltus.studies.word_cooccurrence.recipe import SETTINGS, flow, phases, recipe, small
from saltus.studies.word_cooccurrence.track import (
    Track,
    at,
    crossings,
    fraction,
    highest,
    lowest,
)
from saltus.training.launch import create, resume, train_shard
from saltus.training.workers import Workers

STUDY = find_study("word-cooccurrence")


@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_claims_are_the_31_of_the_spec_and_their_arms_exist(scale):
    claims, arms = STUDY.claims(scale), recipe(scale)
    assert [claim.number for claim in claims] == list(range(1, 32))
    assert {arm for claim in claims for arm in claim.arms} <= set(arms)
    for arm, experiment in arms.items():
        assert (experiment.arm, experiment.scale, experiment.study) == (arm, scale, STUDY.name)
        assert experiment.engine.precision == "float64"
        assert experiment.batch == experiment.examples


def test_settings_are_the_specs():
    for (examples, length, width, neurons), vocabulary in zip(
        SETTINGS.values(), (43, 163, 323), strict=True
    ):
        assert (examples, length) in ((24, 4), (60, 5), (120, 5))
        assert (width, neurons) in ((64, 16), (128, 32), (256, 32))
        assert vocabulary in {arm.task.vocabulary for arm in recipe("quick").values()}


def test_the_grid_of_moments_hits_the_decades():
    track_times = phases("SA", 1, 5).optimizer.times(phases("SA", 1, 5).steps)
    for decade in (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5):
        assert min(abs(time / decade - 1) for time in track_times) < 1e-12


def test_interpolation_is_linear_in_log_time_and_nan_outside():
    clock = np.array([0.0, 1.0, 10.0, 100.0])
    values = np.array([[9.0, 0.0, 1.0, 2.0], [9.0, 0.0, 2.0, 4.0]])
    np.testing.assert_allclose(at(clock, values, 10**0.5), [0.5, 1.0])
    np.testing.assert_allclose(at(clock, values, [100.0, 1.0]), [2.0, 0.0])
    assert np.isnan(at(clock, values, [0.5, 101.0])).all()
    assert np.isnan(at(clock, values, [np.nan, 10.0])).tolist() == [True, False]


def test_crossings():
    clock = np.array([0.0, 1.0, 3.0])
    signals = np.array([[-1.0, 1.0, 2.0], [0.0, -1.0, 1.0], [-1.0, -1.0, 3.0], [-1.0, -1.0, -1.0]])
    found = crossings(clock, signals)
    np.testing.assert_allclose(found[:3], [0.5, 0.0, 1.5])
    assert np.isnan(found[3])


def test_extremes_and_fractions_over_chosen_moments():
    values = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, np.nan], [1.0, 2.0, 3.0]])
    where = np.array([[True, False, True], [True, True, True], [False, False, False]])
    np.testing.assert_array_equal(lowest(values, where), [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(highest(values, where), [3.0, np.nan, np.nan])
    np.testing.assert_array_equal(fraction(values > 2, where), [0.5, 2 / 3, np.nan])


def test_slopes_of_power_laws():
    widths = (32, 64, 128)
    values = np.array([[3.0 * w**-1.0 for w in widths], [0.1 * w**0.5 for w in widths]])
    np.testing.assert_allclose(slopes(widths, values), [-1.0, 0.5])


@pytest.mark.parametrize("number", [1, 2, 3, 11])
def test_what_needs_no_run_is_reproduced(number):
    claim = STUDY.claims("quick")[number - 1]
    assert claim.arms == ()
    finding = claim.judge({})
    assert finding.verdict is Verdict.REPRODUCED, finding


@pytest.fixture(scope="module")
def arms(tmp_path_factory) -> dict[str, Run]:
    """Small stand-ins for the arms: few seeds, short."""
    root = tmp_path_factory.mktemp("runs")
    short = {
        "SA": phases("SA", 4, 2).override(
            {"evaluation_batch": 16, "steps": 25, "optimizer.duration": 50.0}
        ),
        "U-flow": small(4, "U-flow", flow=2.0),
        "U-long": small(4, "U-long", flow=5.0),
        "U-0.08": small(4, "U-0.08", eta=0.08),
    }
    # Workers do not carry the checks of every shape, which cost ten times as much as the training.
    with Workers(1, train_shard) as pool:
        return {
            arm: resume(create(each.model_copy(update={"arm": arm}), root), None, pool)
            for arm, each in short.items()
        }


def test_claims_read_what_the_runs_hold(arms):
    claims = {claim.number: claim for claim in STUDY.claims("quick")}
    for number in (4, 5, 6, 14, 16, 19, 31):
        finding = claims[number].judge(arms)
        assert finding.verdict is Verdict.REPRODUCED, finding
    # 13 needs an arm that is not there.
    assert claims[13].judge({"SA": arms["SA"]}).verdict is Verdict.NOT_RUN


def test_events_are_found_on_the_path(arms):
    track = Track(arms["SA"])
    moments = {name: track.event(name) for name in ("T05", "classified", "T1")}
    assert (moments["T05"] < moments["classified"]).all()
    assert (moments["classified"] < moments["T1"]).all()
    read = crossings(track.clock("signal/T1"), track["signal/T1"])
    np.testing.assert_allclose(moments["T1"], read, rtol=0.05)
    assert np.isnan(track.event("disorder")).all()


def test_the_first_figure_has_both_panels_and_the_boundary(arms):
    scores, losses = first(Track(arms["SA"]), "time", "title").panels
    assert [curve.label for curve in scores.curves] == ["M[1,2]", "M[2,1]", "M[3,1]", "M[3,2]"]
    assert [curve.label for curve in losses.curves][-1] == "all"
    for panel in (scores, losses):
        assert panel.x_log and [mark.label for mark in panel.marks] == ["T₁"]
        assert all(curve.seeds == 4 for curve in panel.curves)


def test_a_missing_arm_loses_only_later_figures(arms):
    drawn = figures(arms)
    assert next(drawn).title.startswith("Figure 1")
    with pytest.raises(KeyError):
        next(drawn)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"examples": 25, "batch": 25}, "25 samples in exact counts: allowed: multiples of 6"),
        ({"task.vocabulary": 42}, "need a vocabulary of 43, not 42"),
        ({"task.length": 3}, "task.length: 3 is not allowed"),
        ({"model.kappa": -1}, "model.kappa: -1 is not allowed"),
        ({"batch": 12}, "follows the loss on a fixed training set"),
        ({"examples": None}, "follows the loss on a fixed training set"),
    ],
)
def test_odd_input_gets_one_line(change, message):
    with pytest.raises(SaltusError) as caught:
        flow("SA", 1, 1.0, 2, []).override(change)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
