"""Planting: a token written into prompts, to see whether answers copy from that place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from saltus.errors import SaltusError
from saltus.tasks.base import Batch, Planted
from saltus.tasks.sequence import SequenceTask


def plant(
    task: SequenceTask,
    batch: Batch,
    value: float,
    copied: Int[Tensor, "*batch answer"],
    allowed: range,
) -> Planted:
    """The token `value` in every second place that answers may copy, and the answers to that.

    `copied` holds the prompt place that each answer may be a copy of, -1 for none; `where` marks
    the answers whose place was written. Even samples take places 0, 2, ..., odd ones 1, 3, ..., so
    that copying by place is told from writing the token out of habit or because it is about. The
    answers in the batch are the right ones to the new prompt: a model that goes beyond copying
    gives the value back only where the rule says so.

    Raises SaltusError for a value that is none of the tokens `allowed`.
    """
    token = allowed_token(task, value, allowed)
    prompt = batch["inputs"][..., : task.prompt_length - 1]
    samples, length = prompt.shape[-2:]
    places, sample = (torch.arange(n, device=prompt.device) for n in (length, samples))
    turn = (places + sample.unsqueeze(-1)) % 2 == 0
    # A column for "no place" stands in front and is taken away again.
    written = turn & F.one_hot(copied + 1, length + 1)[..., 1:].sum(-2).bool()
    tokens = task.completed(torch.where(written, token, prompt))
    where = torch.zeros_like(tokens[..., :-1], dtype=torch.bool)
    given_back = written.gather(-1, copied.clamp_min(0)) & (copied >= 0)
    where[..., task.output_rows()] = given_back
    changed = {**batch, "inputs": tokens[..., :-1], "targets": tokens[..., 1:]}
    return Planted(changed, where, float(value))


def allowed_token(task: SequenceTask, value: float, allowed: range) -> int:
    """The value as a token id. Raises SaltusError where it is none of the tokens `allowed`."""
    if value not in allowed:
        raise SaltusError(
            f"value: {value:g} is no token that task {task.kind} copies; allowed: whole numbers "
            f"{allowed[0]} to {allowed[-1]}"
        )
    return int(value)


def in_order(batch: Batch, length: int) -> Int[Tensor, "*batch place"]:
    """The places 0 .. length - 1 in every sample: answer i may be a copy of x_i."""
    inputs = batch["inputs"]
    return torch.arange(length, device=inputs.device).expand(*inputs.shape[:-1], length)
