"""Claims on trained language models, on made runs: as our spec tells, the opposite, or too few."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.head_types import HeadTypes
from saltus.instruments.norm_dynamics import NormDynamics
from saltus.instruments.norm_policies import NormPolicies
from saltus.instruments.saturated_accuracy import SaturatedAccuracy
from saltus.instruments.saturation import Saturation
from saltus.runs import Run, Series
from saltus.studies import Verdict
from saltus.studies.norm_growth import STUDY, trained_claims
from saltus.studies.norm_growth.measures import Spaced
from saltus.studies.norm_growth.recipe import CADENCE, LANGUAGES, OPTIMIZERS, SCHEDULES
from saltus.studies.norm_growth.trained_claims import claims

NORM, SATURATION, HEADS = "norm-policies/encoder", "saturation/final", "head-types/attended"
TRAINED = {2, 3, 6, 7, 10, 11, 12, 13, 15, 16, 17, 20, 21, 22}
NEED_WEIGHTS = 17
AUTHORS = ("fast-authors", "post-authors", "post-fast-authors")
GROWING = ("adamw", "decay", *OPTIMIZERS, *SCHEDULES)
# Cosine of the final layer before training and after it.
NEAR = {
    "fast": (0.7, 0.99), "fast-authors": (0.75, 0.991), "post-fast": (0.07, 0.997),
    "post-fast-authors": (0.06, 0.998), "input": (0.12, 0.26), "input-final": (0.12, 0.3),
} | dict.fromkeys(LANGUAGES, (0.7, 0.997))  # fmt: skip


@cache
def recipes(scale):
    return STUDY.recipe(scale)


def due(cadence, steps):
    often = range(0, steps + 1, cadence.every) if cadence.every else cadence.at
    return np.array(sorted({0, steps, *often}))


class MadeRun(Run):
    """A run without a directory: what the instruments of an arm read where our spec is right."""

    def __init__(self, experiment, law=None):
        self.path, self.experiment = Path(experiment.name), experiment.data()
        # Not `Experiment.members`, which checks each of hundreds of cells.
        rates, decays = (
            experiment.vary.get(f"optimizer.{each}", [None])
            for each in ("learning_rate", "weight_decay")
        )
        self.members = [
            {"seed": seed, "overrides": {"optimizer.learning_rate": rate,
                                         "optimizer.weight_decay": decay}}
            for rate in rates for decay in decays for seed in experiment.seeds
        ]  # fmt: skip
        self.off = np.linspace(-1, 1, len(self.members)) if rates == [None] else np.tile(
            [-1.0, 1.0], len(self.members) // 2)  # fmt: skip
        self.readings = {}
        for instrument in experiment.instruments:
            steps = due(instrument.cadence, experiment.steps)
            for name, values in self.told(instrument, experiment, steps, law).items():
                self.readings[name] = Series(name, steps, np.asarray(values, dtype=np.float64))
        self.pairs = Spaced(
            np.array([25.0, 500.0]),
            np.array([0.95, 0.998]) + 1e-4 * self.off[:, None],
            np.array([0.1, 0.03]) + 1e-3 * self.off[:, None],
        )

    def told(self, instrument, experiment, steps, law):
        arm, shape = experiment.arm, (len(self.members), len(steps))
        if isinstance(instrument, NormPolicies):
            norm = self.grown(arm, steps, law)
            return {NORM: norm, "norm-policies/mean-column": norm / 100}
        if isinstance(instrument, NormDynamics):
            names = ("update-cosine", "descent-cosine", "radial-share", "relative-update")
            return {f"norm-dynamics/{each}": 0.01 + 1e-3 * self.flat(steps) for each in names}
        if isinstance(instrument, Evaluation):
            # The loss of a constant prediction is put in by `level`, below.
            return {"evaluation/loss": np.where(steps == 0, 9.0, 5.25) + 0.01 * self.flat(steps)}
        if isinstance(instrument, Saturation):
            before, after = NEAR.get(arm, (0.5, 0.6))
            near = np.where(steps == 0, before, after) + 0.002 * self.flat(steps)
            return {SATURATION: near, "saturation/zeta/final": near - 0.01}
        if isinstance(instrument, HeadTypes):
            heads = np.broadcast_to(
                self.heads(experiment)[None, None] + 1e-3 * self.off[:, None, None, None],
                (*shape, *self.heads(experiment).shape),
            )
            shares = {
                "argmax-like": (heads <= 5).mean((2, 3)),
                "mean-like": (heads > 9).mean((2, 3)),
            }
            return {HEADS: heads, "head-types/zeta/attended": heads} | {
                f"head-types/{kind}": share for kind, share in shares.items()
            }
        assert isinstance(instrument, SaturatedAccuracy)
        accuracy = 0.3 + 0.01 * self.flat(steps)
        return {"saturated/intact/accuracy": accuracy, "saturated/accuracy": 0.96 * accuracy}

    def flat(self, steps):
        return np.broadcast_to(self.off[:, None], (len(self.off), len(steps)))

    def grown(self, arm, steps, law):
        """√t where the rate decays, t elsewhere; in the grid by rate and decay."""
        if arm == "grid":
            each = [member["overrides"] for member in self.members]
            rates, decays = (
                np.array([own[f"optimizer.{name}"] for own in each])
                for name in ("learning_rate", "weight_decay")
            )
            change = rates**0.5 * (0.3 - 20 * rates * decays / 0.01) + 1e-5 * self.off
            change = np.where(decays == decays.min(), np.abs(change), change)
            return 30 * np.exp(change[:, None] * steps / steps[-1])
        law = law or ("root" if arm == "decay" else "linear")
        t = np.sqrt(steps / steps[-1]) if law == "root" else steps / steps[-1]
        wobble = np.random.Generator(np.random.Philox(key=7)).standard_normal(
            (len(self.members), len(steps))
        )
        return 30 + (5 + 0.1 * self.off[:, None]) * t + 2e-3 * wobble

    def heads(self, experiment):
        """[block, head]: with the authors' mask a quarter at the mode, half at one key."""
        keys, depth = experiment.task.interface.positions, experiment.model.depth
        found = np.full((depth, experiment.model.heads), 1.05)
        if experiment.arm in AUTHORS:
            found[-1] = (keys * (keys - 1) / 2 + 1) / keys
            found[-2] = keys / 4
        return found

    seeds = property(lambda self: np.array([member["seed"] for member in self.members]))
    members = ()
    status = property(lambda self: {"state": "done", "steps": self.experiment["steps"]})

    def names(self):
        return sorted(self.readings)

    def array(self, name):
        if name not in self.readings:
            raise SaltusError(f"{self.path}: no metric {name}")
        return self.readings[name]

    def set(self, name, change, member=slice(None)):
        old = self.readings[name]
        values = old.values.copy()
        values[member] = change(values[member])
        self.readings[name] = Series(name, old.steps, values)
        return self


