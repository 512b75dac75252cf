"""A checkpoint as one file: the tensors, what it says, and a digest of its content."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load

from saltus.errors import SaltusError
from saltus.interventions.transplant import Transplant
from saltus.runs import Run
from saltus.runs.export import Export, export
from saltus.training.launch import start
from tiny_experiments import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    experiment = tiny(
        instruments=[],
        steps=2,
        seeds=[5, 3],
        vary={"model.initial_scale": [0.5, 1.0]},
        model={"kind": "decoder", "width": 16},
    )
    return start(experiment, tmp_path_factory.mktemp("runs"))


def test_a_stack_is_the_checkpoint_and_says_its_seeds_and_settings(run):
    found, kept = export(run), run.checkpoint()
    scales = [{"model.initial_scale": scale} for scale in (0.5, 0.5, 1.0, 1.0)]
    assert found.metadata == {
        "experiment": "experiment",
        "step": "2",
        "seeds": "[5, 3, 5, 3]",
        "overrides": json.dumps(scales),
    }
    again = load(found.encoded())
    assert again.keys() == kept.keys()
    assert all(np.array_equal(again[name], kept[name]) for name in kept)


@pytest.mark.parametrize("member", range(4))
def test_a_member_is_its_row_of_the_stack(run, member):
    one, all_ = export(run, 0, member), export(run, 0)
    assert all(np.array_equal(one.tensors[n], v[member]) for n, v in all_.tensors.items())
    assert one.metadata["seed"] == str((5, 3, 5, 3)[member]) and one.metadata["step"] == "0"


def test_equal_content_has_an_equal_digest_and_any_change_shows():
    tensors = {"b": np.arange(6.0).reshape(2, 3), "a": np.zeros(2, np.float32)}
    digest = Export(tensors, {"x": "1", "y": "2"}).digest()
    assert digest == Export(dict(reversed(tensors.items())), {"y": "2", "x": "1"}).digest()
    assert digest == Export(tensors | {"b": tensors["b"].T.copy().T}, {"x": "1", "y": "2"}).digest()
    for other in (
        Export(tensors, {"x": "1", "y": "3"}),
        Export(tensors | {"a": np.zeros(2)}, {"x": "1", "y": "2"}),
        Export(tensors | {"a": np.array([0.0, -0.0], np.float32)}, {"x": "1", "y": "2"}),
        Export(tensors | {"b": tensors["b"].reshape(3, 2)}, {"x": "1", "y": "2"}),
        Export({"b": tensors["b"], "c": tensors["a"]}, {"x": "1", "y": "2"}),
    ):
        assert other.digest() != digest


def test_a_seed_that_stands_in_a_stack_several_times_is_no_donor_of_its_own(run, tmp_path):
    path = tmp_path / "stack.safetensors"
    path.write_bytes(export(run).encoded())
    with safe_open(path, "np") as file:
        assert json.loads(file.metadata()["seeds"]) == [5, 3, 5, 3]
    graft = Transplant(source=path, groups=("mlp",), member="same seed")
    with pytest.raises(SaltusError, match=r"seed 5 is several times in .*holds seeds 5, 3, 5, 3$"):
        graft.initialise({}, 5)


def test_what_is_not_there_is_refused_in_one_line(run):
    with pytest.raises(SaltusError, match=r"^member 4 is not in .*: 0 to 3$"):
        export(run, member=4)
    with pytest.raises(SaltusError, match=r"has no checkpoint of step 7; allowed: 0, "):
        export(run, 7)
