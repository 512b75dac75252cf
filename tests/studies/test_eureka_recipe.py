"""The arms of the Eureka study: valid, told apart, and the paper's where they say so."""

import pytest
import torch

from saltus.experiment import Experiment
from saltus.models import group_of
from saltus.studies.eureka import STUDY
from saltus.studies.eureka.recipe import EPOCH, README_RATES

ARMS = {scale: STUDY.recipe(scale) for scale in ("paper", "quick")}
EVERY = [(scale, name) for scale, arms in ARMS.items() for name in arms]
PAPER = ARMS["paper"]


@pytest.mark.parametrize(("scale", "name"), EVERY)
def test_every_arm_is_a_valid_experiment_that_says_what_it_is(scale, name):
    arm = ARMS[scale][name]
    assert Experiment.from_yaml(arm.to_yaml()) == arm  # validated: `model_copy` does not
    assert (arm.study, arm.arm, arm.scale) == (STUDY.name, name, scale)
    assert arm.name == f"eureka-{scale}-{name}"


@pytest.mark.parametrize("scale", ARMS)
def test_claims_name_arms_that_there_are(scale):
    asked = {arm for claim in STUDY.claims(scale) for arm in claim.arms}
    grid = {arm for arm in asked if arm.startswith("rates-")}  # five rates: not at quick scale
    assert asked - (grid if scale == "quick" else set()) <= set(ARMS[scale])


def test_quick_softmax_has_eight_seeds_and_methods_share_theirs():
    quick = ARMS["quick"]
    assert len(quick["softmax"].seeds) >= 8
    for name in ("heat-treatment", "norm-softmax"):
        assert set(quick[name].seeds) <= set(quick["softmax"].seeds)
        assert set(quick[f"mlm-{name}"].seeds) <= set(quick["mlm-softmax"].seeds)


def test_the_papers_model_and_rates():
    arm = PAPER["softmax"]
    module = arm.model.build(arm.task.interface)
    assert sum(each.numel() for each in module.parameters()) == 3_750_666
    for name, rate in README_RATES.items():
        optimizer = PAPER[name].optimizer
        assert optimizer.learning_rate == rate
        first, last = (optimizer.rate(step, arm.steps) for step in (0, 5 * EPOCH - 1))
        assert first == pytest.approx(1e-6)
        assert last < optimizer.rate(6 * EPOCH, arm.steps) == pytest.approx(rate, rel=2e-3)
    assert (arm.steps, arm.batch, arm.optimizer.weight_decay) == (35_100, 512, 0.05)
    assert PAPER["softmax-long"].steps == 117_000
    assert arm.task.sampler == "authors-exact"


def test_heat_rises_by_the_epoch_from_a_third_to_eight():
    (heat,) = PAPER["heat-treatment"].interventions
    s = heat.multipliers(35_100, end=1 / 8)
    assert s[0] == 3.0
    assert s[-1] == 1 / 8
    torch.testing.assert_close(s[75 * EPOCH], torch.tensor(1.5625, dtype=torch.float64))
    assert len(set(s[:EPOCH].tolist())) == 1


def test_what_does_not_decay_is_one_dimensional_positions_and_the_class_token():
    arm = PAPER["softmax"]
    module = arm.model.build(arm.task.interface)
    shapes = {name: tuple(each.shape) for name, each in module.named_parameters()}
    for share in arm.optimizer.shares(shapes):
        for name in share.names:
            spared = len(shapes[name]) == 1 or group_of(name) in (
                "embeddings.position", "embeddings.class",
            )  # fmt: skip
            assert (share.rule.weight_decay == 0) == spared, name
