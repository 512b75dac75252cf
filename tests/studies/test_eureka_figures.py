"""The Eureka study's figures, from made runs and from tiny trained ones."""

import json
from functools import cache
from importlib import import_module
from math import log

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.experiment import Checkpoints, Engine
from saltus.instruments.attention_received import AttentionReceived
from saltus.instruments.base import Cadence
from saltus.instruments.class_probe import ClassProbe
from saltus.report.bars.record import bars
from saltus.report.compose import figure
from saltus.report.figure import Figure
from saltus.report.kinds import draw_any
from saltus.report.parts import Arms, figures_of
from saltus.studies.eureka import STUDY, exact, search
from saltus.studies.eureka.figures import _uniform, averaged, figures, jacobian
from saltus.studies.eureka.measures import VALIDATION, moments
from saltus.studies.eureka.recipe import METHODS, quick
from saltus.training.launch import create, resume, train_shard
from saltus.training.workers import Workers
from saltus.transitions.statistics.eureka import TRAINING_LOSS
from studies.test_eureka_claims import LATE, MadeRun, made

BLOCKS, HEADS, TOKENS = 2, 2, 5
PROBED = "class-probe/blocks.1.residual.post"
PLATEAU, EASY = "The plateau and the leap: softmax", "Without the first step, and without attention"
IMAGES = [
    "Seeds still before the Eureka-moment: two-step images",
    "Eureka-moments: two-step images",
]
STARVED = "Gradients of queries and keys: first block"
INSIDE = [
    f"{title}: block {block}" for block in (1, 2)
    for title in ("Inside attention", "Where attention falls", "Local gradients of attention")
]  # fmt: skip
PROBES = "Probes of the class token"
WORDS = [
    "Stand-ins for masked language modelling",
    "Seeds still before the Eureka-moment: stand-ins for language",
    "Eureka-moments: stand-ins for language",
    "Gradients of queries and keys of stand-ins: first block",
]  # fmt: skip
EXACT = [
    "Temperatures at either extreme starve the gradient of the logits",
    "Attention before training",
]
RATES = ["Learning rates: ratio", "Learning rates: time"]
ALWAYS = [PLATEAU, EASY, *IMAGES, STARVED, *INSIDE, PROBES, *WORDS]


def lived_in(run, seed=0):
    """With what the instruments inside a vision transformer record."""
    draws = np.random.Generator(np.random.Philox(seed))
    shape = run.values[VALIDATION].shape
    for block in range(BLOCKS):
        for name, more in (
            (f"entropy/blocks.{block}.normalised", (HEADS,)),
            (f"attention-logits/blocks.{block}/variance", ()),
            (f"softmax-jacobian/blocks.{block}", ()),
            (f"attention-received/blocks.{block}", (HEADS, TOKENS)),
            *((f"attention-received/blocks.{block}/{role}{end}", ())
              for role in ("indicator", "target") for end in ("", ".readout")),
            *((f"local-attention-gradients/blocks.{block}/{part}/{role}", ())
              for role in ("indicator", "target") for part in ("query", "key")),
        ):  # fmt: skip
            run.values[name] = draws.uniform(0.1, 1.0, (*shape, *more))
    return run


def told(scale):
    """The made arms of the claims, as their instruments see them."""
    arms = made(scale)
    for run in arms.values():
        run.overrides = getattr(run, "overrides", [{} for _ in run.seeds])
    for place, name in enumerate(METHODS):
        if name in arms:
            lived_in(arms[name], place)
    values = arms["softmax"].values
    accuracy = values[VALIDATION]
    for target in ("y", *(f"class-{cell}" for cell in range(4))):
        values[f"{PROBED}/{target}/class/accuracy"] = accuracy
    return arms


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch, tmp_path):
    entropies = {name: 0.9 + 0.01 * place for place, name in enumerate(exact.ENTROPIES)}
    blocks = np.arange(7) / 1000
    monkeypatch.setattr(
        exact, "at_start", lambda name: (np.full((3, 7), entropies[name]) + blocks, None)
    )
    monkeypatch.setattr(search, "RECORD", tmp_path / "search.json")
    monkeypatch.setattr(exact, "SEEDS", 2)


