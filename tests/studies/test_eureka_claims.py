"""Claims 1 to 10, 18 and 19 on made runs: that show what the paper tells, the opposite, or not
enough."""

from pathlib import Path

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models.encoder import Encoder
from saltus.models.transformer import Decoder
from saltus.models.vit import VisionTransformer
from saltus.runs import Run, Series
from saltus.studies import Verdict
from saltus.studies.eureka.claims import claims
from saltus.studies.eureka.trained_claims import claims as trained_claims
from saltus.tasks.icl_labels import IclLabels
from saltus.tasks.icl_regression import IclRegression
from saltus.tasks.images import TwoStepImage
from saltus.tasks.two_step_mlm import TwoStepMlm

SCALES = ("paper", "quick")
TRAINED = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 19}
EPOCH = {"paper": 117, "quick": 50}
READINGS = {"paper": 1000, "quick": 120}  # epochs of 117 steps, evaluations every 50
# In readings: when the seeds of a well-behaved arm have their Eureka-moment.
NEVER = np.inf
LATE = {
    "paper": (520, 300, NEVER, 410, 620, 270, NEVER, 350, *4 * (NEVER,)),
    "quick": (56, 22, NEVER, 40, 70, 34, NEVER, 30, *4 * (NEVER,)),
}
SOON = {"paper": (90, 60, 120, 70, 80, 100, 65, 75), "quick": (12, 9, 15, 11, 8, 14, 10, 13)}
EASY = {"paper": (9, 7, 8, 10, 6, 8), "quick": (15, 12, 16, 14, 13, 15)}
CONTROL = {"paper": (3, 2, 3, 2), "quick": (2, 3, 2, 3)}
ALWAYS = TwoStepImage(control="always-top-right")
FINAL = {"softmax": 0.93, "remedy": 0.94}
QUERIES = {"softmax": 0.1, "heat-treatment": 0.1, "norm-softmax": 0.8}
DECODER = Decoder(depth=1, heads=1, width=8)
MLM = {"task": TwoStepMlm(), "model": Encoder(depth=1, heads=1, width=8)}
WORDS = {
    "quick": {"mlm": MLM},
    "paper": {
        "mlm": MLM,
        "icl-labels": {"task": IclLabels(), "model": DECODER},
        "icl-regression": {"task": IclRegression(), "model": DECODER},
    },
}
# Where the remedies are compared: on images at paper scale, in a stand-in at quick scale.
SHOWN = {"paper": "", "quick": "mlm-"}


class MadeRun(Run):
    """A run without a directory: 0.55 right until a seed's Eureka-moment, `final` after it."""

    def __init__(self, name, readings, scale, moments, *, final=0.97, task=None, model=None, q=0.1):
        self.path = Path(name)
        self.experiment = Experiment(
            name=name,
            task=task or TwoStepImage(),
            model=model or VisionTransformer(depth=2, heads=2, width=8),
            steps=readings * EPOCH[scale],
            batch=8,
            seeds=len(moments),
        ).data()
        self.values, self.grid = {}, np.arange(readings + 1) * EPOCH[scale]
        levels = Experiment.of(self.experiment, name).task.levels()
        off = np.linspace(-1, 1, len(moments))[:, None]
        place = np.arange(readings + 1)[None]
        after = place >= np.array(moments)[:, None]
        accuracy = np.where(after, final, np.where(place < 2, 0.1, 0.55)) + 0.004 * off
        plateau, floor = levels.get("plateau", levels.get("start", 1.0)), levels["floor"]
        loss = np.where(
            after, floor, np.where(place < 2, max(2.3, plateau), plateau + 0.012)
        ) + 0.004 * (off + 1)
        self.values |= {
            "evaluation/accuracy": accuracy,
            "training/accuracy": accuracy - 0.002,
            "evaluation/loss": loss,
            "loss/train": loss,
            "qkv-gradients/blocks.0/query-to-value": q + 0.01 * off + 0 * loss,
            "qkv-gradients/blocks.0/key-to-value": 3 * q + 0.01 * off + 0 * loss,
            "class-probe/blocks.1.residual.post/z/class/accuracy":
                np.where(after, 0.97, 0.53) + 0.004 * off,
        }  # fmt: skip

    @property
    def seeds(self):
        return np.array(self.experiment["seeds"])

    @property
    def members(self):
        return [{"overrides": each} for each in self.overrides]

    @property
    def status(self):
        return {"state": "done", "steps": self.experiment["steps"]}

    def names(self):
        return sorted(self.values)

    def array(self, name):
        if name not in self.values:
            raise SaltusError(f"{self.path}: no metric {name}")
        return Series(name, self.grid, self.values[name])

    def set(self, name, change, members=slice(None)):
        values = self.values[name].copy()
        values[members] = change(values[members])
        self.values[name] = values
        return self


