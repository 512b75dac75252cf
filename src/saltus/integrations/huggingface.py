"""Trained models in Hugging Face's format: a Decoder as the GPT-2 that computes the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.experiment import Experiment, Member
from saltus.models.transformer import Decoder
from saltus.runs import Run, open_run
from saltus.runs.files import reason, sync_directory, temporary_of, write_atomic
from saltus.training.revisit import experiment_of

Tensors = dict[str, ndarray]
# What GPT-2 calls our activations. Its own "gelu_new" is "gelu_pytorch_tanh" written out.
ACTIVATIONS = {"gelu-tanh": "gelu_pytorch_tanh", "gelu": "gelu", "relu": "relu"}


def export(run: Run | str | Path, folder: Path, step: int | None = None, member: int = 0) -> Path:
    """Write one member at one kept step (the last if not given) as a folder `folder` that
    `AutoModelForCausalLM.from_pretrained` reads: config.json and model.safetensors.

    The model is a GPT2LMHeadModel with the same logits. Raises SaltusError for a model that GPT-2
    cannot compute, for a step or member that is not there, and where `folder` holds something.
    """
    run = run if isinstance(run, Run) else open_run(run)
    with _whole(folder) as place:
        _write(run, place, step, member)
    return folder


def export_all(run: Run | str | Path, folder: Path, member: int = 0) -> list[Path]:
    """The same for every kept step: `folder`/step-<n>, in rising order of n."""
    run = run if isinstance(run, Run) else open_run(run)
    steps = run.checkpoints()
    with _whole(folder) as place:
        for step in steps or [None]:  # without one, the complaint of a run that lost them all
            _write(run, place / f"step-{step}", step, member)
    return [folder / f"step-{step}" for step in steps]


def as_gpt2(experiment: Experiment, parameters: Mapping[str, ndarray]) -> tuple[dict, Tensors]:
    """GPT-2's configuration and tensors for one member's experiment and parameters.

    GPT-2 keeps its linear weights as [in, out] (ours are [out, in]), and query, key and value as
    one. Readout and token embedding stay two tables. Raises SaltusError for what does not map.
    """
    model = check(experiment)
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": len(parameters["token.weight"]),
        "n_positions": len(parameters["position.weight"]),
        "n_embd": model.width,
        "n_layer": model.depth,
        "n_head": model.heads,
        "n_inner": model.hidden or 4 * model.width,
        "activation_function": ACTIVATIONS[model.activation],
        "layer_norm_epsilon": model.epsilon,
        "initializer_range": model.initial_deviation * model.initial_scale,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "torch_dtype": str(parameters["token.weight"].dtype),
    }
    tensors = {
        "transformer.wte.weight": parameters["token.weight"],
        "transformer.wpe.weight": parameters["position.weight"],
        "transformer.ln_f.weight": parameters["final_norm.weight"],
        "transformer.ln_f.bias": parameters["final_norm.bias"],
        "lm_head.weight": parameters["readout.weight"],
    }
    for index in range(model.depth):
        own, theirs = f"blocks.{index}.", f"transformer.h.{index}."
        tensors |= {theirs + name: value for name, value in _block(parameters, own)}
    return config, {name: np.ascontiguousarray(value) for name, value in tensors.items()}


# What GPT-2 computes, by field of the decoder.
GPT2 = {
    "attention": "softmax",
    "norm": "pre",
    "causal": True,
    "mask": "negative-infinity",
    "scaled": True,
    "embedding_norm": False,
    "final_norm": True,
    "readout_bias": False,
    **dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias", "norm_bias"), True),
}


def check(experiment: Experiment) -> Decoder:
    """The model, if GPT-2 computes it; else SaltusError with the field and what is allowed."""
    model = experiment.model
    if model.kind != "decoder" or not isinstance(model, Decoder):
        raise refusal("GPT-2", "model", model.kind, "decoder")
    for name, allowed in GPT2.items():
        own = model.attention.kind if name == "attention" else getattr(model, name)
        if own != allowed:
            raise refusal("GPT-2", f"model.{name}", own, allowed)
    if model.activation not in ACTIVATIONS:
        raise refusal("GPT-2", "model.activation", model.activation, ", ".join(ACTIVATIONS))
    check_surroundings(experiment, "GPT-2")
    return model


def check_surroundings(experiment: Experiment, theirs: str) -> None:
    """That the outputs are the task's own tokens, and that nothing changes the forward pass."""
    interface = experiment.task.interface
    if interface.outputs != interface.vocabulary:
        what = "tasks whose outputs are their own tokens"
        raise refusal(theirs, "task", experiment.task.kind, what)
    for index, part in enumerate(experiment.interventions):
        if part.sites():
            what = "interventions that leave the forward pass as it is"
            raise refusal(theirs, f"interventions.{index}", part.kind, what)


