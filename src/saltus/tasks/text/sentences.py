"""Sentences: word-level language modelling as in the norm-growth paper, faithful or corrected."""

from __future__ import annotations

from functools import lru_cache
from math import log
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, ValidationError, model_validator
from torch import Tensor

from saltus.errors import FieldProblem, SaltusError, explain
from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks.base import Batch, Task
from saltus.tasks.padded import sentence_means, token_mean
from saltus.tasks.sequence import token_losses
from saltus.tasks.text.source import AnySource, Source
from saltus.tasks.text.tables import Table, Tables, table_on, tables
from saltus.tasks.text.words import UNKNOWN, Words

Part = Literal["training", "validation", "test"]
Sampler = Literal["plain", "epochs", "in-order"]
LossMask = Literal["corrected", "authors"]

# What the released code does, and what is right or usual, as fields of `Sentences`.
PRESETS: dict[str, dict[str, str]] = {
    "authors": {"loss_mask": "authors", "words": "first-appearance", "sampler": "epochs"},
    "corrected": {"loss_mask": "corrected", "words": "frequent", "sampler": "plain"},
}


class Sentences(Task):
    """Next-word cross-entropy on whole sentences, padded to `length` T (arXiv 2010.09697, sections
    2 and 4 of our spec).

    Inputs are words[:-1] and targets words[1:] of T places. There is no sign for the beginning, the
    end or padding: padding has id 0, which is a word's as well. A batch, after any leading member
    axes, all [batch, T - 1]:

    - `inputs` and `targets`;
    - `real`, True where the input is a word of the sentence;
    - `counted`, True where the target is one.

    `loss_mask: corrected` averages over the targets that are `counted`. `authors` is what the
    released code does: it averages over the places that are `real`, so every sentence also learns
    to end with the padding's id (section 9, item 15 of our spec). Both are nats, the mean over the
    words of a sentence, then over sentences.

    `sampler: plain` draws sentences with replacement; `epochs` shuffles all of them anew for each
    epoch and drops what does not fill a batch, and the last full batch where nothing would be left
    over (section 4 of our spec); `in-order` gives the first sentences, the same at every step: with
    as many samples as there are sentences, an evaluation on all of them.
    """

    kind: Literal["sentences"] = "sentences"
    source: AnySource = Field(
        default_factory=lambda: Source.parse(None),
        description="stdlib-text, kjv, wikipedia-extract, a file or a folder",
    )
    words: Words = Field(default="frequent", description="which words have ids, in which order")
    vocabulary: int = Field(
        default=1000, ge=2, description="ids; as many as needed for first-appearance"
    )
    length: int = Field(default=40, ge=3, description="T: sentences have T - 1 words at most")
    shortest: int | None = Field(
        default=None, ge=2, description="words of the shortest sentence: 4 in prose, else 2"
    )
    loss_mask: LossMask = "corrected"
    part: Part = "training"
    sampler: Sampler = "plain"

    @model_validator(mode="before")
    @classmethod
    def _with_vocabulary(cls, data: Any) -> Any:
        """Every word of first-appearance has an id: how many there are is written down."""
        if not isinstance(data, dict) or data.get("words") != "first-appearance":
            return data
        if data.get("vocabulary") is not None:
            return data
        try:
            plain = cls.model_validate({**data, "vocabulary": 2, "words": "frequent"})
        except ValidationError as error:
            raise explain(error, cls) from None
        found = tables(plain.source, "first-appearance", 0, plain.length, plain.fewest)
        return {**data, "source": plain.source, "vocabulary": max(found.ids.values()) + 1}

    @model_validator(mode="after")
    def _sentences_are_there(self) -> Sentences:
        try:
            found = self.tables
        except SaltusError:  # a recorded source may be elsewhere: the first sample will say so
            return self
        if self.part not in found.parts:
            allowed = ", ".join(found.parts)
            text = f"{self.part} is no part of {self.source.path}; allowed: {allowed}"
            raise FieldProblem("part", text)
        needed = max(found.ids.values()) + 1
        if self.words == "first-appearance" and self.vocabulary != needed:
            text = f"{self.vocabulary} is not the {needed} words of {self.source.path}"
            raise FieldProblem("vocabulary", f"{text}; allowed: {needed}, or none")
        return self

    @property
    def fewest(self) -> int:
        """Words of the shortest sentence that is kept."""
        return self.shortest or (4 if self.source.format == "prose" else 2)

    @property
    def tables(self) -> Tables:
        """All parts as ids."""
        return tables(self.source, self.words, self.vocabulary, self.length, self.fewest)

    @property
    def interface(self) -> Interface:
        return Interface(self.vocabulary, self.length - 1, self.vocabulary)

    @property
    def validation(self) -> Task:
        """The held-out sentences; of them all come in turn only where that is asked for."""
        sampler = "in-order" if self.sampler == "in-order" else "plain"
        return self.model_copy(update={"part": "validation", "sampler": sampler})

    def sample(self, draws: Draws, batch: int) -> Batch:
        kept = (self.words, self.vocabulary, self.length, self.fewest)
        table = table_on(str(draws.device), self.part, self.source, *kept)
        rows = self._rows(draws, batch, len(table.words))
        tokens, words = table.tokens[rows], table.words[rows].unsqueeze(-1)
        real = torch.arange(self.length, device=draws.device) < words
        return {
            "inputs": tokens[..., :-1],
            "targets": tokens[..., 1:],
            "real": real[..., :-1],
            "counted": real[..., 1:],
        }

    def _rows(self, draws: Draws, batch: int, sentences: int) -> Int[Tensor, "*members batch"]:
        if self.sampler == "plain":
            return draws.integers(0, sentences, batch)
        if self.sampler == "in-order":
            rows = torch.arange(batch, device=draws.device) % sentences
            return rows.expand(len(draws.seeds), batch) if draws.stacked else rows
        epoch, place = divmod(draws.step, self.epoch_steps(batch))
        rows = [
            _order(seed, draws.stream, epoch, sentences, draws.device, draws.dtype)
            for seed in draws.seeds
        ]
        found = torch.stack([row[place * batch : (place + 1) * batch] for row in rows])
        return found if draws.stacked else found[0]

    def epoch_steps(self, batch: int) -> int:
        """Batches of an epoch, (sentences - 1) // batch. Raises SaltusError where there is none."""
        sentences = len(self.tables.parts[self.part].words)
        if batch >= sentences:
            raise SaltusError(
                f"task.sampler: epochs of batches of {batch} are not allowed with {sentences} "
                f"sentences: batches of at most {sentences - 1}"
            )
        return (sentences - 1) // batch

    def check_examples(self, examples: int) -> None:
        """Raise ValueError where not one batch of an epoch can be drawn."""
        if self.sampler == "epochs":
            try:
                self.epoch_steps(examples)
            except SaltusError as error:
                raise ValueError(str(error)) from None

    def loss(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch"]:
        return sentence_means(token_losses(outputs, batch["targets"]), self._where(batch))

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Both ways side by side, whatever is trained on:

        - `accuracy` of the likeliest next word over all words of the batch, `accuracy/authors` with
          the end that the released code adds;
        - `loss/corrected` and `loss/authors`, in nats;
        - `perplexity`, exp of the mean loss of a word, and `perplexity/authors`, the mean over
          sentences of 2^(the sentence's loss in nats), which is no perplexity (M19 of our spec);
          neither above the largest float.
        """
        losses = token_losses(outputs, batch["targets"])
        right = (outputs.argmax(-1) == batch["targets"]).to(outputs.dtype)
        corrected = sentence_means(losses, batch["counted"])
        authors = sentence_means(losses, batch["real"])
        return {
            "accuracy": token_mean(right, batch["counted"]),
            "accuracy/authors": token_mean(right, batch["real"]),
            "loss/corrected": corrected.mean(-1),
            "loss/authors": authors.mean(-1),
            "perplexity": _finite(token_mean(losses, batch["counted"]).exp()),
            "perplexity/authors": _finite(_finite(authors.exp2()).mean(-1)),
        }

    def levels(self) -> dict[str, float]:
        """`start`: ln(vocabulary), every id alike. `unigram`: the entropy of a next word of the
        validation part. `constant`: the validation loss, as trained on, of a model that says how
        frequent each target is in training, each counted once more than it occurs."""
        table, seen = self.tables.parts["validation"], self.tables.parts["training"]
        counts = self._targets(table, "corrected").bincount().double()
        entropy = float(torch.special.entr(counts / counts.sum()).sum())
        frequent = self._targets(seen, self.loss_mask).bincount(minlength=self.vocabulary) + 1.0
        says = (frequent / frequent.sum()).double().log()
        targets, counted = table.tokens[:, 1:], _masks(table)[self.loss_mask]
        constant = float(sentence_means(-says[targets], counted).mean())
        return {"start": log(self.vocabulary), "unigram": entropy, "constant": constant}

    def facts(self) -> dict[str, dict[str, float]]:
        """Of each part, how many sentences it has, how many were too short or too long, the mean
        number of words and the largest, and the share of words that are `<unk>`."""
        unknown, found = self.tables.ids[UNKNOWN], {}
        for name, (tokens, words) in self.tables.parts.items():
            real = torch.arange(self.length) < words.unsqueeze(-1)
            found[name] = {
                "sentences": len(words),
                "left out": self.tables.left_out.get(name, 0),
                "mean words": float(words.double().mean()),
                "most words": int(words.max()),
                "unknown": float((tokens[real] == unknown).double().mean()),
            }
        return found

    def text(self, tokens: Int[Tensor, " token"]) -> str:
        """What ids spell; of those that no word has, their number."""
        names = {index: word for word, index in self.tables.ids.items()}
        return " ".join(names.get(token, f"<{token}>") for token in tokens.tolist())

    def _where(self, batch: Batch) -> Bool[Tensor, "*batch position"]:
        return batch["real" if self.loss_mask == "authors" else "counted"]

    def _targets(self, table: Table, mask: LossMask) -> Int[Tensor, " target"]:
        return table.tokens[:, 1:][_masks(table)[mask]]


def _masks(table: Table) -> dict[LossMask, Bool[Tensor, "sentence position"]]:
    """Which targets of a table each loss averages over."""
    real = torch.arange(table.tokens.shape[-1]) < table.words.unsqueeze(-1)
    return {"corrected": real[:, 1:], "authors": real[:, :-1]}


def _finite(values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    return values.clamp(max=torch.finfo(values.dtype).max)


@lru_cache(maxsize=512)
def _order(
    seed: int, stream: str, epoch: int, sentences: int, device: torch.device, dtype: torch.dtype
) -> Int[Tensor, " sentence"]:
    """The order of one seed's epoch."""
    return Draws(seed, f"{stream}/order", epoch, device, dtype).permutation(sentences)
