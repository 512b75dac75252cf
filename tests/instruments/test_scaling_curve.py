"""The scaling curve and degrees of homogeneity, where they are known and against passes by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import by_hand
import saltus
from analysed import HEADS, One, ensemble_of
from homogeneous import Homogeneous
from saltus.errors import FieldProblem, SaltusError
from saltus.instruments import Instrument
from saltus.instruments.homogeneity import degree
from saltus.instruments.scaling_curve import SCALES, ScalingCurve
from saltus.training.isolation import Watch
from saltus.training.readings import measure

FEW = (1.0, 2.0, 5.0, 10.0)


def read(one, **fields):
    return saltus.read(one.module, [ScalingCurve(scales=FEW, **fields)], one.task, one.batch)


def test_the_paper_s_scales():
    torch.testing.assert_close(torch.tensor(SCALES), torch.linspace(1, 10, 20))


@given(st.floats(-4, 4), st.lists(st.floats(1e-3, 10), min_size=1, max_size=4))
def test_a_power_has_its_exponent_and_no_spread(k, increments):
    scales = [1.0]
    for more in increments:
        scales.append(scales[-1] * (1 + more))
    lengths = torch.rand(2, 3, 4, 1, dtype=torch.float64) + 0.5
    lengths = lengths * torch.tensor(scales, dtype=torch.float64) ** k
    found = degree(lengths, scales, torch.ones(2, 3, 4, dtype=torch.bool))
    assert found.exponent.shape == (2,) and found.exponents.shape == (2, len(increments))
    torch.testing.assert_close(
        found.exponent, torch.full_like(found.exponent, k), atol=1e-9, rtol=0
    )
    assert found.spread.abs().max() < 1e-9


def test_tokens_of_two_degrees_have_their_mean_and_spread_and_padding_has_none():
    scales, powers = (1.0, 10.0), torch.tensor([1.0, 3.0, 7.0], dtype=torch.float64)
    lengths = torch.tensor(scales, dtype=torch.float64) ** powers.unsqueeze(-1)
    found = degree(lengths.unsqueeze(0), scales, torch.tensor([[True, True, False]]))
    assert (found.exponent.item(), found.spread.item()) == pytest.approx((2, 1))


def test_the_degrees_of_a_homogeneous_model():
    """Table 1 of the paper, put together: ~1 for the encoder and ~2 with a readout."""
    groups = ("readout", "mlp", "embeddings", "attention.value")
    found = read(Homogeneous(), groups=groups)
    states, outputs = {"": 1, "/readout": 0}, {"": 2, "/readout": 1}
    for group, k in states.items():
        before = f"scaling-curve{group}"
        assert found[f"{before}/cosine"].tolist() == pytest.approx([1] * 4, abs=1e-8)
        assert found[f"{before}/exponent"].item() == pytest.approx(k, abs=1e-9)
        assert found[f"{before}/spread"] < 1e-7
        assert found[f"{before}/outputs/exponent"].item() == pytest.approx(outputs[group], abs=1e-9)
        assert found[f"{before}/outputs/exponents"].shape == (3,)
    # LayerNorm takes the scale of what a sublayer writes away, whoever made it.
    for group in ("mlp", "attention.value"):
        assert found[f"scaling-curve/{group}/exponent"].item() == pytest.approx(0, abs=1e-9)
        assert found[f"scaling-curve/{group}/cosine"].min() > 1 - 1e-8
    # The embedding is one summand of several: no degree.
    assert found["scaling-curve/embeddings/spread"] > 0.01


def test_softmax_makes_it_approximate_and_better_as_parameters_grow():
    """Def. 3: what is missing to a degree of 1 vanishes with the norm (no biases, section 7.2)."""
    one = Homogeneous(queries=True)
    near = read(one)
    with torch.no_grad():
        for value in one.module.parameters():
            value *= 30
    far = read(one)
    assert near["scaling-curve/cosine"][0] < 0.999
    assert (far["scaling-curve/cosine"] > 1 - 1e-6).all()
    assert near["scaling-curve/spread"] > 1e-4 and far["scaling-curve/spread"] < 1e-6


def final(one, factor):
    """What the readout reads at c theta, by hand."""
    own = {key: factor * value for key, value in one.parameters.items()}
    own["readout.weight"] = torch.eye(own["readout.weight"].shape[1], dtype=torch.float64)
    own["readout.bias"] = torch.zeros(len(own["readout.weight"]), dtype=torch.float64)
    return by_hand.forward(own, one.batch["inputs"], HEADS, one.encoder)


def cosines(one, real):
    end = final(one, 1000.0)[real].flatten()
    return [torch.cosine_similarity(final(one, c)[real].flatten(), end, dim=0) for c in FEW]


@pytest.mark.parametrize("name", ["adding", "completing"])
def test_encodings_are_one_vector_as_in_a_pass_by_hand(name):
    one = One(name)
    every = torch.ones_like(one.batch["inputs"], dtype=torch.bool)
    found = read(one)["scaling-curve/cosine"]
    torch.testing.assert_close(found, torch.stack(cosines(one, every)), rtol=0, atol=1e-6)


def test_another_site():
    found = read(Homogeneous(), site="embedding")
    assert found["scaling-curve/cosine"].tolist() == pytest.approx([1] * 4)
    assert found["scaling-curve/exponent"].item() == pytest.approx(1)
    with pytest.raises(SaltusError, match=r"scaling-curve.site: the model has no site 'nowhere'"):
        read(Homogeneous(), site="nowhere")


def test_padding_adds_nothing():
    one = One("adding")
    real = torch.rand(one.batch["inputs"].shape) < 0.5
    one.batch = {**one.batch, "real": real}
    found = read(one)
    expected = torch.stack(cosines(one, real))
    torch.testing.assert_close(found["scaling-curve/cosine"], expected, rtol=0, atol=1e-6)
    steps = torch.stack([final(one, c)[real].norm(dim=-1).log() for c in FEW], dim=-1).diff()
    own = steps / torch.tensor(FEW, dtype=torch.float64).log().diff()
    torch.testing.assert_close(found["scaling-curve/exponents"], own.mean(0))
    torch.testing.assert_close(found["scaling-curve/exponent"], own.mean())
    torch.testing.assert_close(found["scaling-curve/spread"], own.std(correction=0))


def test_a_member_is_the_same_to_the_last_bit_in_any_company():
    part = [ScalingCurve(scales=FEW, samples=16, groups=("mlp",))]
    together = measure(ensemble_of("adding", [4, 0]), part, 2)
    for row, seed in enumerate([4, 0]):
        made, watch = ensemble_of("adding", [seed]), Watch()
        with watch:
            alone = measure(made, part, 2)
        differing = [key for key in alone if not alone[key][0].equal(together[key][row])]
        assert not differing or watch.ragged


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"scales": [1, 1]}, "must rise from each scale to the next"),
        ({"scales": [0, 1]}, "greater than 0"),
        ({"scales": [1]}, "at least 2"),
        ({"groups": ["mlp", "mlp"]}, "names a group twice"),
        ({"groups": ["blocks.*"]}, "match pattern"),
    ],
    ids=["equal", "zero", "one", "twice", "pattern"],
)
def test_what_is_no_curve_is_told_in_a_line(fields, line):
    with pytest.raises(FieldProblem, match=line):
        Instrument.parse({"kind": "scaling-curve", **fields})


def test_an_unknown_group_is_told_in_a_line():
    with pytest.raises(SaltusError, match="unknown group 'mpl'; did you mean 'mlp'"):
        read(Homogeneous(), groups=("mpl",))