def made(scale):
    """Arms as the paper tells them."""
    length = READINGS[scale]

    def run(name, moments, readings=length, **how):
        return MadeRun(name, readings, scale, moments, **how)

    arms = {
        "softmax": run("softmax", LATE[scale], final=FINAL["softmax"]),
        "heat-treatment": run("heat-treatment", SOON[scale], final=FINAL["remedy"]),
        "norm-softmax": run("norm-softmax", SOON[scale], final=FINAL["remedy"], q=0.8),
        "control": run("control", CONTROL[scale], 20, task=ALWAYS),
    }  # fmt: skip
    for name in ("resnet-9", "resnet-18") if scale == "paper" else ("convnet",):
        arms[name] = run(name, EASY[scale])
    for name, good in (("softmax", 1), ("heat-treatment", 3), ("norm-softmax", 4)):
        arms[f"rates-{name}"] = rates(scale, good)
    for task, words in WORDS[scale].items():
        for name, times in (("softmax", LATE), ("heat-treatment", SOON), ("norm-softmax", SOON)):
            arms[f"{task}-{name}"] = run(
                f"{task}-{name}", times[scale], **words, **ends(name), q=QUERIES[name]
            )
    if scale == "paper":
        arms["softmax-long"] = run("softmax-long", LATE[scale], final=FINAL["softmax"])
    return arms


def ends(name):
    return {"final": FINAL["softmax" if name == "softmax" else "remedy"]}


def rates(scale, good):
    """Five learning rates of four seeds each, of which `good` have Eureka-moments."""
    moments = [SOON[scale][0] if rate < good else NEVER for rate in range(5) for _ in range(4)]
    run = MadeRun("rates", READINGS[scale], scale, moments)
    run.overrides = [{"optimizer.learning_rate": 10.0 ** (rate - 5)}
                     for rate in range(5) for _ in range(4)]  # fmt: skip
    return run


def finding(number, arms, scale):
    (claim,) = (each for each in trained_claims(scale) if each.number == number)
    return claim.judge(arms)


def verdict(number, arms, scale):
    return str(finding(number, arms, scale).verdict)


@pytest.mark.parametrize("scale", SCALES)
def test_runs_as_the_paper_tells_reproduce_every_claim(scale):
    arms = made(scale)
    found = {claim.number: str(claim.judge(arms).verdict) for claim in trained_claims(scale)}
    # The spec's pilot saw no help for few tokens; here there is.
    opposite = {20: "contradicted"} if scale == "quick" else {}
    assert found == dict.fromkeys(TRAINED, "reproduced") | opposite


def plus(amount):
    return lambda values: values + amount


def put(value):
    return lambda values: np.full_like(values, value)


def ramp(values):
    """Evenly from chance to solved, over the whole run."""
    return np.broadcast_to(np.linspace(0.1, 0.97, values.shape[1]), values.shape)


def earlier(values):
    return np.roll(values, -10, axis=1)


