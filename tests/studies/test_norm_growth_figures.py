"""Figures of the study of norm growth from made runs: there, of their data, on page and paper."""

import numpy as np
import pytest

from saltus.report import publication
from saltus.report.kinds import draw_any
from saltus.report.parts import Arms, figures_of
from saltus.studies.norm_growth import STUDY, fig4
from saltus.studies.norm_growth.figures import GROWING, PLACEMENTS, figures, laws, modes
from saltus.studies.norm_growth.recipe import LANGUAGES
from studies.test_norm_growth_claims import (
    HEADS,
    NORM,
    MadeRun,
    at_end,
    cell,
    changes,
    future,
    lost,
    made,
    recipes,
)

RECORDED = "Figures 1 and 5 of the paper: T5-base"
RANDOM = "Figure 4 of the paper: random networks at c θ"
GROWTH = ["Norm of the encoder (M1)", "Which law the norm grows by",
          "One optimiser step: outward or around"]  # fmt: skip
TRAINED = ["Saturation over training", "Figure 3 of the paper: positions that heads attend to",
           "One mode or two", "Accuracy with every head saturated"]  # fmt: skip
COLLAPSE = "Post-norm: full saturation is collapse"
FORMAL = "Formal languages"
GRID = "Figure 6 of the paper: growth by learning rate and weight decay"
TITLES = [RECORDED, *GROWTH, *TRAINED, COLLAPSE, RANDOM, FORMAL, GRID]


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch):
    """In place of forward passes of random networks."""

    def curve(scale, name, preset, free, scales):
        return 0.5 + np.outer([0.9, 1.0, 1.1], np.asarray(scales)) / 25

    monkeypatch.setattr(fig4, "curve", curve)


def drawn(arms):
    return {each.title: each for each in figures(arms)}


def test_every_figure_is_there_under_its_own_title():
    found = list(figures(made()))
    assert [each.title for each in found] == TITLES
    assert all(each.caption for each in found)


@pytest.mark.filterwarnings("error")
def test_every_figure_is_drawn_on_the_page_and_into_files():
    for each in figures(made()):
        assert str(draw_any(each)).startswith("<figure")
        assert publication.render(each, ".svg").startswith(b"<?xml")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2, 3)], ids=["one", "all"])
def test_every_figure_is_drawn_also_where_seeds_were_lost(seeds):
    arms = made()
    for name, run in arms.items():
        for seed in seeds if name != "grid" else cell(run, 1e-1, 1e-1):
            lost(run, seed)
    found, missing = figures_of(STUDY, Arms(arms))
    assert not missing and [each.title for each in found] == TITLES
    for each in found:
        assert str(draw_any(each)).startswith("<figure")


def without(arm):
    """The titles that are lost with an arm that stands alone in them."""
    return {"grid": [GRID]}.get(arm, [])


@pytest.mark.parametrize("arm", ["adamw", "decay", "fast", "post-fast", "dyck", "grid"])
def test_a_missing_arm_loses_its_own_figures_alone(arm):
    left = Arms({name: run for name, run in made().items() if name != arm})
    found, missing = figures_of(STUDY, left)
    assert [each.title for each in found] == [each for each in TITLES if each not in without(arm)]
    assert not missing


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ([], []),
        (["adamw"], GROWTH),
        (["sgd"], GROWTH),
        (["input"], TRAINED),
        (["post-fast"], [*TRAINED, COLLAPSE]),
        (["dyck"], [FORMAL]),
        (["grid"], [GRID]),
        (["post-long"], []),
    ],
    ids=["none", "adamw", "sgd", "input", "post-fast", "dyck", "grid", "post-long"],
)
def test_some_arms_give_their_own_figures(kept, expected):
    arms = made()
    found = list(drawn({name: arms[name] for name in kept}))
    assert found == [each for each in TITLES if each in (RECORDED, RANDOM, *expected)]


def values_of(curve):
    return np.stack([line.y for line in curve.lines])


def test_growth_is_over_the_start_of_each_seed_and_says_its_rates():
    arms = made()
    figure = drawn(arms)[GROWTH[0]]
    schedules, optimisers = figure.panels
    assert {each.label for each in (*schedules.curves, *optimisers.curves)} == set(GROWING)
    values = arms["adamw"].array(NORM).values
    own = next(each for each in schedules.curves if each.label == "adamw")
    np.testing.assert_allclose(own.fan.median, np.median(values / values[:, :1], axis=0))
    assert "adamw: constant 0.001." in figure.caption
    assert "adamw-fast: constant 0.01. decay: 1/√t from 0.01." in figure.caption


