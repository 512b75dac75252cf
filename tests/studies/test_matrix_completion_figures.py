"""Figures of the matrix-completion study from made runs: there, told apart, and of their data."""

from importlib import import_module

import numpy as np
import pytest

from saltus.instruments.embedding_geometry import tokens_of
from saltus.report.kinds import draw_any
from saltus.report.parts import Arms, figures_of
from saltus.studies.matrix_completion import STUDY, convex, whole_models
from saltus.studies.matrix_completion.figures import figures, losses
from saltus.studies.matrix_completion.measures import MASKED, task_of
from saltus.studies.matrix_completion.recipe import COMPONENTS, DEPTHS, MOMENTS, WIDTHS
from studies.test_matrix_completion_runs import made, made_points

SCALES = ("paper", "quick")
SWITCHES = ("intact", "donor", "attention-qkv", "the-rest", "mlp")
INSIDE = [
    "Figure 4: where heads look, before the leap",
    "Figure 4: where heads look, after the leap",
    "Ablated heads after the leap",
    "Patched heads after the leap: distance of the answer at missing entries",
    "Components of the plateau's checkpoint in the last one",
    "Figure 7a: token norms after the leap",
    "Figure 7b and c: embeddings after the leap",
    "Figures 6, 20 and 21: linear probes after the leap",
    "Norms of parameter groups across the leap",
]
SOLVER = "Figure 3: nuclear-norm minimisation, 7 x 7, rank 2"
ALONE, GPT = (
    "Figure 8: components trained alone",
    "Figure 11: a GPT learns to copy what the prompt shows",
)
TITLES = {
    "paper": [
        "Figures 1 and 2: base", SOLVER, *INSIDE, ALONE, GPT, "Figure 13: width",
        "Figure 14: depth", "Figures 15 and 17: size and rank", "Figure 18: Gaussian factors",
        "Figure 16: a mixture of sizes", "Figure 19: other laws, ranks and sizes at inference",
    ],
    "quick": ["Figures 1 and 2: signed", "Figures 1 and 2: leap", SOLVER, *INSIDE, ALONE, GPT],
}  # fmt: skip


def switched(run, instruments, step, donor):
    seeds = len(run.experiment["seeds"])
    levels = {"loss": 10.0, "loss/masked": 0.5, "mask-value": 20.0}
    return {
        f"component-switching/{switch}/{metric}": np.full(seeds, place + level)
        for place, switch in enumerate(SWITCHES)
        for metric, level in levels.items()
    }


def near(rows, perplexity):
    """In place of t-SNE, which takes its time."""
    assert 0 < perplexity < len(rows)
    return rows[:, :2]


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch):
    monkeypatch.setattr(convex, "points", made_points)
    monkeypatch.setattr(whole_models, "revisit", switched)
    there = import_module("saltus.studies.matrix_completion.figures")
    monkeypatch.setattr(there, "embedding_map", near)


def drawn(scale, arms=None):
    return {figure.title: figure for figure in figures(arms or made(scale))}


@pytest.mark.parametrize("scale", SCALES)
def test_every_figure_of_a_scale_is_there_under_its_own_title(scale):
    titles = [figure.title for figure in figures(made(scale))]
    assert titles == TITLES[scale]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed", [None, 0])
def test_every_figure_can_be_drawn_also_where_a_seed_was_lost(scale, seed):
    arms = made(scale)
    for run in arms.values() if seed is not None else ():
        for name in run.names():
            run.set(name, lambda values: np.full_like(values, np.nan), seed)
    for figure in drawn(scale, arms).values():
        text = str(draw_any(figure))
        assert text.startswith("<figure") and figure.title in text.replace("&#x27;", "'")
        assert figure.caption


