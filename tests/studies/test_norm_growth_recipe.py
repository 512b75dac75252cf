"""The arms of the study of norm growth: valid, told apart, and each of them really trains."""

from functools import cache

import numpy as np
import pytest

from saltus.experiment import Checkpoints, Engine, Experiment
from saltus.instruments import Cadence
from saltus.instruments.head_types import HeadTypes
from saltus.report.kinds import draw_any
from saltus.report.parts import Arms, figures_of
from saltus.runs import Run
from saltus.studies import Verdict
from saltus.studies.norm_growth import STUDY, fig4
from saltus.studies.norm_growth.recipe import GRID, LANGUAGES, OPTIMIZERS, SCHEDULES, SPACING, pairs
from saltus.studies.norm_growth.trained_claims import claims
from saltus.training.launch import create, resume
from saltus.training.plan import plan
from studies.test_norm_growth_claims import made, recipes

SCALES = ("paper", "quick")
LONG = ["adamw", "adamw-fast", "decay", "post-long", *SCHEDULES, *OPTIMIZERS]
ARMS = {*LONG, "fast", "fast-authors", "post", "post-authors", "post-fast", "post-fast-authors",
        "input", "input-final", *LANGUAGES, "grid"}  # fmt: skip
EVERY = [(scale, name) for scale in SCALES for name in sorted(ARMS)]
# One of every kind, in which all that differs between arms is there.
KINDS = ["fast", "post-fast-authors", "input-final", "decay", *OPTIMIZERS, "dyck", "grid"]


def differences(one, other, before=""):
    """The dotted fields in which two experiments differ, but for their names."""
    found = set()
    for name in one.keys() | other.keys():
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= differences(a, b, f"{before}{name}.")
        elif a != b:
            found.add(before + name)
    return found - {"name", "arm"}


def apart(scale, one, other):
    arms = recipes(scale)
    return differences(arms[one].data(), arms[other].data())


@pytest.mark.parametrize("scale", SCALES)
def test_these_are_the_arms(scale):
    assert set(recipes(scale)) == ARMS


@pytest.mark.parametrize(("scale", "name"), EVERY)
def test_every_arm_is_a_valid_experiment_that_says_what_it_is(scale, name):
    arm = recipes(scale)[name]
    assert Experiment.from_yaml(arm.to_yaml()) == arm
    assert (arm.study, arm.arm, arm.scale) == ("norm-growth", name, scale)
    assert arm.name == f"norm-growth-{scale}-{name}"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("arm", ["fast", "post", "post-fast"])
def test_presets_differ_in_mask_loss_and_padding_alone(scale, arm):
    assert apart(scale, arm, f"{arm}-authors") == {*AUTHORS, "instruments"}
    corrected, authors = recipes(scale)[arm], recipes(scale)[f"{arm}-authors"]
    assert (corrected.model.mask, authors.model.mask) == ("negative-infinity", "multiplicative")
    assert (corrected.task.loss_mask, authors.task.loss_mask) == ("corrected", "authors")
    for one, other in zip(corrected.instruments, authors.instruments, strict=True):
        if isinstance(one, HeadTypes):
            assert (one.padding, other.padding) == ("excluded", "included")
            assert other == one.model_copy(update={"padding": "included"})
        else:
            assert one == other


@pytest.mark.parametrize("scale", SCALES)
def test_every_other_arm_is_corrected(scale):
    for name, arm in recipes(scale).items():
        if name != "post-long" and not name.endswith("-authors"):
            assert arm.model.mask == "negative-infinity"
            assert getattr(arm.task, "loss_mask", "corrected") == "corrected"


RATE = "optimizer.learning_rate"
AUTHORS = {"model.mask", "task.loss_mask"}


