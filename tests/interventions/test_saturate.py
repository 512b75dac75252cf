"""Saturated attention: in force in training and in evaluation, from a step on."""

import pytest
import torch

from analysed import ensemble_of
from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments.saturated_accuracy import SaturatedAccuracy
from saltus.instruments.saturated_view import saturated_pattern
from saltus.interventions import Intervention
from saltus.interventions.saturate import Saturate
from saltus.models.saturated import zeta
from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure
from tiny_experiments import tiny

SITE = "blocks.1.attention.pattern"


def ensemble(*interventions, **changes) -> Ensemble:
    return Ensemble(tiny(interventions=list(interventions), **changes).members())


def saturate(**fields) -> dict:
    return {"kind": "saturate", **fields}


def patterns() -> torch.Tensor:
    scores = torch.randn(3, 4, 2, 9, 9)
    scores[..., 4, 2] = scores[..., 4, 3]  # a tie
    return scores.masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf).softmax(-1)


@pytest.mark.parametrize("heads", [None, [[1, 0]]])
def test_patterns_are_saturated_from_the_start_step_on(heads):
    made, value = ensemble(saturate(heads=heads, start=2)), patterns()
    for step in range(4):
        changed = made.tape(step)(SITE, value)
        expected = value.clone()
        if step >= 2:
            chosen = [0, 1] if heads is None else [0]
            expected[:, :, chosen] = zeta(value, 0.0)[:, :, chosen]
        torch.testing.assert_close(changed, expected)
        other = made.tape(step)("blocks.0.attention.pattern", value)
        assert other.equal(value) == (step < 2 or heads is not None)


def test_members_have_their_own_start():
    made = ensemble(saturate(), vary={"interventions.0.start": (0, 3)}, seeds=1)
    value = patterns()[:2]
    changed = made.tape(1)(SITE, value)
    assert changed[0].equal(saturated_pattern(value)[0]) and changed[1].equal(value[1])


def test_a_saturated_head_learns_neither_query_nor_key():
    made = ensemble(saturate(heads=[[0, 1]]))
    made.differentiate(0)
    for part in ("query", "key"):
        gradient = made.gradients[f"blocks.0.attention.{part}.weight"].unflatten(1, (2, 8))
        assert gradient[:, 0].any() and not gradient[:, 1].any()
    value = made.gradients["blocks.0.attention.value.weight"].unflatten(1, (2, 8))
    assert value[:, 0].any() and value[:, 1].any()
    assert made.gradient.isfinite().all()


def test_it_trains_what_the_saturated_normaliser_trains():
    by_edit = ensemble(saturate())
    model = {**tiny().model.model_dump(), "attention": {"kind": "saturated"}}
    by_model = ensemble(model=model)
    for step in range(2):
        for made in (by_edit, by_model):
            made.differentiate(step)
            made.update(step)
    torch.testing.assert_close(by_edit.flat, by_model.flat)


@pytest.mark.parametrize("name", ["adding", "completing"])
def test_saturating_again_changes_nothing(name):
    made = ensemble_of(name, [0, 1], interventions=[saturate()])
    found = measure(made, [SaturatedAccuracy(samples=16)], 2)
    for metric in ("loss", *made.task.metrics(*sample(made))):
        assert found[f"saturated/{metric}"].equal(found[f"saturated/intact/{metric}"])
    assert found["saturated/loss"].isfinite().all()


def sample(made):
    batch = made.draw("evaluation", 0, 4)
    return made.lifted(made.parameters, batch["inputs"]), batch


def test_it_asks_for_the_sites_of_its_heads_alone():
    made = ensemble(saturate(start=1), saturate(start=3, heads=[[0, 0]]))
    assert list(made.tape(0).edits) == [
        "blocks.*.attention.pattern", "blocks.0.attention.pattern"
    ]  # fmt: skip


def test_it_is_data():
    part = Saturate(heads=((0, 1),), start=3)
    assert Intervention.parse(part.model_dump()) == part
    assert isinstance(tiny(interventions=[part]), Experiment)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"heads": []}, "heads"),
        ({"heads": [[0, -1]]}, "heads.0.1"),
        ({"tolerance": 1}, "less than 1"),
        ({"start": -1}, "start"),
    ],
    ids=["none", "negative", "tolerance", "start"],
)
def test_bad_fields_are_told_in_a_line(fields, line):
    with pytest.raises(SaltusError, match=line) as refused:
        tiny(interventions=[saturate(**fields)])
    assert "\n" not in str(refused.value)


def test_a_head_that_is_not_there_is_told_in_a_line():
    with pytest.raises(SaltusError, match="has no head 5; allowed: 0 to 1"):
        ensemble(saturate(heads=[[0, 5]])).differentiate(0)
