"""Collapse and repetition in any causal language model, over a list of its checkpoints.

The measures of the loss-plateau paper on language models (2506.13688, section 7.4 of our spec):
each checkpoint continues each prompt greedily, and the states that wrote the tokens are compared
with one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.hidden_cosine import pair_cosine
from saltus.integrations.greedy import Written, write
from saltus.integrations.pretrained import Loading, encode, load
from saltus.integrations.prompts import Prompts, RandomPrompts
from saltus.trajectories.steps import STEP, step_of
from saltus.transitions.statistics.intervals import Interval, mean_interval

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SIZES = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


@dataclass(frozen=True)
class Measured:
    """One checkpoint. The intervals are over PROMPTS: a checkpoint is one training run, so they
    say nothing of what another seed would show."""

    checkpoint: str
    step: int | None
    architecture: str
    cosines: ndarray  # [prompts] COS of each
    repetitions: ndarray  # [prompts] rho of each
    entropies: ndarray  # [prompts] nats
    written: ndarray  # [prompts, new_tokens] token ids
    ended: int  # prompts in which a token that ends a text was written before the last one
    seconds: float

    @property
    def cosine(self) -> Interval:
        """COS: mean over prompts and over pairs i > j of cos(h_i, h_j)."""
        return mean_interval(self.cosines)

    @property
    def repetition(self) -> Interval:
        """rho: the share of neighbouring written tokens that are equal."""
        return mean_interval(self.repetitions)

    @property
    def entropy(self) -> Interval:
        """Entropy of the histogram of a prompt's written tokens, nats; 0 if all are equal."""
        return mean_interval(self.entropies)


@dataclass(frozen=True)
class Unmeasured:
    """A checkpoint that could not be measured, and why in one line."""

    checkpoint: str
    step: int | None
    reason: str


def trajectory(
    checkpoints: Sequence[str],
    prompts: Prompts,
    new_tokens: int = 8,
    *,
    batch: int = 8,
    loading: Loading = Loading(),  # noqa: B008 - frozen
    steps_from: str = STEP,
) -> Iterator[Measured | Unmeasured]:
    """COS, rho and entropy of each checkpoint, as they are found, one model in memory at a time.

    A checkpoint is a folder, or NAME or NAME@REVISION on the hub. With steps in all their names
    (the last match of `steps_from`, whose group is the number) they are taken in rising order,
    otherwise as given. All must have the first one's architecture. What is wrong with one of them
    is its `Unmeasured`, and the others go on; SaltusError is for what concerns them all.

    `new_tokens` 8 gives the paper's 28 pairs of states and 7 of tokens. States, see `greedy.write`;
    cosines are taken in float32, or in float64 for models in float64.
    """
    if new_tokens < 2:
        raise SaltusError(f"new_tokens: {new_tokens} is not allowed: 2 or more, to have a pair")
    if batch < 1:
        raise SaltusError(f"batch: {batch} is not allowed: 1 or more")
    _check_prompts(prompts)
    steps = [step_of(checkpoint, steps_from) for checkpoint in checkpoints]
    listed = list(zip(checkpoints, steps, strict=True))
    if None not in steps:
        listed.sort(key=lambda each: each[1] or 0)
    return _measured(listed, prompts, new_tokens, batch, loading)


def state_cosines(states: Float[Tensor, "prompt token width"]) -> Float[Tensor, " prompt"]:
    """COS of each prompt over all pairs of its states, in float32 or better."""
    return pair_cosine(states if states.dtype == torch.float64 else states.float())


def repetitions(tokens: Int[Tensor, "prompt token"]) -> Float[Tensor, " prompt"]:
    """rho of each prompt."""
    return (tokens[:, 1:] == tokens[:, :-1]).double().mean(-1)


def token_entropies(tokens: Int[Tensor, "prompt token"]) -> Float[Tensor, " prompt"]:
    """sum_v p_v log(1 / p_v) of each prompt's token histogram p, nats."""
    shares = (tokens[:, :, None] == tokens[:, None, :]).double().mean(-1)
    return shares.log().mean(-1).abs()  # -0.0 where all tokens are equal


