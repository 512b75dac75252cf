"""Transplanting: an exact copy of the chosen groups, and one line for a donor that does not fit."""

import pytest
import torch
from safetensors.torch import save_file

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.interventions.transplant import Transplant
from saltus.models import initial_parameters, select
from saltus.models.transformer import Decoder
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.training.ensemble import Ensemble

TASK, MODEL = MovingWindowSum(length=4), Decoder(width=8)
GROUPS = ("attention.qk", "embeddings", "blocks.0.mlp.input.bias")


def parameters(seed, model=MODEL):
    return initial_parameters(model, model.build(TASK.interface), seed)


def saved(path, tensors):
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return path


@pytest.fixture
def donor(tmp_path):
    return saved(tmp_path / "donor.safetensors", parameters(7))


@pytest.fixture
def stack(tmp_path):
    members = [parameters(seed) for seed in (7, 8, 9)]
    tensors = {name: torch.stack([m[name] for m in members]) for name in members[0]}
    return saved(tmp_path / "stack.safetensors", tensors | {"state/updates": torch.zeros(3)})


def check_graft(changed, own, giver):
    chosen = select(own, GROUPS)
    assert changed.keys() == own.keys()
    for name, value in changed.items():
        assert value.equal(giver[name] if name in chosen else own[name]), name


def test_the_chosen_groups_are_copied_to_the_bit_and_the_rest_is_left(donor):
    own = parameters(0)
    before = {name: value.clone() for name, value in own.items()}
    check_graft(Transplant(source=donor, groups=GROUPS).initialise(own), own, parameters(7))
    assert all(value.equal(before[name]) for name, value in own.items())


@pytest.mark.parametrize("member", [0, 1, 2])
def test_a_stack_gives_the_member_asked_for(stack, member):
    own = parameters(0)
    graft = Transplant(source=stack, groups=GROUPS, member=member)
    check_graft(graft.initialise(own), own, parameters(7 + member))


def test_the_graft_has_the_models_own_dtype(donor):
    own = {name: value.double() for name, value in parameters(0).items()}
    changed = Transplant(source=donor, groups=("*",)).initialise(own)
    assert {value.dtype for value in changed.values()} == {torch.float64}


@pytest.mark.parametrize("freeze", [True, False])
def test_optimal_initialisation_keeps_the_graft_and_trains_the_rest(donor, freeze):
    experiment = Experiment(
        task=TASK,
        model=MODEL,
        interventions=(Transplant(source=donor, groups=GROUPS, freeze=freeze),),
        steps=2,
        batch=2,
        seeds=(0, 1),
    )
    ensemble, giver = Ensemble(experiment.members()), parameters(7)
    for step in range(2):
        ensemble.differentiate(step)
        ensemble.update(step)
    for name in select(ensemble.names, GROUPS):
        for row in ensemble.parameters[name]:
            assert row.equal(giver[name]) == freeze
    assert not ensemble.parameters["readout.weight"][0].equal(parameters(0)["readout.weight"])


def test_what_does_not_fit_is_refused_in_one_line(donor, stack, tmp_path):
    missing, junk = tmp_path / "missing.safetensors", tmp_path / "junk.safetensors"
    junk.write_bytes(b"not safetensors\nat all")
    wide = saved(tmp_path / "wide.safetensors", parameters(0, Decoder(width=12)))
    few = saved(tmp_path / "few.safetensors", {"token.weight": parameters(0)["token.weight"]})
    cases = [
        ((missing, "mlp", 0), f"transplant.source: no file {missing}"),
        ((tmp_path, "mlp", 0), f"transplant.source: no file {tmp_path}"),
        ((junk, "mlp", 0), f"transplant.source: {junk} is not safetensors: "),
        ((few, "readout", 0), f"transplant.source: {few} has no parameter readout.weight"),
        ((wide, "readout", 0), f"transplant.source: readout.weight has shape [18, 12] in {wide}, "
                               "the model needs [18, 8]"),
        ((stack, "mlp", 3), f"transplant.member: 3 is not in {stack}, which holds 3 members"),
        ((donor, "mpl", 0), "parameters: unknown group 'mpl'; did you mean 'mlp'? Allowed: "),
    ]  # fmt: skip
    for (source, group, member), message in cases:
        with pytest.raises(SaltusError) as caught:
            Transplant(source=source, groups=(group,), member=member).initialise(parameters(0))
        assert str(caught.value).startswith(message)
        assert len(str(caught.value).splitlines()) == 1
