"""When it leaps: times by arm on one clock, and a table in which no number stands alone."""

from dataclasses import replace
from importlib import import_module

import numpy as np

from saltus.errors import SaltusError
from saltus.report.clock import Clock
from saltus.report.detected import Leaps, comparable, detected, leap_mark, on_clock
from saltus.report.leaps import leap_blocks, leap_figures, leap_table, leapings, try_leapings
from saltus.studies.loss_plateau import STUDY
from saltus.studies.word_cooccurrence import STUDY as WORDS
from saltus.transitions import Plateau, Times, Transition

LEAP = Transition(Plateau(2.0, 0.0, 10.0), 40.0, 12.0, 15.0, 18.0, 20.0, 1.0)
NEVER = Transition(Plateau(2.0, 0.0, 40.0), 40.0)
ENDLESS = replace(LEAP, end=None)


def leaps(*rows, clock=None):
    return Leaps(tuple((row,) for row in rows), clock or Clock())


def test_the_times_of_a_run_are_the_largest_leaps_of_its_loss(make_run):
    found = detected(make_run(), (0, 1, 2, 3))
    assert found.any and found.times.happened.all()
    np.testing.assert_allclose(np.sort(found.times.times), [30, 32, 34, 36], atol=2)
    assert detected(make_run("other"), (0,), "never/recorded") is None


def test_a_run_is_searched_once_until_it_has_come_further(make_run, monkeypatch):
    run, asked = make_run(), []
    search = type(run).transitions
    monkeypatch.setattr(
        type(run), "transitions", lambda run, name: asked.append(name) or search(run, name)
    )
    assert detected(run, (0, 1)).found == detected(run, (1, 0)).found[::-1]
    assert asked == ["loss/train"]
    series = run.series("loss/train")
    longer = replace(series, steps=np.append(series.steps[:-1], 61))
    monkeypatch.setattr(type(run), "series", lambda run, name: longer)
    detected(run, (0,))
    assert len(asked) == 2


def test_the_mark_has_a_tick_per_leap_and_a_shade_from_onset_to_end():
    mark = leap_mark(leaps(LEAP, replace(LEAP, onset=10.0, step=17.0, end=30.0), NEVER), 3)
    assert (mark.each, mark.seeds, mark.color) == ((15.0, 17.0), 3, 3)
    assert (mark.median, mark.span) == (17.0, (12.0, 30.0))  # one that never came is the latest
    nobody = leap_mark(leaps(LEAP, NEVER, NEVER), 0)
    assert (nobody.median, nobody.span, nobody.each) == (None, None, (15.0,))
    assert leap_mark(leaps(ENDLESS), 0).span == (12.0, 40.0)  # its end is not within the budget


def test_a_flow_puts_its_leaps_on_its_time():
    clock = Clock("time", True, tuple(np.arange(41.0) ** 2))
    moved = on_clock(LEAP, clock)
    assert (moved.onset, moved.step, moved.late, moved.end) == (144, 225, 324, 400)
    assert (moved.plateau.start, moved.plateau.end, moved.budget) == (0, 100, 1600)
    assert (moved.plateau.level, moved.after) == (2.0, 1.0)
    assert on_clock(NEVER, clock).budget == 1600 and on_clock(NEVER, clock).censored
    assert on_clock(LEAP, Clock()) is LEAP
    between = on_clock(replace(LEAP, step=15.5), clock).step
    assert between == (15**2 + 16**2) / 2


def test_arms_on_one_clock_share_a_figure_and_others_have_their_own(make_run):
    flow = {"optimizer": {"kind": "gradient-flow", "duration": 600.0}, "examples": 64, "batch": 64,
            "steps": 60}  # fmt: skip
    arms = {"a": make_run(), "b": make_run("b"), "c": make_run("c", changes=flow)}
    trained, flowed = leapings(arms)
    assert (list(trained.times), trained.x_label) == (["a", "b"], "training step")
    assert (list(flowed.times), flowed.x_label) == (["c"], "time")
    np.testing.assert_allclose(flowed.times["c"].times, 10 * trained.times["a"].times)
    figures = leap_figures([trained, flowed])
    assert [figure.legend for figure in figures] == [{"a": 0, "b": 1}, {"c": 2}]


