"""Activation patching: identities, and a forward pass written by hand."""

import pytest
import torch

import by_hand
import saltus
from analysed import HEADS, One
from saltus.errors import SaltusError
from saltus.instruments.activation_patching import ActivationPatching
from saltus.tasks import Task

SETTINGS = pytest.mark.parametrize("name", ["adding", "completing"])


def read(one, task=None, **fields):
    label = "activation-patching"
    found = saltus.read(one.module, [ActivationPatching(**fields)], task or one.task, one.batch)
    return {name.removeprefix(f"{label}/"): value for name, value in found.items()}


def parts(one):
    return ("masked", "observed") if one.encoder else ("loss", "accuracy")


def far(one, outputs, targets):
    """The distance of outputs to targets, by hand."""
    if one.encoder:
        errors, seen = (outputs[..., 0] - targets) ** 2, one.batch["observed"]
        return {"masked": errors[~seen].mean(), "observed": errors[seen].mean()}
    rows = one.task.output_rows()
    logs = outputs.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    right = (outputs.argmax(-1) == targets).double()
    return {"loss": -logs[..., rows].mean(), "accuracy": right[..., rows].mean()}


def expected(one, chosen, positions=None):
    """Distances with what the (layer, head)s of `chosen` wrote on the clean run written in."""
    cache, twin = {}, one.task.corrupted(one.batch)

    def keep(layer, head, value):
        cache[layer, head] = value
        return value

    def write(layer, head, value):
        if (layer, head) not in chosen:
            return value
        where = torch.ones(value.shape[:2]).bool() if positions is None else positions
        return torch.where(where[..., None], cache[layer, head], value)

    by_hand.forward(one.parameters, one.batch["inputs"], HEADS, one.encoder, written=keep)
    outputs = by_hand.forward(one.parameters, twin["inputs"], HEADS, one.encoder, written=write)
    return {
        f"{name}/{part}": value
        for name, batch in (("to-clean", one.batch), ("to-corrupted", twin))
        for part, value in far(one, outputs, batch["targets"]).items()
    }


@SETTINGS
def test_each_head_is_what_a_pass_by_hand_gives(name):
    one = One(name)
    found = read(one)
    for layer in range(2):
        for head in range(HEADS):
            for what, value in expected(one, {(layer, head)}).items():
                torch.testing.assert_close(found[f"{what}/blocks.{layer}"][head], value)
    for what, value in expected(one, set()).items():
        torch.testing.assert_close(found[f"{what}/unpatched"], value)
    moved = found[f"to-clean/{parts(one)[0]}/blocks.0"]
    assert (moved - found[f"to-clean/{parts(one)[0]}/unpatched"]).abs().min() > 1e-5


@SETTINGS
def test_layers_and_sets_go_at_once(name):
    one = One(name)
    found = read(one, sweep="layers")
    for layer in range(2):
        for what, value in expected(one, {(layer, 0), (layer, 1)}).items():
            assert found[f"{what}/blocks.{layer}"].shape == ()
            torch.testing.assert_close(found[f"{what}/blocks.{layer}"], value)
    found = read(one, sweep="set", layers=[1], heads=[0])
    for what, value in expected(one, {(1, 0)}).items():
        torch.testing.assert_close(found[f"{what}/patched"], value)
    ends = {name.rpartition("/")[2] for name in found}
    assert ends == {"clean", "unpatched", "patched", "identity"}
    assert found["identity"] == 0


@pytest.mark.parametrize("positions", ["masked", "observed", [0, 7]])
def test_only_the_chosen_positions_are_written(positions):
    one = One("completing")
    seen = one.batch["observed"]
    where = {"masked": ~seen, "observed": seen}.get(str(positions))
    if where is None:
        where = torch.zeros_like(seen)
        where[:, positions] = True
    found = read(one, sweep="set", positions=positions)
    every = {(layer, head) for layer in range(2) for head in range(HEADS)}
    for what, value in expected(one, every, where).items():
        torch.testing.assert_close(found[f"{what}/patched"], value)


def test_answers_are_the_positions_whose_outputs_they_are():
    one = One("adding")
    where = torch.zeros(6, one.task.interface.positions).bool()
    where[:, one.task.output_rows()] = True
    found = read(one, sweep="set", positions="answers")
    for what, value in expected(one, {(i, j) for i in range(2) for j in range(2)}, where).items():
        torch.testing.assert_close(found[f"{what}/patched"], value)


def own_twin(task):
    """The task with a corrupted batch that is the clean one."""
    kind = type(task)
    same = type("Same", (kind,), {"corrupted": lambda self, batch: batch})
    Task.registry[task.kind] = kind  # the made class is nobody else's business
    return same.model_validate(task.model_dump())


@SETTINGS
@pytest.mark.parametrize("positions", ["all", [0, 3]])
def test_patching_with_the_input_s_own_run_changes_nothing(name, positions):
    """Claim 13 of our spec, for every head, every layer and all of them: bit for bit."""
    one = One(name)
    task = own_twin(one.task)
    for sweep in ("heads", "layers", "set"):
        found = read(one, task, sweep=sweep, positions=positions)
        assert found.pop("identity") == 0
        for what, value in found.items():
            measure = what.rpartition("/")[0]
            assert value.equal(found[f"{measure}/clean"].expand(value.shape)), what


@SETTINGS
def test_no_heads_change_nothing(name):
    one = One(name)
    for nothing in ({"heads": []}, {"layers": []}, {"positions": []}):
        found = read(one, sweep="set", **nothing)
        for what, value in found.items():
            measure, _, where = what.rpartition("/")
            if where == "patched":
                assert value.equal(found[f"{measure}/unpatched"])


def test_everything_patched_leaves_only_the_embedding_of_the_twin():
    """Where MLPs and embeddings are silent, all heads together carry the whole answer."""
    one = One("adding")
    for block in one.module.blocks:
        block.mlp.output.weight.data.zero_()
    one.module.token.weight.data.zero_()
    found = read(one, sweep="set")
    for part in parts(one):
        for to in ("to-clean", "to-corrupted"):
            assert found[f"{to}/{part}/patched"].equal(found[f"{to}/{part}/clean"])


def test_what_does_not_fit_is_one_line():
    adding, completing = One("adding").task, One("completing").task
    for task, fields, line in (
        (completing, {"positions": "answers"}, "positions answers: task matrix-completion has no"),
        (adding, {"positions": "masked"}, "task moving-window-sum has no masked positions"),
        (completing, {"positions": [12]}, "positions 12 is not allowed: 0 to 11"),
    ):
        with pytest.raises(ValueError, match=line):
            ActivationPatching(**fields).check(task)
    with pytest.raises(ValueError, match="sweep heads goes through all of them"):
        ActivationPatching.parse({"kind": "activation-patching", "heads": [0]})
    with pytest.raises(SaltusError, match="no head 5; allowed: 0 to 1"):
        read(One("completing"), sweep="set", heads=[5])
    with pytest.raises(SaltusError, match=r"the model has no site 'blocks\.9\.attention\.heads'"):
        read(One("completing"), sweep="set", layers=[9])
