"""Attended positions and head types: the closed forms of section 5, and models that have them."""

import math

import pytest
import torch

import saltus
from analysed import One, ensemble_of
from homogeneous import Homogeneous
from saltus.errors import FieldProblem
from saltus.instruments import Instrument
from saltus.instruments.head_types import HeadTypes, attended
from saltus.models.saturated import zeta
from saltus.training.isolation import Watch
from saltus.training.readings import measure

BOTH = HeadTypes(modes=("scale", "zeta"))


def read(one, instrument=BOTH):
    return saltus.read(one.module, [instrument], one.task, one.batch)


def uniform(keys):
    weights = torch.ones(keys, keys, dtype=torch.float64).tril()
    return weights / weights.sum(-1, keepdim=True)


def multiplicative(keys):
    """zeta where visible scores are negative, no two alike, and those of the future 0."""
    return zeta(-torch.arange(1.0, keys + 1).double().expand(keys, keys).tril())


def heads(*patterns):
    return torch.stack(patterns).expand(3, -1, -1, -1)


@pytest.mark.parametrize("keys", [2, 3, 12, 40, 83])
def test_closed_forms(keys):
    found = attended(heads(uniform(keys), multiplicative(keys), torch.eye(keys).double()))
    means = [(keys + 1) / 2, (keys * (keys - 1) / 2 + 1) / keys, 1]
    splits = [(keys - 1) / keys, (keys - 2) / keys, 0]
    entropies = [
        math.lgamma(keys + 1) / keys,  # mean of ln 1 .. ln T
        math.lgamma(keys) / keys,  # T - 1 .. 1, and the last row's one
        0,
    ]
    assert found.attended.tolist() == pytest.approx(means, rel=1e-12)
    assert found.split.tolist() == pytest.approx(splits, rel=1e-12)
    assert found.entropy.tolist() == pytest.approx(entropies, rel=1e-12)
    assert found.deviation[0].item() == pytest.approx(math.sqrt((keys**2 - 1) / 12))
    assert found.deviation[2] == 0


def test_the_numbers_of_the_paper_s_figure():
    found = attended(heads(uniform(83), multiplicative(83)))
    assert found.attended.tolist() == pytest.approx([42.0, 41.012], abs=5e-4)
    assert found.split.tolist() == pytest.approx([0.9880, 0.97590], abs=5e-5)


def test_what_counts_is_a_weight_above_the_threshold():
    pattern = torch.tensor([[0.5, 0.5 - 2e-5, 2e-5], [1 - 1e-5, 1e-5, 0.0]]).expand(1, 1, 2, 3)
    found = attended(pattern)
    assert found.attended.item() == 2.0 and found.split.item() == 0.5
    assert attended(pattern, threshold=0.0).attended.item() == 2.5


def test_only_real_queries_count():
    pattern = heads(uniform(4))[:2]
    real = torch.tensor([[True, False, False, True], [False, True, False, False]])
    found = attended(pattern, real)
    assert found.attended.item() == pytest.approx((1 + 4 + 2) / 3)
    assert found.split.item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("scores", ["zero", "negative"])
def test_models_whose_heads_are_known(scores):
    """Uniform without queries; with a multiplicative mask and negative scores, over the future."""
    mask = "multiplicative" if scores == "negative" else "negative-infinity"
    one = Homogeneous(length=40, mask=mask, qkv_bias=True)
    keys = one.batch["inputs"].shape[-1]
    with torch.no_grad():
        for block in one.module.blocks:
            block.attention.query.weight.zero_()
            block.attention.key.weight.mul_(1e-5)  # and no two keys alike
            block.attention.query.bias.fill_(0.0 if scores == "zero" else 1.0)
            block.attention.key.bias.fill_(-1.0)
    found = read(one, BOTH.model_copy(update={"tolerance": 0.0}))
    mean = (keys + 1) / 2 if scores == "zero" else (keys * (keys - 1) / 2 + 1) / keys
    split = (keys - 1) / keys if scores == "zero" else (keys - 2) / keys
    for before in ("head-types", "head-types/zeta"):
        assert found[f"{before}/attended"].shape == (2, 2)
        assert found[f"{before}/attended"].flatten().tolist() == pytest.approx([mean] * 4)
        assert found[f"{before}/split"].flatten().tolist() == pytest.approx([split] * 4)
        assert found[f"{before}/mean-like"] == 1
        assert found[f"{before}/argmax-like"] == found[f"{before}/intermediate"] == 0


@pytest.mark.parametrize("name", ["adding", "completing"])
def test_counts_are_those_of_the_scaled_model_s_patterns(name):
    one = One(name)
    with torch.no_grad():
        one.module.blocks[0].attention.query.weight[8:] = 0
        one.module.blocks[0].attention.query.bias[8:] = 0
    found = read(one)
    for mode in ("head-types", "head-types/zeta"):
        counts = found[f"{mode}/attended"]
        keys = one.batch["inputs"].shape[-1]
        uniform = (keys + 1) / 2 if name == "adding" else keys
        assert counts[0, 1].item() == pytest.approx(uniform)
        assert found[f"{mode}/entropy"][0, 1] > 1
        assert counts[0, 0] < 1.2 and (counts[1] < 1.2).all()
    types = ("argmax-like", "mean-like", "intermediate")
    assert sum(found[f"head-types/{name}"] for name in types) == 1


def test_thresholds_are_fields():
    one = One("adding")
    types = HeadTypes(argmax=1.0, mean=0.01)
    found = read(one, types)
    few = (found["head-types/attended"] <= 1).double().mean()
    assert found["head-types/argmax-like"].equal(few)
    assert found["head-types/mean-like"].equal(1 - few)


def test_padding_does_not_count_unless_asked_for():
    one = Homogeneous(length=6)
    every = read(one)
    real = torch.zeros_like(one.batch["inputs"], dtype=torch.bool)
    real[:, :4] = True
    one.batch = {**one.batch, "real": real}
    assert read(one)["head-types/attended"].flatten().tolist() == pytest.approx([2.5] * 4)
    counted = read(one, BOTH.model_copy(update={"padding": "included"}))
    assert all(counted[name].equal(value) for name, value in every.items())


@pytest.mark.parametrize("name", ["adding", "completing"])
def test_a_member_is_the_same_to_the_last_bit_in_any_company(name):
    part = [BOTH.model_copy(update={"samples": 16})]
    together = measure(ensemble_of(name, [4, 0]), part, 2)
    for row, seed in enumerate([4, 0]):
        made, watch = ensemble_of(name, [seed]), Watch()
        with watch:
            alone = measure(made, part, 2)
        differing = [key for key in alone if not alone[key][0].equal(together[key][row])]
        assert not differing or watch.ragged


@pytest.mark.parametrize("fields", [{"modes": []}, {"modes": ["hard"]}, {"scale": 1}, {"mean": 0}])
def test_bad_fields_are_told_in_a_line(fields):
    with pytest.raises(FieldProblem, match=next(iter(fields))) as refused:
        Instrument.parse({"kind": "head-types", **fields})
    assert "\n" not in str(refused.value)
