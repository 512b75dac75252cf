"""Muon, parameter groups and the variants of descent, against PyTorch and closed forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models import group_of
from saltus.training.ensemble import Ensemble
from saltus.training.muon import Muon, newton_schulz, newton_schulz_of_each
from saltus.training.optimizers import Sgd
from tiny_experiments import tiny

LINEAR_ONLY = {kind: {"weight_decay": 0.0} for kind in ("embeddings", "norm", "*.bias")}


def alone(optimizer: dict, **changes) -> Ensemble:
    settings = {"optimizer": optimizer, "instruments": [], "seeds": 1, **changes}
    return Ensemble(tiny(**settings).members())


def differences(ensemble: Ensemble, makers: dict, steps: int = 6) -> dict[str, float]:
    """Largest gaps to PyTorch's optimisers after some steps on the same gradients, by name.

    `makers` maps functions of parameter lists to the names that each of them moves.
    """
    theirs = {n: torch.nn.Parameter(v[0].detach().clone()) for n, v in ensemble.parameters.items()}
    optimizers = [make([theirs[name] for name in names]) for make, names in makers.items()]
    for step in range(steps):
        ensemble.differentiate(step)
        for name, gradient in ensemble.gradients.items():
            theirs[name].grad = gradient[0].clone()
        for optimizer in optimizers:
            optimizer.step()
        ensemble.update(step)
    mine = ensemble.parameters
    return {name: float((mine[name][0] - value).detach().abs().max()) for name, value in
            theirs.items()}  # fmt: skip


def is_matrix(ensemble: Ensemble, name: str) -> bool:
    return name.startswith("blocks.") and len(ensemble.layout.shapes[name]) == 2


@pytest.mark.parametrize("scale", ["original", "match-rms-adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_muon_is_the_muon_of_torch_and_adam_moves_the_rest(scale, nesterov, precision):
    ensemble = alone(
        {
            "kind": "muon",
            "learning_rate": 0.02,
            "momentum": 0.9,
            "nesterov": nesterov,
            "weight_decay": 0.1,
            "scale": scale,
            "others": {"kind": "adam", "learning_rate": 1e-3},
        },
        engine={"workers": 1, "precision": precision},
    )
    matrices = [name for name in ensemble.names if is_matrix(ensemble, name)]
    assert len(matrices) == 12  # 2 blocks of query, key, value, output and two of the MLP
    makers = {
        lambda p: torch.optim.Muon(
            p, lr=0.02, momentum=0.9, nesterov=nesterov, weight_decay=0.1,
            adjust_lr_fn=scale.replace("-", "_"),
        ): matrices,
        lambda p: torch.optim.Adam(p, lr=1e-3): [n for n in ensemble.names if n not in matrices],
    }  # fmt: skip
    gaps = differences(ensemble, makers)
    assert max(gaps.values()) < 1e-6
    assert len(gaps) == len(ensemble.names)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 5))
def test_newton_schulz_keeps_the_singular_vectors_and_levels_the_values(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    small = min(rows, columns)
    left = torch.linalg.qr(torch.randn(rows, small, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(columns, small, generator=generator)).Q
    values = torch.rand(small, generator=generator) * 9 + 1
    found = newton_schulz(left * values @ right.mT).float()
    seen = left.mT @ found @ right
    assert seen.diagonal().min() > 0.6 and seen.diagonal().max() < 1.3
    assert (seen - seen.diagonal().diag()).abs().max() < 0.05  # bfloat16 has 8 bits
    assert found.shape == (rows, columns)


def test_a_stack_of_matrices_is_each_of_them_and_zero_stays_zero():
    matrices = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0))
    matrices[1] = 0.0
    stacked = newton_schulz(matrices)
    for matrix, together in zip(matrices, stacked, strict=True):
        torch.testing.assert_close(together, newton_schulz(matrix), rtol=0.02, atol=0.02)
    assert not stacked[1].any()


@given(st.lists(st.sampled_from([(8, 5), (5, 8), (8, 8)]), max_size=6))
def test_together_every_matrix_has_its_own_answer_whatever_the_shapes(shapes):
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    one_by_one = newton_schulz_of_each(matrices, 5, together=False)
    together = newton_schulz_of_each(matrices, 5, together=True)
    for one, other in zip(one_by_one, together, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("momentum,nesterov", [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_is_the_sgd_of_torch(momentum, nesterov):
    settings = {"learning_rate": 0.1, "momentum": momentum, "nesterov": nesterov}
    ensemble = alone({"kind": "sgd", "weight_decay": 0.01, **settings})
    given = {"lr": 0.1, "weight_decay": 0.01, "momentum": momentum, "nesterov": nesterov}
    gaps = differences(ensemble, {lambda p: torch.optim.SGD(p, **given): ensemble.names})
    assert max(gaps.values()) < 1e-6


def test_sign_descent_moves_every_parameter_by_the_rate():
    sign = Sgd(learning_rate=1.0, sign=True)
    parameter, gradient = torch.zeros(4), torch.tensor([3.0, -1e-9, 0.0, -5.0])
    sign.update([parameter], [gradient], [[torch.zeros(4)]], 1, 0.25)
    assert parameter.tolist() == [-0.25, 0.25, 0.0, 0.25]


def test_decay_of_linear_weights_alone_is_that_of_torch_with_two_groups():
    """The loss-plateau paper's AdamW."""
    ensemble = alone(
        {"kind": "adamw", "learning_rate": 1e-2, "weight_decay": 0.5, "groups": LINEAR_ONLY}
    )
    linear = [
        name
        for name in ensemble.names
        if name.endswith("weight") and not group_of(name).startswith(("embeddings", "norm"))
    ]
    assert len(linear) == 13  # the matrices of two blocks, and the readout
    rest = [name for name in ensemble.names if name not in linear]
    makers = {
        lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.5): linear,
        lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.0): rest,
    }
    assert max(differences(ensemble, makers).values()) < 1e-6