@pytest.fixture
def no_statistics(monkeypatch):
    """In place of bootstraps and permutations, which take their time."""
    there = import_module("saltus.studies.eureka.figures")

    def plain(arms, series, criterion, reference, title):
        return figure("Seeds still before the Eureka-moment", []), bars(title, [])

    def nothing(what):
        return lambda title, *_: bars(f"{title}: {what}", [])

    monkeypatch.setattr(there, "eureka_figures", plain)
    monkeypatch.setattr(there, "eureka_summary", lambda _: None)
    monkeypatch.setattr(there, "ratio_map", nothing("ratio"))
    monkeypatch.setattr(there, "median_map", nothing("time"))


def drawn(arms):
    return {each.title: each for each in figures(arms)}


@cache
def whole():
    """All figures of the quick scale, with their statistics."""
    return drawn(told("quick"))


def test_every_figure_is_there_under_its_own_title():
    assert list(whole()) == [*ALWAYS, *RATES, *EXACT]
    for each in whole().values():
        assert str(draw_any(each)).startswith("<figure") and each.caption


def test_the_paper_scale_has_the_long_arm_as_well(no_statistics):
    titles = list(drawn(told("paper")))
    assert titles[:2] == [PLATEAU, "The plateau and the leap: softmax-long"]


def test_every_figure_can_be_drawn_also_where_a_seed_was_lost(no_statistics):
    arms = told("quick")
    for run in arms.values():
        for name in run.names():
            run.set(name, lambda values: np.full_like(values, np.nan), 0)
    for each in figures(arms):
        assert str(draw_any(each)).startswith("<figure") and each.caption


@pytest.mark.parametrize("arm", ["softmax", "control", "norm-softmax", "mlm-softmax"])
def test_a_missing_arm_loses_its_own_figures_alone(arm, no_statistics):
    whole = told("quick")
    left = Arms({name: run for name, run in whole.items() if name != arm})
    found, missing = figures_of(STUDY, left)
    lost = {PLATEAU, PROBES} if arm == "softmax" else set()
    expected = [title for title in drawn(whole) if title not in lost]
    assert [each.title for each in found] == expected
    assert not missing


def test_without_any_arm_there_is_what_needs_none():
    assert list(drawn({})) == EXACT


def values_of(curve):
    return np.stack([line.y for line in curve.lines])


def test_the_plateau_stands_between_its_levels_and_leaps_where_the_moments_are(no_statistics):
    run = told("quick")["softmax"]
    loss, accuracy = drawn({"softmax": run})[PLATEAU].panels
    levels = {level.label: level.value for level in loss.levels}
    assert levels == {"plateau": pytest.approx(1.0246, abs=1e-4),
                      "floor": pytest.approx(0.5003, abs=1e-4)}  # fmt: skip
    assert [level.value for level in accuracy.levels] == [0.55]
    np.testing.assert_allclose(values_of(accuracy.curves[0]), run.series(VALIDATION).values)
    (mark,) = loss.marks
    steps = 50 * np.array(LATE["quick"])
    assert mark.each == tuple(np.sort(steps[np.isfinite(steps)]))
    assert (mark.seeds, accuracy.marks) == (12, (mark,))


def test_the_training_loss_is_averaged_over_its_past():
    run = told("quick")["softmax"]
    series = run.series("loss/train")
    curve = averaged("softmax", run, 0)
    gap = series.steps[1] - series.steps[0]
    keep = TRAINING_LOSS.smoothing**gap
    expected = keep * series.values[:, 0] + (1 - keep) * series.values[:, 1]
    np.testing.assert_allclose(values_of(curve)[:, 0], series.values[:, 0])
    np.testing.assert_allclose([line.y[line.x == gap][0] for line in curve.lines], expected)


def test_an_arm_has_one_colour_in_all_figures_of_images():
    found = whole()
    assert found[EASY].legend == {"softmax": 0, "convnet": 3, "control": 4}
    assert found[IMAGES[0]].legend == {
        "softmax": 0, "heat-treatment": 1, "norm-softmax": 2, "convnet": 3}  # fmt: skip
    assert found[STARVED].legend == {"softmax": 0, "heat-treatment": 1, "norm-softmax": 2}
    colors = {row.label: row.color for row in found[IMAGES[1]].rows}
    assert colors == found[IMAGES[0]].legend