def made(scale="quick", law=None):
    """Every arm as our spec tells it; with `law`, all norms grow by that."""
    return {name: MadeRun(arm, law) for name, arm in recipes(scale).items()}


@pytest.fixture(autouse=True)
def _read_from_made_runs(monkeypatch):
    monkeypatch.setattr(trained_claims, "spaced", lambda run: run.pairs)
    monkeypatch.setattr(trained_claims, "level", lambda run, name: 5.236)


def finding(number, arms, scale="quick"):
    (claim,) = (each for each in claims(scale) if each.number == number)
    return claim.judge(arms)


def verdict(number, arms, scale="quick"):
    return str(finding(number, arms, scale).verdict)


@pytest.mark.parametrize("scale", ["paper", "quick"])
def test_runs_as_our_spec_tells_reproduce_every_claim_but_the_root_of_all(scale):
    arms = made(scale)
    found = {claim.number: str(claim.judge(arms).verdict) for claim in claims(scale)}
    other = {20: "contradicted", NEED_WEIGHTS: "not run"}
    assert found == dict.fromkeys(TRAINED, "reproduced") | other


def test_norms_that_all_grow_as_the_root_reproduce_claim_20_and_contradict_claim_7():
    arms = made(law="root")
    found = finding(20, arms)
    assert found.verdict is Verdict.REPRODUCED and len(found.quantities) == len(GROWING)
    assert all("(best law: root)" in quantity.name for quantity in found.quantities)
    assert verdict(7, arms) == "contradicted"