PROBE = "class-probe/blocks.1.residual.post/z/class/accuracy"
QUERY, KEY = (f"qkv-gradients/blocks.0/{part}-to-value" for part in ("query", "key"))
# Readings that are changed in one arm, at both scales.
CHANGED = [
    (3, "softmax", "evaluation/accuracy", ramp),
    (3, "softmax", "training/accuracy", ramp),
    (4, "softmax", "training/accuracy", earlier),
    (10, "softmax", QUERY, put(0.9)),
    (10, "norm-softmax", QUERY, put(0.15)),
    (19, "softmax", PROBE, put(0.55)),
    (19, "softmax", PROBE, put(0.95)),
]
ONE_SCALE = [
    ("paper", 1, "softmax-long", "loss/train", plus(0.2)),
    ("paper", 1, "softmax-long", "loss/train", put(0.5)),
    ("paper", 1, "softmax-long", "evaluation/accuracy", lambda v: np.clip(v, 0.1, 0.59) + 0.03),
    ("paper", 5, "resnet-18", "loss/train", plus(0.05)),
    ("paper", 6, "control", "evaluation/loss", plus(0.1)),
    ("quick", 1, "softmax", "loss/train", plus(0.2)),
    ("quick", 1, "softmax", "loss/train", put(0.5)),
    ("quick", 1, "softmax", "evaluation/accuracy", lambda v: v + 0.06 * (np.abs(v - 0.55) < 0.02)),
    ("quick", 6, "control", "evaluation/accuracy", put(0.85)),
    ("quick", 10, "softmax", KEY, put(0.9)),
    ("quick", 10, "norm-softmax", KEY, put(0.3)),
]
CASES = [(scale, *case) for scale in SCALES for case in CHANGED] + ONE_SCALE


@pytest.mark.parametrize(
    ("scale", "number", "arm", "name", "change"),
    CASES,
    ids=[f"{scale}-{n}-{arm}-{i}" for i, (scale, n, arm, *_) in enumerate(CASES)],
)
def test_readings_that_say_the_opposite_contradict(scale, number, arm, name, change):
    arms = made(scale)
    arms[arm].set(name, change)
    assert verdict(number, arms, scale) == "contradicted"


def at(share, seeds=8):
    """Everybody at this share of the budget."""
    return lambda scale: (int(share * READINGS[scale]),) * seeds