def test_every_number_of_the_table_has_its_interval(make_run):
    arms = {"slow": make_run("slow", leap=40), "fast": make_run("fast", leap=15)}
    (found,) = leapings(arms)
    table = leap_table(found)
    for part in ("4 of 4", "[51, 100] %", "Median step", "Later than slow by", "Log-rank p",
                 "0.029", "permutation", "Plateau", "Height", "Width, 10–90 %"):  # fmt: skip
        assert part in table
    # Of both arms: share, median, plateau, height, width; of the second: the difference.
    assert table.count("<small>[") == 2 * 5 + 1


def test_arms_that_never_leapt_say_so(make_run, monkeypatch):
    arms = {"a": make_run(), "b": make_run("b")}
    monkeypatch.setattr(type(arms["a"]), "transitions", lambda *_: [(NEVER,)] * 4)
    found = leapings(arms)
    assert leap_figures(found) == []
    (line,) = leap_blocks(found)
    assert "No leap of the training loss in any of 8 seeds, within the budget." in line
    monkeypatch.setattr(
        type(arms["a"]), "transitions", lambda run, _: [(LEAP if run.name == "d" else NEVER,)] * 4
    )
    (block,) = leap_blocks(leapings({"c": make_run("c"), "d": make_run("d")}))
    assert "0 of 4" in block and "beyond the budget" in block and "none of them" in block


def test_a_study_may_name_its_own_times(make_run):
    own = {"baseline": Times(np.array([1.0, 2.0, 3.0]), np.array([True, True, False])),
           "together": Times(np.array([1.0, 2.0]), np.array([True, True]))}  # fmt: skip
    study = replace(STUDY, times=lambda _: own, times_label="end of phase 1", times_clock="τ")
    (found,) = leapings({"other": make_run("o"), "baseline": make_run()}, study)
    assert (found.label, found.x_label) == ("end of phase 1", "τ")
    assert found.figure().legend == {"baseline": 1, "together": 2}  # an arm keeps its colour
    assert "Plateau" not in leap_table(found) and "Median τ" in leap_table(found)

    def refuse(_):
        raise SaltusError("arm x was not run")

    assert try_leapings({}, replace(STUDY, times=refuse)) == ([], "arm x was not run")
    assert leapings({}) == [] and leapings({}, WORDS) == []


def test_word_cooccurrence_counts_seeds_that_never_ended_phase_1(make_run, monkeypatch):
    # The package's name `figures` is its function.
    module = import_module("saltus.studies.word_cooccurrence.figures")

    class Never:
        def __init__(self, run):
            self.run = run

        def event(self, name):
            return np.array([12.0, np.nan])

        def clock(self):
            return np.array([0.0, 1.0, 30.0])

    monkeypatch.setattr(module, "Track", Never)
    times = module.end_of_phase_1({"SB": make_run(), "start": make_run("b")})
    assert list(times) == ["SB"]
    assert times["SB"].times.tolist() == [12.0, 30.0]
    assert times["SB"].happened.tolist() == [True, False]


def test_one_seed_has_no_interval_of_its_plateau(make_run):
    (found,) = leapings({"a": make_run(seeds=1)})
    assert leap_table(found).count("no interval") >= 3
    assert leap_blocks([]) == []


def test_a_small_fall_beside_high_leaps_is_none():
    high, low = leaps(LEAP, replace(LEAP, after=1.2)), leaps(replace(LEAP, after=1.7), LEAP, NEVER)
    found = comparable({"high": high, "low": low})
    assert found["high"] == high  # half of the median height of 0.9 is less than 0.8
    assert [one.censored for (one,) in found["low"].found] == [True, False, True]
    assert found["low"].times.times.tolist() == [40.0, 15.0, 40.0]
    alone = leaps(replace(LEAP, after=1.9), NEVER)
    assert comparable({"alone": alone}) == {"alone": alone}
    assert comparable({"nobody": leaps(NEVER)}) == {"nobody": leaps(NEVER)} and not comparable({})