@pytest.mark.parametrize("arm", GROWING)
def test_one_optimiser_with_another_law_contradicts_claim_20(arm):
    arms = made(law="root") | {arm: MadeRun(recipes("quick")[arm], "linear")}
    found = finding(20, arms)
    (other,) = (each for each in found.quantities if each.verdict is Verdict.CONTRADICTED)
    assert other.name == f"{arm}: exponent (best law: linear)"
    assert other.estimate == pytest.approx(1, abs=0.02)


def put(value):
    return lambda values: np.full_like(values, value)


def at_end(value):
    def change(values):
        values[:, -1] = value
        return values

    return change


def at_start(value):
    def change(values):
        values[:, 0] = value
        return values

    return change


def one_mark_down(values):
    """At step 250 one seed is as low as at the start."""
    values[0, 250 // CADENCE["quick"][0]] = values[0, 0]
    return values


def future(positions):
    """Mean keys of a head whose queries each see what comes after them, and the last itself."""
    return np.mean([positions - 1 - t for t in range(positions - 1)] + [1])


MODE = future(recipes("quick")["adamw"].task.interface.positions)
CHANGED = [
    (6, "adamw", NORM, at_end(29.0)),
    (6, "adamw", NORM, one_mark_down),
    (10, "fast", SATURATION, at_end(0.97)),
    (10, "fast", SATURATION, at_start(0.9)),
    (10, "fast-authors", SATURATION, at_end(0.97)),
    (10, "fast-authors", SATURATION, at_start(0.9)),
    (11, "post-fast", SATURATION, at_end(0.98)),
    (11, "post-fast-authors", SATURATION, at_end(0.98)),
    (11, "post-fast", "evaluation/loss", put(5.1)),
    (11, "post-fast-authors", "evaluation/loss", put(5.4)),
    (12, "fast-authors", HEADS, lambda values: np.minimum(values, MODE - 0.11)),
    (12, "post-authors", HEADS, lambda values: values + 0.11),
    (12, "post-authors", HEADS, lambda values: np.where(values < 3, 3.1, values)),
    (13, "fast", HEADS, put(1.11)),
    (13, "input", HEADS, put(1.11)),
    (13, "post", HEADS, lambda values: values + np.array([0, 0, 0, 9])),
    (15, "input", SATURATION, at_end(0.6)),
    (15, "input-final", SATURATION, at_end(0.7)),
    *((16, language, SATURATION, at_end(0.97)) for language in LANGUAGES),
    *((16, language, NORM, at_end(32.0)) for language in LANGUAGES),
    (21, "fast", "saturated/accuracy", put(0.2)),
    (21, "post", "saturated/accuracy", put(0.2)),
    (21, "input", "saturated/accuracy", put(0.2)),
]


@pytest.mark.parametrize(
    ("number", "arm", "name", "change"), CHANGED,
    ids=[f"{number}-{arm}-{i}" for i, (number, arm, *_) in enumerate(CHANGED)],
)  # fmt: skip
def test_readings_that_say_the_opposite_contradict(number, arm, name, change):
    arms = made()
    arms[arm].set(name, change)
    assert verdict(number, arms) == "contradicted"


@pytest.mark.parametrize(
    ("arm", "law"), [("adamw", "root"), ("adamw-fast", "root"), ("decay", "linear")]
)
def test_other_laws_contradict_claim_7(arm, law):
    arms = made() | {arm: MadeRun(recipes("quick")[arm], law)}
    assert verdict(7, arms) == "contradicted"


def turned(run, direction=(0.95, 0.998), alignment=(0.1, 0.03)):
    """With other cosines between checkpoints, first and last."""
    each = np.ones(len(run.members))[:, None]
    run.pairs = Spaced(run.pairs.steps, np.array(direction) * each, np.array(alignment) * each)
    return run


@pytest.mark.parametrize("arm", ["adamw", "adamw-fast"])
@pytest.mark.parametrize("direction", [(0.995, 0.994), (0.95, 0.989)])
def test_directions_that_turn_on_contradict_claim_2(arm, direction):
    arms = made()
    turned(arms[arm], direction=direction)
    assert verdict(2, arms) == "contradicted"


@pytest.mark.parametrize("arm", ["adamw", "post-long"])
@pytest.mark.parametrize("alignment", [(0.15, 0.03), (0.1, 0.06)])
def test_aligned_steps_contradict_claim_3_also_at_its_borders(arm, alignment):
    """They are left out, as the claim says."""
    arms = made()
    turned(arms[arm], alignment=alignment)
    assert verdict(3, arms) == "contradicted"


def cell(run, rate, decay):
    """The places of its members."""
    asked = {"optimizer.learning_rate": rate, "optimizer.weight_decay": decay}
    return [k for k, member in enumerate(run.members) if member["overrides"] == asked]


def changes(run):
    values = run.array(NORM).values
    return np.log(values[:, -1] / values[:, 0])


def test_claim_22_reads_the_default_and_what_decay_takes_from_it():
    run = made()["grid"]
    default, less = finding(22, {"grid": run}).quantities
    change = changes(run)
    np.testing.assert_allclose(default.values, change[cell(run, 1e-3, 1e-2)])
    expected = change[cell(run, 1e-3, 1e-1)] - change[cell(run, 1e-3, 1e-5)]
    np.testing.assert_allclose(less.values, expected)
    assert default.seeds == less.seeds == 2


@pytest.mark.parametrize(
    ("rate", "decay", "end"), [(1e-3, 1e-2, 29.9), (1e-3, 1e-1, 32.0), (1e-3, 1e-5, 29.0)]
)
def test_a_cell_that_goes_the_other_way_contradicts_claim_22(rate, decay, end):
    run = made()["grid"]
    run.set(NORM, at_end(end), cell(run, rate, decay))
    assert verdict(22, {"grid": run}) == "contradicted"


@pytest.mark.parametrize("decay", [1e-1, 1e-2, 1e-5])
def test_a_lost_network_of_the_grid_leaves_claim_22_open(decay):
    run = made()["grid"]
    run.set(NORM, at_end(np.nan), cell(run, 1e-3, decay)[:1])
    assert verdict(22, {"grid": run}) == "inconclusive"


def test_other_cells_of_the_grid_say_nothing_of_claim_22():
    run = made()["grid"]
    run.set(NORM, at_end(20.0), cell(run, 1e-2, 1e-2) + cell(run, 1e-3, 1e-4))
    assert verdict(22, {"grid": run}) == "reproduced"


def test_where_the_grid_passes_by_the_default_the_nearest_cell_stands_for_it():
    arm = recipes("paper")["grid"]
    run = MadeRun(arm)
    default = finding(22, {"grid": run}, "paper").quantities[0]
    values = arm.vary["optimizer.learning_rate"]
    rate = min(values, key=lambda value: abs(np.log(value / 1e-3)))
    decay = min(values, key=lambda value: abs(np.log(value / 1e-2)))
    assert rate != 1e-3 and rate == pytest.approx(1e-3, rel=0.3)
    np.testing.assert_allclose(default.values, changes(run)[cell(run, rate, decay)])


def diverged(values):
    """All but the start is lost."""
    values[:, 1:] = np.nan
    return values


def lost(run, member=0):
    """With a seed that diverged."""
    for name in run.names():
        run.set(name, diverged, [member])
    for values in (run.pairs.direction, run.pairs.alignment):
        values[member] = np.nan
    return run


@pytest.mark.parametrize("number", sorted(TRAINED - {NEED_WEIGHTS, 20, 22}))
def test_a_lost_seed_leaves_every_claim_open(number):
    arms = {name: lost(run) for name, run in made().items()}
    found = finding(number, arms)
    assert found.verdict is Verdict.INCONCLUSIVE
    for quantity in found.quantities:
        if quantity.kind != "exact" and not quantity.name.endswith(": before"):
            assert np.isnan(quantity.values[0]) and quantity.with_value == quantity.seeds - 1


def test_a_lost_seed_does_not_hide_the_exponents_of_the_others():
    arms = made(law="root")
    lost(arms["sgd"], member=1)
    found = finding(20, arms)
    assert found.verdict is Verdict.INCONCLUSIVE
    sgd = next(each for each in found.quantities if each.name.startswith("sgd"))
    assert np.isnan(sgd.values).tolist() == [False, True, False, False]
    assert np.nanmean(sgd.values) == pytest.approx(0.5, abs=0.02)


def test_an_arm_whose_seeds_are_all_lost_has_no_law():
    arms = made(law="root")
    for member in range(4):
        lost(arms["sgd"], member)
    sgd = next(each for each in finding(20, arms).quantities if each.name.startswith("sgd"))
    assert sgd.name.endswith("(best law: undecided)") and sgd.with_value == 0
    assert sgd.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("number", sorted(TRAINED - {NEED_WEIGHTS, 20, 22}))
def test_a_single_seed_decides_nothing(number):
    arms = {name: MadeRun(arm.model_copy(update={"seeds": (0,)}))
            for name, arm in recipes("quick").items() if name != "grid"}  # fmt: skip
    assert verdict(number, arms) == "inconclusive"


def test_three_seeds_cannot_show_what_every_seed_does():
    arm = recipes("quick")["adamw"].model_copy(update={"seeds": (0, 1, 2)})
    assert verdict(6, {"adamw": MadeRun(arm)}) == "inconclusive"


def test_a_claim_is_not_run_without_one_of_its_arms():
    arms = made()
    for claim in claims("quick"):
        for arm in claim.arms:
            found = claim.judge({name: run for name, run in arms.items() if name != arm})
            assert found.verdict is Verdict.NOT_RUN and arm in found.reason


@pytest.mark.parametrize("positions", [20, 40, 83])
def test_the_mode_of_a_head_that_sees_only_the_future(positions):
    """Row t looks at the T - 1 - t keys after it, the last at itself (section 5 of our spec)."""
    mode = (positions * (positions - 1) / 2 + 1) / positions
    assert future(positions) == pytest.approx(mode)
    assert mode == pytest.approx({20: 9.55, 40: 19.525, 83: 41.012}[positions], abs=5e-4)
    arms = made()
    for arm in ("fast-authors", "post-authors"):
        task = {"task.length": positions + 1, "task.vocabulary": 40}
        arms[arm] = MadeRun(recipes("quick")[arm].override(task))
        assert verdict(12, arms) == "reproduced"
    for arm in ("fast-authors", "post-authors"):
        other = arms[arm].readings[HEADS]
        arms[arm].set(HEADS, lambda values: values + 0.2)
        assert verdict(12, arms) == "contradicted"
        arms[arm].readings[HEADS] = other
    for sign in (-1, 1):
        arms["fast-authors"].set(HEADS, lambda values, sign=sign: values + 0.11 * sign)
        assert verdict(12, arms) == "contradicted"
        arms["fast-authors"].set(HEADS, lambda values, sign=sign: values - 0.11 * sign)


@pytest.mark.parametrize("scale", ["paper", "quick"])
def test_the_spec_has_nineteen_claims_and_this_project_three(scale):
    found = STUDY.claims(scale)
    assert [claim.number for claim in found] == list(range(1, 23))
    assert len({claim.statement for claim in found}) == len(found)
    assert all(claim.source and claim.paper and claim.tolerance for claim in found)
    assert {claim.number for claim in claims(scale)} == TRAINED
    for claim in found[19:]:  # what is not established is not given as the paper's
        assert "not established" in claim.paper


@pytest.mark.parametrize("scale", ["paper", "quick"])
def test_claims_name_arms_that_there_are(scale):
    asked = {arm for claim in STUDY.claims(scale) for arm in claim.arms}
    assert asked - {"pretrained"} <= set(recipes(scale))


def test_a_run_of_something_else_is_told_apart():
    run = made()["adamw"]
    assert Experiment.of(run.experiment).arm == "adamw"
    with pytest.raises(SaltusError, match="no metric saturation/final"):
        finding(10, {"fast": made()["sgd"], "fast-authors": run})
