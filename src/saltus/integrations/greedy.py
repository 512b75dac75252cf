"""Greedy continuation with the states that wrote it, for any causal language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Written(NamedTuple):
    """What a model wrote: token i of a prompt is the readout's first choice at state i."""

    tokens: Int[Tensor, "prompt token"]
    states: Float[Tensor, "prompt token width"]


def write(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], new_tokens: int, batch: int = 8
) -> Written:
    """Continue each prompt by the likeliest token, `new_tokens` times, `batch` prompts together.

    A state is the last entry of the model's `hidden_states` at the last position, which in Hugging
    Face's models is what the readout reads: after the final norm, where there is one. A token that
    ends a text ends nothing here: every prompt gets all its tokens and states. Prompts of different
    lengths are padded on the left and masked, each counting its own positions; a model that cannot
    be told positions gets prompts of one length together instead.
    """
    tells = "position_ids" in signature(model.forward).parameters
    tokens: dict[int, Tensor] = {}
    states: dict[int, Tensor] = {}
    for rows in _together(prompts, batch, mixed=tells):
        found = _write(model, [prompts[row] for row in rows], new_tokens)
        tokens |= zip(rows, found.tokens.cpu(), strict=True)
        states |= zip(rows, found.states.cpu(), strict=True)
    order = range(len(prompts))
    return Written(
        torch.stack([tokens[row] for row in order]), torch.stack([states[row] for row in order])
    )


def _together(prompts: Sequence[Sequence[int]], batch: int, mixed: bool) -> Iterator[list[int]]:
    """Rows that are written together: of similar length, so that little is padded."""
    rows: list[int] = []
    for row in sorted(range(len(prompts)), key=lambda row: len(prompts[row])):
        apart = rows and not mixed and len(prompts[row]) != len(prompts[rows[0]])
        if len(rows) == batch or apart:
            yield rows
            rows = []
        rows.append(row)
    yield rows


@torch.no_grad()
def _write(model: PreTrainedModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> Written:
    takes = signature(model.forward).parameters
    tokens, mask = _padded(prompts, model.device)
    length = tokens.shape[1]
    cache: Any = None
    states: list[Tensor] = []
    for _ in range(new_tokens):
        seen = 0 if cache is None else tokens.shape[1] - 1
        extra: dict[str, Any] = {"use_cache": "past_key_values" in takes}
        if "past_key_values" in takes:
            extra["past_key_values"] = cache
        if "position_ids" in takes:
            extra["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)[:, seen:]
        output = model(
            input_ids=tokens[:, seen:],
            attention_mask=mask,
            output_hidden_states=True,
            return_dict=True,
            **extra,
        )
        cache = getattr(output, "past_key_values", None)
        states.append(output.hidden_states[-1][:, -1])
        chosen = output.logits[:, -1].argmax(-1, keepdim=True)
        tokens, mask = torch.cat([tokens, chosen], -1), torch.cat([mask, mask[:, -1:]], -1)
    return Written(tokens[:, length:], torch.stack(states, dim=1))


def _padded(prompts: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor]:
    """Ids with zeros on the left, and a mask of what is a prompt's own; [prompt, position]."""
    longest = max(map(len, prompts))
    tokens = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[longest - len(prompt) :] = torch.tensor(prompt)
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    mask = (torch.arange(longest) >= longest - lengths[:, None]).long()
    return tokens.to(device), mask.to(device)
