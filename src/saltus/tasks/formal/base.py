"""What formal languages have in common: padded strings, an exact automaton, exact levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum, log

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks.base import Batch, Task
from saltus.tasks.padded import sentence_means, token_mean
from saltus.tasks.sequence import token_losses

PAD, BOS, EOS = 0, 1, 2
SIGNS = ("<pad>", "<bos>", "<eos>")
FIRST = len(SIGNS)  # the id of a language's first own token


class FormalTask(Task):
    """Next-token cross-entropy on strings `BOS ... EOS` of one language.

    No formal language is trained on in arXiv 2010.09697; these are substitutes (section 2.2 of our
    spec). A string has a `size`, uniform in `sizes`, that decides its length and is not told; given
    the size, `chances` is the law of the next token. A batch, after any leading member axes:

    - `inputs` and `targets` [batch, length - 1], the same string one token on, padded with id 0;
    - `real` [batch, length - 1], True where the input is a token of the string;
    - `counted` [batch, length - 1], True where the target is one: loss and metrics are over these;
    - `size` [batch].

    The loss is the mean over the targets of each string, in nats, averaged over strings.
    """

    length: int = Field(default=40, ge=8, description="T, room for a whole string, BOS and EOS too")

    @property
    def names(self) -> tuple[str, ...]:
        """What the language's own tokens, from id 3 on, are called."""
        raise NotImplementedError(type(self).__name__)

    @property
    def sizes(self) -> range:
        """The sizes that strings have, each as likely as the others."""
        raise NotImplementedError(type(self).__name__)

    def tokens_in(self, size: int) -> int:
        """Tokens of a string of some size, BOS and EOS among them."""
        raise NotImplementedError(type(self).__name__)

    def strings(
        self, draws: Draws, size: Int[Tensor, "*members batch"]
    ) -> Int[Tensor, "*members batch token"]:
        """A string of each size, padded to `length` tokens."""
        raise NotImplementedError(type(self).__name__)

    def recognises(self, tokens: Sequence[int]) -> bool:
        """Whether ids, BOS and EOS included and no padding, are a string of the language of an
        allowed size. Plain Python on one string: the definition, to check samples against."""
        raise NotImplementedError(type(self).__name__)

    def chances(self, prefix: Sequence[int], size: int) -> dict[int, float]:
        """The law of the token after a prefix that begins with BOS, where the size is known."""
        raise NotImplementedError(type(self).__name__)

    def entropy(self, size: int) -> float:
        """Of a whole string whose size is known, in nats."""
        raise NotImplementedError(type(self).__name__)

    def possible(
        self, inputs: Int[Tensor, "*batch position"]
    ) -> Bool[Tensor, "*batch position vocabulary"]:
        """Which tokens may follow what has been read up to each position: the support of
        `following`. Nothing follows EOS and padding."""
        raise NotImplementedError(type(self).__name__)

    def following(self, prefix: Sequence[int]) -> dict[int, float]:
        """The exact law of the token after a prefix, the size unknown: the best any model can say.

        Empty after EOS and after what no string begins with. Plain Python, for one prefix.
        """
        weights = {size: self._chance(prefix, size) for size in self.sizes}
        total, law = sum(weights.values()), {}
        for size, weight in weights.items():
            if weight:
                for token, chance in self.chances(prefix, size).items():
                    law[token] = law.get(token, 0.0) + weight / total * chance
        return law

    def _chance(self, prefix: Sequence[int], size: int) -> float:
        if not prefix or prefix[0] != BOS:
            return 0.0
        chance = 1.0
        for place in range(1, len(prefix)):
            chance *= self.chances(prefix[:place], size).get(prefix[place], 0.0)
            if not chance:
                break
        return chance

    def text(self, tokens: Sequence[int]) -> str:
        """What ids spell, for people."""
        names = (*SIGNS, *self.names)
        return " ".join(names[token] for token in tokens)

    @property
    def vocabulary(self) -> int:
        """Number of ids: padding, BOS, EOS and the language's own."""
        return FIRST + len(self.names)

    @property
    def interface(self) -> Interface:
        return Interface(self.vocabulary, self.length - 1, self.vocabulary)

    def sample(self, draws: Draws, batch: int) -> Batch:
        size = draws.integers(self.sizes.start, self.sizes.stop, batch)
        tokens = self.strings(draws, size)
        real = tokens != PAD
        return {
            "inputs": tokens[..., :-1],
            "targets": tokens[..., 1:],
            "real": real[..., :-1],
            "counted": real[..., 1:],
            "size": size,
        }

    def loss(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch"]:
        return sentence_means(token_losses(outputs, batch["targets"]), batch["counted"])

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Over the counted targets of the batch, each alike: `accuracy` of the likeliest token;
        `accuracy/determined`, of the targets that what was read leaves no choice for, NaN where
        the batch has none; `accuracy/possible`, how often the likeliest token may follow at all;
        `loss/token`, the mean loss of a token in nats, whose exponential is the perplexity."""
        counted, written = batch["counted"], outputs.argmax(-1)
        possible = self.possible(batch["inputs"])
        right = (written == batch["targets"]).to(outputs.dtype)
        allowed = possible.gather(-1, written.unsqueeze(-1)).squeeze(-1).to(outputs.dtype)
        determined = counted & (possible.sum(-1) == 1)
        return {
            "accuracy": token_mean(right, counted),
            "accuracy/determined": token_mean(right, determined),
            "accuracy/possible": token_mean(allowed, counted),
            "loss/token": token_mean(token_losses(outputs, batch["targets"]), counted),
        }

    def label_classes(self) -> dict[str, int]:
        return {"size": len(self.sizes)}

    def labels(self, batch: Batch) -> dict[str, Int[Tensor, "*batch"]]:
        """`size`, counted from the smallest."""
        return {"size": batch["size"] - self.sizes.start}

    def levels(self) -> dict[str, float]:
        """`start`: ln(vocabulary), every id alike. `floor`: what `following` costs, the mean over
        sizes of (ln(number of sizes) + entropy of a string of that size) / its targets, since a
        string tells its size."""
        return {"start": log(self.vocabulary), "floor": self.level(self.entropy)}

    def level(self, entropy: Callable[[int], float]) -> float:
        """The loss of a guesser that pays so much for a string of each size, besides its size."""
        costs = ((log(len(self.sizes)) + entropy(n)) / (self.tokens_in(n) - 1) for n in self.sizes)
        return fsum(costs) / len(self.sizes)


def one_hot(
    tokens: Int[Tensor, "*batch"], where: Bool[Tensor, "*batch"], vocabulary: int
) -> Bool[Tensor, "*batch vocabulary"]:
    """True at the token of each place at which `where` holds; False everywhere else."""
    ids = torch.arange(vocabulary, device=tokens.device)
    return (tokens.unsqueeze(-1) == ids) & where.unsqueeze(-1)
