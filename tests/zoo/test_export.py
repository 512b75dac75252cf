"""What the zoo writes for transformers computes what our models do, and spells what they read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    XLMConfig,
    XLMWithLMHeadModel,
)

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models.base import initial_parameters
from saltus.models.encoder import Encoder
from saltus.models.sites import Tape
from saltus.random import Draws
from saltus.tasks.text.tokens import tokens_of
from saltus.zoo.export import as_xlm, check_encoder, tokenizer_files

AUTO = {"gpt2": AutoModelForCausalLM, "bert": AutoModelForMaskedLM}


def ours(experiment: Experiment, parameters: dict) -> torch.nn.Module:
    module = experiment.model.build(experiment.task.interface)
    values = {name: torch.from_numpy(value) for name, value in parameters.items()}
    module.load_state_dict(values, assign=True)
    return module


@pytest.mark.parametrize("name", AUTO)
@torch.no_grad()
def test_every_step_has_the_logits_and_last_states_of_the_run(zoo, name):
    built = zoo[name]
    experiment = Experiment.of(built.run.experiment)
    tokens = experiment.task.sample(Draws(3, "here"), 8)["inputs"]
    for step, folder in zip(built.steps, built.folders, strict=True):
        parameters = {name: value[0] for name, value in built.run.checkpoint(step).items()}
        tape = Tape(["final"])
        logits = ours(experiment, parameters)(tokens, tape)
        model = AUTO[name].from_pretrained(folder, local_files_only=True)
        for mask in (None, torch.ones_like(tokens)):
            found = model(tokens, attention_mask=mask, output_hidden_states=True)
            assert (logits - found.logits).abs().max() <= 1e-5 * logits.abs().max()
            last = found.hidden_states[-1]
            assert (tape.values["final"] - last).abs().max() <= 1e-5 * last.abs().max()


@pytest.mark.parametrize("name", AUTO)
def test_every_tensor_is_one_of_the_runs_and_none_is_made_up(zoo, name):
    built = zoo[name]
    last = built.run.checkpoint()
    with safe_open(built.folders[-1] / "model.safetensors", "np") as file:
        theirs = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        said = file.metadata()
    assert said == {"format": "pt", "experiment": built.entry, "seed": "0", "step": str(
        built.steps[-1])}  # fmt: skip
    assert sum(value.size for value in theirs.values()) == built.parameters
    squares = [sum((v.astype("f8") ** 2).sum() for v in d.values()) for d in (theirs, last)]
    assert squares[0] == pytest.approx(squares[1], rel=1e-12)  # the norm is the norm


@pytest.mark.parametrize("changes", [{}, {"activation": "relu"}, {"positions": 90, "heads": 1}])
@torch.no_grad()
def test_in_float64_an_encoder_is_xlm(bert, changes):
    experiment = bert.experiment().override({f"model.{key}": v for key, v in changes.items()})
    module = experiment.model.build(experiment.task.interface)
    start = initial_parameters(experiment.model, module, 5, dtype=torch.float64)
    generator = np.random.default_rng(0)
    parameters = {
        name: value.numpy() + 0.2 * generator.standard_normal(value.shape)
        for name, value in start.items()
    }
    config, tensors = as_xlm(experiment, parameters)
    theirs = XLMWithLMHeadModel(XLMConfig(**config)).double().eval()
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    tokens = experiment.task.sample(Draws(0, "here"), 8)["inputs"]
    logits = ours(experiment, parameters)(tokens)
    # The library takes the softmax in float32, whatever the model is in.
    assert (logits - theirs(tokens).logits).abs().max() <= 1e-6 * logits.abs().max()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model.norm": "pre"}, "model.norm: pre does not map onto .* XLM; allowed: post"),
        ({"model.causal": True}, "model.causal: true does not map .*; allowed: false"),
        ({"model.hidden": 12}, "model.hidden: 12 does not map .*; allowed: 4 x width, 48"),
        ({"model.activation": "gelu-tanh"}, "model.activation: gelu-tanh .*: gelu, relu"),
        ({"model.attention": "linear"}, "model.attention: .*linear.* allowed: .*softmax"),
        (
            {"interventions": [{"kind": "ablate-heads", "heads": [[0, 1]]}]},
            "interventions.0: ablate-heads does not map",
        ),
    ],
    ids=["norm", "causal", "hidden", "activation", "attention", "intervention"],
)
def test_what_xlm_cannot_compute_is_refused_in_one_line(bert, changes, line):
    with pytest.raises(SaltusError, match=line):
        check_encoder(bert.experiment().override(changes))


def test_only_encoders_of_text_are_written(gpt2):
    with pytest.raises(SaltusError, match=r"model: decoder does not map .*; allowed: encoder"):
        check_encoder(gpt2.experiment())
    matrices = {"kind": "matrix-completion", "rows": 3, "columns": 3, "rank": 1}
    experiment = Experiment(
        task=matrices, model=Encoder(depth=1, heads=1, width=4), steps=1, batch=1
    )
    with pytest.raises(SaltusError, match="task: matrix-completion does not map"):
        check_encoder(experiment)
    with pytest.raises(SaltusError, match="task: matrix-completion has no tokenizer"):
        tokenizer_files(experiment)


@pytest.fixture(scope="module")
def words(zoo):
    return AutoTokenizer.from_pretrained(zoo["gpt2"].folders[0], local_files_only=True)


def test_the_tokenizer_has_the_ids_that_the_model_was_trained_on(zoo, words):
    task = Experiment.of(zoo["gpt2"].run.experiment).task
    for part in ("training", "validation"):
        text = task.corpus.part(part)
        found = words(text)
        assert found["input_ids"] == tokens_of(task.corpus, part, task.vocabulary).ids.tolist()
        assert set(found) == {"input_ids", "attention_mask"}
    assert words.mask_token_id == 0
    assert words("was [MASK]")["input_ids"][-1] == 0
    assert len(words) <= task.vocabulary


@settings(max_examples=50, deadline=None)
@given(text=st.text().filter(lambda text: "[MASK]" not in text))
def test_any_text_comes_back_from_the_tokenizer(words, text):
    assert words.decode(words(text)["input_ids"]) == text


def test_all_steps_and_both_models_have_the_same_tokenizer(zoo):
    files = {
        (folder / "tokenizer.json").read_bytes() for each in zoo.values() for folder in each.folders
    }
    assert len(files) == 1