# Arms whose seeds have their Eureka-moments at other times.
MOMENTS = {
    "all at once": (2, "softmax", at(0.5)),
    "none ever": (2, "softmax", lambda scale: (NEVER,) * 8),
    "no saturation": (3, "softmax", at(0.05)),
    "HT never": (7, "heat-treatment", lambda scale: (NEVER,) * 8),
    "NormSoftmax late": (7, "norm-softmax", at(0.99)),
    "HT never, final accuracy": (8, "heat-treatment", lambda scale: (NEVER,) * 8),
    "no leap of words": (18, "mlm-softmax", lambda scale: (NEVER,) * 5),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("case", list(MOMENTS))
def test_seeds_with_other_moments_contradict(scale, case):
    number, arm, moments = MOMENTS[case]
    arm = SHOWN[scale] + arm if number in (7, 8) else arm
    how = (MLM if arm.startswith("mlm") else {}) | {"final": FINAL["softmax"]}
    arms = made(scale)
    arms[arm] = MadeRun(arm, READINGS[scale], scale, moments(scale), **how)
    assert verdict(number, arms, scale) == "contradicted"


@pytest.mark.parametrize("scale", SCALES)
def test_a_convolutional_network_that_fails_once_or_is_slow_contradicts(scale):
    name = "resnet-9" if scale == "paper" else "convnet"
    for moments in ((8, 9, NEVER, 7, 8), at(0.7)(scale)):
        arms = made(scale)
        arms[name] = MadeRun(name, READINGS[scale], scale, moments)
        assert verdict(5, arms, scale) == "contradicted"


@pytest.mark.parametrize("scale", SCALES)
def test_a_second_step_as_slow_as_the_first_contradicts(scale):
    arms = made(scale)
    arms["control"] = MadeRun("control", READINGS[scale], scale, at(0.4)(scale), task=ALWAYS)
    assert verdict(6, arms, scale) == "contradicted"


@pytest.mark.parametrize("scale", SCALES)
def test_remedies_below_softmax_in_accuracy_after_success_contradict(scale):
    arms, how = made(scale), MLM if scale == "quick" else {}
    low = MadeRun("low", READINGS[scale], scale, SOON[scale], final=0.85, **how)
    arms[f"{SHOWN[scale]}norm-softmax"] = low
    assert verdict(8, arms, scale) == "contradicted"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("good", [0, 1])
def test_remedies_at_no_more_learning_rates_contradict(scale, good):
    arms = made(scale) | {"rates-heat-treatment": rates(scale, good)}
    assert verdict(9, arms, scale) == "contradicted"


@pytest.mark.parametrize("scale", SCALES)
def test_remedies_that_both_come_later_contradict_claim_18(scale):
    arms = made(scale)
    early, late = at(0.3, 5)(scale), at(0.9, 5)(scale)
    for name in ("softmax", "norm-softmax", "heat-treatment"):
        moments = early if name == "softmax" else late
        arms[f"mlm-{name}"] = MadeRun(name, READINGS[scale], scale, moments, **MLM)
    assert verdict(18, arms, scale) == "contradicted"
    # One of the two is enough.
    arms["mlm-heat-treatment"] = MadeRun("ht", READINGS[scale], scale, at(0.2, 5)(scale), **MLM)
    assert verdict(18, arms, scale) == "reproduced"


def seeds_of(arm, count, scale):
    moments = {"softmax": LATE, "heat-treatment": SOON, "norm-softmax": SOON}[arm][scale]
    return MadeRun(arm, READINGS[scale], scale, moments[:count])


@pytest.mark.parametrize("scale", SCALES)
def test_too_few_seeds_decide_nothing(scale):
    arms = made(scale) | {
        f"{where}{arm}": seeds_of(arm, 2, scale)
        for arm in ("softmax", "norm-softmax")
        for where in ("", SHOWN[scale])
    }
    for number in (2, 3, 7):
        assert verdict(number, arms, scale) == "inconclusive", number


@pytest.mark.parametrize("scale", SCALES)
def test_arms_without_any_moment_say_nothing_of_the_remedies(scale):
    arms = made(scale)
    for name in ("softmax", "heat-treatment", "norm-softmax"):
        arms[name] = arms[f"{SHOWN[scale]}{name}"] = MadeRun(
            name, READINGS[scale], scale, (NEVER,) * 8
        )
    assert verdict(7, arms, scale) == "inconclusive"
    assert verdict(3, arms, scale) == "inconclusive"
    assert verdict(4, arms, scale) == "inconclusive"


def test_a_lottery_is_also_seeds_that_all_succeed_at_very_different_steps():
    moments = (100, 210, 150, 120, 160, 130, 140, 110)
    arms = {"softmax": MadeRun("softmax", READINGS["paper"], "paper", moments)}
    (quantity,) = finding(2, arms, "paper").quantities
    assert quantity.estimate == pytest.approx(2.1) and quantity.verdict is Verdict.REPRODUCED
    close = MadeRun("softmax", READINGS["paper"], "paper", (100, 190, *(150,) * 6))
    assert verdict(2, {"softmax": close}, "paper") == "contradicted"


def test_a_run_that_is_too_short_for_the_plateaus_level_leaves_claim_1_open():
    arms = {"softmax-long": MadeRun("softmax-long", 300, "paper", LATE["paper"])}
    found = finding(1, arms, "paper")
    verdicts = [str(each.verdict) for each in found.quantities]
    assert verdicts == ["reproduced", "inconclusive", "reproduced"]


def test_a_moment_by_one_of_training_and_validation_alone_has_no_lag():
    arms = made("quick")
    arms["softmax"].set("training/accuracy", put(0.55), members=[0])
    (lag,) = finding(4, arms, "quick").quantities
    assert np.isnan(lag.values[0]) and lag.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("scale", SCALES)
def test_a_claim_is_not_run_without_one_of_its_arms(scale):
    whole = made(scale)
    for claim in trained_claims(scale):
        for arm in claim.arms:
            found = claim.judge({name: run for name, run in whole.items() if name != arm})
            assert str(found.verdict) == "not run" and arm in found.reason


@pytest.mark.parametrize("scale", SCALES)
def test_the_nineteen_claims_have_a_source_a_value_and_a_tolerance(scale):
    found, own = claims(scale), {20} if scale == "quick" else set()
    assert {claim.number for claim in found} == {*range(1, 20), *own}
    assert len({claim.statement for claim in found}) == len(found)
    assert all(claim.source and claim.paper and claim.tolerance for claim in found)
    assert {claim.number for claim in trained_claims(scale)} == TRAINED | own


def test_remedies_that_are_no_sooner_on_images_reproduce_what_the_pilot_saw():
    arms = made("quick")
    for name in ("heat-treatment", "norm-softmax"):
        arms[name] = MadeRun(name, READINGS["quick"], "quick", (NEVER,) * 8)
    assert verdict(20, arms, "quick") == "reproduced"
