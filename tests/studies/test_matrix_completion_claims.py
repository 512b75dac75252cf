"""Claims 1 to 21 on made runs: that show what the paper tells, the opposite, or not enough."""

import numpy as np
import pytest

from saltus.studies.matrix_completion import STUDY, convex, whole_models
from saltus.studies.matrix_completion.recipe import MOMENTS
from studies.test_matrix_completion_runs import MadeRun, made, made_points

SCALES = ("paper", "quick")
NEED_THE_MODEL = {7, 9, 14, 15, 18, 20}  # not run at quick scale
SOLVER = {"paper": {8}, "quick": {8, 10}}  # these read no arm
MASKED, HEADS = "evaluation/loss/masked", "head-ablation/loss/masked/blocks.1"


def switched(run, instruments, step, donor):
    """Two checkpoints mixed, as exactly as it should be."""
    return {f"component-switching/{which}/loss": np.full(4, 0.06)
            for which in ("intact", "donor", "everything")}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch):
    monkeypatch.setattr(convex, "points", made_points)
    monkeypatch.setattr(whole_models, "revisit", switched)


def verdicts(arms, scale):
    return {claim.number: str(claim.judge(arms).verdict) for claim in STUDY.claims(scale)}


def verdict_of(number, arms, scale):
    (claim,) = (each for each in STUDY.claims(scale) if each.number == number)
    return str(claim.judge(arms).verdict)


def expected(scale):
    return {number: "not run" if scale == "quick" and number in NEED_THE_MODEL else "reproduced"
            for number in range(1, 22)}  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
def test_runs_as_the_paper_tells_reproduce_every_claim(scale):
    assert verdicts(made(scale), scale) == expected(scale)


def times(factor):
    return lambda values: values * factor


def put(value):
    return lambda values: np.full_like(values, value)


def last(value):
    """Another value at the last step."""

    def change(values):
        values[:, -1] = value
        return values

    return change


# Of the arm that is read on its plateau, and of the one that leaps: at both scales.
PLATEAU = [
    (1, "levels/loss/masked", times(1.2)),
    (1, "levels/loss", times(0.9)),
    (2, "levels/loss/observed", put(0.01)),
    (2, "levels/loss/masked", times(0.5)),
    (3, "levels/mask-value", put(0.2)),
    (4, "copy-check/replace-loss/-0.24", put(0.05)),
    (4, "copy-check/observed-loss/0.44", put(0.01)),
    (4, "copy-check/planted-loss/0.44", times(1.3)),
    (5, "copy-check-full-rank/replace-loss/0.44", put(0.1)),
    (5, "copy-check-full-rank/observed-loss/-0.24", put(0.1)),
]
LEAP = [
    (11, "grid-attention/largest-row", last(0.3)),
    (11, "grid-attention/largest-column", put(0.7)),  # before the leap as well
    (12, HEADS, last(0.05)),  # all heads the same
    (12, "head-ablation/loss/observed/blocks.1", put(0.1)),
    (13, "activation-patching/identity", put(1e-3)),
    (17, "position-shuffle/loss/masked", last(0.012)),
]
ONE_SCALE = {
    "paper": [
        (6, "base", MASKED, lambda v: np.linspace(2, 0, v.shape[1]) * v[:, :1]),  # a slow decline
        (7, "base", "many/loss", last(0.03)),
        (9, "base", "on-masked-30/loss", last(0.011)),
        (10, "base", "on-masked-60/loss", last(1e-4)),
        (14, "base", "embedding-geometry/token/symmetry", last(0.5)),
        (15, "base", "embedding-geometry/token/sign-magnitude", last(0.5)),
        (16, "base", "embedding-geometry/position/columns", last(0.0)),
        (16, "base", "embedding-geometry/position/columns", put(0.4)),
        (17, "base", "position-shuffle/loss", last(0.005)),
        (18, "probe", "linear-probe/blocks.11.residual.post/row/mse/test", last(0.01)),
        (18, "base", "linear-probe/blocks.0.residual.post/row/cosine/test", last(0.95)),
        (19, "only-mlp", "evaluation/loss", put(0.06)),
        (20, "width-64", "evaluation/loss", put(0.004)),
        (20, "width-128", "evaluation/loss", put(0.004)),
        (21, "gpt", "evaluation/accuracy-observed", put(0.8)),
        (21, "gpt", "evaluation/accuracy-masked", last(0.9)),
    ],
    "quick": [
        (6, "leap", MASKED, put(0.55)),  # it never leaps
        (6, "leap", "many/loss/masked", put(0.1)),  # there was no plateau
        (16, "leap", "embedding-geometry/position/columns-over-neither", last(0.0)),
        (21, "gpt", "evaluation/accuracy-observed", put(0.9)),
        (21, "gpt", "evaluation/accuracy-observed", last(0.4)),
        (21, "gpt", "evaluation/accuracy-masked", last(0.9)),
    ],
}
OPPOSITES = [
    (scale, number, arm, name, change)
    for scale in SCALES
    for arm, cases in ((MOMENTS[scale].plateau, PLATEAU), (MOMENTS[scale].leap, LEAP))
    for number, name, change in cases
] + [(scale, *case) for scale in SCALES for case in ONE_SCALE[scale]]
IDS = [f"{scale}-{number}-{place}" for place, (scale, number, *_) in enumerate(OPPOSITES)]


@pytest.mark.parametrize(("scale", "number", "arm", "name", "change"), OPPOSITES, ids=IDS)
def test_runs_that_show_the_opposite_contradict_the_claim(scale, number, arm, name, change):
    arms = made(scale)
    arms[arm].set(name, change)
    assert verdict_of(number, arms, scale) == "contradicted"


