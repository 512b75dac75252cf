"""A step as `transformers` reads it: GPT-2 or XLM with the same logits, and the tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.integrations.huggingface import Tensors, as_gpt2, check_surroundings, refusal
from saltus.models.encoder import Encoder
from saltus.runs.files import write_atomic
from saltus.tasks.text.tokens import MASK, tokenizer
from saltus.tasks.text.windows import TextTask

MASK_TOKEN = "[MASK]"


def write_step(
    folder: Path, experiment: Experiment, parameters: Mapping[str, ndarray], step: int
) -> None:
    """Make `folder` with config.json, model.safetensors and the tokenizer's two files.

    `AutoModelForCausalLM` (a Decoder) or `AutoModelForMaskedLM` (an Encoder) loads it, with the
    experiment's own logits, and `AutoTokenizer` with its ids. One member's `parameters`.
    """
    config, tensors = as_huggingface(experiment, parameters)
    origin = {"experiment": experiment.name, "seed": experiment.seeds[0], "step": step}
    # "format" is what tells transformers that these are PyTorch's names and layouts.
    marks = {"format": "pt", **{key: str(value) for key, value in origin.items()}}
    folder.mkdir(parents=True)
    write_atomic(folder / "config.json", _text({**config, "saltus": origin}), durable=False)
    weights = in_order(safetensors.numpy.save(tensors, marks))
    write_atomic(folder / "model.safetensors", weights, durable=False)
    for name, data in tokenizer_files(experiment).items():
        write_atomic(folder / name, data, durable=False)


def as_huggingface(
    experiment: Experiment, parameters: Mapping[str, ndarray]
) -> tuple[dict[str, Any], Tensors]:
    """The configuration and tensors of the model in `transformers` that computes the same."""
    encoder = isinstance(experiment.model, Encoder)
    return as_xlm(experiment, parameters) if encoder else as_gpt2(experiment, parameters)


def as_xlm(
    experiment: Experiment, parameters: Mapping[str, ndarray]
) -> tuple[dict[str, Any], Tensors]:
    """XLM's configuration and tensors for one member's Encoder.

    The library's BertForMaskedLM has one more layer between encoder and readout, which our Encoder
    does not have. XLM (1901.07291) is the same encoder with the readout on top of it: every tensor
    here is one of ours, and none is made up. Raises SaltusError for what XLM cannot compute.
    """
    model = check_encoder(experiment)
    config = {
        "architectures": ["XLMWithLMHeadModel"],
        "model_type": "xlm",
        "vocab_size": len(parameters["token.weight"]),
        "max_position_embeddings": len(parameters["position.weight"]),
        "emb_dim": model.width,
        "n_layers": model.depth,
        "n_heads": model.heads,
        "gelu_activation": model.activation == "gelu",
        "layer_norm_eps": model.epsilon,
        "init_std": model.initial_deviation * model.initial_scale,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "use_lang_emb": False,
        "tie_word_embeddings": False,
        "mask_index": MASK,
        "mask_token_id": MASK,
        "pad_token_id": -1,  # no id stands for padding; None is not understood
        "bos_token_id": None,
        "eos_token_id": None,
        "torch_dtype": str(parameters["token.weight"].dtype),
    }
    tensors = {
        "transformer.embeddings.weight": parameters["token.weight"],
        "transformer.position_embeddings.weight": parameters["position.weight"],
    }
    tensors |= dict(_pair(parameters, "embedding_norm", "transformer.layer_norm_emb"))
    tensors |= dict(_pair(parameters, "readout", "pred_layer.proj"))
    for index in range(model.depth):
        for ours, theirs in _BLOCK.items():
            place = f"transformer.{theirs.format(index)}"
            tensors |= dict(_pair(parameters, f"blocks.{index}.{ours}", place))
    return config, {name: np.ascontiguousarray(value) for name, value in tensors.items()}


def check_encoder(experiment: Experiment) -> Encoder:
    """The model, if XLM computes it; else SaltusError with the field and what is allowed."""
    model = experiment.model
    if not isinstance(model, Encoder):
        raise refusal("XLM", "model", model.kind, "encoder")
    if model.activation not in ("gelu", "relu"):
        raise refusal("XLM", "model.activation", model.activation, "gelu, relu")
    if (model.hidden or 4 * model.width) != 4 * model.width:
        raise refusal("XLM", "model.hidden", model.hidden, f"4 x width, {4 * model.width}")
    plain = Encoder().model_dump()
    for name, value in model.model_dump().items():
        if name not in _MAPPED and value != plain[name]:
            raise refusal("XLM", f"model.{name}", value, plain[name])
    check_surroundings(experiment, "XLM")
    return model


def tokenizer_files(experiment: Experiment) -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json of a text task, by name.

    The task's own byte-pair tokens with its own ids: the mask is 0, and all others stand one
    higher than in the tokenizer that was learned.
    """
    task = experiment.task
    if not isinstance(task, TextTask):
        raise SaltusError(f"task: {task.kind} has no tokenizer; allowed: causal-text, masked-text")
    whole = json.loads(tokenizer(task.corpus, task.vocabulary).to_str())
    learned = whole["model"]["vocab"]
    whole["model"]["vocab"] = {MASK_TOKEN: MASK} | {word: id + 1 for word, id in learned.items()}
    special = {"id": MASK, "content": MASK_TOKEN, "special": True, "normalized": False}
    whole["added_tokens"] = [{**special, "single_word": False, "lstrip": False, "rstrip": False}]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "mask_token": MASK_TOKEN,
        "model_max_length": task.length,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,  # decoding gives the text again, byte for byte
    }
    return {"tokenizer.json": _text(whole), "tokenizer_config.json": _text(config)}


def in_order(data: bytes) -> bytes:
    """A safetensors file with its metadata sorted: the library writes them in any order, and two
    builds of the same entry would have different hashes."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    said = json.dumps(header, separators=(",", ":")).encode()
    said += b" " * (-len(said) % 8)  # the tensors stay aligned
    return len(said).to_bytes(8, "little") + said + data[start:]


# Fields of an Encoder that the configuration says, or that only its start or training reads.
_MAPPED = {
    "depth", "heads", "width", "hidden", "positions", "activation", "initial_deviation",
    "initial_scale", "silent_mask", "stochastic_depth", "dropout",
}  # fmt: skip
_BLOCK = {
    "attention.query": "attentions.{}.q_lin",
    "attention.key": "attentions.{}.k_lin",
    "attention.value": "attentions.{}.v_lin",
    "attention.output": "attentions.{}.out_lin",
    "attention_norm": "layer_norm1.{}",
    "mlp.input": "ffns.{}.lin1",
    "mlp.output": "ffns.{}.lin2",
    "mlp_norm": "layer_norm2.{}",
}


def _pair(own: Mapping[str, ndarray], ours: str, theirs: str) -> Iterator[tuple[str, ndarray]]:
    for part in ("weight", "bias"):
        yield f"{theirs}.{part}", own[f"{ours}.{part}"]


def _text(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
