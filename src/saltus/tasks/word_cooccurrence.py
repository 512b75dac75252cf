"""Word co-occurrence: do both target words stand in the sentence (2410.09605)?"""

from __future__ import annotations

from math import log
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.models.base import Interface
from saltus.models.whole_vectors import pad_samples, whole_samples
from saltus.random import Draws
from saltus.tasks.base import Batch, Task

FIRST, SECOND, COMMON = 0, 1, 2  # the paper's mu_1, mu_2, mu_3; every further token is random
CLASSES = ("both", "first", "second", "neither")  # I1 .. I4: which targets a sample holds
TRAINING = "data"  # the stream that training sets are drawn from


class WordCooccurrence(Task):
    """y = +1 where both targets stand among L tokens, -1 otherwise (section 2 of our spec).

    Every sample holds the common token 2 at a random position. With probability 1/2 it holds both
    targets, tokens 0 and 1, with 1/6 each only the first, only the second, neither, at most once
    and at random positions. Every remaining position holds a random token, 3 .. vocabulary - 1
    (Definition 2.1). A batch is `inputs` [sample, position], `targets` y = +-1 in the dtype of the
    draws, and `classes` 0 .. 3 in the order of `CLASSES`.

    The stream `data` holds training sets, which follow `counts` and `tokens`: `exact` is n/2, n/6,
    n/6, n/6 samples of the classes in this order; `unique` uses every random token once in the
    whole set (Assumption 2.3). Every other stream holds fresh samples of Definition 2.1, with the
    random tokens of training or, with `evaluation: unseen`, with those of `unseen` further rows of
    the vocabulary, which no training set holds.

    A model's F(X) is the sum of its first output over positions; the loss is log(1 + exp(-y F)).
    The defaults are the paper's experiment (section 9).
    """

    kind: Literal["word-cooccurrence"] = "word-cooccurrence"
    length: int = Field(default=5, ge=4, description="L, tokens per sample")
    vocabulary: int = Field(default=64, ge=4, description="d, the tokens that training may draw")
    tokens: Literal["unique", "iid"] = "iid"
    counts: Literal["exact", "sampled"] = "exact"
    unseen: int = Field(default=0, ge=0, description="further tokens that training never draws")
    evaluation: Literal["seen", "unseen"] = "seen"

    @model_validator(mode="after")
    def _unseen_tokens_exist(self) -> WordCooccurrence:
        if self.evaluation == "unseen" and not self.unseen:
            raise ValueError("evaluation unseen needs unseen tokens: allowed: unseen >= 1")
        return self

    @staticmethod
    def exact_vocabulary(examples: int, length: int) -> int:
        """3 + the random-token slots of an exact training set: what `unique` needs at least."""
        both, single, neither = examples // 2, examples // 3, examples // 6
        return 3 + both * (length - 3) + single * (length - 2) + neither * (length - 1)

    @property
    def interface(self) -> Interface:
        return Interface(self.vocabulary + self.unseen, self.length, 1)

    @property
    def class_names(self) -> tuple[str, ...]:
        return CLASSES

    def check_examples(self, examples: int) -> None:
        """Raise ValueError where no training set of this size can be drawn."""
        if self.counts == "exact" and examples % 6:
            raise ValueError(f"{examples} samples in exact counts: allowed: multiples of 6")
        if self.tokens == "iid":
            return
        needed = self.exact_vocabulary(examples, self.length)
        if self.counts == "sampled":
            needed = 3 + examples * (self.length - 1)  # all of them could hold no target
        if self.vocabulary < needed:
            raise ValueError(
                f"{examples} samples of {self.length} unique tokens need a vocabulary of {needed}, "
                f"not {self.vocabulary}"
            )

    def sample(self, draws: Draws, batch: int) -> Batch:
        """A training set in the stream `data`, fresh samples in every other."""
        if draws.stream == TRAINING:
            return self.training_set(draws, batch)
        return self.fresh(draws, batch, unseen=self.evaluation == "unseen")

    def training_set(self, draws: Draws, examples: int) -> Batch:
        """Samples as `counts` and `tokens` ask for."""
        self.check_examples(examples)
        classes = drawn_classes(draws, examples)
        if self.counts == "exact":
            sixths = torch.arange(6, device=draws.device).repeat_interleave(examples // 6)
            classes = sixths.sub(2).clamp(0).expand_as(classes)
        sentences, slots = self._signals(draws, classes)
        if self.tokens == "unique":
            ids = 3 + draws.permutation(self.vocabulary - 3)
            # The k-th slot of the whole set takes the k-th id.
            order = (slots.flatten(-2).long().cumsum(-1) - 1).clamp(0)
            random = ids.gather(-1, order).view(sentences.shape)
        else:
            random = draws.integers(3, self.vocabulary, examples, self.length)
        return _batch(torch.where(slots, random, sentences), classes, draws.dtype)

    def fresh(self, draws: Draws, batch: int, unseen: bool = False) -> Batch:
        """Independent samples of Definition 2.1, with seen or unseen random tokens."""
        classes = drawn_classes(draws, batch)
        sentences, slots = self._signals(draws, classes)
        low = self.vocabulary if unseen else 3
        high = self.vocabulary + self.unseen if unseen else self.vocabulary
        random = draws.integers(low, high, batch, self.length)
        return _batch(torch.where(slots, random, sentences), classes, draws.dtype)

    def _signals(
        self, draws: Draws, classes: Int[Tensor, "*member sample"]
    ) -> tuple[Int[Tensor, "*member sample position"], Tensor]:
        """Sentences with targets and common token in place, and where random tokens belong."""
        place = draws.permutation(self.length, classes.shape[-1])
        sentences = torch.full_like(place, -1).scatter(-1, place[..., :1], COMMON)
        for target, index in ((FIRST, 1), (SECOND, 2)):
            held = ((classes == 0) | (classes == target + 1)).unsqueeze(-1)
            value = torch.where(held, target, -1)
            sentences = sentences.scatter(-1, place[..., index : index + 1], value)
        return sentences, sentences < 0

    def loss(
        self, outputs: Float[Tensor, "*batch position output"], batch: Batch
    ) -> Float[Tensor, "*batch"]:
        """log(1 + exp(-y F)) in nats."""
        margins = margin(outputs, batch)
        samples = margins.shape[-1]
        padded = pad_samples(margins, -1, whole_samples(samples, 1, margins.dtype))
        # Above the threshold softplus(x) is taken as x; the usual 20 is too low for float64.
        return F.softplus(-padded, threshold=40.0)[..., :samples]

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss`, `accuracy` (fraction with y F > 0), and `loss/<class>`, 0 where it is absent."""
        losses = self.loss(outputs, batch)
        right = (margin(outputs, batch) > 0).to(losses.dtype)
        results = {"loss": losses.mean(-1), "accuracy": right.mean(-1)}
        for index, name in enumerate(CLASSES):
            member = (batch["classes"] == index).to(losses.dtype)
            results[f"loss/{name}"] = (losses * member).sum(-1) / member.sum(-1).clamp(min=1)
        return results

    def levels(self) -> dict[str, float]:
        """`chance` = ln 2, the loss where F = 0."""
        return {"chance": log(2)}


def margin(
    outputs: Float[Tensor, "*batch position output"], batch: Batch
) -> Float[Tensor, "*batch"]:
    """y F(X), where F sums the first output over the positions."""
    return batch["targets"] * outputs[..., 0].sum(-1)


def drawn_classes(draws: Draws, batch: int) -> Int[Tensor, "*member sample"]:
    """Classes 0 .. 3 with probabilities 1/2, 1/6, 1/6, 1/6."""
    return draws.integers(0, 6, batch).sub(2).clamp(0)


def _batch(sentences: Tensor, classes: Tensor, dtype: torch.dtype) -> Batch:
    targets = torch.where(classes == 0, 1.0, -1.0).to(dtype)
    return {"inputs": sentences, "targets": targets, "classes": classes}