def test_quick_arms_differ_in_what_their_names_say():
    assert apart("quick", "adamw", "adamw-fast") == {RATE}
    assert apart("quick", "adamw", "post-long") == {"model.norm", *AUTHORS}
    of_schedules = apart("quick", "adamw-fast", "decay") - {"checkpoints.at", "steps"}
    assert {each.rpartition(".")[0] for each in of_schedules} == {"optimizer.schedule"}
    assert apart("quick", "fast", "post-fast") == {"model.norm"}
    assert apart("quick", "post", "post-fast") == {RATE}
    assert apart("quick", "fast", "input") == {"model.norm"}
    assert apart("quick", "input", "input-final") == {"model.final_norm"}
    arms = recipes("quick")
    norm = {name: arms[name].model.norm for name in ARMS}
    assert {name for name in ARMS if norm[name] == "pre"} == {"input", "input-final"}
    assert {name for name in ARMS if norm[name] == "post"} == {
        "post", "post-authors", "post-fast", "post-fast-authors", "post-long"}  # fmt: skip
    rates = {name: arms[name].optimizer.learning_rate for name in ARMS}
    assert (rates["adamw"], rates["post"], rates["post-authors"]) == (1e-3,) * 3
    assert {rates[name] for name in ("fast", "post-fast", "input", *LANGUAGES)} == {1e-2}


@pytest.mark.parametrize("scale", SCALES)
def test_growth_is_compared_on_the_same_model_of_optimisers_at_the_same_steps(scale):
    arms = recipes(scale)
    for name in set(LONG) - {"post-long"}:
        arm = arms[name]
        assert (arm.model, arm.task) == (arms["adamw"].model, arms["adamw"].task)
        assert arm.seeds == arms["adamw"].seeds
        assert name not in OPTIMIZERS or arm.steps == arms["adam"].steps
        assert [each.kind for each in arm.instruments] == [
            "norm-policies", "norm-dynamics", "evaluation"]  # fmt: skip
        norms, *_ = arm.instruments
        assert arm.steps // norms.cadence.every >= 16  # eight blocks of two
    assert [arms[name].optimizer.kind for name in OPTIMIZERS] == [
        "adam", "sgd", "norm-sgd", "adafactor"]  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["decay", "adafactor", *SCHEDULES])
def test_rates_that_decay_have_done_so_for_half_of_the_steps(scale, name):
    arm = recipes(scale)[name]
    rates = [arm.optimizer.rate(step, arm.steps) for step in range(arm.steps)]
    half = arm.steps // 2
    assert rates[-1] < 0.75 * max(rates)
    assert all(a > b for a, b in zip(rates[half:], rates[half + 1 :], strict=False))


@pytest.mark.parametrize(("scale", "name"), EVERY)
def test_every_setting_has_four_seeds_or_two_in_each_cell_of_the_grid(scale, name):
    arm = recipes(scale)[name]
    assert len(arm.seeds) == (2 if name == "grid" else 4)
    assert arm.seeds == tuple(range(len(arm.seeds)))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["adamw", "adamw-fast", "post-long"])
def test_checkpoints_that_are_compared_lie_25_steps_apart(scale, name):
    """At the start and at the end, where claims 2 and 3 look."""
    arm = recipes(scale)[name]
    kept = np.array(
        [step for step in range(arm.steps + 1) if arm.checkpoints.keeps(step, arm.steps)]
    )
    first = kept[:-1][np.diff(kept) == SPACING]
    assert SPACING == 25
    assert first[0] == 0 and len(first) >= 4
    assert first[-1] == arm.steps - SPACING


@pytest.mark.parametrize("steps", [0, 10, 25, 60, 125, 800, 1330])
def test_pairs_stay_within_the_steps(steps):
    found = pairs(steps)
    assert found == tuple(sorted(set(found))) and set(found) <= set(range(steps + 1))
    assert steps < SPACING or {0, SPACING, steps - SPACING, steps} <= set(found)


@pytest.mark.parametrize("scale", SCALES)
def test_the_grid_is_one_ensemble_of_all_cells(scale):
    grid, values = recipes(scale)["grid"], list(GRID[scale])
    found = {name: list(own) for name, own in grid.vary.items()}
    assert found == {"optimizer.learning_rate": values, "optimizer.weight_decay": values}
    assert len(values) == {"quick": 5, "paper": 20}[scale]
    np.testing.assert_allclose((values[0], values[-1]), (1e-1, 1e-5))
    np.testing.assert_allclose(np.diff(np.log10(values)), -4 / (len(values) - 1))
    assert grid.optimizer.kind == "adamw" and grid.task.sampler == "epochs"
    assert grid.steps == grid.task.epoch_steps(grid.batch)
    if scale == "quick":
        assert (values[2], values[1]) == (1e-3, 1e-2)  # PyTorch's default is a cell
        cells = [tuple(member.overrides.values()) for member in grid.members()]
        expected = [(rate, decay) for rate in values for decay in values for _ in grid.seeds]
        assert cells == expected


