"""Encoders and decoders of any Hugging Face architecture: which lists hold states and patterns."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from saltus.errors import SaltusError
from saltus.integrations.pretrained import (
    Loading,
    configuration,
    find,
    one_line,
    quiet,
    read_weights,
)
from saltus.models.saturated import zeta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedConfig, PreTrainedModel

SHIFTED = ("roberta", "xlm-roberta", "camembert")  # whose positions begin at padding's id + 1
FINITE = ("float32", "float64", "bfloat16")  # float16 ends at 65,504: no room for c = 1000


@dataclass(frozen=True)
class Layout:
    """Where a family keeps what is read: name of a stack → field of the library's output.

    `states` are lists of layers + 1 states, the embedding's first; `attention` lists of patterns.
    The last state of a model that ends in a norm (GPT-2, GPT-NeoX, Llama, T5) is after that norm.
    """

    states: dict[str, str]
    attention: dict[str, str]


ONE_STACK = Layout({"layers": "hidden_states"}, {"layers": "attentions"})
# Merrill et al. (2010.09697) plot the decoder's states of T5, the third of its outputs (our spec,
# 9.19); the encoder's stand beside them here.
TWO_STACKS = Layout(
    {"encoder": "encoder_hidden_states", "decoder": "decoder_hidden_states"},
    {
        "encoder": "encoder_attentions",
        "decoder": "decoder_attentions",
        "cross": "cross_attentions",
    },
)


@dataclass(frozen=True)
class Seen:
    """One pass over one text: states and attention patterns by stack."""

    states: dict[str, tuple[Float[Tensor, "position width"], ...]]
    patterns: dict[str, tuple[Float[Tensor, "head query key"], ...]]


def load_encoder(
    checkpoint: str, loading: Loading, random_seed: int | None = None
) -> PreTrainedModel:
    """The model without its readout, in evaluation mode, with attention that can be read.

    `random_seed`: the same architecture with fresh random weights from its configuration instead
    (the paper's baseline, section 4.1, which left dropout on; here it is off: our spec, 9.19).
    Raises SaltusError with a line that does not name the checkpoint again.
    """
    from transformers import AutoModel

    if loading.precision not in FINITE:
        raise SaltusError(
            f"precision: '{loading.precision}' is not allowed: scaled weights need "
            f"{', '.join(FINITE)}"
        )
    source = find(checkpoint)
    config = configuration(source, loading)
    precision = getattr(torch, loading.precision)
    if random_seed is not None:
        with quiet(), one_line("config.json"), torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_seed)
            model = AutoModel.from_config(
                config, trust_remote_code=False, attn_implementation="eager"
            )
        return _ready(model.to(precision), loading)
    # Of a model saved with a readout, the pooler may be missing: no state depends on it.
    eager = {"attn_implementation": "eager"}
    model = read_weights(AutoModel, source, config, loading, ("pooler.",), **eager)
    return _ready(model, loading)


@contextmanager
def scaled(model: nn.Module, factor: float) -> Iterator[None]:
    """Within it, every parameter is its own times `factor`; afterwards the very same tensors.

    f(x; c theta) of our spec, 3.6: embeddings, gains, biases and the biases of relative positions
    too; a tied weight once. Buffers (rotary frequencies) are no parameters. Nothing is divided
    back: the tensors are swapped, so that the restored bits are the old ones. Needs the memory of
    a second set of weights.
    """
    kept = [(each, each.data) for each in model.parameters()]  # tied parameters are listed once
    try:
        for each, data in kept:
            each.data = data * factor
        yield
    finally:
        for each, data in kept:
            each.data = data


@contextmanager
def saturated(model: PreTrainedModel) -> Iterator[None]:
    """Within it, attention is a mean over its best keys: zeta in the place of softmax (M16).

    Ties: within 1e-6 x max(1, |max|) of the largest score, as our spec recommends. Every softmax
    over the last of four axes (sample, head, query, key) is one of attention.
    """
    replaced = _Zeta()
    with replaced:
        yield
    if not replaced.calls:
        raise SaltusError(
            f"{type(model).__name__} has no softmax over keys to saturate; allowed: c times weights"
        )


class _Zeta(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in SOFTMAX and args[0].ndim == 4:
            dim = given.get("dim", args[1] if len(args) > 1 else None)
            if dim in (-1, 3):
                self.calls += 1
                return zeta(args[0].to(given.get("dtype") or args[0].dtype))
        return func(*args, **given)


SOFTMAX = (torch.nn.functional.softmax, torch.softmax, torch.Tensor.softmax)


@torch.no_grad()
def see(model: PreTrainedModel, ids: Int[Tensor, " position"]) -> Seen:
    """One pass over one text without padding; a decoder reads what its encoder reads (T5: 3.5)."""
    layout = layout_of(model)
    rows = ids.unsqueeze(0)
    inputs = {"input_ids": rows}
    if layout is TWO_STACKS:
        inputs["decoder_input_ids"] = rows
    try:
        found = model(**inputs, output_hidden_states=True, output_attentions=True)
    except RuntimeError as error:  # not every architecture computes in every precision
        what = f"{type(model).__name__} does not compute this text in {model.dtype}"
        raise SaltusError(f"{what}: {str(error).splitlines()[0][:200]}") from error
    return Seen(
        {name: _items(model, found, field) for name, field in layout.states.items()},
        {name: _items(model, found, field) for name, field in layout.attention.items()},
    )


def layout_of(model: PreTrainedModel) -> Layout:
    """Encoder and decoder side by side, or one stack."""
    return TWO_STACKS if model.config.is_encoder_decoder else ONE_STACK


def vocabulary_of(model: PreTrainedModel) -> int:
    """Rows of the table of tokens, or one line for models of something else than tokens."""
    table: Any = None
    with suppress(NotImplementedError):
        table = model.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        raise SaltusError(f"{type(model).__name__} does not read tokens; allowed: models of text")
    return table.num_embeddings


def window_of(config: PreTrainedConfig) -> int | None:
    """Positions that a text may have; None where they are relative and have no end (T5)."""
    own = config.get_text_config()
    positions = getattr(own, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    if config.model_type in SHIFTED:
        return positions - own.pad_token_id - 1
    return positions


def _items(model: PreTrainedModel, found: Any, field: str) -> tuple[Tensor, ...]:
    held = found.get(field)
    if not held or any(each is None for each in held):
        raise SaltusError(
            f"{type(model).__name__} gives no {field}; allowed: models with attention"
        )
    return tuple(each[0] for each in held)


def _ready(model: PreTrainedModel, loading: Loading) -> PreTrainedModel:
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model.to(loading.device).eval()  # type: ignore[arg-type]
