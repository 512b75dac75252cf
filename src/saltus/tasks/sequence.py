"""Prompt, separator, answer: sequence tasks under next-token cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks.base import Apply, Batch, Planted, Task


class SequenceTask(Task):
    """A task on token sequences `prompt + separator + answer`.

    The loss is next-token cross-entropy on every position, prompt included (2506.13688, section 7
    of our spec). A subclass says how long prompt and answer are and either draws `prompts` and
    solves them or draws whole `sequences`.
    """

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        raise NotImplementedError(type(self).__name__)

    @property
    def separator(self) -> int:
        """The token between prompt and answer."""
        raise NotImplementedError(type(self).__name__)

    @property
    def prompt_length(self) -> int:
        """Tokens before the answer, the separator included."""
        raise NotImplementedError(type(self).__name__)

    @property
    def answer_length(self) -> int:
        """Tokens of the answer."""
        raise NotImplementedError(type(self).__name__)

    def prompts(self, draws: Draws, batch: int) -> Int[Tensor, "*members batch token"]:
        """Fresh prompts, prompt_length - 1 tokens each: the separator is not among them."""
        raise NotImplementedError(type(self).__name__)

    def solve(self, prompt: Int[Tensor, "*batch token"]) -> Int[Tensor, "*batch answer"]:
        """The right answer to a prompt that comes without its separator."""
        raise NotImplementedError(type(self).__name__)

    def sequences(self, draws: Draws, batch: int) -> Int[Tensor, "*members batch token"]:
        """Whole sequences, prompt_length + answer_length tokens each."""
        return self.completed(self.prompts(draws, batch))

    def completed(self, prompt: Int[Tensor, "*batch token"]) -> Int[Tensor, "*batch longer"]:
        """The whole sequence that begins with a prompt."""
        separator = torch.full_like(prompt[..., :1], self.separator)
        return torch.cat([prompt, separator, self.solve(prompt)], dim=-1)

    @property
    def interface(self) -> Interface:
        length = self.prompt_length + self.answer_length
        return Interface(self.vocabulary, length - 1, self.vocabulary)

    def sample(self, draws: Draws, batch: int) -> Batch:
        tokens = self.sequences(draws, batch)
        return {"inputs": tokens[..., :-1], "targets": tokens[..., 1:]}

    def loss(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch"]:
        return token_losses(outputs, batch["targets"]).mean(-1)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss/answer` (nats per answer token) and teacher-forced `accuracy/teacher-forced`."""
        rows = self.output_rows()
        targets = batch["targets"][..., rows]
        answer = token_losses(outputs[..., rows, :], targets)
        right = (outputs[..., rows, :].argmax(-1) == targets).to(outputs.dtype)
        return {
            "loss/answer": answer.mean((-2, -1)),
            "accuracy/teacher-forced": right.mean((-2, -1)),
        }

    def output_rows(self) -> slice:
        return slice(self.prompt_length - 1, self.prompt_length - 1 + self.answer_length)

    def answer(self, batch: Batch) -> Int[Tensor, "*batch answer"]:
        """The right answer tokens."""
        return batch["targets"][..., self.output_rows()]

    def generate(
        self, apply: Apply, batch: Batch, causal: bool = False
    ) -> Int[Tensor, "*batch answer"]:
        """Greedy decoding of the answer after the prompt.

        A causal model's greedy answer is the one fixed point of predicting all answer tokens at
        once from a guess: the first is right after one pass, the first two after two, so
        `answer_length` passes suffice and a few usually do. The guess begins with the right
        answer, which only decides how soon the fixed point is reached. Any other model is decoded
        token by token.
        """
        if not causal:
            tokens = batch["inputs"][..., : self.prompt_length]
            for _ in range(self.answer_length):
                following = apply(tokens)[..., -1, :].argmax(-1, keepdim=True)
                tokens = torch.cat([tokens, following], dim=-1)
            return tokens[..., self.prompt_length :]
        tokens, rows = batch["inputs"], self.output_rows()
        answer = self.answer(batch)
        for _ in range(self.answer_length):
            answer = apply(tokens)[..., rows, :].argmax(-1)
            following = torch.cat([tokens[..., : self.prompt_length], answer[..., :-1]], dim=-1)
            if torch.equal(following, tokens):
                break
            tokens = following
        return answer

    def needed_keys(self, pairs: Iterable[tuple[int, int]]) -> Bool[Tensor, "query key"]:
        """True at the pairs (i, key position): answer i is predicted at output row i."""
        positions, first = self.interface.positions, self.output_rows().start
        needed = torch.zeros(positions, positions, dtype=torch.bool)
        for index, key in pairs:
            needed[first + index, key] = True
        return needed

    def attended_in(self, batch: Batch, layer: int = 0) -> Bool[Tensor, "*batch query key"] | None:
        """The oracle's attention set of each sample, where the keys depend on the sample.

        The same as `attended` for every sample unless the task says more.
        """
        needed = self.attended(layer)
        if needed is None:
            return None
        inputs = batch["inputs"]
        return needed.to(inputs.device).expand(*inputs.shape[:-1], *needed.shape)

    def answer_positions(self, first: int, stop: int) -> tuple[int, ...]:
        """The input positions at which answers first, ..., stop - 1 are predicted."""
        start = self.output_rows().start
        return tuple(range(start + first, start + stop))

    def copy_error(
        self, outputs: Float[Tensor, "*batch position output"], planted: Planted
    ) -> Float[Tensor, "*batch position"]:
        """0 where the likeliest token is the planted one, 1 where it is not."""
        return (outputs.argmax(-1) != int(planted.value)).to(outputs.dtype)


def numbers(vocabulary: int, signs: Iterable[int]) -> Float[Tensor, " vocabulary"]:
    """Each token id as the number it stands for, NaN for the signs among them."""
    values = torch.arange(vocabulary, dtype=torch.float32)
    values[list(signs)] = torch.nan
    return values


def token_losses(
    outputs: Float[Tensor, "*batch position vocabulary"], targets: Int[Tensor, "*batch position"]
) -> Float[Tensor, "*batch position"]:
    """Cross-entropy of every position, in nats."""
    flat = F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
    return flat.view(targets.shape)
