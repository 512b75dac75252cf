"""A Decoder as GPT-2: the same numbers, whole folders, and one line for what does not map."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.integrations import huggingface
from saltus.integrations.huggingface import as_gpt2, check, export, export_all
from saltus.models.base import initial_parameters
from saltus.models.sites import Tape
from saltus.models.transformer import Decoder
from saltus.random import Draws
from saltus.training.launch import start

SMALL = {
    "task": {"kind": "moving-window-sum", "length": 5},
    "model": {"kind": "decoder", "width": 12, "heads": 3, "depth": 2, "initial_deviation": 0.3},
    "steps": 1,
    "batch": 6,
}
CLASSES = {"kind": "word-cooccurrence"}


def load(folder: Path) -> GPT2LMHeadModel:
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)


def ours(experiment: Experiment, parameters: dict) -> torch.nn.Module:
    module = experiment.model.build(experiment.task.interface)
    values = {name: torch.from_numpy(value) for name, value in parameters.items()}
    module.load_state_dict(values, assign=True)
    return module


@torch.no_grad()
def test_trained_checkpoints_have_the_same_logits_and_last_states(run, checkpoints):
    experiment = Experiment.of(run.experiment)
    tokens = experiment.task.sample(Draws(3, "here"), 32)["inputs"]
    for step, folder in zip((0, 20, 40), checkpoints, strict=True):
        parameters = {name: value[1] for name, value in run.checkpoint(step).items()}
        tape = Tape(["final"])
        logits = ours(experiment, parameters)(tokens, tape)
        found = load(folder)(tokens, output_hidden_states=True)
        for mine, theirs in (
            (logits, found.logits),
            (tape.values["final"], found.hidden_states[-1]),
        ):
            assert (mine - theirs).abs().max() <= 1e-5 * mine.abs().max()


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"activation": "gelu", "hidden": 7},
        {"activation": "relu", "heads": 1, "depth": 1},
        {"positions": 24, "heads": 12},
        {"task": {"kind": "permutation", "length": 4}},
        {"task": {"kind": "matrix-sequence"}},
    ],
    ids=["plain", "gelu", "relu", "long", "permutation", "matrix"],
)
@torch.no_grad()
def test_in_float64_the_logits_are_the_same(model):
    model = dict(model)
    task = model.pop("task", SMALL["task"])
    experiment = Experiment.of({**SMALL, "task": task, "model": {**SMALL["model"], **model}})
    module = experiment.model.build(experiment.task.interface)
    start = initial_parameters(experiment.model, module, 5, dtype=torch.float64)
    parameters = {
        name: value.numpy() + 0.2 * np.random.default_rng(0).standard_normal(value.shape)
        for name, value in start.items()  # biases and norms of their own
    }
    config, tensors = as_gpt2(experiment, parameters)
    theirs = GPT2LMHeadModel(GPT2Config(**config)).double().eval()
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    tokens = experiment.task.sample(Draws(0, "here"), 8)["inputs"]
    logits = ours(experiment, parameters)(tokens)
    assert (logits - theirs(tokens).logits).abs().max() <= 1e-10 * logits.abs().max()


def test_a_run_in_float64_stays_in_float64(tmp_path):
    experiment = Experiment.of({**SMALL, "engine": {"precision": "float64", "workers": 1}})
    run = start(experiment, tmp_path)
    model = load(export(run, tmp_path / "model"))
    assert model.dtype == torch.float64
    readout = run.checkpoint()["readout.weight"][0]
    assert np.array_equal(model.lm_head.weight.detach().numpy(), readout)


@torch.no_grad()
def test_it_writes_what_our_model_writes(run, checkpoints):
    experiment = Experiment.of(run.experiment)
    batch = experiment.task.sample(Draws(4, "here"), 16)
    module = ours(experiment, {name: value[1] for name, value in run.checkpoint().items()})
    prompt = batch["inputs"][:, : experiment.task.prompt_length]
    written = load(checkpoints[-1]).generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=5, do_sample=False
    )
    expected = experiment.task.generate(module, batch)
    assert torch.equal(written[:, experiment.task.prompt_length :], expected)


def test_a_folder_says_where_it_is_from(run, checkpoints):
    assert [folder.name for folder in checkpoints] == ["step-0", "step-20", "step-40"]
    files = sorted(path.name for path in checkpoints[1].iterdir())
    assert files == ["config.json", "model.safetensors"]
    origin = {"experiment": "softmax", "seed": 1, "step": 20, "overrides": "{}"}
    config = json.loads((checkpoints[1] / "config.json").read_text())
    assert config["saltus"] == origin
    assert config["initializer_range"] == 0.2 and config["tie_word_embeddings"] is False
    with safe_open(checkpoints[1] / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt", **{k: str(v) for k, v in origin.items()}}


def test_the_member_and_the_step_that_were_asked_for(run, tmp_path):
    model = load(export(run.path, tmp_path / "one", step=20, member=0))
    token = run.checkpoint(20)["token.weight"][0]
    assert np.array_equal(model.transformer.wte.weight.detach().numpy(), token)
    for arguments, line in (
        ({"member": 2}, "--member: 2 is not allowed: 0 to 1"),
        ({"step": 7}, f"{run.path} has no checkpoint of step 7; allowed: 0, 20, 40"),
    ):
        with pytest.raises(SaltusError) as error:
            export(run, tmp_path / "two", **arguments)
        assert str(error.value) == line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one"]


@pytest.mark.parametrize(
    ("experiment", "line"),
    [
        ({"model": {"attention": "linear"}}, "model.attention: linear does not map .*: softmax"),
        ({"model": {"norm": "post"}}, "model.norm: post does not map .*; allowed: pre"),
        ({"model": {"causal": False}}, "model.causal: false does not map .*; allowed: true"),
        ({"model": {"mask": "multiplicative"}}, "model.mask: multiplicative does not map"),
        ({"model": {"mlp_bias": False}}, "model.mlp_bias: false does not map .*; allowed: true"),
        (
            {"interventions": [{"kind": "attention-bias", "factor": 2.0}]},
            "interventions.0: attention-bias does not map onto Hugging Face's GPT-2",
        ),
        (
            {"task": CLASSES, "model": {"kind": "one-layer-attention"}},
            "model: one-layer-attention does not map .*; allowed: decoder",
        ),
        (
            {
                "task": {"kind": "matrix-completion", "rows": 3, "columns": 3, "rank": 1},
                "model": {"kind": "encoder", "width": 16},
            },
            "model: encoder does not map .*; allowed: decoder",
        ),
        (
            {"task": CLASSES},
            "task: word-cooccurrence does not map .*; allowed: tasks whose outputs are their own",
        ),
    ],
    ids=["attention", "norm", "causal", "mask", "bias", "intervention", "model", "encoder", "task"],
)
def test_what_does_not_map_is_refused(experiment, line):
    model = experiment.get("model", {})
    model = model if "kind" in model else {**SMALL["model"], **model}
    with pytest.raises(SaltusError, match=line):
        check(Experiment.of({**SMALL, **experiment, "model": model}))


def test_no_field_of_a_decoder_is_overlooked():
    """Whoever gives the Decoder a field says in `as_gpt2` or `check` what GPT-2 makes of it."""
    mapped = {"depth", "heads", "width", "hidden", "positions", "activation", "initial_deviation"}
    mapped |= {"epsilon"}
    checked = {"kind", *huggingface.GPT2}
    of_training = {"initial_scale", "stochastic_depth", "dropout"}
    assert set(Decoder.model_fields) == mapped | checked | of_training


def test_nothing_is_overwritten_and_nothing_half_written_is_left(run, tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/notes.txt").write_text("mine")
    with pytest.raises(SaltusError, match="kept is there already: name a new or empty folder"):
        export(run, tmp_path / "kept")
    written = huggingface.write_atomic

    def full(path: Path, data: bytes) -> None:
        if path.name == "model.safetensors" and path.parent.name == "step-20":
            raise OSError(errno.ENOSPC, "No space left on device")
        written(path, data)

    monkeypatch.setattr(huggingface, "write_atomic", full)
    with pytest.raises(SaltusError, match=r"cannot write .*/all: no space left on device"):
        export_all(run, tmp_path / "all")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    monkeypatch.undo()
    (tmp_path / ".all.tmp").mkdir()  # as a kill would leave it
    (tmp_path / ".all.tmp/config.json").write_text("{")
    (tmp_path / "all").mkdir()
    export_all(run, tmp_path / "all")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "kept"]
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        "step-0", "step-20", "step-40"
    ]  # fmt: skip
