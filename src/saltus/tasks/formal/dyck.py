"""Dyck languages: balanced brackets of k kinds."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.base import Batch
from saltus.tasks.formal.base import BOS, EOS, FIRST, PAD, FormalTask, one_hot
from saltus.tasks.padded import token_mean

PAIRS = ("()", "[]", "{}", "<>")  # what people call the first kinds


class Dyck(FormalTask):
    """BOS, 2 m balanced brackets, EOS; m uniform in 2, ..., floor((T - 3) / 2).

    Built from left to right (section 2.2 of our spec): forced to open at depth 0, forced to close
    where the depth equals what is left, else a fair coin. An opening bracket is of any of k `kinds`
    alike; a closing one is of the kind it closes. With one kind this is Dyck-1. The size is m.
    Ids: k opening brackets, then their k closing ones.
    """

    kind: Literal["dyck"] = "dyck"
    kinds: int = Field(default=1, ge=1, le=100, description="k, kinds of brackets")

    @property
    def names(self) -> tuple[str, ...]:
        named = [PAIRS[i] if i < len(PAIRS) else None for i in range(self.kinds)]
        opening = tuple(pair[0] if pair else f"open-{i}" for i, pair in enumerate(named))
        return opening + tuple(pair[1] if pair else f"close-{i}" for i, pair in enumerate(named))

    @property
    def sizes(self) -> range:
        return range(2, (self.length - 3) // 2 + 1)

    def tokens_in(self, size: int) -> int:
        return 2 * size + 2

    def strings(
        self, draws: Draws, size: Int[Tensor, "*members batch"]
    ) -> Int[Tensor, "*members batch token"]:
        longest, batch = 2 * self.sizes[-1], size.shape[-1]
        heads = draws.integers(0, 2, batch, longest).bool()
        kinds = draws.integers(0, self.kinds, batch, longest)
        depth, left, opens = torch.zeros_like(size), 2 * size, []
        for place in range(longest):
            open_ = ((depth == 0) | heads[..., place]) & (depth < left)
            opens.append(open_)
            depth = depth + torch.where(open_, 1, -1) * (left > 0)
            left = left - (left > 0).long()
        opening = torch.stack(opens, -1)
        if self.kinds > 1:  # a closing bracket is of the kind it closes
            place = torch.arange(longest, device=size.device)
            closing = ~opening & (place < 2 * size.unsqueeze(-1))
            depths = opening.long().cumsum(-1) - closing.long().cumsum(-1)
            partner = _last_opening(opening, depths, depths + 1)
            kinds = torch.where(opening, kinds, kinds.gather(-1, partner))
        brackets = FIRST + kinds + torch.where(opening, 0, self.kinds)
        tokens = torch.nn.functional.pad(brackets, (1, self.length - longest - 1), value=PAD)
        place, end = torch.arange(self.length, device=size.device), 2 * size.unsqueeze(-1) + 1
        tokens = tokens.masked_fill(place == 0, BOS).masked_fill(place == end, EOS)
        return tokens.masked_fill(place > end, PAD)

    def recognises(self, tokens: Sequence[int]) -> bool:
        brackets, stack = list(tokens[1:-1]), []
        if len(tokens) < 2 or tokens[0] != BOS or tokens[-1] != EOS:
            return False
        for token in brackets:
            which = token - FIRST
            if not 0 <= which < 2 * self.kinds:
                return False
            if which < self.kinds:
                stack.append(which)
            elif not stack or stack.pop() != which - self.kinds:
                return False
        return not stack and len(brackets) // 2 in self.sizes

    def chances(self, prefix: Sequence[int], size: int) -> dict[int, float]:
        if prefix[-1] == EOS:
            return {}
        stack, left = [], 2 * size - (len(prefix) - 1)
        for token in prefix[1:]:
            if token - FIRST < self.kinds:
                stack.append(token - FIRST)
            else:
                stack.pop()
        if not left:
            return {EOS: 1.0}
        opening = 1.0 if not stack else 0.0 if len(stack) == left else 0.5
        law = {FIRST + i: opening / self.kinds for i in range(self.kinds)} if opening else {}
        if opening < 1:
            law[FIRST + self.kinds + stack[-1]] = 1 - opening
        return law

    def entropy(self, size: int) -> float:
        """ln 2 for each fair coin, whose expected number follows the law of the depth from place to
        place, and ln(kinds) for each pair."""
        at, coins = {0: 1.0}, 0.0  # how likely each depth is
        for left in range(2 * size, 0, -1):
            after: dict[int, float] = {}
            for depth, chance in at.items():
                up = 1.0 if depth == 0 else 0.0 if depth == left else 0.5
                coins += chance * (up == 0.5)
                for to, share in ((depth + 1, up), (depth - 1, 1 - up)):
                    if share:
                        after[to] = after.get(to, 0.0) + chance * share
            at = after
        return coins * log(2) + size * log(self.kinds)

    def possible(
        self, inputs: Int[Tensor, "*batch position"]
    ) -> Bool[Tensor, "*batch position vocabulary"]:
        opening, depth = self._opening(inputs), self._depth(inputs)
        read = torch.arange(inputs.shape[-1], device=inputs.device)  # brackets, where inside
        inside = (inputs == BOS) | (inputs >= FIRST)
        may_open = (inside & (depth < 2 * self.sizes[-1] - read)).unsqueeze(-1)
        top = inputs.gather(-1, _last_opening(opening, depth, depth)) + self.kinds
        ends = inside & (depth == 0) & (read >= 2 * self.sizes[0])
        ids = torch.arange(self.vocabulary, device=inputs.device)
        found = may_open & (ids >= FIRST) & (ids < FIRST + self.kinds)
        found = found | one_hot(top, inside & (depth > 0), self.vocabulary)
        return found | one_hot(torch.full_like(inputs, EOS), ends, self.vocabulary)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """As every language, and with several kinds `accuracy/closing`: of the targets that close,
        how often the likeliest closing bracket is the right one."""
        found = super().metrics(outputs, batch)
        if self.kinds > 1:
            first, targets = FIRST + self.kinds, batch["targets"]
            likeliest = outputs[..., first:].argmax(-1) + first
            right = (likeliest == targets).to(outputs.dtype)
            found["accuracy/closing"] = token_mean(right, targets >= first)
        return found

    def probe_targets(self, batch: Batch) -> dict[str, Float[Tensor, "*batch position feature"]]:
        """`balance`: the depth, opening less closing brackets so far."""
        return {"balance": self._depth(batch["inputs"]).float().unsqueeze(-1)}

    def _opening(self, inputs: Int[Tensor, "*batch"]) -> Bool[Tensor, "*batch"]:
        return (inputs >= FIRST) & (inputs < FIRST + self.kinds)

    def _depth(self, inputs: Int[Tensor, "*batch position"]) -> Int[Tensor, "*batch position"]:
        opening = self._opening(inputs)
        closing = inputs >= FIRST + self.kinds
        return opening.long().cumsum(-1) - closing.long().cumsum(-1)


def _last_opening(
    opening: Bool[Tensor, "*batch place"],
    depths: Int[Tensor, "*batch place"],
    wanted: Int[Tensor, "*batch place"],
) -> Int[Tensor, "*batch place"]:
    """Up to each place, the last opening bracket that led to the wanted depth; 0 where none did.

    With `wanted` the depth itself that is the innermost bracket still open; at a closing bracket,
    with one more, the bracket it closes.
    """
    index = torch.arange(opening.shape[-1], device=opening.device)
    fits = (wanted.unsqueeze(-1) == depths.unsqueeze(-2)) & opening.unsqueeze(-2)
    fits = fits & (index <= index.unsqueeze(-1))
    return torch.where(fits, index, 0).amax(-1)
