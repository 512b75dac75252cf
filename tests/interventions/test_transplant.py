"""Transplanting: an exact copy of the chosen groups, and one line for a donor that does not fit."""

import json

import pytest
import torch
from safetensors.torch import save_file

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.interventions.freeze import Freeze
from saltus.interventions.transplant import Transplant
from saltus.models import initial_parameters, select
from saltus.models.transformer import Decoder
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.training.ensemble import Ensemble
from saltus.training.launch import check

TASK, MODEL = MovingWindowSum(length=4), Decoder(width=8)
GROUPS = ("attention.qk", "embeddings", "blocks.0.mlp.input.bias")


def parameters(seed, model=MODEL):
    return initial_parameters(model, model.build(TASK.interface), seed)


def saved(path, tensors, **metadata):
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata)
    return path


def stacked(path, held, **metadata):
    members = [parameters(seed) for seed in held]
    tensors = {name: torch.stack([m[name] for m in members]) for name in members[0]}
    return saved(path, tensors | {"state/updates": torch.zeros(len(held))}, **metadata)


@pytest.fixture
def donor(tmp_path):
    return saved(tmp_path / "donor.safetensors", parameters(7))


@pytest.fixture
def stack(tmp_path):
    return stacked(tmp_path / "stack.safetensors", (7, 8, 9))


@pytest.fixture
def seeds(tmp_path):
    """Members 3, 0, 4 in this order, and the file says so."""
    return stacked(tmp_path / "seeds.safetensors", (3, 0, 4), seeds=json.dumps([3, 0, 4]))


def check_graft(changed, own, giver, outside=False):
    inside = select(own, GROUPS)
    chosen = [name for name in own if (name in inside) != outside]
    assert changed.keys() == own.keys()
    for name, value in changed.items():
        assert value.equal(giver[name] if name in chosen else own[name]), name


def test_the_chosen_groups_are_copied_to_the_bit_and_the_rest_is_left(donor):
    own = parameters(0)
    before = {name: value.clone() for name, value in own.items()}
    check_graft(Transplant(source=donor, groups=GROUPS).initialise(own, 0), own, parameters(7))
    assert all(value.equal(before[name]) for name, value in own.items())


@pytest.mark.parametrize("member", [0, 1, 2])
def test_a_stack_gives_the_member_asked_for(stack, member):
    own = parameters(0)
    graft = Transplant(source=stack, groups=GROUPS, member=member)
    check_graft(graft.initialise(own, 0), own, parameters(7 + member))


def test_outside_transplants_all_but_the_groups(donor):
    own = parameters(0)
    graft = Transplant(source=donor, groups=GROUPS, outside=True)
    check_graft(graft.initialise(own, 0), own, parameters(7), outside=True)
    assert graft.frozen(list(own), 0) == []
    kept = graft.model_copy(update={"freeze": True}).frozen(list(own), 0)
    assert sorted(kept + select(own, GROUPS)) == sorted(own)


@pytest.mark.parametrize("seed,giver", [(3, 3), (0, 0), (4, 4)])
def test_every_seed_takes_the_donor_of_its_own_seed(seeds, seed, giver):
    graft = Transplant(source=seeds, groups=GROUPS, member="same seed")
    check_graft(graft.initialise(parameters(9), seed), parameters(9), parameters(giver))


@pytest.mark.parametrize("seed,giver", [(3, 0), (0, 4), (4, 3)])
def test_or_of_the_seed_that_follows_it_in_the_stack(seeds, seed, giver):
    graft = Transplant(source=seeds, groups=GROUPS, member="next seed")
    check_graft(graft.initialise(parameters(9), seed), parameters(9), parameters(giver))


def test_in_an_ensemble_the_seeds_decide_and_not_the_places(seeds):
    experiment = Experiment(
        task=TASK,
        model=MODEL,
        interventions=(
            Transplant(
                source=seeds, groups=("mlp",), outside=True, member="same seed", freeze=True
            ),
        ),
        steps=2,
        batch=2,
        seeds=(4, 3),
    )
    check(experiment)
    ensemble = Ensemble(experiment.members())
    for step in range(2):
        ensemble.differentiate(step)
        ensemble.update(step)
    for row, seed in enumerate((4, 3)):
        for name, value in ensemble.parameters.items():
            assert value[row].equal(parameters(seed)[name]) != name.startswith("blocks.0.mlp.")
    strange = experiment.model_copy(update={"seeds": (3, 5)})
    with pytest.raises(SaltusError, match=r"seed 5 is not in .*, which holds seeds 3, 0, 4$"):
        check(strange)