@pytest.mark.parametrize("scale", SCALES)
def test_a_missing_arm_loses_its_own_figures_alone(scale):
    whole, leap = made(scale), MOMENTS[scale].leap
    of_an_arm = {
        "signed": {"Figures 1 and 2: signed"},
        "leap": {"Figures 1 and 2: leap", *INSIDE, ALONE},
        "gpt": {GPT},
        "larger": {"Figures 15 and 17: size and rank"},
        "mixture": {"Figure 16: a mixture of sizes"},
        "only-position": {ALONE},
        **{arm: set() for arm in ("width-64", "probe")},
    }
    for arm in of_an_arm.keys() & whole.keys() - {leap}:
        left = Arms({name: run for name, run in whole.items() if name != arm})
        found, missing = figures_of(STUDY, left)
        assert [figure.title for figure in found] == [
            title for title in TITLES[scale] if title not in of_an_arm[arm]
        ]
        assert not missing


def test_without_the_arm_that_leaps_the_others_are_still_shown():
    quick = {name: run for name, run in made("quick").items() if name != "leap"}
    assert list(drawn("quick", quick)) == ["Figures 1 and 2: signed", SOLVER, GPT]
    paper = {name: run for name, run in made("paper").items() if name != "base"}
    assert list(drawn("paper", paper)) == [
        SOLVER, GPT, "Figure 13: width", "Figure 14: depth", "Figures 15 and 17: size and rank",
        "Figure 18: Gaussian factors", "Figure 16: a mixture of sizes",
    ]  # fmt: skip
    assert next(figures({})).title == SOLVER  # it needs no run


def values_of(curve):
    return np.stack([line.y for line in curve.lines])


def test_losses_are_the_three_series_with_their_closed_forms():
    run = made("quick")["leap"]
    whole, guess = losses(run, "leap").panels
    assert [curve.label for curve in whole.curves] == ["all", "observed", "masked"]
    masked = whole.curves[2]
    np.testing.assert_allclose(masked.fan.x, run.series(MASKED).steps)
    np.testing.assert_allclose(values_of(masked), run.series(MASKED).values)
    assert [(level.label, level.value) for level in whole.levels] == [
        ("Var(X)", task_of(run).variance), ("p Var(X)", 0.3 * task_of(run).variance)]  # fmt: skip
    (mark,) = whole.marks
    assert len(mark.each) == mark.seeds == len(run.experiment["seeds"])
    np.testing.assert_allclose(values_of(guess.curves[0])[:, 0], run.series(
        "evaluation/mask-value").values[:, 0])  # fmt: skip


def test_an_arm_that_stays_on_its_plateau_has_no_mark_of_a_leap():
    whole, _ = losses(made("quick")["signed"], "signed").panels
    assert not whole.marks


def test_the_solver_stands_beside_the_model_at_the_same_shares():
    arms = made("paper")
    errors, norms = drawn("paper", arms)[SOLVER].panels
    assert [curve.label for curve in errors.curves] == ["solver", "model"]
    assert [curve.seeds for curve in errors.curves] == [convex.SEEDS, 4]
    own = np.stack([arms["base"].array(f"on-masked-{p}/loss").values[:, -1]
                    for p in (10, 20, 30, 40, 50, 60)], axis=-1)  # fmt: skip
    np.testing.assert_allclose(errors.curves[1].fan.x, convex.PROBABILITIES)
    np.testing.assert_allclose(values_of(errors.curves[1]), own)
    assert [curve.label for curve in norms.curves] == ["solution", "X"]
    (alone, _) = drawn("quick")[SOLVER].panels
    assert [curve.label for curve in alone.curves] == ["solver"]


@pytest.mark.parametrize("scale", SCALES)
def test_heads_are_those_of_the_first_seed_before_and_after(scale):
    arms, now = made(scale), MOMENTS[scale]
    run, found = arms[now.leap], drawn(scale, arms)
    for title, step in ((INSIDE[0], now.before), (INSIDE[1], now.after)):
        row = found[title].maps[0]
        series = [run.array(f"grid-attention/row/blocks.{k}") for k in range(len(row.rows))]
        place = series[0].steps.tolist().index(step)
        np.testing.assert_allclose(row.values, [each.values[0, place] for each in series])
        assert [each.title for each in found[title].maps] == ["row", "column", "self", "observed"]
        assert row.seeds == 1
    uniform, mean = found[INSIDE[2]].maps
    lost = run.array("head-ablation/loss/masked/blocks.1").values[0, -1]
    np.testing.assert_allclose(uniform.values[1], lost)
    assert (uniform.title, mean.title) == ("uniform", "batch mean")