def test_the_table_has_the_law_and_the_exponent_of_every_optimiser_and_schedule():
    table = laws({name: run for name, run in made().items() if name in GROWING})
    rows = {row.label: row.cells for row in table.rows}
    assert set(rows) == set(GROWING)
    for name, (exponent, root, linear, _, law) in rows.items():
        expected = ("root", 0.5) if name == "decay" else ("linear", 1.0)
        assert law.text == expected[0]
        assert exponent.value.estimate == pytest.approx(expected[1], abs=0.02)
        assert exponent.value.count == 4
        better, worse = (root, linear) if name == "decay" else (linear, root)
        assert float(better.text) > 0.999 > float(worse.text)


def test_laws_are_told_from_the_seeds_that_are_left():
    arms = made()
    arms = {"adamw": lost(arms["adamw"]), "sgd": arms["sgd"]}
    for member in range(4):
        lost(arms["sgd"], member)
    (row,) = laws(arms).rows
    assert row.label == "adamw" and row.cells[0].value.count == 3


def test_heads_stand_in_order_beside_both_closed_forms():
    arms = made()
    figure = drawn(arms)[TRAINED[1]]
    positions = recipes("quick")["fast"].task.interface.positions
    assert len(figure.panels) == len(PLACEMENTS)
    for panel in figure.panels:
        levels = {level.label: level.value for level in panel.levels}
        assert levels == {
            "only the future": pytest.approx(future(positions)),
            "all that is visible": pytest.approx((positions + 1) / 2),
        }
        (series,) = panel.series
        means = [each.estimate for each in series.means]
        assert means == sorted(means)
    titles = [panel.title for panel in figure.panels]
    values = arms["fast-authors"].array(HEADS).values[:, -1]
    panel = figure.panels[titles.index("pre-norm, authors' mask")]
    assert panel.series[0].means[-1].estimate == pytest.approx(values.max(axis=(1, 2)).mean())


def test_placements_are_named_by_the_rates_that_they_were_trained_at():
    assert "post-norm at 0.01, correct mask" in [
        panel.title for panel in drawn(made())[TRAINED[1]].panels]  # fmt: skip
    slow = {
        name: MadeRun(recipes("quick")[name].override({"optimizer.learning_rate": 1e-3}))
        for name in ("post-fast", "input")
    }
    titles = [panel.title for panel in drawn(slow)[TRAINED[1]].panels]
    assert titles == ["post-norm at 0.001, correct mask", "norm at the input, correct mask"]


def test_two_modes_are_told_from_one():
    arms = made()
    table = modes({name: arms[name] for name in ("fast", "fast-authors")})
    one, two = (row.cells for row in table.rows)
    assert (one[0].text, one[1].text, two[0].text, two[1].text) == ("100 %", "0 %", "75 %", "25 %")
    assert one[2].text == "–"  # all the same: no modes to tell
    assert float(two[2].text) > 5 / 9  # Sarle's of a uniform law
    assert float(two[3].text) > 0.05 and float(two[3].below.split()[1]) < 0.05


def test_the_grid_is_laid_out_by_rate_and_decay_with_the_default_outlined():
    run = made()["grid"]
    run.set(NORM, at_end(60.0), cell(run, 1e-4, 1e-5))
    (shown,) = drawn({"grid": run})[GRID].maps
    assert shown.seeds == 2 and shown.values.shape == (5, 5)
    rates, decays = [float(each) for each in shown.rows], [float(each) for each in shown.columns]
    assert rates == decays == sorted(rates)
    for i, rate in enumerate(rates):
        for j, decay in enumerate(decays):
            expected = changes(run)[cell(run, rate, decay)].mean()
            assert shown.values[i, j] == pytest.approx(expected)
    assert np.argwhere(shown.outlined).tolist() == [[rates.index(1e-3), decays.index(1e-2)]]


def test_a_grid_that_passes_by_the_default_outlines_one_cell():
    values = (1e-1, 2e-3, 4e-4, 1e-5)
    vary = dict.fromkeys(("optimizer.learning_rate", "optimizer.weight_decay"), values)
    run = MadeRun(recipes("quick")["grid"].model_copy(update={"vary": vary}))
    (shown,) = drawn({"grid": run})[GRID].maps
    assert np.argwhere(shown.outlined).tolist() == [[2, 2]]
    assert (shown.rows[2], shown.columns[2]) == ("0.002", "0.002")


def test_a_collapsed_model_stands_beside_the_constant_prediction():
    arms = made()
    figure = drawn({"post-fast": arms["post-fast"]})[COLLAPSE]
    loss, _ = figure.panels
    (level,) = loss.levels
    expected = recipes("quick")["post-fast"].task.levels()["constant"]
    assert (level.label, level.value) == ("one constant prediction", pytest.approx(expected))


def test_formal_languages_stand_side_by_side():
    grown, near = drawn({name: made()[name] for name in LANGUAGES})[FORMAL].panels
    for panel in (grown, near):
        assert [each.label for each in panel.curves] == list(LANGUAGES)
        assert all(values_of(each).shape[0] == 4 for each in panel.curves)
