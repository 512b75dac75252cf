"""The loss plateau's other tasks, models and starts: their arms, and claims 29 to 33."""

import numpy as np
import pytest

from saltus.interventions.transplant import ArmCheckpoint
from saltus.models import group_of
from saltus.studies.donors import check_arms
from saltus.studies.loss_plateau import STUDY
from saltus.studies.loss_plateau.claims import half_accuracy
from saltus.studies.loss_plateau.other_claims import AFTER, PRE, SEVERAL, other_claims
from saltus.studies.loss_plateau.variants import QUICK, SOFTMAX_STEPS, STARTS, TASKS
from saltus.training.plan import single
from studies.test_loss_plateau import FIRST, SEEDS, FakeRun, above, at_the_start, below

ARMS = {scale: STUDY.recipe(scale) for scale in ("paper", "quick")}
PAPER = ARMS["paper"]
PROBED = "blocks.0.attention.output"


# ---------------------------------------------------------------------------- arms


@pytest.mark.parametrize("scale", ARMS)
def test_every_arm_fits_its_table_of_positions_which_has_one_row_more(scale):
    for arm in ARMS[scale].values():
        assert arm.model.positions == arm.task.interface.positions + 1


# Vocabulary, block (positions with the last token), depth, steps (section 7 of our spec).
SPEC = {
    "baseline": (18, 33, 1, 400), "prefix-sum": (18, 33, 1, 1000), "addition": (12, 15, 1, 10_000),
    "permutation": (33, 50, 2, 2000), "histogram": (17, 33, 2, 5000), "copy": (17, 33, 1, 100),
    "reverse": (17, 33, 1, 100), "repeat-1": (18, 33, 1, 200), "repeat-2": (18, 33, 1, 200),
    "repeat-4": (18, 33, 1, 200), "concat": (18, 30, 1, 5000), "softmax": (18, 33, 1, 2000),
}  # fmt: skip


@pytest.mark.parametrize("name", SPEC)
def test_paper_arms_are_the_papers_tasks(name):
    arm, base = PAPER[name], PAPER["baseline"]
    vocabulary, block, depth, steps = SPEC[name]
    assert (arm.task.interface.vocabulary, arm.model.positions) == (vocabulary, block)
    assert (arm.model.depth, arm.steps) == (depth, steps)
    assert (arm.model.heads, arm.model.width, arm.batch) == (1, 256, 256)
    assert arm.model.attention.kind == ("softmax" if name == "softmax" else "linear")
    assert arm.optimizer == base.optimizer.model_copy(
        update={"clip": 1.0 if name == "histogram" else None}
    )


def test_the_repeats_have_the_papers_numbers_of_blocks():
    assert [PAPER[f"repeat-{k}"].task.blocks for k in (1, 2, 4)] == [1, 2, 4]


def test_optimisers_and_schedules_are_the_papers():
    muon, cosine, warm = (PAPER[name].optimizer for name in ("muon", "warmup-cosine", "warmup"))
    assert (muon.learning_rate, muon.others.learning_rate) == (0.02, 1e-4)
    assert PAPER["muon"].model.initial_deviation == pytest.approx(10 * 0.02)
    assert (cosine.schedule.shape, cosine.schedule.warmup, cosine.schedule.final) == (
        "cosine", 200, 0.0)  # fmt: skip
    assert (warm.schedule.shape, warm.schedule.warmup) == ("constant", 200)
    assert PAPER["warmup-cosine"].steps == 400
    assert PAPER["sgd"].optimizer.kind == "sgd"


def test_biases_are_the_papers():
    found = {name: arm.interventions[0] for name, arm in PAPER.items() if "bias" in name}
    at_once = {name: each.factor for name, each in found.items() if "from" not in name}
    assert at_once == {"bias-10": 10, "bias-2.5": 2.5, "bias-0.5": 0.5, "bias-0.2": 0.2}
    later = {each.start for name, each in found.items() if "from" in name}
    assert later == {25, 50, 75, 100}
    assert {each.factor for name, each in found.items() if "from" in name} == {10}
    assert {each.start for name, each in found.items() if "from" not in name} == {0}


