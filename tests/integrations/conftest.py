"""A trained run of a softmax Decoder, as checkpoints in Hugging Face's format, and strangers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    set_seed,
)

from saltus.experiment import Experiment
from saltus.integrations.huggingface import export_all
from saltus.runs import Run, open_run
from saltus.training.launch import create, train_shard
from saltus.training.workers import Workers

SOFTMAX = {
    "name": "softmax",
    "task": {"kind": "moving-window-sum", "length": 5, "alphabet": 4, "modulus": 5},
    "model": {"kind": "decoder", "width": 16, "heads": 2, "depth": 2, "initial_deviation": 0.2},
    "optimizer": {"kind": "adam", "learning_rate": 1e-2},
    "steps": 40,
    "batch": 16,
    "seeds": 2,
    "checkpoints": {"every": 20, "rescue": 40},
    "engine": {"workers": 1},
}


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Steps 0, 20 and 40 of two seeds; in a process of its own, where shapes are not checked."""
    path = create(Experiment.of(SOFTMAX), tmp_path_factory.mktemp("runs"))
    with Workers(1, train_shard) as pool:
        pool.train(str(path), [shard.index for shard in open_run(path).shards], None)
    return open_run(path)


@pytest.fixture(scope="session")
def checkpoints(run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """step-0, step-20, step-40 of member 1."""
    return export_all(run, tmp_path_factory.mktemp("exported") / "softmax", member=1)


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A random `llama` or `neox` with two layers of width 16 and 12 words, and its tokenizer."""
    root, sizes = tmp_path_factory.mktemp("strangers"), {"vocab_size": 12, "hidden_size": 16}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"max_position_embeddings": 32, "initializer_range": 0.3}
    made = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(num_key_value_heads=1, **sizes)),
        "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**sizes)),
    }

    def find(name: str) -> Path:
        if not (root / name).exists():
            set_seed(0)
            made[name]().save_pretrained(root / name)
            tokenizer().save_pretrained(root / name)
        return root / name

    return find


def tokenizer() -> PreTrainedTokenizerFast:
    """Eleven words and one for the others."""
    words = ["why", "do", "leaves", "look", "green", "and", "the", "sky", "so", "blue"]
    words = {word: index for index, word in enumerate(["[other]", *words])}
    whole = Tokenizer(models.WordLevel(words, unk_token="[other]"))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=whole, unk_token="[other]")