def refusal(theirs: str, field: str, value: Any, allowed: Any) -> SaltusError:
    """What to say of a field that the library's model `theirs` cannot compute."""
    return SaltusError(
        f"{field}: {str(value).lower()} does not map onto Hugging Face's {theirs}; "
        f"allowed: {str(allowed).lower()}"
    )


def _block(own: Mapping[str, ndarray], at: str) -> Iterator[tuple[str, ndarray]]:
    for ours, theirs in (("attention_norm", "ln_1"), ("mlp_norm", "ln_2")):
        for part in ("weight", "bias"):
            yield f"{theirs}.{part}", own[f"{at}{ours}.{part}"]
    entering = [f"{at}attention.{name}" for name in ("query", "key", "value")]
    linears = {
        "attn.c_attn": entering,
        "attn.c_proj": [f"{at}attention.output"],
        "mlp.c_fc": [f"{at}mlp.input"],
        "mlp.c_proj": [f"{at}mlp.output"],
    }
    for theirs, parts in linears.items():
        yield f"{theirs}.weight", np.concatenate([own[f"{part}.weight"] for part in parts]).T
        yield f"{theirs}.bias", np.concatenate([own[f"{part}.bias"] for part in parts])


def _write(run: Run, folder: Path, step: int | None, member: int) -> None:
    one, origin = _member(run, step, member)
    parameters = {name: value[member] for name, value in run.checkpoint(step).items()}
    config, tensors = as_gpt2(one.experiment, parameters)
    text = json.dumps({**config, "saltus": origin}, indent=2, sort_keys=True) + "\n"
    # "format" is what tells transformers that these are PyTorch's names and layouts.
    marks = {"format": "pt", **{key: str(value) for key, value in origin.items()}}
    folder.mkdir(exist_ok=True)
    write_atomic(folder / "config.json", text.encode())
    write_atomic(folder / "model.safetensors", safetensors.numpy.save(tensors, marks))


def _member(run: Run, step: int | None, member: int) -> tuple[Member, dict[str, Any]]:
    """The member, and where its parameters come from."""
    members = experiment_of(run).members()
    if not 0 <= member < len(members):
        raise SaltusError(f"--member: {member} is not allowed: 0 to {len(members) - 1}")
    one = members[member]
    check(one.experiment)
    return one, {
        "experiment": one.experiment.name,
        "seed": one.seed,
        "step": (run.checkpoints() or [0])[-1] if step is None else step,
        "overrides": json.dumps(one.overrides),
    }


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A hidden sibling of `folder` that gets its name when all of it is on the disk."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SaltusError(f"{folder} is there already: name a new or empty folder")
    # Resolved, because "." and ".." are no names that a sibling could be derived from.
    place = temporary_of(folder.resolve())
    try:
        shutil.rmtree(place, ignore_errors=True)  # of a writer that was killed
        place.mkdir(parents=True)
        yield place
        for written in (*place.iterdir(), place):
            if written.is_dir():
                sync_directory(written)
        os.replace(place, folder.resolve())
        sync_directory(place.parent)
    except OSError as error:
        raise SaltusError(f"cannot write {folder}: {reason(error)}") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
