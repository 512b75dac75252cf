"""The arms of the matrix-completion study: valid, told apart, and the paper's where they say so."""

import re
from math import prod

import pytest
import torch

from saltus.experiment import Experiment
from saltus.instruments.base import Cadence
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.linear_probe import LinearProbe
from saltus.interventions.transplant import ArmCheckpoint
from saltus.models import group_of
from saltus.studies.donors import check_arms
from saltus.studies.matrix_completion import STUDY
from saltus.studies.matrix_completion.recipe import COMPONENTS, DEPTHS, MOMENTS, WIDTHS

ARMS = {scale: STUDY.recipe(scale) for scale in ("paper", "quick")}
EVERY = [(scale, name) for scale, arms in ARMS.items() for name in arms]
BASE = ARMS["paper"]["base"]


@pytest.mark.parametrize(("scale", "name"), EVERY)
def test_every_arm_is_a_valid_experiment_that_says_what_it_is(scale, name):
    arm = ARMS[scale][name]
    assert Experiment.from_yaml(arm.to_yaml()) == arm  # validated: `model_copy` does not
    assert (arm.study, arm.arm, arm.scale) == (STUDY.name, name, scale)
    assert arm.name == f"matrix-completion-{scale}-{name}"


@pytest.mark.parametrize(("scale", "name"), EVERY)
def test_every_arm_and_what_it_is_read_on_fits_the_table_of_positions(scale, name):
    arm = ARMS[scale][name]
    tasks = [arm.task, *(getattr(each, "task", None) for each in arm.instruments)]
    needed = max(task.interface.positions for task in tasks if task is not None)
    assert needed <= (arm.model.positions or arm.task.interface.positions)


@pytest.mark.parametrize(("scale", "name"), EVERY)
def test_every_named_step_is_one_of_the_training(scale, name):
    arm = ARMS[scale][name]
    assert all(step <= arm.steps for step in arm.checkpoints.at)
    assert all(step <= arm.steps for each in arm.instruments if not shared(each)
               for step in each.cadence.at or ())  # fmt: skip


def shared(instrument) -> bool:
    """The copy check's steps are the paper's at both scales."""
    return instrument.kind == "copy-check"


@pytest.mark.parametrize("scale", ARMS)
def test_readings_of_one_arm_have_names_of_their_own(scale):
    for arm in ARMS[scale].values():
        labels = [getattr(each, "label", each.kind) for each in arm.instruments]
        assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("scale", ARMS)
def test_moments_lie_on_what_is_read_and_kept(scale):
    now, arms = MOMENTS[scale], ARMS[scale]
    plateau, leap = arms[now.plateau], arms[now.leap]
    assert leap.steps == now.after and now.before < now.after
    assert leap.checkpoints.keeps(now.before, leap.steps)  # whose components are switched
    assert now.copied in now.levels and max(now.levels) <= plateau.steps
    for each in leap.instruments:
        if each.kind in ("grid-attention", "embedding-geometry", "head-ablation"):
            assert each.cadence.due(now.before, leap.steps), each.kind
    for each in plateau.instruments:
        if each.kind == "copy-check":
            assert each.cadence.due(now.copied, plateau.steps)


def test_arms_with_donors_could_begin_at_quick_scale():
    chosen = (MOMENTS["quick"].leap, "only-token", "only-attention")
    check_arms({name: ARMS["quick"][name] for name in chosen})


@pytest.mark.parametrize("scale", ARMS)
@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_is_the_leaping_arm_but_for_its_start(scale, name):
    donor, arm = ARMS[scale][MOMENTS[scale].leap], ARMS[scale][f"only-{name}"]
    (graft,) = arm.interventions
    assert graft.donor_arm == ArmCheckpoint(MOMENTS[scale].leap, None)
    assert (graft.outside, graft.freeze, graft.member) == (True, True, "next seed")
    assert graft.groups == COMPONENTS[name]
    same = ("task", "model", "optimizer", "batch", "evaluation_batch", "seeds")
    assert all(getattr(arm, field) == getattr(donor, field) for field in same)
    assert arm.instruments == donor.instruments[:1] and isinstance(arm.instruments[0], Evaluation)


