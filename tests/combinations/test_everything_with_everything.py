"""Every task with every model, instrument and intervention: it works, or one line says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments import Instrument
from saltus.interventions import Intervention
from saltus.models import Model
from saltus.models.normalisers import Normaliser
from saltus.tasks import Task
from saltus.training.ensemble import Ensemble
from saltus.training.launch import check, place_of, told_at
from saltus.training.readings import measure
from small_parts import INSTRUMENTS, INTERVENTIONS, kinds

# What works whatever is learned, on every model, and on every model with attention.
ALWAYS = {
    "component-switching",
    "conservation",
    "evaluation",
    "gradient-balance",
    "gradient-norms",
    "norm-dynamics",
    "norm-policies",
    "norms",
    "sample-losses",
}
WITH_ATTENTION = {
    "activation-patching",
    "attention-entropy",
    "attention-logits",
    "attention-map",
    "attention-received",
    "attention-shift",
    "head-ablation",
    "head-types",
    "local-attention-gradients",
    "qkv-gradients",
    "saturated-accuracy",
    "saturation",
    "scaling-curve",
    "softmax-jacobian",
}
AFTERWARDS = {"component-switching"}  # with another checkpoint
CHANGES_ALWAYS = {"freeze", "scale-start", "transplant"}
CHANGES_ATTENTION = {"ablate-heads", "heat-treatment", "saturate", "temperature"}
CHANGES_BLOCKS = {"gradient-rescaling"}  # of attention with queries, keys and values of its own
CONVOLUTIONS = {"resnet", "small-convnet"}

Make = Callable[..., Experiment]


def pairs() -> list[tuple[str, str]]:
    """The tasks and models that belong together."""
    takes = {kind: Model.registry[kind].takes for kind in kinds(Model)}
    return [
        (task, model)
        for task in kinds(Task)
        for model, accepted in takes.items()
        if gives(task) in accepted
    ]


def gives(task: str) -> str:
    return {"two-step-image": "images", "icl-regression": "vectors"}.get(task, "tokens")


every_pair = pytest.mark.parametrize(("task", "model"), pairs())


def share(task: str, model: str) -> list[str]:
    """The instruments that a pair reads: every task meets each of them on one of its models, every
    model on some of its tasks. All three with all would take minutes."""
    takers = [other for each, other in pairs() if each == task]
    tasks = [each for each, other in pairs() if other == model]
    turn = kinds(Task).index(task) + takers.index(model)
    return [
        kind
        for place, kind in enumerate(kinds(Instrument))
        if (place + turn) % len(takers) == 0 or len(tasks) < len(takers)
    ]


def read(ensemble: Ensemble, instrument: dict[str, Any]) -> dict[str, Tensor]:
    """One reading, of an instrument that the experiment's own checks have seen."""
    part = checked(ensemble, [instrument])[0]
    with told_at(place_of([part], 0)):
        return measure(ensemble, [part], 1, donor=reversed_seeds(ensemble))


def read_together(ensemble: Ensemble, some: Iterable[str]) -> dict[str, Tensor]:
    """One reading of several instruments, which share passes and batches."""
    fields = [{"kind": kind, **INSTRUMENTS.get(kind, {})} for kind in sorted(some)]
    parts = checked(ensemble, fields)
    return measure(ensemble, parts, 1, donor=reversed_seeds(ensemble))


def checked(ensemble: Ensemble, instruments: list[dict[str, Any]]) -> tuple[Instrument, ...]:
    return Experiment.of({**ensemble.experiment.data(), "instruments": instruments}).instruments


def reversed_seeds(ensemble: Ensemble) -> dict[str, Tensor]:
    return {name: value.detach().flip(0) for name, value in ensemble.parameters.items()}


def readings(ensemble: Ensemble, some: Iterable[str]) -> dict[str, dict[str, Tensor] | str]:
    """What each of these instruments gives, or the line in which it is refused."""
    return {kind: reading(ensemble, kind) for kind in some}


@cache
def reading(ensemble: Ensemble, kind: str) -> dict[str, Tensor] | str:
    try:
        return read(ensemble, {"kind": kind, **INSTRUMENTS.get(kind, {})})
    except SaltusError as error:
        return str(error).removeprefix("experiment: ")


def is_one_line_about(line: str, place: str) -> bool:
    return line.startswith(place) and "\n" not in line and len(line) > len(place) + 10


@pytest.mark.parametrize("model", kinds(Model))
@pytest.mark.parametrize("task", kinds(Task))
def test_a_model_takes_the_task_or_says_what_it_takes(task, model, make):
    if (task, model) in pairs():
        assert make(task, model).task.interface.takes == gives(task)
        return
    with pytest.raises(SaltusError) as refused:
        make(task, model)
    assert is_one_line_about(str(refused.value), f"experiment: model ({model}): takes ")
    assert str(refused.value).endswith(f"the task gives {gives(task)}")


@every_pair
def test_an_instrument_reads_or_says_why_not(task, model, trained):
    read_always = ALWAYS if model in CONVOLUTIONS else ALWAYS | WITH_ATTENTION
    for kind, found in readings(trained(task, model), share(task, model)).items():
        if isinstance(found, str):
            assert is_one_line_about(found, f"instruments.0 ({kind}): "), found
            assert kind not in read_always, found
            continue
        assert found or kind == "conservation"  # of a model without symmetries
        for name, value in found.items():
            assert len(value) == 2 and value.is_floating_point(), name
            assert not value.isinf().any(), name
            assert not value.isnan().all() or "accuracy" in name, name