# Sections 6.8 and 7.4 of our spec: what the papers copy and keep, and what they train alone.
PAPERS_GROUPS = {
    ("attention.qk", "embeddings", "norm.attention"): 8,
    ("attention", "embeddings", "norm.attention"): 12,
    ("mlp", "norm.mlp", "norm.final", "readout"): 9,
    ("embeddings", "norm.final", "readout"): 5,
    ("embeddings.token",): 1,
    ("embeddings.position",): 1,
    ("attention",): 8,
    ("mlp",): 4,
}


@pytest.mark.parametrize("groups", PAPERS_GROUPS)
@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("random", [False, True])
def test_the_papers_groups_keep_their_bits_and_the_rest_learns(donor, groups, outside, random):
    """Optimal initialisation and component training; or the same groups frozen at their start."""
    own, giver = parameters(0), parameters(7)
    kept = Transplant(source=donor, groups=groups, outside=outside, freeze=True)
    experiment = Experiment(
        task=TASK,
        model=MODEL,
        interventions=(Freeze(groups=groups, outside=outside) if random else kept,),
        steps=2,
        batch=4,
    )
    ensemble = Ensemble(experiment.members())
    still = kept.frozen(ensemble.names, 0)
    assert len(still) == (len(own) - PAPERS_GROUPS[groups] if outside else PAPERS_GROUPS[groups])
    for step in range(2):
        ensemble.differentiate(step)
        ensemble.update(step)
    for name, (value,) in ensemble.parameters.items():
        if name in still:
            assert value.equal(own[name] if random else giver[name]), name
        else:
            assert not value.equal(own[name]), name


def test_the_graft_has_the_models_own_dtype(donor):
    own = {name: value.double() for name, value in parameters(0).items()}
    changed = Transplant(source=donor, groups=("*",)).initialise(own, 0)
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
            Transplant(source=source, groups=(group,), member=member).initialise(parameters(0), 0)
        assert str(caught.value).startswith(message)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("member", ["same seed", "next seed"])
def test_a_donor_that_does_not_say_its_seeds_is_refused_in_one_line(donor, stack, tmp_path, member):
    one = saved(tmp_path / "one.safetensors", parameters(0), seeds="[0]")
    single = stacked(tmp_path / "single.safetensors", (0,), seeds="[0]")
    twice = stacked(tmp_path / "twice.safetensors", (0, 0), seeds="[0, 0]")
    junk = stacked(tmp_path / "junk.safetensors", (0,), seeds="zero")
    silent = f"'{member}' needs a file that says which seeds it holds, and "
    alone = {"same seed": "is not a stack; allowed: 0", "next seed": "no seed follows the only one"}
    for source, message in [
        (donor, silent), (stack, silent), (junk, silent),
        (twice, f"seed 0 is several times in {twice}, which holds seeds 0, 0"),
        (one, alone[member]),
    ]:  # fmt: skip
        with pytest.raises(SaltusError) as caught:
            graft = Transplant(source=source, groups=("mlp",), member=member)
            graft.initialise(parameters(0), 0)
        assert str(caught.value).startswith("transplant.member: ") and message in str(caught.value)
    graft = Transplant(source=single, groups=GROUPS, member="same seed")
    check_graft(graft.initialise(parameters(9), 0), parameters(9), parameters(0))


@pytest.mark.parametrize(
    "source,arm,step",
    [("arm:base", "base", None), ("arm:b-0.2@last", "b-0.2", None), ("arm:b@40", "b", 40)],
)
def test_the_checkpoint_of_an_arm_is_read_and_cannot_be_opened_outside_a_study(source, arm, step):
    graft = Transplant(source=source, groups=("mlp",))
    assert graft.donor_arm == (arm, step)
    experiment = Experiment(task=TASK, model=MODEL, interventions=(graft,), steps=1, batch=2)
    assert Experiment.from_yaml(experiment.to_yaml()) == experiment
    with pytest.raises(SaltusError) as caught:
        check(experiment)
    assert str(caught.value) == (
        f"transplant.source: {source} is a checkpoint of another arm: `saltus reproduce` trains "
        "that one first; elsewhere give a file, as `saltus export` writes it"
    )


@pytest.mark.parametrize("source", ["arm:", "arm:a@", "arm:a@-1", "arm:a b", "arm:a@1@2"])
def test_a_name_that_is_no_arm_is_refused(source):
    record = {"kind": "transplant", "source": source, "groups": ["mlp"]}
    data = {"task": TASK, "model": MODEL, "interventions": [record], "steps": 1, "batch": 1}
    with pytest.raises(SaltusError, match=r"interventions\.0\.source: .* is no arm; write arm:NAM"):
        Experiment.of(data)
    assert Transplant(source="donor.safetensors", groups=("mlp",)).donor_arm is None