def test_a_group_has_its_own_rate_and_the_first_that_selects_decides():
    groups = {"embeddings.token": {"learning_rate": 0.0}, "embeddings": {"learning_rate": 1e-4}}
    ensemble = alone({"kind": "adam", "learning_rate": 1e-2, "groups": groups})
    before = {name: value.detach().clone() for name, value in ensemble.parameters.items()}
    ensemble.differentiate(0)
    ensemble.update(0)
    moved = {n: float((v - before[n]).detach().abs().max()) for n, v in ensemble.parameters.items()}
    assert moved["token.weight"] == 0.0
    assert moved["position.weight"] == pytest.approx(1e-4, rel=1e-2)  # Adam's first step is +-rate
    assert moved["readout.weight"] == pytest.approx(1e-2, rel=1e-2)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "adafactor"])
def test_groups_that_change_nothing_leave_every_bit(kind):
    plain = {"kind": kind, "learning_rate": 1e-2, "weight_decay": 0.1, "clip": 100.0}
    groups = {"mlp": {}, "norm": {"weight_decay": 0.1}, "*.bias": {"learning_rate": 1e-2}}
    one, split = alone(plain), alone({**plain, "groups": groups})
    for step in range(4):
        for ensemble in (one, split):
            ensemble.differentiate(step)
            ensemble.update(step)
    assert torch.equal(one.flat, split.flat)


@given(
    st.lists(
        st.sampled_from(["mlp", "attention", "attention.qk", "*.bias", "blocks.1.*", "*"]),
        unique=True,
    ),
    st.sampled_from(["sgd", "adam", "adamw", "muon", "adafactor", "norm-sgd"]),
)
def test_every_parameter_is_in_exactly_one_share(patterns, kind):
    ensemble = alone({"kind": kind, "learning_rate": 1e-2})
    shapes = ensemble.layout.shapes
    optimizer = Experiment.of(
        {
            **tiny().data(),
            "optimizer": {"kind": kind, "learning_rate": 1e-2,
                          "groups": {p: {} for p in patterns if kind != "muon" or p != "*.bias"}},
        }
    ).optimizer  # fmt: skip
    shares = optimizer.shares(shapes)
    assert sorted(name for share in shares for name in share.names) == sorted(shapes)
    assert all(share.names and not share.rule.groups for share in shares)


def test_the_schedule_is_for_all_and_clipping_is_of_the_whole_gradient():
    schedule = {"shape": "cosine", "warmup": 2, "until": 4}
    muon = {"kind": "muon", "learning_rate": 0.02, "clip": 1e-3, "schedule": schedule}
    muon["others"] = {"kind": "sgd", "learning_rate": 0.1}
    ensemble = alone(muon, steps=9, engine={"workers": 1, "precision": "float64"})
    shares = ensemble.shares[0]
    assert [share.rule.rate(0, 9) for share in shares] == [0.01, 0.05]
    assert [share.rule.rate(5, 9) for share in shares] == [0.0, 0.0]
    start = ensemble.parameters["readout.weight"].detach().clone()
    ensemble.differentiate(0)
    norm = float(ensemble.gradient.norm())
    slope = ensemble.gradients["readout.weight"].clone()
    ensemble.update(0)
    moved = ensemble.parameters["readout.weight"].detach() - start
    torch.testing.assert_close(moved, slope * (-0.05 * 1e-3 / norm), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "optimizer,message",
    [
        (
            {"kind": "adam", "groups": {"embedings": {"learning_rate": 0.1}}},
            "optimizer.groups (adam): unknown group 'embedings'; did you mean ",
        ),
        (
            {"kind": "muon", "groups": {"readout": {"learning_rate": 0.1}}},
            "optimizer.groups (muon): unknown group 'readout'",  # it is not among the matrices
        ),
        (
            {"kind": "muon", "matrices": ["norm"]},
            "optimizer.matrices (muon): unknown group 'norm'. Allowed: attention.output, ",
        ),
        (
            {"kind": "muon", "others": {"kind": "muon", "learning_rate": 1e-3}},
            "experiment: optimizer: others: muon is not allowed: sgd, adam or adamw",
        ),
        (
            {"kind": "muon", "others": {"kind": "adam", "learning_rate": 1e-3, "clip": 1.0}},
            "experiment: optimizer: others: clip and schedule are those of muon itself",
        ),
        ({"kind": "sgd", "nesterov": True}, "experiment: optimizer: nesterov needs a momentum "),
        (
            {"kind": "adam", "groups": {"mlp": {"learning_rte": 0.1}}},
            "experiment: optimizer.groups.mlp.learning_rte: unknown field 'learning_rte'; did you "
            "mean 'learning_rate'? Allowed: learning_rate, weight_decay",
        ),
        (
            {"kind": "adam", "groups": {"mlp": {"weight_decay": -1}}},
            "experiment: optimizer.groups.mlp.weight_decay: -1 is not allowed: ",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(optimizer, message):
    with pytest.raises(SaltusError) as caught:
        alone({"learning_rate": 1e-3, **optimizer})
    assert str(caught.value).startswith(message)


def test_an_optimizer_is_its_yaml():
    groups = {"embeddings": {"learning_rate": 1e-5}}
    optimizer = Muon(learning_rate=0.02, others={"kind": "adamw", "learning_rate": 1e-4})
    experiment = tiny(optimizer=optimizer).override({"optimizer.others.groups": groups})
    again = Experiment.from_yaml(experiment.to_yaml())
    assert again == experiment and again.optimizer.others.groups["embeddings"].learning_rate == 1e-5