def test_starved_gradients_are_those_of_the_first_block(no_statistics):
    arms = told("quick")
    for panel, part in zip(drawn(arms)[STARVED].panels, ("query", "key"), strict=True):
        for curve in panel.curves:
            values = arms[curve.label].values[f"qkv-gradients/blocks.0/{part}-to-value"]
            np.testing.assert_allclose(curve.fan.median, np.median(values, axis=0))
        assert [(level.label, level.value) for level in panel.levels] == [("equal", 1.0)]


def test_other_blocks_are_a_second_figure(no_statistics):
    arms = told("quick")
    for part in ("query", "key"):
        for block in (1, 10, 2):
            series = f"qkv-gradients/blocks.{block}/{part}-to-value"
            arms["softmax"].values[series] = arms["softmax"].values[VALIDATION]
    panels = drawn(arms)["Gradients of queries and keys: the other blocks"].panels
    assert [panel.title for panel in panels] == [
        f"W_{part} over W_V, block {block}" for block in (2, 3, 11) for part in "QK"]  # fmt: skip


def test_what_has_heads_is_shown_as_their_mean(no_statistics):
    arms = told("quick")
    entropy, *_ = drawn(arms)[INSIDE[0]].panels
    (softmax, *_) = entropy.curves
    values = arms["softmax"].values["entropy/blocks.0.normalised"].mean(-1)
    np.testing.assert_allclose(softmax.fan.median, np.median(values, axis=0))


def test_even_attention_gives_a_role_its_part_of_the_tokens(no_statistics):
    arms = told("quick")
    for panel in drawn(arms)[INSIDE[1]].panels:
        assert [level.value for level in panel.levels] == [pytest.approx(2 / 5)]
    words = lived_in(arms["mlm-softmax"])
    words.values["attention-received/blocks.0"] = np.zeros((5, 121, HEADS, 16))
    assert _uniform({"mlm-softmax": words}, "blocks.0") == [("uniform", 2 / 16)]


def test_probes_on_the_plateau_are_those_of_seeds_that_are_on_it(no_statistics):
    run = told("quick")["softmax"]
    bars = drawn({"softmax": run})[PROBES]
    z, y, before, _ = bars.panels
    assert [level.value for level in z.levels] == [0.5]
    assert [level.value for level in y.levels] == [0.1, 0.55]
    _, on, _ = z.categories
    step = int(on.split()[1].rstrip(","))
    leap, stay = z.series
    assert (leap.label, stay.label) == ("seeds that leap", "seeds that do not")
    came = moments(run).happened
    later = came & (moments(run).step > step)
    place = int(np.flatnonzero(run.grid == step)[0])
    probed = run.values[f"{PROBED}/z/class/accuracy"]
    np.testing.assert_allclose(leap.each[1], probed[later, place])
    np.testing.assert_allclose(leap.each[2], probed[came, -1])
    np.testing.assert_allclose(stay.each[2], probed[~came, -1])
    assert before.categories == ("top left", "top right", "bottom left", "bottom right")
    assert f"{later.sum() + (~came).sum()} of 12" in bars.caption


def test_probes_of_seeds_that_never_leap_are_one_group(no_statistics):
    run = MadeRun("softmax", 20, "quick", (np.inf, np.inf))
    run.overrides = [{}, {}]
    run.values[f"{PROBED}/y/class/accuracy"] = run.values[VALIDATION]
    for cell in range(4):
        run.values[f"{PROBED}/class-{cell}/class/accuracy"] = run.values[VALIDATION]
    z = drawn({"softmax": run})[PROBES].panels[0]
    assert [each.label for each in z.series] == ["seeds that do not"]


def test_stand_ins_have_levels_and_moments_of_their_own_task():
    loss, accuracy = whole()[WORDS[0]].panels
    levels = {level.label: level.value for level in loss.levels}
    assert levels["plateau"] == pytest.approx(0.9 * log(2))
    assert [level.value for level in accuracy.levels] == [pytest.approx(0.55)]
    assert [curve.label for curve in loss.curves] == [
        "mlm-softmax", "mlm-heat-treatment", "mlm-norm-softmax"]  # fmt: skip
    assert [mark.color for mark in loss.marks] == [curve.color for curve in loss.curves]
    assert "at or above 0.775" in whole()[WORDS[2]].caption  # the middle of 0.55 and 1
    assert "Log-rank p against mlm-softmax" in whole()[WORDS[2]].columns


