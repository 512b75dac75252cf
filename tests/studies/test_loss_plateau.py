"""The loss-plateau study: claims on invented runs that show the effect or do not, and recipes."""

import re
from pathlib import Path

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import Run, Series
from saltus.studies.loss_plateau import STUDY
from saltus.studies.loss_plateau.claims import claims, half_accuracy, peaks
from saltus.tasks.moving_window_sum import MovingWindowSum

SEEDS, PAPER, QUICK = 8, STUDY.recipe("paper"), STUDY.recipe("quick")
FIRST = ("baseline", "bias-10", "bias-0.2")  # the arms of claims 22 to 28
LEVELS = MovingWindowSum().levels()


class FakeRun(Run):
    """A run without a directory: a partial solution at step 40, and a leap when it is told to."""

    def __init__(self, leap=180, length=400, cosine=0.95):
        self.path = Path("made")
        jitter = np.linspace(-3, 3, SEEDS)
        self.steps = np.arange(0, length + 1, 10)
        leaps = np.full(SEEDS, float(leap)) + jitter
        grid = np.broadcast_to(self.steps, (SEEDS, len(self.steps))).astype(float)
        after, noise = grid >= leaps[:, None], 0.002 * jitter[:, None] / 3
        waiting = (grid >= 40) & ~after
        loss = np.where(grid < 40, 2.72, np.where(after, 1.31, LEVELS["plateau"])) + noise
        rises = 0.1 + 0.3 * np.clip((grid - 40) / (leap - 40), 0, 1)
        self.values = {
            "loss/train": loss,
            "evaluation/loss": loss,
            "evaluation/accuracy": np.where(after, 1.0, 0.12) + noise,
            "evaluation/accuracy-first": np.where(grid >= 40, 1.0, 0.1),
            "cosine/final": np.where(waiting, cosine, 0.05) + noise,
            "repetition/rate": np.where(waiting, 0.55, 0.058) + noise,
            "attention-progress/blocks.0": np.where(after, 0.74, rises) + noise,
        }

    @property
    def status(self):
        return {"state": "done", "step": self.steps[-1], "steps": self.steps[-1]}

    def names(self):
        return sorted(self.values)

    def array(self, name):
        if name not in self.values:
            raise SaltusError(f"no metric {name}")
        return Series(name, self.steps, self.values[name])

    def set(self, name, function):
        self.values[name] = function(self.values[name].copy())
        return self


def healthy():
    return {
        "baseline": FakeRun(),
        "bias-10": FakeRun(leap=110, length=200, cosine=0.6),
        "bias-0.2": FakeRun(leap=10_000, length=400, cosine=0.98),
    }


def verdicts(arms, scale="paper"):
    return {claim.number: str(claim.judge(arms).verdict) for claim in claims(scale)}


@pytest.mark.parametrize("scale", ["paper", "quick"])
def test_runs_that_show_the_effect_reproduce_all_seven_claims(scale):
    assert verdicts(healthy(), scale) == dict.fromkeys(range(22, 29), "reproduced")


def above(level):
    return lambda values: np.maximum(values, level)


def below(level):
    return lambda values: np.minimum(values, level)


@pytest.mark.parametrize(
    ("claim", "arm", "name", "change"),
    [
        (22, "baseline", "loss/train", above(1.5)),  # never reaches the floor
        (22, "baseline", "loss/train", lambda v: v + 0.1),  # another plateau
        (23, "baseline", "evaluation/accuracy", above(0.3)),  # no partial solution
        (23, "baseline", "evaluation/accuracy-first", below(0.9)),
        (24, "baseline", "cosine/final", below(0.5)),  # no collapse
        (24, "baseline", "cosine/final", above(0.5)),  # a collapse that stays
        (25, "baseline", "repetition/rate", below(0.2)),
        (25, "baseline", "repetition/rate", above(0.2)),
        (26, "baseline", "attention-progress/blocks.0", below(0.15)),
        (27, "bias-10", "cosine/final", above(0.93)),
        (28, "bias-0.2", "evaluation/accuracy", above(0.6)),
        (28, "bias-0.2", "cosine/final", below(0.5)),
    ],
)
def test_runs_that_show_the_opposite_contradict_the_claim(claim, arm, name, change):
    arms = healthy()
    arms[arm].set(name, change)
    assert verdicts(arms)[claim] == "contradicted"