def test_components_are_the_papers_and_do_not_overlap():
    """Layer norms and the readout stand at their final values in all four."""
    names = parameters(BASE)
    groups = {group_of(name) for name in names}
    moved = {name: {each for each in groups for pattern in COMPONENTS[name]
                    if each == pattern or each.startswith(f"{pattern}.")}
             for name in COMPONENTS}  # fmt: skip
    assert moved["token"] == {"embeddings.token"}
    assert moved["position"] == {"embeddings.position"}
    assert moved["attention"] == {"attention.qk", "attention.value", "attention.output"}
    assert moved["mlp"] == {"mlp"}


def parameters(arm: Experiment) -> dict[str, tuple[int, ...]]:
    """Names and shapes, without the memory."""
    with torch.device("meta"):
        module = arm.model.build(arm.task.interface)
    return {name: tuple(each.shape) for name, each in module.named_parameters()}


def size(arm: Experiment) -> int:
    return sum(prod(shape) for shape in parameters(arm).values())


def test_the_base_arm_is_the_papers_setting():
    task, model = BASE.task, BASE.model
    assert (task.rows, task.columns, task.rank, task.mask_probability) == (7, 7, 2, 0.3)
    assert (task.factors, task.low, task.high, task.decimals) == ("uniform", -1, 1, 2)
    assert (task.interface.vocabulary, task.interface.positions) == (2002, 49)
    assert task.levels()["plateau"] == pytest.approx(0.0667, abs=5e-5)
    assert task.variance == pytest.approx(2 / 9)
    assert (model.depth, model.heads, model.width, model.norm) == (4, 8, 768, "post")
    assert (model.positions, model.silent_mask, model.initial_deviation) == (512, True, 0.02)
    assert not model.causal
    assert size(BASE) == 30_284_545


def test_training_is_the_papers_in_every_arm():
    for name, arm in ARMS["paper"].items():
        adam = arm.optimizer
        assert (adam.kind, adam.learning_rate) == ("adam", 1e-4)
        assert (adam.weight_decay, adam.clip, tuple(adam.betas), adam.epsilon) == (
            0, None, (0.9, 0.999), 1e-8)  # fmt: skip
        assert adam.schedule == type(adam.schedule)(), name  # constant, without warm-up
        assert (arm.batch, arm.evaluation_batch) == (256, 64)
        assert arm.steps == (1000 if name == "gpt" else 50_000)
        assert arm.engine.precision == "float32"
    assert {1000, 4000, 10_000, 14_000, 16_000, 20_000} <= set(BASE.checkpoints.at)


@pytest.mark.parametrize("width", WIDTHS)
def test_widths_change_nothing_but_the_width(width):
    arm = ARMS["paper"][f"width-{width}"]
    assert arm.task == BASE.task
    assert arm.model == BASE.model.model_copy(update={"width": width})
    assert parameters(arm)["blocks.0.mlp.input.weight"] == (4 * width, width)


@pytest.mark.parametrize("depth", DEPTHS)
def test_depths_change_nothing_but_the_depth(depth):
    arm = ARMS["paper"][f"depth-{depth}"]
    assert (arm.task, arm.model) == (BASE.task, BASE.model.model_copy(update={"depth": depth}))
    assert size(arm) - size(BASE) == (depth - 4) * 7_087_872


def test_the_probed_model_is_the_papers():
    arm = ARMS["paper"]["probe"]
    assert (arm.model.depth, arm.model.heads, arm.model.width) == (12, 12, 768)
    probes = [each for name in ("base", "probe") for each in ARMS["paper"][name].instruments
              if isinstance(each, LinearProbe)]  # fmt: skip
    assert len(probes) == 2
    for each in probes:
        assert (each.train, each.test) == (2048, 256)
        assert set(each.targets or ("row", "element", "svd")) == {"row", "element", "svd"}


