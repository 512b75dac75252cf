"""Languages whose strings are fair symbols and then the answer to a question about them."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.base import Batch
from saltus.tasks.formal.base import BOS, EOS, FIRST, PAD, FormalTask, one_hot
from saltus.tasks.padded import token_mean

SHORTEST = 5  # symbols


class AnsweredTask(FormalTask):
    """BOS, L symbols, one answer token, EOS; L uniform in 5, ..., T - 3, symbols uniform
    (section 2.2 of our spec). The size is L.

    Ids: the symbols, then the answers, which are tokens of their own. No sign announces the answer.
    A subclass names both, and says the answer to one string (`answer_to`, plain Python), to every
    beginning of many (`answers_to`) and how likely each answer is (`answer_law`).
    """

    @property
    def symbol_names(self) -> tuple[str, ...]:
        """What the symbols 0, 1, ... are called."""
        raise NotImplementedError(type(self).__name__)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """What the answers 0, 1, ... are called."""
        raise NotImplementedError(type(self).__name__)

    def answer_to(self, symbols: Sequence[int]) -> int:
        """The answer to one sequence of symbols 0, 1, ..."""
        raise NotImplementedError(type(self).__name__)

    def answers_to(self, symbols: Int[Tensor, "*batch place"]) -> Int[Tensor, "*batch place"]:
        """The answer to the symbols up to each place, that place included."""
        raise NotImplementedError(type(self).__name__)

    def answer_law(self, size: int) -> list[float]:
        """How likely each answer is to `size` symbols that are not known."""
        raise NotImplementedError(type(self).__name__)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.symbol_names, *self.answer_names)

    @property
    def sizes(self) -> range:
        return range(SHORTEST, self.length - 2)

    def tokens_in(self, size: int) -> int:
        return size + 3

    @property
    def first_answer(self) -> int:
        """The id of answer 0."""
        return FIRST + len(self.symbol_names)

    def strings(
        self, draws: Draws, size: Int[Tensor, "*members batch"]
    ) -> Int[Tensor, "*members batch token"]:
        longest = self.sizes[-1]
        symbols = draws.integers(0, len(self.symbol_names), size.shape[-1], longest)
        answer = self.answers_to(symbols).gather(-1, size.unsqueeze(-1) - 1)
        tokens = torch.nn.functional.pad(FIRST + symbols, (1, 2), value=PAD)
        place, end = torch.arange(self.length, device=size.device), size.unsqueeze(-1) + 1
        tokens = torch.where(place == end, self.first_answer + answer, tokens)
        tokens = tokens.masked_fill(place == 0, BOS).masked_fill(place == end + 1, EOS)
        return tokens.masked_fill(place > end + 1, PAD)

    def recognises(self, tokens: Sequence[int]) -> bool:
        size = len(tokens) - 3
        if size not in self.sizes or tokens[0] != BOS or tokens[-1] != EOS:
            return False
        symbols = [token - FIRST for token in tokens[1:-2]]
        if not all(0 <= symbol < len(self.symbol_names) for symbol in symbols):
            return False
        return tokens[-2] == self.first_answer + self.answer_to(symbols)

    def chances(self, prefix: Sequence[int], size: int) -> dict[int, float]:
        read = len(prefix) - 1
        if read < size:
            count = len(self.symbol_names)
            return {FIRST + i: 1 / count for i in range(count)}
        if read == size:
            symbols = [token - FIRST for token in prefix[1:]]
            return {self.first_answer + self.answer_to(symbols): 1.0}
        return {EOS: 1.0} if read == size + 1 else {}

    def entropy(self, size: int) -> float:
        """ln(number of symbols) for each; the answer is known."""
        return size * log(len(self.symbol_names))

    def possible(
        self, inputs: Int[Tensor, "*batch position"]
    ) -> Bool[Tensor, "*batch position vocabulary"]:
        ids = torch.arange(self.vocabulary, device=inputs.device)
        read = torch.arange(inputs.shape[-1], device=inputs.device)
        symbol = (inputs >= FIRST) & (inputs < self.first_answer)
        goes_on = ((inputs == BOS) | symbol) & (read < self.sizes[-1])
        found = goes_on.unsqueeze(-1) & (ids >= FIRST) & (ids < self.first_answer)
        answer = self.first_answer + self.answers_so_far(inputs)
        found = found | one_hot(answer, symbol & (read >= self.sizes[0]), self.vocabulary)
        ends = inputs >= self.first_answer
        return found | one_hot(torch.full_like(inputs, EOS), ends, self.vocabulary)

    def answers_so_far(
        self, inputs: Int[Tensor, "*batch position"]
    ) -> Int[Tensor, "*batch position"]:
        """The answer to the symbols read up to each position; what stands at BOS and behind the
        symbols means nothing."""
        symbols = (inputs - FIRST).clamp(0, len(self.symbol_names) - 1)
        return torch.nn.functional.pad(self.answers_to(symbols[..., 1:]), (1, 0))

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """As every language, and `accuracy/answer`: how often the likeliest answer is the right one
        where the string has its answer."""
        targets = batch["targets"]
        likeliest = outputs[..., self.first_answer :].argmax(-1) + self.first_answer
        right = (likeliest == targets).to(outputs.dtype)
        answered = token_mean(right, targets >= self.first_answer)
        return {**super().metrics(outputs, batch), "accuracy/answer": answered}

    def label_classes(self) -> dict[str, int]:
        return {**super().label_classes(), "y": len(self.answer_names)}

    def labels(self, batch: Batch) -> dict[str, Int[Tensor, "*batch"]]:
        """`size`, counted from the smallest, and `y`, the answer."""
        answer = batch["targets"].gather(-1, batch["size"].unsqueeze(-1)).squeeze(-1)
        return {**super().labels(batch), "y": answer - self.first_answer}

    def probe_targets(self, batch: Batch) -> dict[str, Float[Tensor, "*batch position feature"]]:
        """`answer`: the answer's number if the string ended here."""
        return {"answer": self.answers_so_far(batch["inputs"]).float().unsqueeze(-1)}

    def levels(self) -> dict[str, float]:
        """As every language, and `plateau`: all is known but the answer, of which only how likely
        each is given the size."""
        return {**super().levels(), "plateau": self.level(self._unanswered)}

    def _unanswered(self, size: int) -> float:
        return self.entropy(size) - sum(p * log(p) for p in self.answer_law(size) if p)