def test_a_leap_that_is_not_hastened_contradicts_claim_27():
    slow = healthy() | {"bias-10": FakeRun(leap=180, length=400, cosine=0.6)}
    assert verdicts(slow)[27] == "contradicted"


def test_a_leap_outside_the_spec_contradicts_claim_22_at_paper_scale():
    assert verdicts({"baseline": FakeRun(leap=380)})[22] == "contradicted"


def test_seeds_that_disagree_leave_a_claim_inconclusive():
    arms = healthy()
    arms["baseline"].set("cosine/final", half(below(0.5)))
    arms["baseline"].set("attention-progress/blocks.0", half(below(0.15)))
    found = verdicts(arms)
    assert (found[24], found[26]) == ("inconclusive", "inconclusive")
    assert found[25] == "reproduced"


def half(change):
    return lambda values: np.concatenate([change(values[: SEEDS // 2]), values[SEEDS // 2 :]])


def first(change):
    return lambda values: np.concatenate([change(values[:1]), values[1:]])


def test_a_seed_that_never_leaps_cannot_be_averaged_away():
    arms = healthy()
    never = first(lambda values: np.full_like(values, 0.12))
    arms["baseline"].set("evaluation/accuracy", never)
    found = verdicts(arms)
    assert found[22] == "inconclusive"  # its half-accuracy step is not a number
    assert found[27] == "inconclusive" and found[28] == "inconclusive"


def test_what_an_untrained_model_does_is_no_peak():
    run = FakeRun()
    for name in ("cosine/final", "repetition/rate"):
        run.set(name, at_the_start(1.0))
        assert max(peaks(run, name)) < 0.97
    run.set("repetition/rate", below(0.1)).set("repetition/rate", at_the_start(1.0))
    assert verdicts(healthy() | {"baseline": run})[25] == "contradicted"


def at_the_start(value):
    return lambda values: np.concatenate([np.full_like(values[:, :1], value), values[:, 1:]], 1)


def test_peaks_are_the_largest_readings_up_to_half_accuracy():
    run = FakeRun(leap=150)
    for values, end, peak in zip(run.values["cosine/final"], half_accuracy(run),
                                 peaks(run, "cosine/final"), strict=True):  # fmt: skip
        expected = -np.inf
        for step, value in zip(run.steps, values, strict=True):
            if 0 < step <= end:
                expected = max(expected, value)
        assert peak == expected
    run.set("cosine/final", lambda values: np.full_like(values, np.nan))
    assert np.isnan(peaks(run, "cosine/final")).all()


def test_a_budget_too_short_for_twice_the_baselines_step_is_inconclusive():
    arms = healthy() | {"bias-0.2": FakeRun(leap=10_000, length=300, cosine=0.98)}
    assert verdicts(arms)[28] == "inconclusive"


def test_a_member_that_diverged_costs_the_verdict_and_not_the_ledger():
    """Its readings after the last good step are NaN."""
    arms = healthy()
    for name in arms["baseline"].values:
        arms["baseline"].set(name, lambda v: np.where(late(v), np.nan, v))
    found = verdicts(arms)
    assert set(found.values()) <= {"reproduced", "inconclusive"}
    assert found[22] == found[24] == "inconclusive"


def late(values):
    lost = np.zeros(values.shape, dtype=bool)
    lost[0, 10:] = True
    return lost


@pytest.mark.parametrize("scale", ["paper", "quick"])
def test_a_claim_is_not_run_without_its_arms(scale):
    found = verdicts({"baseline": FakeRun()}, scale)
    assert found[27] == found[28] == "not run"
    assert {found[number] for number in range(22, 27)} == {"reproduced"}
    assert set(verdicts({}, scale).values()) == {"not run"}


@pytest.mark.parametrize("scale", ["paper", "quick"])
def test_every_claim_has_a_source_a_value_and_arms_that_the_recipe_has(scale):
    found = STUDY.claims(scale)
    assert [claim.number for claim in found] == list(range(22, 34))
    assert [claim.number for claim in claims(scale)] == list(range(22, 29))
    for claim in found:
        assert claim.statement and claim.source and claim.paper and claim.tolerance
        assert set(claim.arms) <= set(STUDY.recipe(scale)) or claim.number == 33  # a hub's weights


@pytest.mark.parametrize("scale", ["paper", "quick"])
def test_every_arm_is_a_valid_experiment_that_says_what_it_is(scale):
    for name, arm in STUDY.recipe(scale).items():
        assert Experiment.from_yaml(arm.to_yaml()) == arm  # validated: `model_copy` does not
        assert (arm.study, arm.arm, arm.scale) == (STUDY.name, name, scale)
        assert arm.name == f"loss-plateau-{scale}-{name}"
        assert len(arm.seeds) >= (8 if name in FIRST else 4)
        assert arm.checkpoints.microscope is not None


@pytest.mark.parametrize("scale", ["paper", "quick"])
def test_arms_differ_in_nothing_but_the_bias_and_the_steps(scale):
    arms = {name: STUDY.recipe(scale)[name] for name in FIRST}
    for arm in arms.values():
        changed = differing(arms["baseline"], arm)
        cadence = {"instruments"} if arm.name == "loss-plateau-quick-bias-0.2" else set()
        assert changed <= {"name", "arm", "steps", "interventions"} | cadence
    factors = {name: [i.factor for i in arm.interventions] for name, arm in arms.items()}
    assert factors == {"baseline": [], "bias-10": [10.0], "bias-0.2": [0.2]}


def test_the_paper_arms_are_the_papers_setting():
    base = PAPER["baseline"]
    assert base.task == MovingWindowSum(length=16, window=2, alphabet=16, modulus=17)
    model = base.model
    assert (model.depth, model.heads, model.width) == (1, 1, 256)
    assert model.attention.kind == "linear"
    assert (base.optimizer.kind, base.optimizer.learning_rate) == ("adam", 1e-4)
    assert (base.optimizer.weight_decay, base.optimizer.clip) == (0, None)
    assert (base.batch, base.evaluation_batch, base.steps) == (256, 64, 400)
    module = model.build(base.task.interface)
    assert sum(parameter.numel() for parameter in module.parameters()) == 807_936


@pytest.mark.parametrize("arm", FIRST)
def test_quick_differs_from_paper_only_in_what_the_study_says(arm):
    words = {
        "model.width": "width {} for {}",
        "batch": "batch {} for {}",
        "optimizer.learning_rate": "learning rate {} for {}",
        "model.initial_deviation": "initial deviation of {} for {}",
        "steps": "more steps",
        "instruments": "read every {} steps for {}",
    }
    quick, paper = flat(QUICK[arm].data()), flat(PAPER[arm].data())
    changed = differing(QUICK[arm], PAPER[arm]) - {"name", "scale"}
    assert changed <= set(words)
    for field in changed:
        place = "instruments.0.cadence.every" if field == "instruments" else field
        numbers = [WRITTEN.get(data[place], data[place]) for data in (quick, paper)]
        said = words[field].format(*numbers)
        if (field, arm) == ("instruments", "bias-0.2"):
            said = f"for {numbers[1]} (c = 0.2 and prefix sums: {numbers[0]})"
        assert said in STUDY.changed
    for data in (quick, paper):
        assert str(data["steps"]) in STUDY.changed


WRITTEN = {1e-3: "1e-3", 1e-4: "1e-4"}


def differing(one, other):
    a, b = flat(one.data()), flat(other.data())
    return {re.split(r"\.\d", name)[0] for name in a | b if a.get(name) != b.get(name)}


def flat(data, path=""):
    """Plain data as {dotted path: scalar}; an empty list is a value too."""
    if isinstance(data, dict):
        pairs = data.items()
    elif isinstance(data, list) and data:
        pairs = enumerate(data)
    else:
        return {path: data}
    return {
        key: value
        for name, part in pairs
        for key, value in flat(part, f"{path}.{name}" if path else str(name)).items()
    }
