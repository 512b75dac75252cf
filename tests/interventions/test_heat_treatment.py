"""Heat treatment: the schedule to the digit, and what it does with every normaliser."""

from __future__ import annotations

from math import cos, pi, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.interventions.heat_treatment import HeatTreatment
from saltus.training.ensemble import Ensemble
from tiny_experiments import tiny


def written_out(steps: int, epoch: int, start: float, end: float) -> list[float]:
    """Section 7 of the spec."""
    epochs, found = steps // epoch, []
    half = epochs // 2
    for step in range(steps):
        e = step // epoch
        found.append(end + 0.5 * (start - end) * (1 + cos(pi * e / half)) if e < half else end)
    return found


def test_the_papers_values():
    """C12: 3.0 to 1/8, at e / T = 0, 1/4, 1/2, 3/4, 1."""
    values = HeatTreatment().multipliers(steps=300, end=1 / 8)[[0, 75 // 2, 75, 225 // 2, 150]]
    assert values[[0, 2, 4]].tolist() == pytest.approx([3.0, 1.5625, 0.125], abs=1e-12)
    quarters = HeatTreatment().multipliers(steps=16, end=1 / 8)[:10:2]
    assert quarters.tolist() == pytest.approx([3.000, 2.579, 1.5625, 0.546, 0.125], abs=5e-4)
    temperatures = (1 / quarters).tolist()
    assert temperatures == pytest.approx([0.333, 0.388, 0.640, 1.831, 8], abs=5e-4)


@given(st.integers(1, 400), st.integers(1, 30), st.floats(0.5, 9), st.floats(0.01, 0.5))
def test_it_is_the_formula_for_any_number_of_epochs_and_of_steps_in_them(steps, epoch, start, end):
    treatment = HeatTreatment(start=start, epoch=epoch)
    found = treatment.multipliers(steps, end)
    expected = torch.tensor(written_out(steps, epoch, start, end), dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    assert (found.diff() <= 0).all()  # so the temperature rises


def test_an_odd_number_of_epochs_has_its_last_value_to_the_end():
    values = HeatTreatment().multipliers(steps=7, end=0.125)
    assert (values[3:] == 0.125).all() and (values[:3] > 0.125).all()


def test_the_other_shapes_run_over_all_epochs():
    def at(schedule: str) -> list[float]:
        return HeatTreatment(start=2.0, end=1.0, schedule=schedule).multipliers(8, 9.0).tolist()

    assert at("linear") == pytest.approx([2 - e / 8 for e in range(8)])
    assert at("cosine") == pytest.approx([1 + (1 + cos(pi * e / 8)) / 2 for e in range(8)])
    assert at("constant") == [2.0] * 8


def temperatures(made: Ensemble, steps: int) -> torch.Tensor:
    """What stands at the site, [step, member]."""
    found = []
    for step in range(steps):
        tape = made.tape(step, ["blocks.1.attention.temperature"])
        made.lifted(made.parameters, made.training_batch(step)["inputs"], tape)
        found.append(tape.values["blocks.1.attention.temperature"].flatten())
    return torch.stack(found)


def test_in_the_engine_members_have_their_own_ends_and_the_default_is_the_models():
    varied = {"interventions.0.start": [3.0, 1.0], "interventions.0.end": [None, 0.2]}
    made = Ensemble(
        tiny(
            interventions=[{"kind": "heat-treatment", "epoch": 2}],
            instruments=[],
            steps=9,
            seeds=[3],
            vary=varied,
        ).members()
    )
    found = temperatures(made, 9)
    settings = [(start, end) for start in (3.0, 1.0) for end in (1 / sqrt(8), 0.2)]
    for member, (start, end) in enumerate(settings):
        expected = 1 / torch.tensor(written_out(9, 2, start, end))
        torch.testing.assert_close(found[:, member], expected)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_one_member_has_the_bits_it_has_among_many(precision):
    """The cosine of a member is not computed otherwise beside others."""

    def made(seeds: list[int]) -> Ensemble:
        return Ensemble(
            tiny(
                interventions=[{"kind": "heat-treatment"}],
                instruments=[],
                steps=40,
                seeds=seeds,
                engine={"precision": precision},
                vary={"interventions.0.start": [3.0, 2.9, 1.7]},
            ).members()
        )

    together, alone = temperatures(made([0, 1, 2]), 40), temperatures(made([2]), 40)
    assert together[:, 2::3].equal(alone)


@pytest.mark.parametrize("statistic", ["variance", "deviation"])
def test_with_norm_softmax_it_is_the_cap(statistic):
    attention = {"kind": "norm-softmax", "statistic": statistic}
    model = {"kind": "decoder", "width": 16, "heads": 2, "depth": 2, "attention": attention}
    loud = {**model, "initial_scale": 60.0}  # every statistic is above the cap
    caps = {"interventions": [{"kind": "heat-treatment", "start": 50.0}], "instruments": []}
    made = Ensemble(tiny(**caps, model=loud).members())
    tape = made.tape(0, ["blocks.0.attention.*"])
    made.lifted(made.parameters, made.training_batch(0)["inputs"], tape)
    at = {name.rpartition(".")[2]: value for name, value in tape.values.items()}
    row = at["logits"][..., -1, :]
    spread = row.var(-1, unbiased=False) if statistic == "variance" else row.std(-1)
    assert (spread > 1 / 50).any()
    expected = (row / spread.clamp_max(1 / 50).unsqueeze(-1)).softmax(-1)
    torch.testing.assert_close(at["pattern"][..., -1, :], expected, atol=1e-4, rtol=1e-3)


def test_a_learned_temperature_is_where_it_ends():
    model = {"kind": "decoder", "width": 16, "heads": 2, "depth": 2}
    learned = model | {"attention": "learned-temperature"}
    treated = tiny(model=learned, interventions=[{"kind": "heat-treatment"}], instruments=[])
    made = Ensemble(treated.members())
    with torch.no_grad():
        made.parameters["blocks.1.attention.log_temperature"].fill_(1.5)
    tape = made.tape(3, ["blocks.1.attention.temperature"])  # behind half of four steps
    made.lifted(made.parameters, made.training_batch(3)["inputs"], tape)
    found = tape.values["blocks.1.attention.temperature"]
    torch.testing.assert_close(found, torch.full_like(found, 1.5).exp())
