"""What a saturated model still can do, against passes by hand and the saturated normaliser."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import by_hand
import saltus
from analysed import HEADS, One, ensemble_of
from homogeneous import Homogeneous
from saltus.instruments.saturated_accuracy import SaturatedAccuracy
from saltus.instruments.saturated_view import saturated_pattern, saturating
from saltus.interventions.ablation import AblateHeads
from saltus.models import Tape
from saltus.models.saturated import Saturated, zeta
from saltus.training.isolation import Watch
from saltus.training.readings import measure

BOTH = SaturatedAccuracy(modes=("zeta", "scale"), samples=16)


def read(one, instrument=BOTH):
    return saltus.read(one.module, [instrument], one.task, one.batch)


def of(one, outputs):
    loss = one.task.loss(outputs, one.batch).mean()
    return {"loss": loss, **one.task.metrics(outputs, one.batch)}


@pytest.mark.parametrize("name", ["adding", "completing"])
def test_losses_and_metrics_are_those_of_passes_by_hand(name):
    one = One(name)
    found = read(one)

    def forward(factor=1.0, pattern=by_hand.same):
        own = {key: factor * value for key, value in one.parameters.items()}
        return by_hand.forward(own, one.batch["inputs"], HEADS, one.encoder, pattern)

    hard = forward(pattern=lambda layer, head, weights: zeta(weights, 0.0))
    for how, outputs in (("", hard), ("intact/", forward()), ("scaled/", forward(1000.0))):
        for metric, value in of(one, outputs).items():
            torch.testing.assert_close(found[f"saturated/{how}{metric}"], value, rtol=1e-5, atol=0)
    assert not torch.isclose(found["saturated/loss"], found["saturated/intact/loss"])


CASES = {
    "causal": {},
    "leaking": {"mask": "multiplicative"},
    "both sides": {"causal": False},
    "unscaled": {"scaled": False, "norm": "post"},
}


@pytest.mark.parametrize("case", CASES)
def test_edits_make_of_a_model_what_the_saturated_normaliser_does(case):
    """Whatever the mask: an edit is not told of it."""
    one = Homogeneous(queries=True, **CASES[case])
    inputs = one.batch["inputs"]
    model = one.model.model_copy(update={"attention": Saturated()})
    module = model.build(one.task.interface).double()
    module.load_state_dict(one.parameters)
    capture = ("blocks.*.attention.pattern", "final")
    own, edited = Tape(capture), Tape(capture, saturating())
    with torch.no_grad():
        torch.testing.assert_close(one.module(inputs, edited), module(inputs, own))
    for site, value in own.values.items():
        torch.testing.assert_close(edited.values[site], value)
    looks_ahead = bool((own.values["blocks.0.attention.pattern"].triu(1) != 0).any())
    assert looks_ahead == (case in ("leaking", "both sides"))


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=6),
    st.floats(0.1, 50),
    st.integers(0, 3),
)
def test_a_pattern_gives_back_the_argmax_set_of_its_scores(scores, height, hidden):
    """Ties exact, any height, keys behind a mask."""
    values = torch.tensor(scores, dtype=torch.float64) * height / 3
    shown = torch.cat([values, torch.full((hidden,), -torch.inf)]).expand(1, 1, 1, -1)
    keys = shown.shape[-1]
    # A square pattern, whose first rows see but the first key.
    pattern = torch.zeros(1, 1, keys, keys, dtype=torch.float64)
    pattern[..., 0] = 1
    pattern[..., -1, :] = shown.softmax(-1).squeeze(-2)
    expected = zeta(shown, 0.0).squeeze(-2)
    found = saturated_pattern(pattern)
    torch.testing.assert_close(found[..., -1, :], expected, rtol=0, atol=0)
    full = shown.expand(1, 1, keys, keys).nan_to_num(neginf=0.0)
    found = saturated_pattern(pattern, 1e-6, full)
    torch.testing.assert_close(found[..., -1, :], expected, rtol=0, atol=0)


def test_ties_are_relative_to_the_largest_score():
    """M16: max - a_j <= tolerance x max(1, |max|)."""
    scores = torch.tensor([[0.0, 0.0], [100.0, 100.0 - 5e-5]], dtype=torch.float64).expand(
        1, 1, 2, 2
    )
    pattern = scores.masked_fill(torch.ones(2, 2).triu(1).bool(), -torch.inf).softmax(-1)
    assert saturated_pattern(pattern, 1e-6, scores)[0, 0, 1].tolist() == [0.5, 0.5]
    assert saturated_pattern(pattern, 1e-7, scores)[0, 0, 1].tolist() == [1.0, 0.0]
    assert saturated_pattern(pattern, 1e-6)[0, 0, 1].tolist() == [1.0, 0.0]


def test_weights_with_signs_are_scores():
    pattern = torch.tensor([[-1.0, 0.0, 0.0], [-2.0, -1.0, 0.0], [0.0, 0.0, 0.0]]).expand(
        1, 1, 3, 3
    )
    third = 1 / 3
    expected = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [third, third, third]]
    found = saturated_pattern(pattern)[0, 0]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_head_made_uniform_stays_so():
    every = AblateHeads(heads=((0, 0), (0, 1), (1, 0), (1, 1)))
    found = measure(ensemble_of("adding", [1, 2], interventions=[every]), [BOTH], 2)
    for name in ("loss", "accuracy/teacher-forced"):
        torch.testing.assert_close(found[f"saturated/{name}"], found[f"saturated/intact/{name}"])


@pytest.mark.parametrize("name", ["adding", "completing"])
def test_a_member_is_the_same_to_the_last_bit_in_any_company(name):
    together = measure(ensemble_of(name, [4, 0]), [BOTH], 2)
    for row, seed in enumerate([4, 0]):
        made, watch = ensemble_of(name, [seed]), Watch()
        with watch:
            alone = measure(made, [BOTH], 2)
        differing = [key for key in alone if not alone[key][0].equal(together[key][row])]
        assert not differing or watch.ragged


def test_scaling_is_asked_for():
    names = read(One("adding"), SaturatedAccuracy(samples=16))
    assert not [name for name in names if "scaled" in name] and "saturated/loss" in names
