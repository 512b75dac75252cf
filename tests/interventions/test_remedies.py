"""Every remedy of section 7 trains in every model of every study, member by member."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from saltus.experiment import Experiment
from saltus.training.ensemble import Ensemble
from saltus.training.plan import plan
from tiny_experiments import tiny, trajectory

STEPS = 2
PLACES: dict[str, dict[str, Any]] = {
    "loss-plateau": {
        "task": {"kind": "moving-window-sum", "length": 5, "alphabet": 4, "modulus": 5},
        "model": {"kind": "decoder", "width": 16, "heads": 2, "initial_deviation": 0.3},
        "batch": 16,
    },
    "matrix-completion": {
        "task": {"kind": "matrix-completion", "rows": 4, "columns": 4, "rank": 1},
        "model": {"kind": "encoder", "width": 16, "heads": 2, "depth": 1, "initial_scale": 10},
        "batch": 16,
    },
    "word-cooccurrence": {
        "task": {"kind": "word-cooccurrence", "length": 4, "vocabulary": 9},
        "model": {"kind": "one-layer-attention", "width": 16, "neurons": 8, "kappa": 3.0},
        "batch": 24,
    },
    "eureka": {
        "task": {"kind": "two-step-image"},
        "model": {"kind": "vit", "width": 16, "heads": 2, "depth": 2, "initial_deviation": 0.3},
        "batch": 16,
    },
}
QUERY_AND_KEY = ["*attention.query.weight", "*attention.key.weight"]
DEVIATION = {"kind": "norm-softmax", "statistic": "deviation"}
HEAT = {"kind": "heat-treatment"}
REMEDIES: dict[str, dict[str, Any]] = {
    "linear": {"model.attention": "linear"},
    "NormSoftmax-var": {"model.attention": "norm-softmax"},
    "NormSoftmax-std": {"model.attention": DEVIATION},
    "learned temperature": {"model.attention": "learned-temperature"},
    "QK-norm": {"model.attention": "qk-norm"},
    "fixed temperature": {"interventions": [{"kind": "temperature", "value": 0.5}]},
    "HT": {"interventions": [HEAT]},
    "NormSoftmax-std and HT": {"model.attention": DEVIATION, "interventions": [HEAT]},
    "gradients: mean": {"interventions": ["gradient-rescaling"]},
    "gradients: to value": {"interventions": [{"kind": "gradient-rescaling", "mode": "to-value"}]},
    "gradients: per head": {
        "interventions": [{"kind": "gradient-rescaling", "mode": "per-head-to-value"}]
    },
    "start": {"interventions": [{"kind": "scale-start", "groups": QUERY_AND_KEY, "factor": 2}]},
}


def experiment(place: str, remedy: str | None, **changes: Any) -> Experiment:
    sgd = {"kind": "sgd", "learning_rate": 0.1}
    plain = tiny(**{**PLACES[place], "optimizer": sgd, "instruments": [], "seeds": 3, **changes})
    return plain if remedy is None else plain.override(REMEDIES[remedy])


@cache
def untreated(place: str) -> Any:
    made = Ensemble(experiment(place, None).members()[:1])
    trajectory(made, STEPS)
    return made.parameters


# The one-layer model refuses QK-norm: its inner products would be no logits.
CASES = [(p, r) for p in PLACES for r in REMEDIES if (p, r) != ("word-cooccurrence", "QK-norm")]


@pytest.mark.parametrize(("place", "remedy"), CASES)
def test_it_trains_acts_and_leaves_every_member_its_own_bits(place, remedy):
    members = experiment(place, remedy).members()
    flat, losses, _ = trajectory(Ensemble(members), STEPS)
    assert flat.isfinite().all() and all(loss.isfinite().all() for loss in losses)
    single = Ensemble(members[1:2])
    own, _, _ = trajectory(single, STEPS)
    assert own[0].equal(flat[1])
    first = Ensemble(members[:1])
    trajectory(first, STEPS)
    before = untreated(place)
    values = [name for name in before if ".attention.query.weight" in name]
    assert any(not first.parameters[name].equal(before[name]) for name in values)


@pytest.mark.parametrize("place", PLACES)
def test_members_that_differ_in_every_number_keep_their_own_bits(place):
    numbers = {
        "interventions.0.start": [3.0, 2.0],
        "interventions.0.end": [None, 0.2],
        "interventions.1.value": [0.7, 5.0],
        "interventions.2.factor": [0.5],
    }
    parts = [HEAT, {"kind": "temperature", "value": 1.0, "start": 1}]
    start = {"kind": "scale-start", "groups": QUERY_AND_KEY, "factor": 2}
    whole = experiment(place, None, interventions=[*parts, start], vary=numbers, seeds=[4], steps=6)
    members = whole.members()
    assert len(members) == 8
    flat, _, _ = trajectory(Ensemble(members), STEPS)
    for row in (1, 6):
        own, _, _ = trajectory(Ensemble(members[row : row + 1]), STEPS)
        assert own[0].equal(flat[row])
    assert not flat[0].equal(flat[-1])


@pytest.mark.parametrize("remedy", REMEDIES)
def test_no_remedy_costs_an_experiment_its_stack(remedy):
    """Ragged shapes would be trained one at a time (`training/isolation.py`)."""
    assert [len(shard) for shard in plan(experiment("loss-plateau", remedy)).shards] == [3]