def leaping_at(scale, name, share, rest=0.06):
    experiment = STUDY.recipe(scale)[name]
    return MadeRun(experiment, share * experiment.steps, rest)


@pytest.mark.parametrize(
    ("scale", "number", "name", "share"),
    [
        ("paper", 6, "base", 0.8),  # too late
        ("paper", 6, "base", 0.1),
        ("paper", 19, "only-attention", 0.7),  # after normal training
        ("paper", 19, "only-position", 0.2),
        ("paper", 21, "gpt", 0.1),  # before step 200
        ("quick", 19, "only-position", 0.1),  # not the last
        ("quick", 19, "leap", 0.02),  # normal training is not slower than components
    ],
)
def test_leaps_at_other_times_contradict_the_claim(scale, number, name, share):
    arms = made(scale)
    arms[name] = leaping_at(scale, name, share)
    assert verdict_of(number, arms, scale) == "contradicted"


def solver(change):
    def points(probability):
        return [change(point, probability) or point for point in made_points(probability)]

    return points


def worse(point, probability):
    point.errors.everything.value *= 1.5


def loose(point, probability):
    point.residual = 1e-3


def easier(point, probability):
    if probability == 0.6:
        point.errors.everything.value = 0.001


def longer(point, probability):
    point.norm.value = 4.18 + probability


@pytest.mark.parametrize(
    ("number", "change"),
    [(8, worse), (8, loose), (8, longer), (10, easier), (10, longer)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("scale", SCALES)
def test_another_level_of_the_solver_contradicts_the_claim(scale, number, change, monkeypatch):
    monkeypatch.setattr(convex, "points", solver(change))
    assert verdict_of(number, made(scale), scale) == "contradicted"


@pytest.mark.parametrize("off", [1e-3, -1e-3])
def test_switching_everything_must_be_the_donor(off, monkeypatch):
    def mixed(*given, donor):
        found = switched(*given, donor)
        found["component-switching/everything/loss"] = np.array([0.06, 0.06 + off, 0.06, 0.06])
        return found

    monkeypatch.setattr(whole_models, "revisit", mixed)
    assert verdict_of(13, made("quick"), "quick") == "contradicted"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("member", [0, -1])
def test_a_seed_that_was_lost_leaves_every_claim_open(scale, member):
    """Its readings after the first are not finite, in every arm."""
    arms = made(scale)
    for run in arms.values():
        for name in run.names():
            run.set(name, lost, member)
    found = verdicts(arms, scale)
    for number, verdict in expected(scale).items():
        kept = number in SOLVER[scale] or verdict == "not run"
        assert found[number] == (verdict if kept else "inconclusive"), number


def lost(values):
    values[1:] = np.nan
    return values


@pytest.mark.parametrize("scale", SCALES)
def test_a_seed_that_never_leaps_is_not_averaged_away(scale):
    arms = made(scale)
    for name in ("only-position", MOMENTS[scale].leap):
        arms[name].set(MASKED, lambda values: np.full_like(values, values[0]), 1)
    assert verdict_of(19, arms, scale) == "inconclusive"
    assert verdict_of(6, arms, scale) == "inconclusive"


def test_a_gpt_whose_loss_rises_has_no_drop():
    arms = made("quick")
    arms["gpt"].set("evaluation/loss/answer", lambda values: values[::-1].copy(), 2)
    finding = {claim.number: claim for claim in STUDY.claims("quick")}[21].judge(arms)
    assert np.isnan(finding.quantities[0].values).tolist() == [False, False, True, False]
    assert str(finding.verdict) == "inconclusive"


def test_heads_are_compared_within_their_layer_alone():
    """Structured heads in layer 1, whose other heads are mixed: nothing to compare with."""
    arms = made("quick")
    for kind in ("row", "column"):
        arms["leap"].set(f"grid-attention/{kind}/blocks.1", lambda v: np.maximum(v, 0.3))
    finding = {claim.number: claim for claim in STUDY.claims("quick")}[12].judge(arms)
    assert np.isnan(finding.quantities[0].values).all()
    assert str(finding.verdict) == "inconclusive"


def test_the_rise_of_structured_heads_is_the_ratio_of_mean_rises():
    arms = made("quick")
    run = arms["leap"]
    finding = {claim.number: claim for claim in STUDY.claims("quick")}[12].judge(arms)
    rest = run.array("head-ablation/intact/loss/masked").values[:, -1]
    lost = run.array(HEADS).values[:, -1]
    expected = (lost[:, :2].mean(1) - rest) / (lost[:, 2:].mean(1) - rest)
    np.testing.assert_allclose(finding.quantities[0].values, expected)


@pytest.mark.parametrize("scale", SCALES)
def test_a_claim_is_not_run_without_one_of_its_arms(scale):
    whole = made(scale)
    for claim in STUDY.claims(scale):
        for arm in set(claim.arms) & set(whole):
            finding = claim.judge({name: run for name, run in whole.items() if name != arm})
            assert str(finding.verdict) == "not run"
            assert arm in finding.reason
    none = verdicts({}, scale)
    assert {number for number, verdict in none.items() if verdict != "not run"} == SOLVER[scale]


@pytest.mark.parametrize("scale", SCALES)
def test_claims_are_the_21_of_the_spec_with_a_source_a_value_and_arms_of_the_study(scale):
    claims = STUDY.claims(scale)
    assert [claim.number for claim in claims] == list(range(1, 22))
    assert len({claim.statement for claim in claims}) == 21
    for claim in claims:
        assert claim.source and claim.paper and claim.tolerance
        missing = set(claim.arms) - set(STUDY.recipe(scale))
        assert not missing or (scale == "quick" and claim.number in NEED_THE_MODEL)