def test_learning_rates_are_counted_one_by_one():
    ratio, _ = (whole()[title] for title in RATES)
    (shown,) = ratio.maps
    assert shown.rows == ("softmax", "heat-treatment", "norm-softmax")
    assert shown.columns == ("1e-05", "0.0001", "0.001", "0.01", "0.1")
    np.testing.assert_allclose(shown.values.sum(axis=1), [1, 3, 4])
    assert shown.seeds == 4


def test_the_search_is_shown_where_it_was_written_down():
    steps = {"softmax": (400, 900, None), "norm-softmax": (200, 300, 100)}
    cells = {
        "2": {
            name: {each: [step or (1000 if each == "last" else None) for step in own]
                   for each in search.RECORDED}
            for name, own in steps.items()
        }
    }  # fmt: skip
    panel = {"title": "Width", "axis": "width", "steps": 1000, "cells": cells}
    search.RECORD.write_text(json.dumps({"width": panel}))
    ratio, _ = [figure for figure in figures({}) if figure.title not in EXACT]
    assert ratio.title == "Width: ratio"
    np.testing.assert_allclose(ratio.maps[0].values, [[2 / 3, 1.0]])


def test_a_damaged_record_of_the_search_is_named():
    search.RECORD.write_text("{")
    with pytest.raises(SaltusError, match=r"search\.json"):
        list(figures({}))


def test_the_jacobian_is_the_one_of_claim_17():
    (panel,) = jacobian().panels
    (curve,) = panel.curves
    assert curve.seeds == exact.SEEDS
    at = exact.jacobian({})[0].values
    peak = curve.fan.x[curve.fan.median.argmax()]
    assert min(at) <= peak <= max(at)
    # Uniform attention: |I/N - 11ᵀ/N²| / τ = sqrt((N - 1) / N²) / τ.
    assert curve.fan.median[-1] == pytest.approx(np.sqrt(196) / 197 / 1000, rel=1e-4)


def test_entropies_before_training_stand_side_by_side():
    (panel,) = drawn({})[EXACT[1]].panels
    assert panel.categories == tuple(f"block {block}" for block in range(1, 8))
    assert [series.label for series in panel.series] == list(exact.ENTROPIES)
    assert panel.series[1].means[2].estimate == pytest.approx(0.91 + 0.002)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Arms of the quick scale with a width of 16, for two steps."""
    root, given = tmp_path_factory.mktemp("runs"), quick()
    with Workers(1, train_shard) as pool:
        return Arms({name: resume(create(small(given[name]), root), None, pool)
                     for name in ("softmax", "mlm-softmax")})  # fmt: skip


def small(arm):
    instruments = []
    for each in arm.instruments:
        few = {}
        if isinstance(each, ClassProbe):
            few = {"train": 8, "test": 8, "steps": 1, "representations": ("output",),
                   "layers": (1,)}  # fmt: skip
        elif isinstance(each, AttentionReceived):
            few = {"samples": 8}
        instruments.append(each.model_copy(update={"cadence": Cadence(every=2), **few}))
    return arm.model_copy(
        update={
            "model": arm.model.model_copy(update={"width": 16}),
            "batch": 4,
            "evaluation_batch": 8,
            "steps": 2,
            "seeds": (0,),
            "instruments": tuple(instruments),
            "checkpoints": Checkpoints(),
            "engine": Engine(workers=1),
        }
    )


def test_trained_runs_have_what_the_figures_read(trained):
    found, missing = figures_of(STUDY, trained)
    assert not missing
    titles = [figure.title for figure in found]
    others = "Gradients of queries and keys: the other blocks"
    assert {PLATEAU, STARVED, others, *IMAGES, *INSIDE, PROBES, *WORDS} <= set(titles)
    assert "Where attention falls of stand-ins: block 1" in titles
    by_title = dict(zip(titles, found, strict=True))
    for title in (*INSIDE, STARVED):
        figure = by_title[title]
        assert isinstance(figure, Figure)
        for panel in figure.panels:
            assert [curve.label for curve in panel.curves] == ["softmax"]
    assert len(by_title[INSIDE[1]].panels) == 4  # all queries, and the class token's
    assert len(by_title["Where attention falls of stand-ins: block 1"].panels) == 2
    assert [panel.title for panel in by_title[PROBES].panels][2:] == [
        "what the cells show, step 2, end"]  # fmt: skip
    for figure in found:
        assert str(draw_any(figure)).startswith("<figure")
