"""A fixed temperature: it is the softmax's, from a step on, member by member."""

from __future__ import annotations

import pytest
import torch

from saltus.errors import SaltusError
from saltus.models import Tape
from saltus.training.ensemble import Ensemble
from saltus.training.launch import check
from tiny_experiments import tiny

SITES = ["blocks.*.attention.*"]


def ensemble(**changes) -> Ensemble:
    return Ensemble(tiny(instruments=[], **changes).members())


def sites_of(made: Ensemble, step: int) -> dict[str, torch.Tensor]:
    tape = made.tape(step, SITES)
    made.lifted(made.parameters, made.training_batch(step)["inputs"], tape)
    return {name.removeprefix("blocks.1.attention."): v for name, v in tape.values.items()}


def test_scores_are_logits_over_its_value_from_its_start_on():
    made = ensemble(interventions=[{"kind": "temperature", "value": 0.25, "start": 2}], seeds=2)
    for step, tau in ((0, 8**0.5), (1, 8**0.5), (2, 0.25), (3, 0.25)):
        at = sites_of(made, step)
        torch.testing.assert_close(at["temperature"], torch.full((2, 1, 1, 1, 1), tau))
        torch.testing.assert_close(at["scores"], at["logits"] / tau)


def test_members_have_their_own_values_and_starts():
    varied = {"interventions.0.value": [0.5, 4.0], "interventions.0.start": [0, 3]}
    plain = {"kind": "temperature", "value": 1.0}
    made = ensemble(interventions=[plain], vary=varied, seeds=[5])
    now = sites_of(made, 1)["temperature"].flatten().tolist()
    assert now == pytest.approx([0.5, 8**0.5, 4.0, 8**0.5])


def test_the_usual_temperature_changes_nothing():
    usual = ensemble(interventions=[{"kind": "temperature", "value": 8**0.5}], steps=3)
    plain = ensemble(steps=3)
    torch.testing.assert_close(usual.differentiate(0), plain.differentiate(0))
    torch.testing.assert_close(usual.gradient, plain.gradient)


def test_it_replaces_what_a_head_has_learned():
    model = {"kind": "decoder", "width": 16, "heads": 2, "attention": "learned-temperature"}
    made = ensemble(interventions=[{"kind": "temperature", "value": 2.0}], model=model)
    made.differentiate(0)
    assert not made.gradients["blocks.0.attention.log_temperature"].any()


def test_it_is_in_force_in_every_pass_of_the_step():
    made = ensemble(interventions=[{"kind": "temperature", "value": 0.1}], seeds=2)
    inputs = made.training_batch(0)["inputs"]
    repeated = [each.repeat_interleave(2, 0) for each in made.parameters.values()]
    parameters = dict(zip(made.parameters, repeated, strict=True))
    outputs = made.lifted(parameters, inputs.repeat_interleave(2, 0), made.tape(0, repeat=2))
    plain = made.lifted(made.parameters, inputs, made.tape(0))
    torch.testing.assert_close(outputs[::2], plain)
    assert not plain.allclose(made.lifted(made.parameters, inputs, Tape()))


def test_a_model_without_attention_and_a_temperature_of_zero_are_refused():
    image = {"kind": "two-step-image"}
    convolutional = tiny(
        task=image,
        model="small-convnet",
        instruments=[],
        interventions=[{"kind": "temperature", "value": 1.0}],
    )
    with pytest.raises(SaltusError, match=r"interventions\.0 \(temperature\)"):
        check(convolutional)
    with pytest.raises(SaltusError) as caught:
        tiny(interventions=[{"kind": "temperature", "value": 0}])
    assert str(caught.value) == (
        "experiment: interventions.0.value: 0 is not allowed: input should be greater than 0"
    )