def test_optimal_starts_are_the_papers_groups_of_the_baseline():
    """Section 7.4 of our spec: as groups, {Q, K, embeddings, LN1}, and so on."""
    known = {group_of(name) for name in single(ARMS["quick"]["baseline"]).layout.shapes}
    qk = {"attention.qk", "embeddings.token", "embeddings.position", "norm.attention"}
    expected = {
        "keys-and-queries": qk,
        "whole-attention": qk | {"attention.value", "attention.output"},
        "mlp": {"mlp", "norm.mlp", "norm.final", "readout"},
        "embeddings": {"embeddings.token", "embeddings.position", "norm.final", "readout"},
    }
    for name, groups in expected.items():
        (graft,) = PAPER[f"start-{name}"].interventions
        assert graft.donor_arm == ArmCheckpoint("baseline", None)
        assert (graft.freeze, graft.outside, graft.member) == (True, False, "next seed")
        chosen = {group for group in known for pattern in graft.groups
                  if group == pattern or group.startswith(f"{pattern}.")}  # fmt: skip
        assert chosen == groups
    (freeze,) = PAPER["frozen-mlp"].interventions
    assert freeze.groups == ("mlp",)


def test_starts_of_the_quick_size_could_begin():
    """The paper's transplants at the quick scale's width: their donor fits."""
    base = ARMS["quick"]["baseline"]
    grafts = {name: PAPER[f"start-{name}"].interventions for name in STARTS}
    starts = {name: base.model_copy(update={"interventions": g}) for name, g in grafts.items()}
    check_arms({"baseline": base, **starts})


def test_the_quick_scale_has_the_tasks_of_the_claims_and_says_what_it_shortens():
    quick = ARMS["quick"]
    assert set(quick) == {*FIRST, *QUICK, "softmax"}
    said = " ".join(STUDY.changed.split())
    for name, (steps, seeds) in QUICK.items():
        assert (quick[name].steps, len(quick[name].seeds)) == (steps, seeds)
        assert quick[name].task == TASKS[name][0]
    for scale in ARMS:
        assert ", ".join(str(ARMS[scale][name].steps) for name in QUICK) in said
        assert ARMS[scale]["softmax"].steps == SOFTMAX_STEPS[scale]
        assert str(SOFTMAX_STEPS[scale]) in said


# ---------------------------------------------------------------------------- claims


class Variant(FakeRun):
    """A made run of another task: also its answers, the data's repetition and other locations."""

    def __init__(self, leap=180, length=400, cosine=0.95):
        super().__init__(leap, length, cosine)
        final = self.values["cosine/final"]
        waiting = (final > 0.3).astype(float)
        self.values |= {
            "answers/entropy": 2.3 - 0.6 * waiting,
            "repetition/data": np.full_like(final, 0.06),
            PRE: 0.05 + 0 * final,
            "cosine/blocks.0.attention.output": final,
            AFTER: 0.98 * final,
            "cosine/blocks.0.residual.post": 0.99 * final,
            f"mlp-probe/{PROBED}/accuracy/train": 0.1 + 0 * final,
            f"mlp-probe/{PROBED}/accuracy/test": 0.2 + 0 * final,
        }


def healthy():
    never = {"leap": 10_000, "length": 300}
    return {
        "baseline": Variant(),
        "prefix-sum": Variant(leap=300, cosine=0.85),
        **{name: Variant(**never, cosine=0.8) for name in SEVERAL},
        "softmax": Variant(**never, cosine=0.92),
    }


def verdicts(arms, scale="paper"):
    return {claim.number: str(claim.judge(arms).verdict) for claim in other_claims(scale)}


@pytest.mark.parametrize("scale", ARMS)
def test_runs_that_show_the_effect_reproduce_the_claims(scale):
    found = verdicts(healthy(), scale)
    assert found == {**dict.fromkeys(range(29, 33), "reproduced"), 33: "not run"}