def test_other_matrices_are_the_papers():
    tasks = {name: ARMS["paper"][name].task for name in ("larger", "mixture", "gaussian")}
    assert (tasks["larger"].rows, tasks["larger"].columns, tasks["larger"].rank) == (10, 10, 3)
    assert (tasks["mixture"].sizes, tasks["mixture"].rank) == ((5, 7, 9), 1)
    assert (tasks["gaussian"].factors, tasks["gaussian"].scale) == ("gaussian", 1.0)
    sizes = [each for each in ARMS["paper"]["mixture"].instruments if each.task is not None]
    assert [(each.task.grid, each.samples) for each in sizes] == [
        ((n, n), 256) for n in (5, 7, 9)
    ]  # fmt: skip


def test_inference_elsewhere_is_the_papers():
    found = {each.label.removeprefix("on-"): each for each in BASE.instruments
             if isinstance(each, Evaluation) and each.label.startswith("on-")}  # fmt: skip
    gaussian, laplace = found["gaussian"].task, found["laplace"].task
    assert (gaussian.factors, gaussian.scale) == ("gaussian", 0.5)
    assert (laplace.factors, laplace.scale) == ("laplace", 0.25)
    for each in (gaussian, laplace):
        assert (each.grid, each.rank, each.mask_probability) == ((7, 7), 2, 0.3)
    shares = {name: each.task.mask_probability for name, each in found.items() if "masked" in name}
    assert shares == {f"masked-{p}": p / 100 for p in range(10, 61, 5)}
    for name, each in found.items():
        assert each.samples == 1024 and each.cadence == Cadence(at=())
        if match := re.fullmatch(r"(rank|rows|columns)-(\d+)", name):
            assert getattr(each.task, match[1]) == int(match[2])


def test_copies_are_checked_on_the_papers_values_and_on_full_rank():
    for scale in ARMS:
        arm = ARMS[scale][MOMENTS[scale].plateau]
        plain, full = (each for each in arm.instruments if each.kind == "copy-check")
        assert plain.samples == full.samples == 512
        assert plain.values is None and full.values is None  # then the paper's 0.44 and -0.24
        assert (plain.task, full.task.factors, full.task.grid) == (None, "entries", arm.task.grid)
        assert full.task.variance == pytest.approx(1 / 3)


def test_the_gpt_is_the_papers():
    arm = ARMS["paper"]["gpt"]
    assert arm.task.interface.vocabulary == 405
    assert (arm.task.prompt_length, arm.task.answer_length) == (50, 49)
    assert (arm.task.rank, arm.task.limit, arm.task.mask_probability) == (2, 2, 0.3)
    model = arm.model
    assert (model.depth, model.heads, model.width) == (2, 2, 256)
    assert model.attention.kind == "softmax"
    assert (model.norm, model.activation) == ("pre", "gelu-tanh")


def test_what_the_quick_scale_changes_is_said():
    said = " ".join(STUDY.changed.split())
    leap, signed = ARMS["quick"]["leap"], ARMS["quick"]["signed"]
    task, model = leap.task, leap.model
    assert f"{task.rows} x {task.columns} matrices of rank {task.rank} for 7 x 7 of rank 2" in said
    assert f"depth {model.depth}, heads {model.heads} and width {model.width} for 4, 8 and 768" in (
        said
    )
    assert f"initial deviation of {model.initial_deviation:g} for 0.02" in said
    assert f"{task.low:g} or {task.high:g}" in said
    assert (signed.task.factors, signed.task.low, signed.task.high) == ("uniform", -1, 1)
    for arm in (leap, signed):
        rate = f"{arm.optimizer.learning_rate:.0e}".replace("e-0", "e-")
        assert f"learning rate of {rate}" in said
        assert arm.task.mask_probability == 0.3
        assert str(arm.batch) in said
