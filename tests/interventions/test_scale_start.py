"""Scaled starts: those parameters, by that factor, member by member."""

from __future__ import annotations

import pytest
import torch

from saltus.errors import SaltusError
from saltus.models import select
from saltus.training.ensemble import Ensemble
from tiny_experiments import tiny

GROUPS = ["blocks.*.attention.query.weight", "blocks.*.attention.key.weight"]


def starts(*interventions, **changes) -> Ensemble:
    return Ensemble(tiny(interventions=list(interventions), instruments=[], **changes).members())


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0, 4.0])
def test_the_groups_start_at_that_multiple_and_the_others_where_they_did(factor):
    plain = starts()
    scaled = starts({"kind": "scale-start", "groups": GROUPS, "factor": factor})
    chosen = select(plain.names, GROUPS)
    assert len(chosen) == 4
    for name, value in scaled.parameters.items():
        expected = plain.parameters[name] * factor if name in chosen else plain.parameters[name]
        assert value.equal(expected), name


def test_members_have_their_own_factor_and_each_intervention_acts():
    one = {"kind": "scale-start", "groups": ["attention.qk"], "factor": 1.0}
    twice = {"kind": "scale-start", "groups": ["attention.qk", "mlp"], "factor": 2.0}
    made = starts(one, twice, vary={"interventions.0.factor": [0.5, 4.0]}, seeds=[7])
    plain = starts(seeds=[7])
    for name, factors in (
        ("blocks.0.attention.query.weight", [1.0, 8.0]),
        ("blocks.1.mlp.input.weight", [2.0, 2.0]),
        ("readout.weight", [1.0, 1.0]),
    ):
        expected = torch.stack([plain.parameters[name][0] * factor for factor in factors])
        assert made.parameters[name].equal(expected)


def test_logits_grow_with_the_product_of_both_factors():
    def logits(factor: float) -> torch.Tensor:
        made = starts({"kind": "scale-start", "groups": GROUPS, "factor": factor})
        tape = made.tape(0, ["blocks.0.attention.logits"])
        made.lifted(made.parameters, made.training_batch(0)["inputs"], tape)
        return tape.values["blocks.0.attention.logits"]

    torch.testing.assert_close(logits(4.0), 16 * logits(1.0))


def test_a_name_that_selects_nothing_is_refused():
    with pytest.raises(SaltusError, match="nothing-of-that-name"):
        starts({"kind": "scale-start", "groups": ["nothing-of-that-name"], "factor": 2.0})
