"""What holds for every instrument that runs the model again, on both families of tasks: members do
not mix, live readings are met afterwards bit for bit, and a plain loop reads the same."""

from functools import cache

import numpy as np
import pytest
import torch

import saltus
from analysed import analysed, ensemble_of
from saltus.instruments import Instrument
from saltus.training.ensemble import Ensemble
from saltus.training.isolation import Watch
from saltus.training.launch import start
from saltus.training.readings import measure
from saltus.training.revisit import revisit

HEADS = [[0, 1], [1, 0]]
BOTH = [
    {"kind": "head-ablation", "samples": 16},
    {"kind": "head-ablation", "samples": 16, "mode": "batch-mean", "label": "batch-mean"},
    {"kind": "head-ablation", "samples": 16, "sets": {"two": HEADS}, "label": "sets"},
    {"kind": "activation-patching", "samples": 16},
    {"kind": "activation-patching", "samples": 16, "sweep": "layers", "label": "layers"},
    {"kind": "activation-patching", "samples": 16, "sweep": "set", "label": "set", "heads": [1]},
    {"kind": "attention-map", "samples": 2},
]
OWN = {
    "adding": [
        {"kind": "activation-patching", "samples": 16, "positions": "answers", "label": "answers"},
        {"kind": "copy-check", "samples": 16, "values": [1, 3]},
    ],
    "completing": [
        {"kind": "activation-patching", "samples": 16, "positions": "masked", "label": "masked"},
        {"kind": "copy-check", "samples": 16},
        {"kind": "grid-attention"},
    ],
}
CASES = [(name, instrument) for name in OWN for instrument in (*BOTH, *OWN[name])]
every = pytest.mark.parametrize(
    ("name", "instrument"),
    CASES,
    ids=[f"{name}-{each.get('label', each['kind'])}" for name, each in CASES],
)


@every
def test_a_member_is_the_same_to_the_last_bit_in_any_company(name, instrument):
    """Where it is not, the engine sees that and runs members one by one."""
    part = [Instrument.parse(instrument)]
    together = measure(trained(name, 4, 0), part, 2)
    for row, seed in enumerate([4, 0]):
        made, watch = trained(name, seed), Watch()
        with watch:
            alone = measure(made, part, 2)
        assert together.keys() == alone.keys()
        differing = [key for key in alone if not same(alone[key][0], together[key][row])]
        assert not differing or watch.ragged


@every
def test_a_plain_loop_reads_what_the_engine_reads(name, instrument):
    part = Instrument.parse(instrument)
    made = trained(name, 0, 1, precision="float64")
    together = measure(made, [part], 2)
    samples = part.needs(made.task).samples or 32
    batch = made.draw("evaluation", 2, samples)
    for row in range(2):
        own = {key: value[row].detach() for key, value in made.parameters.items()}
        made.module.load_state_dict(own)
        shown = {key: value[row] for key, value in batch.items()}
        found = saltus.read(made.module, [part], made.task, shown)
        assert found.keys() == together.keys()
        for key, value in found.items():
            torch.testing.assert_close(
                value, together[key][row], rtol=1e-9, atol=1e-12, equal_nan=True
            )


@pytest.mark.parametrize("name", OWN)
def test_a_run_is_read_afterwards_as_it_was_read_live(name, tmp_path):
    own = [BOTH[1], BOTH[3], BOTH[6], *OWN[name][1:]]
    experiment = analysed(
        name,
        instruments=[{**each, "cadence": 2} for each in own],
        interventions=[{"kind": "ablate-heads", "heads": [[1, 1]], "start": 1}],
        seeds=1,  # members and their order: tests/training/test_revisit.py
        steps=2,
    )
    run = start(experiment, tmp_path)
    live = [each for each in run.names() if each != "loss/train"]
    assert len(live) > 20
    found = revisit(run, experiment.instruments)
    assert sorted(found) == live
    for metric in live:
        then = run.array(metric).values[:, -1]
        assert np.array_equal(found[metric].astype(then.dtype), then, equal_nan=True), metric


@cache
def trained(name: str, *seeds: int, precision: str = "float32") -> Ensemble:
    return ensemble_of(name, list(seeds), engine={"workers": 1, "precision": precision})


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.nan_to_num(123.0), other.nan_to_num(123.0))