def test_the_papers_model_and_training():
    arm = recipes("paper")["adamw"]
    model = arm.model
    assert (model.depth, model.heads, model.width, model.hidden) == (12, 12, 768, 512)
    assert (model.norm, model.activation, model.dropout) == ("branch-out", "relu", 0)
    assert (arm.optimizer.learning_rate, arm.optimizer.weight_decay, arm.batch) == (1e-3, 0.01, 16)
    assert arm.steps == 5 * arm.task.epoch_steps(16)
    assert recipes("paper")["fast"].optimizer.learning_rate == 1e-3  # its own is the slow one


def tiny(arm):
    """The same arm of a width of 8, for two steps."""
    sizes = {"length": 10, "vocabulary": 40} if arm.task.kind == "sentences" else {"length": 10}
    model = {"depth": 2, "heads": 2, "width": 8, "hidden": 8}  # four heads: modes need them
    few = {"saturated-accuracy": {"samples": 8}, "head-types": {"samples": 8}}
    rates = {name: values[:2] for name, values in arm.vary.items()}
    return arm.model_copy(
        update={
            "task": arm.task.model_copy(update=sizes),
            "model": arm.model.model_copy(update=model),
            "instruments": tuple(
                each.model_copy(update={"cadence": Cadence(every=2), **few.get(each.kind, {})})
                for each in arm.instruments
            ),
            "steps": 2, "batch": 4, "evaluation_batch": 8, "seeds": (0, 1), "vary": rates,
            "checkpoints": Checkpoints(), "engine": Engine(workers=1),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run of an arm, trained once."""
    root = tmp_path_factory.mktemp("runs")

    @cache
    def run(name) -> Run:
        return resume(create(tiny(recipes("quick")[name]), root))

    return run


@pytest.mark.parametrize("name", KINDS)
def test_an_arm_trains_and_has_the_series_that_made_runs_have(trained, name):
    run, told = trained(name), made()[name]
    assert run.status["state"] == "done" and not run.status["diverged"]
    assert len(run.members) == (8 if name == "grid" else 2)
    assert set(told.names()) <= set(run.names())
    for each in told.names():
        here, there = told.array(each), run.array(each)
        assert here.values.ndim == there.values.ndim, each
        assert there.steps.tolist() == [0, 2]
        assert np.isfinite(there.values).all(), each


def kind_of(name):
    """The tiny run that stands for an arm."""
    if name in KINDS:
        return name
    if name in LONG:
        return "decay"
    if name in LANGUAGES:
        return "dyck"
    ends = {"authors": "post-fast-authors", "input": "input-final"}
    return ends.get(name.rpartition("-")[2], "fast")


def test_every_claim_on_single_readings_reads_what_trained_runs_hold(trained):
    """Two steps show nothing of the paper, and nothing must raise. (Laws need more readings.)"""
    arms = {name: trained(kind_of(name)) for name in ARMS}
    for claim in claims("quick"):
        if claim.number in (10, 11, 12, 13, 15, 16, 21, 22):
            finding = claim.judge(arms)
            assert finding.quantities and finding.verdict is not Verdict.NOT_RUN
            assert all(np.isfinite(quantity.values).all() for quantity in finding.quantities)


def test_every_figure_is_drawn_from_trained_runs(trained, monkeypatch):
    monkeypatch.setattr(fig4, "curve", lambda *_: np.full((3, 10), 0.9))
    found, missing = figures_of(STUDY, Arms({name: trained(kind_of(name)) for name in ARMS}))
    assert not missing and len(found) == 12
    for each in found:
        assert str(draw_any(each)).startswith("<figure")


def test_the_norm_of_the_encoder_is_that_of_its_parameters(trained):
    run = trained("fast")
    series, last = run.series("norm-policies/encoder"), run.checkpoint()
    outside = ("token.", "position.", "readout.")
    names = [name for name in last if not name.startswith(outside)]
    assert 0 < len(names) < len(last)
    for member in range(2):
        theta = np.concatenate([last[name][member].ravel() for name in names]).astype(np.float64)
        assert series.values[member, -1] == pytest.approx(np.linalg.norm(theta), rel=1e-6)


def test_all_cells_of_the_grid_fit_into_one_shard():
    grid = recipes("quick")["grid"].model_copy(update={"engine": Engine(workers=1, chunk=64)})
    assert plan(grid).shards == [list(range(50))]
