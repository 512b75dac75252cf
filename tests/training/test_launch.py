"""What is wrong with an experiment shows before a run is made: every edit and reading, once."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import pytest
import torch
from torch import nn

from saltus.errors import SaltusError
from saltus.models.base import Model, Start
from saltus.models.sites import Tape
from saltus.training.launch import check, create
from tiny_experiments import tiny

LARGER = {"kind": "moving-window-sum", "length": 6, "alphabet": 4, "modulus": 5}
ABLATE = {"kind": "ablate-heads"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"interventions": [{**ABLATE, "heads": [[1, 1]]}, {**ABLATE, "heads": [[0, 5]]}]},
            "interventions.1 (ablate-heads): heads: blocks.0.attention.pattern has no head 5; "
            "allowed: 0 to 1",
        ),
        (
            {"interventions": [{**ABLATE, "heads": [[0, 5]], "start": 3}]},
            "interventions.0 (ablate-heads): heads: blocks.0.attention.pattern has no head 5; "
            "allowed: 0 to 1",
        ),
        (
            {"instruments": ["norms", {"kind": "head-ablation", "sets": {"far": [[0, 7]]}}]},
            "instruments.1 (head-ablation): heads: blocks.0.attention.pattern has no head 7; "
            "allowed: 0 to 1",
        ),
        (
            {"instruments": ["norms", {"kind": "evaluation", "task": LARGER}]},
            "instruments.1 (evaluation): an input of 12 positions is longer than the model's table "
            "of 10; allowed: model.positions of at least that many",
        ),
        (
            {"instruments": [{"kind": "position-shuffle", "table": "place.weight"}]},
            "instruments.0 (position-shuffle): position-shuffle.table: the model has no parameter "
            "place.weight",
        ),
        (
            {"instruments": ["norms", "component-switching"]},
            "instruments.1 (component-switching): component-switching mixes two checkpoints: read "
            "it afterwards, with saltus look --donor",
        ),
        (
            {"instruments": ["norms", {"kind": "norms", "cadence": 3}]},
            "instruments: two of them give 'norm/attention.output'; keep one",
        ),
    ],
)
@pytest.mark.parametrize("seeds", [1, 3])
def test_what_shows_only_when_it_is_done_is_one_line_and_leaves_nothing(
    changes: dict, line: str, seeds: int, tmp_path: Path
) -> None:
    with pytest.raises(SaltusError) as caught:
        create(tiny(**{**changes, "seeds": seeds}), tmp_path)
    assert str(caught.value) == line
    assert not list(tmp_path.iterdir())


def test_what_is_right_passes_whatever_it_is() -> None:
    bias = {"kind": "attention-bias", "factor": 2.0}
    ablate = {**ABLATE, "heads": [[1, 0]], "mode": "batch-mean"}
    check(
        tiny(
            interventions=[{"kind": "freeze", "groups": ["mlp"]}, bias, ablate],
            vary={"interventions.1.factor": [1.0, 3.0]},
            instruments=["evaluation", "head-ablation", "gradient-norms", "sample-losses"],
        )
    )


class Mixed(nn.Module):
    """Attends to everything alike; one model at a time."""

    def __init__(self, interface) -> None:
        super().__init__()
        self.token = nn.Embedding(interface.vocabulary, 8)
        self.readout = nn.Linear(8, interface.outputs)

    def forward(self, tokens: torch.Tensor, tape: Tape) -> torch.Tensor:
        x = self.token(tokens)
        even = torch.full((len(x), 1, x.shape[1], x.shape[1]), 1 / x.shape[1])
        return self.readout(tape("blocks.0.attention.pattern", even)[:, 0] @ x)


class MixedModel(Model):
    """Its record."""

    stackable: ClassVar[bool] = False
    kind: Literal["mixed"] = "mixed"

    def build(self, interface):
        return Mixed(interface)

    def start(self, name):
        return Start(0.3)


del Model.registry["mixed"]  # other tests list what there is


def test_sites_of_layers_that_take_one_model_at_a_time_are_not_overwritten(
    monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(Model.registry, "mixed", MixedModel)
    bias = {"kind": "attention-bias", "factor": 2.0}
    check(tiny(model="mixed", instruments=["evaluation", "attention-entropy"]))
    with pytest.raises(SaltusError) as caught:
        create(tiny(model="mixed", instruments=[], interventions=[bias]), tmp_path)
    assert str(caught.value) == (
        "interventions.0 (attention-bias): the sites of model mixed cannot be overwritten, for its "
        "layers do not take a stack of members"
    )
    assert not list(tmp_path.iterdir())
