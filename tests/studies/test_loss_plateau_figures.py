"""The loss plateau's figures, from made runs and from tiny trained ones of its arms."""

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.experiment import Engine, Experiment
from saltus.instruments.base import Cadence
from saltus.instruments.mlp_probe import MlpProbe
from saltus.report.kinds import draw_any
from saltus.report.parts import Arms, figures_of
from saltus.runs import Run
from saltus.studies.loss_plateau import STUDY
from saltus.studies.loss_plateau.claims import half_accuracy
from saltus.studies.loss_plateau.figures import COMPARED, LOCATIONS, MEASURES, baseline, figures
from saltus.studies.loss_plateau.other_claims import SEVERAL, other_claims
from saltus.training.launch import create, resume, train_shard
from saltus.training.workers import Workers
from studies.test_loss_plateau import LEVELS
from studies.test_loss_plateau_variants import ARMS, PAPER, PROBED, Variant, losing

PLACES = [
    "Figures 41 and 42: cosine of states, by place",
    "The same at step 40, where COS is highest",
]
QUICK_TITLES = [
    "Figure 2: moving-window sum", "Figures 3 and 4: attention bias",
    "Figures 6, 11 and 12: prefix sum", "Figures 9 and 10: addition",
    "Figures 13 to 16: permutation and histogram", "Figure 30: softmax attention", *PLACES,
]  # fmt: skip


def made(scale) -> dict[str, Run]:
    return {name: Variant() for name in ARMS[scale]}


def test_every_figure_of_the_paper_is_there_under_its_own_title():
    titles = [figure.title for figure in figures(made("paper"))]
    expected = ["Figure 2: moving-window sum", *(title for title, *_ in COMPARED), *PLACES,
                "Figure 20: an MLP probe of the attention output"]  # fmt: skip
    assert titles == expected
    assert len(set(titles)) == len(titles)


def test_the_quick_scale_has_those_of_its_arms():
    assert [figure.title for figure in figures(made("quick"))] == QUICK_TITLES


def test_the_arms_of_every_figure_are_the_studys():
    assert {arm for _, names, _ in COMPARED for arm in names} <= set(PAPER)
    shown = {arm for _, names, _ in COMPARED for arm in names} | {"probe"}
    assert shown == set(PAPER)


@pytest.mark.parametrize("scale", ARMS)
@pytest.mark.parametrize("seed", [None, 0])
def test_every_figure_can_be_drawn_also_where_a_seed_was_lost(scale, seed):
    arms = made(scale)
    for run in arms.values() if seed is not None else ():
        for name in run.values:
            run.set(name, losing(seed))
    for figure in figures(arms):
        assert str(draw_any(figure)).startswith("<figure")
        assert figure.caption


@pytest.mark.parametrize(
    ("arm", "lost"),
    [
        ("prefix-sum", {"Figures 6, 11 and 12: prefix sum"}),
        ("addition", {"Figures 9 and 10: addition"}),
        ("histogram", set()),  # permutation is still in it
        ("softmax", {"Figure 30: softmax attention"}),
        ("bias-10", set()),
        ("baseline", {"Figure 2: moving-window sum", *PLACES}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_missing_arm_loses_its_own_figures_alone(arm, lost):
    left = Arms({name: run for name, run in made("quick").items() if name != arm})
    found, missing = figures_of(STUDY, left)
    assert [figure.title for figure in found] == [t for t in QUICK_TITLES if t not in lost]
    assert not missing
    assert arm not in {label for figure in found if hasattr(figure, "panels")
                       for panel in figure.panels if hasattr(panel, "curves")
                       for label in (curve.label for curve in panel.curves)}  # fmt: skip


def test_the_baseline_alone_is_compared_with_nothing():
    found, _ = figures_of(STUDY, Arms(baseline=Variant()))
    assert [figure.title for figure in found] == [QUICK_TITLES[0], *PLACES]
    assert figures_of(STUDY, Arms()) == ([], "")


def test_the_first_figure_holds_the_measures_of_the_baseline():
    run = Variant()
    shown = baseline(run)
    assert [panel.title for panel in shown.panels] == [title for title, *_ in MEASURES[:5]]
    for panel, (_, name, _) in zip(shown.panels, MEASURES, strict=False):
        (curve,) = panel.curves
        np.testing.assert_allclose([line.y for line in curve.lines], run.values[name])
        (mark,) = panel.marks
        assert mark.each == tuple(sorted(map(float, half_accuracy(run))))
    assert {level.value for level in shown.panels[0].levels} == {LEVELS["plateau"], LEVELS["floor"]}


def test_places_are_read_where_the_final_states_are_most_alike():
    run = Variant()
    *_, bars = figures({"baseline": run})
    (panel,) = bars.panels
    assert panel.categories == tuple(LOCATIONS)
    final = np.median(run.values["cosine/final"], axis=0)
    best = int(final.argmax())
    assert str(run.steps[best]) in bars.title
    for name, interval in zip(LOCATIONS.values(), panel.series[0].means, strict=True):
        expected = run.values[f"cosine/{name}"][:, best].mean()
        assert interval.estimate == pytest.approx(expected)


def test_an_arm_without_a_measure_is_not_in_its_panel():
    arms = made("quick")
    del arms["softmax"].values["repetition/rate"]
    shown = {figure.title: figure for figure in figures(arms)}["Figure 30: softmax attention"]
    labels = {panel.title: [curve.label for curve in panel.curves] for panel in shown.panels}
    assert labels["Repetition ρ"] == ["baseline"]
    assert labels["Training loss"] == ["baseline", "softmax"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Run]:
    """Arms of the paper with a width of 8, for four steps."""
    root = tmp_path_factory.mktemp("runs")
    with Workers(1, train_shard) as pool:
        return {name: resume(create(small(PAPER[name]), root), None, pool)
                for name in ("probe", "prefix-sum")}  # fmt: skip


def small(arm: Experiment) -> Experiment:
    instruments = []
    for each in arm.instruments:
        few = {"train": 4, "test": 4, "iterations": 5} if isinstance(each, MlpProbe) else {}
        instruments.append(each.model_copy(update={"cadence": Cadence(every=2), **few}))
    return arm.model_copy(
        update={
            "model": arm.model.model_copy(update={"width": 8}),
            "batch": 4,
            "evaluation_batch": 8,
            "steps": 4,
            "seeds": (0, 1),
            "instruments": tuple(instruments),
            "engine": Engine(workers=1, chunk=2),
        }
    )


def test_trained_runs_have_what_claims_and_figures_read(trained):
    base, other = trained["probe"], trained["prefix-sum"]
    arms = trained | dict.fromkeys(("baseline", "softmax", *SEVERAL), base)
    for claim in other_claims("paper")[:4]:
        finding = claim.judge(arms)
        assert str(finding.verdict) != "not run" and finding.quantities
    found = [figure.title for figure in figures(arms)]
    assert len(found) == 8
    assert {series for _, series, _ in MEASURES} <= set(other.names())
    probed = f"mlp-probe/{PROBED}/accuracy/test"
    assert probed in base.names()
    assert all(f"cosine/{site}" in base.names() for site in LOCATIONS.values())


def test_a_run_without_a_series_says_so(trained):
    claim = {each.number: each for each in other_claims("paper")}[29]
    with pytest.raises(SaltusError, match="answers/entropy"):
        claim.judge({"prefix-sum": trained["probe"]})