def test_every_task_and_every_model_meets_every_instrument():
    met = [(task, model, kind) for task, model in pairs() for kind in share(task, model)]
    assert {(task, kind) for task, _, kind in met} == {*product(kinds(Task), kinds(Instrument))}
    assert {(model, kind) for _, model, kind in met} == {*product(kinds(Model), kinds(Instrument))}


@pytest.mark.parametrize("model", kinds(Model))
def test_instruments_are_read_together_as_each_alone(model, trained, make):
    """All that a model lets be read share passes and batches, and no two of them a name; and a run
    can be started with all of them."""
    task = next(task for task, taker in pairs() if taker == model)
    ensemble = trained(task, model)
    found = readings(ensemble, kinds(Instrument))
    read_alone = {kind: own for kind, own in found.items() if not isinstance(own, str)}
    alone = {name: value for own in read_alone.values() for name, value in own.items()}
    together = read_together(ensemble, read_alone)
    live = [
        {"kind": kind, **INSTRUMENTS.get(kind, {})} for kind in read_alone if kind not in AFTERWARDS
    ]
    check(make(task, model, instruments=live))
    assert together.keys() == alone.keys()
    for name, value in together.items():
        torch.testing.assert_close(value, alone[name], equal_nan=True, msg=name)


@pytest.mark.parametrize(
    ("task", "model"),
    [pair for pair in pairs() if gives(pair[0]) != "tokens"],
)
def test_members_do_not_mix(task, model, trained, make):
    """The second of two seeds is read as it is alone."""
    alone = Ensemble(make(task, model, seeds=[1]).members())
    alone.differentiate(0)
    alone.update(0)
    alone.differentiate(1)
    for kind, together in readings(trained(task, model), kinds(Instrument)).items():
        if isinstance(together, str) or kind in (
            "component-switching",
            "class-probe",
            "code-length",
        ):
            continue  # refused; another donor; what is trained multiplies the last bits
        for name, value in read(alone, {"kind": kind, **INSTRUMENTS.get(kind, {})}).items():
            torch.testing.assert_close(
                value[0], together[name][1], rtol=2e-3, atol=1e-5, equal_nan=True, msg=name
            )


def without_effect(model: str) -> set[str]:
    """The interventions that a model has nothing for."""
    if model in CONVOLUTIONS:
        return CHANGES_ATTENTION | CHANGES_BLOCKS | {"attention-bias"}
    return set()


def changes(task: str, model: str, make: Make, donor: Path) -> dict[str, Intervention | str]:
    """Every intervention that the experiment's own checks let through, or why they do not."""
    found: dict[str, Intervention | str] = {}
    for kind in kinds(Intervention):
        fields = {"kind": kind, **INTERVENTIONS.get(kind, {})}
        if kind == "transplant":
            fields["source"] = str(donor)
        try:
            found[kind] = make(task, model, interventions=[fields]).interventions[0]
        except SaltusError as error:
            found[kind] = str(error).removeprefix("experiment: ")
    return found


@pytest.fixture
def donor(tmp_path: Path) -> Callable[[Ensemble], Path]:
    """The parameters of an ensemble as a file to transplant from."""

    def write(ensemble: Ensemble) -> Path:
        path = tmp_path / "donor.safetensors"
        save_file(
            {name: value.detach().clone() for name, value in ensemble.parameters.items()}, path
        )
        return path

    return write


@every_pair
def test_all_interventions_that_a_task_allows_act_together(task, model, trained, make, donor):
    found = changes(task, model, make, donor(trained(task, model)))
    for kind, line in found.items():
        if isinstance(line, str):
            assert is_one_line_about(line, f"interventions.0 ({kind}): "), line
            assert kind not in CHANGES_ALWAYS | CHANGES_ATTENTION | CHANGES_BLOCKS, line
    left = without_effect(model)
    acting = [
        part for kind, part in found.items() if kind not in left and not isinstance(part, str)
    ]
    ensemble = Ensemble(make(task, model, interventions=acting).members())
    ensemble.retire(ensemble.differentiate(0), 0)
    ensemble.update(0)
    assert ensemble.differentiate(1).isfinite().all() and not ensemble.diverged


@pytest.mark.parametrize("model", kinds(Model))
def test_an_intervention_changes_every_model_or_says_why_not(model, trained, make, donor):
    """As at the start of a run: with the sites that the model has, and one forward pass."""
    task = next(task for task, taker in pairs() if taker == model)
    for kind, part in changes(task, model, make, donor(trained(task, model))).items():
        if isinstance(part, str):
            continue
        experiment = make(task, model, interventions=[part])
        if kind in without_effect(model):
            with pytest.raises(SaltusError, match=kind) as refused:
                check(experiment)
            assert "\n" not in str(refused.value)
        else:
            check(experiment)


@pytest.mark.parametrize("attention", kinds(Normaliser))
@pytest.mark.parametrize(
    ("task", "model"),
    [("moving-window-sum", "decoder"), ("icl-regression", "encoder"), ("two-step-image", "vit")],
)
def test_attention_is_read_whatever_makes_its_weights(task, model, attention, trained):
    assert read_together(trained(task, model, attention=attention), ALWAYS | WITH_ATTENTION)


@pytest.mark.parametrize("change", [("pooling", "mean"), ("position_table", "sine")])
def test_a_vision_transformer_is_read_whatever_its_tokens(change, trained):
    vit = trained("two-step-image", "vit", **dict([change]))
    assert read_together(vit, ALWAYS | WITH_ATTENTION)
