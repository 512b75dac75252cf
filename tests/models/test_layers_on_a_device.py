"""On an accelerator a training step of matrix completion stays there.

The device `meta` stands for one: it has shapes and no numbers. An operation that took tensors of
two devices, or carried one over, would make host and device wait for each other in every step.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from saltus.instruments.evaluation import Evaluation
from saltus.random import Draws
from saltus.studies.matrix_completion.recipe import recipe
from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure

READS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")


class Traffic(TorchDispatchMode):
    """Notes the operations that see more than one device, or hand numbers to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
        self.seen.add(name)
        if len({t.device.type for t in tensors}) > 1 or name in READS:
            self.found.append(name)
        return out


@pytest.fixture
def meta(monkeypatch):
    """What `meta` lacks and a GPU has: random numbers, and autocast to turn off."""

    def drawn(self, seed, law, shape, low, high):
        whole = {"dtype": torch.int64} if law == "integers" else {"dtype": self.dtype}
        return torch.empty(shape, device=self.device, **whole)

    monkeypatch.setattr(Draws, "_device", drawn)
    monkeypatch.setattr(Ensemble, "autocast", lambda self: nullcontext())


def on_meta(members: int, **task: Any) -> Ensemble:
    """The paper's setting, not allocated anywhere."""
    base = recipe("paper")["base"]
    changes = {f"task.{name}": value for name, value in task.items()}
    experiment = base.override({"engine.device": "meta", **changes})
    return Ensemble(experiment.members()[:members])


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(
    "task",
    [{}, {"factors": "gaussian"}, {"factors": "two-point"}, {"missing": 14}],
    ids=["uniform", "gaussian", "two-point", "fixed number missing"],
)
def test_a_step_has_no_traffic_between_host_and_device(meta, members, task):
    ensemble = on_meta(members, **task)
    with Traffic() as traffic:
        losses = ensemble.differentiate(1)
        ensemble.update(1)
    assert losses.device.type == "meta"
    assert losses.shape == (members,)
    assert traffic.found == []
    assert {"embedding", "native_layer_norm", "bmm", "round"} <= traffic.seen


def test_nor_have_the_metrics(meta):
    ensemble = on_meta(2)
    with Traffic() as traffic:
        values = measure(ensemble, [Evaluation()], 0)
    assert {"evaluation/loss", "evaluation/loss/masked"} <= values.keys()
    assert traffic.found == []


def test_the_watch_sees_traffic():
    there = torch.zeros(3, device="meta")
    with Traffic() as traffic:
        torch.zeros(3).to("meta")
        there[torch.tensor([0, 2])]
        torch.zeros(2).sum().item()
    assert len(traffic.found) == 3