def _measured(
    listed: Sequence[tuple[str, int | None]],
    prompts: Prompts,
    new_tokens: int,
    batch: int,
    loading: Loading,
) -> Iterator[Measured | Unmeasured]:
    first: dict[str, Any] | None = None
    for checkpoint, step in listed:
        began, model = perf_counter(), None
        try:
            model = load(checkpoint, loading)
            architecture, sizes = type(model).__name__, _sizes(model)
            _check_same(sizes, first)
            ids = _ids(model, checkpoint, prompts, new_tokens, loading)
            found = write(model, ids, new_tokens, batch)
            ended = _ended(model, found)
            _check_finite(found)
        except SaltusError as error:
            yield Unmeasured(checkpoint, step, str(error))
            continue
        finally:
            if model is not None:  # its weights go now, whatever still refers to the module
                model.to_empty(device="meta")
        first = first or sizes
        yield Measured(
            checkpoint,
            step,
            architecture,
            cosines=state_cosines(found.states).double().numpy(),
            repetitions=repetitions(found.tokens).numpy(),
            entropies=token_entropies(found.tokens).numpy(),
            written=found.tokens.numpy(),
            ended=ended,
            seconds=perf_counter() - began,
        )


def _ids(
    model: PreTrainedModel, checkpoint: str, prompts: Prompts, new_tokens: int, loading: Loading
) -> Sequence[Sequence[int]]:
    """The prompts in this model's tokens, and room for what it will write."""
    vocabulary = len(cast(Tensor, model.get_input_embeddings().weight))
    if isinstance(prompts, RandomPrompts):
        ids: Sequence[Any] = prompts.ids(vocabulary)
    elif isinstance(prompts[0], str):
        ids = encode(checkpoint, [str(each) for each in prompts], loading)
    else:
        ids = prompts
    for index, prompt in enumerate(ids):
        if not prompt:
            raise SaltusError(f"prompt {index}: its tokenizer makes no tokens of it")
        if not 0 <= min(prompt) <= max(prompt) < vocabulary:
            wrong = next(each for each in prompt if not 0 <= each < vocabulary)
            raise SaltusError(
                f"prompt {index}: token {wrong} is not allowed: 0 to {vocabulary - 1}"
            )
    longest = max(map(len, ids))
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    needed = longest + new_tokens - 1  # the last token is written, not read
    if positions and needed > positions:
        raise SaltusError(
            f"a prompt of {longest} tokens and {new_tokens} new ones need {needed} positions; "
            f"allowed: {positions}"
        )
    return ids


def _sizes(model: PreTrainedModel) -> dict[str, Any]:
    config = model.config.get_text_config()
    return {name: getattr(config, name, None) for name in SIZES}


def _check_same(sizes: dict[str, Any], first: dict[str, Any] | None) -> None:
    for name, value in (first or {}).items():
        if sizes[name] != value:
            raise SaltusError(
                f"another architecture than the first checkpoint: {name} is {sizes[name]}; "
                f"allowed: {value}"
            )


def _check_prompts(prompts: Prompts) -> None:
    if isinstance(prompts, RandomPrompts):
        if min(prompts.count, prompts.length) < 1:
            raise SaltusError("random prompts: count and length must be 1 or more")
    elif not prompts:
        raise SaltusError("prompts: none given; allowed: 1 or more")


def _check_finite(found: Written) -> None:
    if not found.states.isfinite().all():
        raise SaltusError("its states are not finite (NaN or infinity): a diverged model?")


def _ended(model: PreTrainedModel, found: Written) -> int:
    """Prompts in which the model wrote the end of a text and was made to go on."""
    ends = model.generation_config.eos_token_id if model.generation_config else None
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    stopped = torch.isin(found.tokens[:, :-1], torch.tensor(ends, dtype=torch.long))
    return int(stopped.any(-1).sum())
