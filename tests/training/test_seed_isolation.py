"""Promise 1: on CPU eager, member k of any ensemble is bit-identical to seed k alone."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from computing import computing, with_either
from saltus.experiment import Experiment, Member
from saltus.training.ensemble import Ensemble
from saltus.training.isolation import Watch, is_separable
from saltus.training.plan import plan
from tiny_experiments import tiny, trajectory

STEPS = 4
SETTINGS = {
    "softmax, adamw, clipped": {
        "optimizer": {"kind": "adamw", "learning_rate": 1e-2, "clip": 0.3},
    },
    "linear attention, sgd, bias": {
        "model": {"kind": "decoder", "width": 8, "heads": 1, "attention": "linear"},
        "optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "interventions": [{"kind": "attention-bias", "factor": 3.0, "start": 2}],
    },
    "long sequences (fused attention), post-norm, relu": {
        "task": {"kind": "moving-window-sum", "length": 11, "window": 3},
        "model": {"kind": "decoder", "width": 16, "heads": 2, "norm": "post", "activation": "relu"},
    },
    "matrix completion, encoder, muon, clipped": {
        "task": {"kind": "matrix-completion", "rows": 4, "columns": 4, "rank": 1},
        "model": {"kind": "encoder", "width": 16, "heads": 2, "depth": 1},
        "instruments": [{"kind": "evaluation", "cadence": 2}, {"kind": "norms", "cadence": 2}],
        "optimizer": {"kind": "muon", "learning_rate": 0.02, "weight_decay": 0.1, "clip": 0.3},
    },
    "adamw with groups, one of them frozen": {
        "optimizer": {
            "kind": "adamw",
            "learning_rate": 1e-2,
            "groups": {"*.bias": {"weight_decay": 0.0}, "embeddings": {"learning_rate": 1e-3}},
        },
        "interventions": [{"kind": "freeze", "groups": ["mlp"], "start": 1}],
    },
    "adafactor, an update read": {
        "optimizer": {"kind": "adafactor", "weight_decay": 0.1, "clip": 1.0},
        "instruments": [{"kind": "norm-dynamics", "cadence": 2}],
    },
    "norm-sgd, an update read": {
        "optimizer": {"kind": "norm-sgd", "learning_rate": 0.01, "momentum": 0.9},
        "instruments": [
            {"kind": "norm-dynamics", "cadence": 1, "per": "block"},
            {"kind": "norm-policies", "cadence": 1},
        ],
    },
    "float64": {"engine": {"workers": 1, "precision": "float64"}},
}


def members_of(name: str, seeds: tuple[int, ...]) -> list[Member]:
    return tiny(**{**SETTINGS[name], "seeds": list(seeds)}).members()


@cache
def alone(name: str, seed: int, products: str):
    return trajectory(Ensemble(members_of(name, (seed,))), STEPS)


def assert_same_bits(name: str, seeds: tuple[int, ...], products: str) -> None:
    flat, losses, readings = trajectory(Ensemble(members_of(name, seeds)), STEPS)
    for row, seed in enumerate(seeds):
        own_flat, own_losses, own_readings = alone(name, seed, products)
        assert torch.equal(flat[row], own_flat[0])
        assert all(torch.equal(a[row], b[0]) for a, b in zip(losses, own_losses, strict=True))
        for together, single in zip(readings, own_readings, strict=True):
            assert together.keys() == single.keys()
            for metric, value in together.items():
                assert torch.equal(value[row], single[metric][0]), metric


@with_either
@pytest.mark.parametrize("name", SETTINGS)
@settings(max_examples=5)
@given(data=st.data())
def test_any_ensemble_in_any_order_gives_each_seed_its_own_bits(name, products, data):
    seeds = data.draw(st.lists(st.integers(0, 11), min_size=2, max_size=9, unique=True))
    with computing(products):
        assert_same_bits(name, tuple(seeds), products)


@with_either
@settings(max_examples=10)
@given(data=st.data())
def test_whatever_the_shape_the_shards_of_the_plan_give_each_seed_its_own_bits(products, data):
    heads = data.draw(st.integers(1, 3))
    experiment = tiny(
        task={"kind": "moving-window-sum", "length": data.draw(st.integers(3, 12))},
        model={
            "kind": "decoder",
            "width": heads * data.draw(st.sampled_from([2, 3, 4, 8, 11, 16])),
            "heads": heads,
            "attention": data.draw(st.sampled_from(["softmax", "linear"])),
        },
        batch=data.draw(st.sampled_from([1, 3, 8, 16, 32])),
        seeds=5,
        engine={"workers": 1, "chunk": data.draw(st.integers(1, 5))},
    )
    with computing(products):
        assert_the_plan_isolates(experiment)


def assert_the_plan_isolates(experiment: Experiment) -> None:
    members = experiment.members()
    for shard in plan(experiment).shards:
        together, _, readings = trajectory(Ensemble([members[k] for k in shard]), 2)
        for row, k in enumerate(shard):
            single, _, own = trajectory(Ensemble([members[k]]), 2)
            assert torch.equal(together[row], single[0])
            for metrics, expected in zip(readings, own, strict=True):
                for name, value in metrics.items():
                    assert torch.equal(value[row], expected[name][0]), name


def words(model: dict, length: int, batch: int, **changes) -> Experiment:
    """One output per position: the readout is a matrix times a vector."""
    kinds = ("evaluation", "norms", "gradient-norms", "class-balance", "attention-shift")
    return tiny(
        task={"kind": "word-cooccurrence", "length": length, "vocabulary": 43},
        model=model,
        batch=batch,
        instruments=[{"kind": kind, "cadence": 1} for kind in kinds],
        seeds=5,
        **changes,
    )


@settings(max_examples=12)
@given(data=st.data())
def test_one_output_per_position_is_no_gap(data):
    """The library's product of one column has a path of its own for a single member."""
    decoder = {
        "kind": "decoder",
        "width": data.draw(st.sampled_from([8, 16, 32])),
        "attention": data.draw(st.sampled_from(["softmax", "linear"])),
        "norm": data.draw(st.sampled_from(["pre", "post"])),
    }
    assert_the_plan_isolates(
        words(
            decoder,
            length=data.draw(st.sampled_from([4, 5, 8])),
            batch=data.draw(st.sampled_from([6, 24, 48])),
            examples=data.draw(st.sampled_from([None, 48])),
            engine={"workers": 1, "precision": data.draw(st.sampled_from(["float32", "float64"]))},
        )
    )


