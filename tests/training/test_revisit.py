"""Reading a run afterwards: which members, which donor, on which device, and what is refused."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import nn

from analysed import analysed, ensemble_of
from saltus.errors import SaltusError
from saltus.instruments.component_switching import ComponentSwitching
from saltus.instruments.copy_check import CopyCheck
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.head_ablation import HeadAblation
from saltus.models import Model, Tape
from saltus.models.base import Start
from saltus.training.ensemble import Ensemble
from saltus.training.launch import start
from saltus.training.readings import measure
from saltus.training.revisit import revisit
from tiny_experiments import tiny

PARTS = [Evaluation(), HeadAblation(samples=16)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    varied = {"optimizer.learning_rate": (1e-2, 1e-3)}
    experiment = analysed("adding", seeds=2, steps=2, vary=varied)
    return start(experiment, tmp_path_factory.mktemp("revisited"))


@pytest.fixture(scope="module")
def everyone(run):
    return revisit(run, PARTS)


def test_any_members_in_any_order_are_what_they_are_among_all(run, everyone):
    for members in ([3], [2, 0], [1, 3, 0]):
        found = revisit(run, PARTS, members=members)
        assert found.keys() == everyone.keys()
        assert all(np.array_equal(found[name], everyone[name][members]) for name in found)


def test_members_keep_their_own_donor(run):
    donor, part = run.checkpoint(0), [ComponentSwitching(samples=16)]
    whole = revisit(run, part, donor=donor)
    some = revisit(run, part, donor=donor, members=[2])
    assert all(np.array_equal(some[name], whole[name][[2]]) for name in some)


def test_a_path_is_as_good_as_a_run_and_the_step_is_the_last(run, everyone):
    found = revisit(str(run.path), PARTS, step=2)
    assert all(np.array_equal(found[name], everyone[name]) for name in found)
    first = revisit(run, PARTS, step=0)
    assert not np.array_equal(first["evaluation/loss"], everyone["evaluation/loss"])


def test_a_thread_more_or_less_changes_nothing_and_is_given_back(run, everyone):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = revisit(run, PARTS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert all(np.array_equal(found[name], everyone[name]) for name in found)


def test_naming_the_device_of_the_run_changes_nothing(run, everyone):
    found = revisit(run, PARTS, device="cpu")
    assert all(np.array_equal(found[name], everyone[name]) for name in found)


def other(run, **changes):
    """The run's last parameters, changed."""
    return {**run.checkpoint(), **changes}


@pytest.mark.parametrize(
    ("donor", "line"),
    [
        (lambda run: {k: v[:2] for k, v in other(run).items()}, "it holds 2 members, this run 4"),
        (
            lambda run: other(run, extra=np.zeros((4, 3), np.float32)),
            "extra is not in this model: another architecture",
        ),
        (
            lambda run: {k: v for k, v in other(run).items() if k != "token.weight"},
            "it has no parameter token.weight: another architecture",
        ),
        (
            lambda run: other(run, **{"token.weight": np.zeros((4, 9, 16), np.float32)}),
            r"token.weight has shape \[9, 16\], this model needs \[6, 16\]: another architecture",
        ),
    ],
    ids=["rows", "more", "less", "shape"],
)
def test_a_donor_that_does_not_fit_is_refused(run, donor, line):
    with pytest.raises(SaltusError, match=f"^donor: {line}$"):
        revisit(run, [ComponentSwitching()], donor=donor(run))


def test_what_is_not_there_is_one_line(run):
    for fields, line in (
        ({"members": [4]}, "members: 4 is not allowed: 0 to 3"),
        ({"step": 9}, "has no checkpoint of step 9; allowed: 0, "),
        ({"device": "nowhere"}, "device 'nowhere' is not a device; cpu or cuda"),
    ):
        with pytest.raises(SaltusError, match=line):
            revisit(run, PARTS, **fields)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_one_line(run):
    with pytest.raises(SaltusError, match=r"engine\.device: cuda is not available here"):
        revisit(run, PARTS, device="cuda")


class Headed(nn.Module):
    """A stranger's module with sites, one model at a time."""

    def __init__(self, interface):
        super().__init__()
        self.token = nn.Embedding(interface.vocabulary, 8)
        self.readout = nn.Linear(8, interface.outputs)

    def forward(self, tokens: torch.Tensor, tape: Tape) -> torch.Tensor:
        heads = self.token(tokens).unflatten(-1, (2, 4)).transpose(-2, -3)
        heads = tape("blocks.0.attention.heads", heads)
        return self.readout(heads.transpose(-2, -3).flatten(-2))


class HeadedModel(Model):
    """Its record."""

    stackable: ClassVar[bool] = False
    kind: Literal["headed"] = "headed"

    def build(self, interface):
        return Headed(interface)

    def start(self, name):
        return Start(0.3)


del Model.registry["headed"]  # other tests list what there is


def test_layers_that_take_one_model_at_a_time_can_be_run_again_but_not_edited(monkeypatch):
    monkeypatch.setitem(Model.registry, "headed", HeadedModel)
    made = Ensemble(tiny(model={"kind": "headed"}, instruments=[]).members())
    found = measure(made, [CopyCheck(values=(2,), samples=8)], 0)
    assert found["copy-check/loss/2"].shape == (3,)
    with pytest.raises(SaltusError) as caught:
        measure(made, [HeadAblation(samples=8)], 0)
    assert str(caught.value) == (
        "model headed: its sites cannot be overwritten, for its layers do not take a stack of "
        "members"
    )


def test_what_one_instrument_edits_no_other_sees():
    """Readings together are readings apart, whatever runs the model again in between."""
    made = ensemble_of("adding", [0, 1])
    parts = [Evaluation(), HeadAblation(samples=16), CopyCheck(values=(2,), samples=16)]
    together = measure(made, parts, 2)
    for part in parts:
        for name, value in measure(made, [part], 2).items():
            assert value.equal(together[name])
