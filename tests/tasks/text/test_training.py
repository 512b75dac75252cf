"""Language tasks in the engine: they train, instruments read them, and members do not mix."""

import pytest
import torch

from saltus.experiment import Experiment
from saltus.tasks.text import Corpus
from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure

TASKS = {
    "two-step-mlm": {"payloads": 3, "length": 6, "fillers": 4},
    "icl-labels": {"pairs": 3, "items": 4, "label_alphabet": 3, "loss_on": "all"},
    "icl-regression": {"dimensions": 2, "pairs": 3},
    "masked-text": {"vocabulary": 260, "length": 8},
    "causal-text": {"vocabulary": 260, "length": 8},
    "sentences": {"vocabulary": 12, "length": 10, "sampler": "epochs"},
    "a-n-b-n": {"length": 9},
    "dyck": {"length": 9, "kinds": 2},
    "counting": {"length": 9},
}
MODELS = {
    "two-step-mlm": "encoder",
    "masked-text": "encoder",
    "icl-labels": "decoder",
    "icl-regression": "decoder",
    "causal-text": "decoder",
    "sentences": "decoder",
    "a-n-b-n": "decoder",
    "dyck": "decoder",
    "counting": "decoder",
}
INSTRUMENTS = ("evaluation", "norms", "attention-entropy", "gradient-norms")


def trained(kind, corpus, seeds, steps=2):
    """Losses [steps, members] and the last readings of a tiny ensemble."""
    own = {"corpus": corpus} if kind.endswith("text") else {}
    own |= {"source": corpus.path} if kind == "sentences" else {}
    experiment = Experiment.of(
        {
            "task": {"kind": kind, **TASKS[kind], **own},
            "model": {"kind": MODELS[kind], "width": 8, "heads": 2, "depth": 1},
            "optimizer": {"kind": "adamw", "learning_rate": 1e-2},
            "instruments": [{"kind": each, "cadence": 1} for each in INSTRUMENTS],
            "steps": steps,
            "batch": 8,
            "evaluation_batch": 8,
            "seeds": seeds,
        }
    )
    ensemble, losses = Ensemble(experiment.members()), []
    for step in range(steps):
        losses.append(ensemble.differentiate(step))
        ensemble.update(step)
    return torch.stack(losses), measure(ensemble, experiment.instruments, steps)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("".join(f"Line {i} is much like the one before.\n" for i in range(50)), "utf-8")
    return Corpus.parse(str(path))


@pytest.mark.parametrize("kind", TASKS)
def test_members_train_and_are_read_as_each_would_be_alone(kind, corpus):
    losses, readings = trained(kind, corpus, [3, 5])
    alone, own = trained(kind, corpus, [5])
    assert losses.isfinite().all()
    assert torch.equal(losses[:, 1:], alone)
    assert own.keys() == readings.keys()
    for name, value in readings.items():
        assert value.isfinite().all() or "determined" in name, name
        assert torch.equal(value[1:].nan_to_num(), own[name].nan_to_num()), name
    assert {"evaluation/loss", "norm/readout", "entropy/blocks.0"} <= readings.keys()