ONE_OUTPUT = (
    {"kind": "decoder", "width": 16},
    {"kind": "one-layer-attention", "width": 16, "neurons": 8},
)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("model", ONE_OUTPUT, ids=lambda model: model["kind"])
def test_one_output_per_position_is_a_sum_and_stacked(model, precision):
    experiment = words(model, 8, 48, engine={"workers": 1, "precision": precision})
    assert len(plan(experiment).shards) == 1
    assert_the_plan_isolates(experiment)


def test_a_single_product_of_one_column_is_seen():
    watch = Watch()
    with watch:
        torch.zeros(1, 48, 16) @ torch.zeros(1, 16, 1)
    assert watch.ragged and all(1 in shape[-2:] for shape in watch.ragged.values())


@with_either
@pytest.mark.parametrize("name", SETTINGS)
def test_the_settings_above_really_are_stacked(name, products):
    with computing(products):
        assert is_separable(Ensemble(members_of(name, (0,))))


def ragged(**engine: object) -> Experiment:
    odd = {"kind": "decoder", "width": 33, "heads": 3}
    return tiny(model=odd, batch=5, seeds=4, engine={"workers": 1, "chunk": 4, **engine})


@pytest.mark.parametrize(("products", "precision"), [("PyTorch", "float32"), ("C", "float64")])
def test_ragged_shapes_run_one_by_one_whatever_chunk_is_asked_for(products, precision):
    with computing(products):
        assert plan(ragged(precision=precision)).shards == [[0], [1], [2], [3]]


def test_ragged_shapes_are_nothing_odd_to_the_kernels():
    """A member's share of memory may begin and end anywhere."""
    with computing("C"):
        assert plan(ragged()).shards == [[0, 1, 2, 3]]
        assert_the_plan_isolates(ragged())


def test_members_that_differ_in_hyper_parameters_do_not_touch_each_other():
    grid = tiny(
        interventions=[{"kind": "attention-bias", "factor": 1.0}],
        vary={
            "optimizer.learning_rate": [1e-3, 1e-1],
            "interventions.0.start": [0, 2],
            "model.initial_scale": [0.5, 1.0],
        },
        seeds=2,
    )
    members = grid.members()
    assert len(members) == 16
    together, _, _ = trajectory(Ensemble(members), 3)
    for row, member in enumerate(members):
        plain = Experiment.of(member.experiment.override({"seeds": [member.seed]}).data())
        single, _, _ = trajectory(Ensemble(plain.members()), 3)
        assert torch.equal(together[row], single[0]), member.overrides


def test_members_that_differ_in_both_rates_of_muon_do_not_touch_each_other():
    grid = tiny(
        optimizer={"kind": "muon", "learning_rate": 0.02},
        vary={
            "optimizer.learning_rate": [0.02, 0.2],
            "optimizer.momentum": [0.0, 0.9],
            "optimizer.others.learning_rate": [1e-4, 1e-2],
        },
        seeds=2,
    )
    together, _, _ = trajectory(Ensemble(grid.members()), 3)
    for row, member in enumerate(grid.members()):
        single, _, _ = trajectory(Ensemble([member]), 3)
        assert torch.equal(together[row], single[0]), member.overrides
    assert len({tuple(row.tolist()) for row in together}) == 16


def test_a_member_that_diverges_is_frozen_and_the_others_do_not_change_by_one_bit():
    experiment = tiny(vary={"optimizer.learning_rate": [1e-2, 1e30]}, seeds=2)
    ensemble = Ensemble(experiment.members())
    flat, losses, _ = trajectory(ensemble, 6)
    assert set(ensemble.diverged) == {2, 3}
    healthy, own, _ = trajectory(Ensemble(tiny(seeds=2).members()), 6)
    assert torch.equal(flat[:2], healthy)
    assert all(torch.equal(a[:2], b) for a, b in zip(losses, own, strict=True))
    # A frozen member stays where it was when its loss stopped being finite.
    before = ensemble.flat[2].clone()
    ensemble.differentiate(6)
    ensemble.update(6)
    assert torch.equal(ensemble.flat[2].view(torch.int32), before.view(torch.int32))
    assert ensemble.updates[2] == ensemble.diverged[2]


def test_integer_powers_of_a_task_are_no_kernels_to_watch():
    watch = Watch()
    with watch:
        assert (10 ** torch.arange(4)).tolist() == [1, 10, 100, 1000]
    assert not watch.ragged