def test_the_seed_that_stands_for_all_is_one_that_did_not_diverge():
    run = made("quick")["leap"]
    run.set(MASKED, lambda values: np.full_like(values, np.nan), slice(0, 2))
    found = drawn("quick", {"leap": run})
    row = run.array("grid-attention/row/blocks.1").values[2, -1]
    np.testing.assert_allclose(found[INSIDE[1]].maps[0].values[1], row)
    points = run.array("embedding-geometry/token/coordinates").values[2, -1]
    np.testing.assert_allclose(found[INSIDE[6]].panels[0].points, points)
    assert "seed 2" in found[INSIDE[6]].caption


def test_switched_components_are_bars_of_the_loss_at_missing_entries():
    (panel,) = drawn("quick")[INSIDE[4]].panels
    assert panel.categories == SWITCHES
    assert [each.estimate for each in panel.series[0].means] == [0.5, 1.5, 2.5, 3.5, 4.5]


def test_embeddings_are_drawn_over_values_and_columns():
    run = made("quick")["leap"]
    found = drawn("quick", {"leap": run})
    values = task_of(run).token_values()[tokens_of(task_of(run))].numpy()
    (norms,) = found[INSIDE[5]].panels
    np.testing.assert_allclose(norms.curves[0].fan.x[[0, -1]], values[[0, -1]])
    tokens, positions, map_of_them = found[INSIDE[6]].panels
    np.testing.assert_allclose(tokens.values, values)
    columns = task_of(run).columns
    assert positions.kinds == tuple(f"column {k % columns}" for k in range(task_of(run).cells))
    points = run.array("embedding-geometry/position/coordinates").values[0, -1]
    np.testing.assert_allclose(positions.points, points)
    rows = run.checkpoint()["position.weight"][0, : task_of(run).cells]  # those in use
    np.testing.assert_allclose(map_of_them.points, rows[:, :2])
    assert map_of_them.kinds == positions.kinds


def test_probes_go_from_the_embedding_up_through_the_layers():
    row, *_, alike = drawn("paper")[INSIDE[7]].panels
    np.testing.assert_array_equal(row.curves[0].fan.x, np.arange(5))
    shown = values_of(row.curves[0]).mean(0)
    assert set(np.argsort(shown)[:2]) == {3, 4}  # blocks 2 and 3, the embedding being 0
    assert [curve.label for curve in alike.curves] == ["row", "svd"]


def test_norms_are_over_their_start():
    (panel,) = drawn("quick")[INSIDE[8]].panels
    ends = {curve.label: curve.fan.median[[0, -1]].tolist() for curve in panel.curves}
    assert ends["embeddings.token"] == pytest.approx([1, 1])
    assert ends["readout"] == pytest.approx([1, 4])


def test_families_have_all_their_arms_and_the_base():
    found = drawn("paper")
    labels = {title: [curve.label for curve in found[title].panels[0].curves] for title in (
        "Figure 13: width", "Figure 14: depth", ALONE)}  # fmt: skip
    assert labels["Figure 13: width"] == [*(f"width-{width}" for width in WIDTHS), "base"]
    assert labels["Figure 14: depth"] == [*(f"depth-{depth}" for depth in DEPTHS), "base"]
    assert labels[ALONE] == [*(f"only-{name}" for name in COMPONENTS), "everything"]


def test_inference_elsewhere_is_a_bar_for_each_law_rank_and_size():
    arms = made("paper")
    (panel,) = drawn("paper", arms)[TITLES["paper"][-1]].panels
    assert {"gaussian", "laplace", "rank-1", "rank-4", "rows-9", "columns-5"} <= set(
        panel.categories
    )
    assert not any("masked" in name for name in panel.categories)
    place = panel.categories.index("laplace")
    expected = arms["base"].array("on-laplace/loss").values[:, -1].mean()
    assert panel.series[0].means[place].estimate == pytest.approx(expected)