@pytest.mark.parametrize(
    ("claim", "arm", "name", "change"),
    [
        (29, "prefix-sum", "cosine/final", below(0.5)),
        (29, "prefix-sum", "answers/entropy", above(2.2)),
        (30, "addition", "cosine/final", below(0.4)),
        (30, "permutation", "repetition/rate", below(0.07)),
        (30, "histogram", "repetition/data", above(0.5)),
        (31, "baseline", PRE, above(0.9)),
        (31, "baseline", AFTER, below(0.1)),
        (32, "softmax", "cosine/final", below(0.7)),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", str(value)),
)
def test_runs_that_show_the_opposite_contradict_the_claim(claim, arm, name, change):
    arms = healthy()
    arms[arm].set(name, change)
    found = verdicts(arms)
    assert found[claim] == "contradicted"
    others = {number for number in range(29, 33) if found[number] != "reproduced"}
    assert others == {claim}


@pytest.mark.parametrize(("scale", "verdict"), [("quick", "contradicted"), ("paper", "reproduced")])
def test_a_drop_of_prefix_sums_must_come_within_the_budget(scale, verdict):
    late = healthy() | {"prefix-sum": Variant(leap=600, length=800, cosine=0.85)}
    assert verdicts(late, scale)[29] == verdict


def test_prefix_sums_that_never_drop_leave_the_claim_open():
    never = healthy() | {"prefix-sum": Variant(leap=10_000, cosine=0.85)}
    assert verdicts(never)[29] == "inconclusive"


def test_what_an_untrained_model_writes_shows_nothing():
    arms = healthy()
    arms["prefix-sum"].set("answers/entropy", above(2.2)).set("answers/entropy", at_the_start(0.0))
    arms["addition"].set("repetition/rate", below(0.07)).set("repetition/rate", at_the_start(1.0))
    arms["softmax"].set("cosine/final", below(0.5)).set("cosine/final", at_the_start(0.99))
    arms["baseline"].set("cosine/final", at_the_start(1.0)).set(AFTER, at_the_start(0.0))
    found = verdicts(arms)
    assert (found[29], found[30], found[32]) == ("contradicted",) * 3
    assert found[31] == "reproduced"


def test_only_what_comes_before_the_drop_counts():
    arms = healthy()
    run = arms["prefix-sum"].set("answers/entropy", above(2.2))
    run.set("answers/entropy", lambda values: np.where(run.steps > 320, 0.5, values))
    assert verdicts(arms)[29] == "contradicted"


def test_locations_are_compared_at_each_seeds_own_peak():
    run = healthy()["baseline"]
    claim = {each.number: each for each in other_claims("paper")}[31]
    (quantity,) = claim.judge({"baseline": run}).quantities
    for seed, (end, found) in enumerate(zip(half_accuracy(run), quantity.values, strict=True)):
        best, at = -np.inf, 0
        for place, step in enumerate(run.steps):
            if 0 < step <= end and run.values["cosine/final"][seed, place] > best:
                best, at = run.values["cosine/final"][seed, place], place
        assert found == run.values[AFTER][seed, at] - run.values[PRE][seed, at]


@pytest.mark.parametrize("scale", ARMS)
@pytest.mark.parametrize("member", [0, SEEDS - 1])
def test_a_seed_that_was_lost_leaves_the_claims_open(scale, member):
    """All of its readings after step 0 are not finite."""
    arms = healthy()
    for run in arms.values():
        for name in run.values:
            run.set(name, losing(member))
    assert verdicts(arms, scale) == {**dict.fromkeys(range(29, 33), "inconclusive"), 33: "not run"}


def losing(member):
    def change(values):
        values[member, 1:] = np.nan
        return values

    return change


def test_a_claim_is_not_run_without_one_of_its_arms():
    for claim in other_claims("paper"):
        for arm in claim.arms:
            left = {name: run for name, run in healthy().items() if name != arm}
            finding = claim.judge(left)
            assert str(finding.verdict) == "not run"
            assert arm in finding.reason
