"""Windows: stretches of a corpus that begin anywhere, what both text tasks train on."""

from __future__ import annotations

from functools import lru_cache
from math import log
from typing import Literal

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.errors import SaltusError
from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks.base import Task
from saltus.tasks.text.corpus import AnyCorpus, Corpus
from saltus.tasks.text.tokens import BYTES, text_of, tokens_of

Part = Literal["training", "validation"]


class TextTask(Task):
    """Language modelling on windows of `length` tokens of a local corpus.

    Byte-pair tokens are learned from the training part, the first 9 characters in 10; samples
    for evaluation come from the rest (`validation`). The corpus and all sizes are our choice: what
    2310.12956 trained language models on is not established (section 3.5 of our spec).
    """

    corpus: AnyCorpus = Field(
        default_factory=lambda: Corpus.parse(None),
        description="a text file, or {path, sha256}; Python's own help if not given",
    )
    vocabulary: int = Field(default=512, ge=BYTES + 1, description="ids: the mask, bytes, merges")
    length: int = Field(default=64, ge=2, description="positions of the model's input")
    part: Part = Field(default="training", description="which part of the corpus is trained on")

    @model_validator(mode="after")
    def _corpus_fills_a_window(self) -> TextTask:
        try:
            text = self.corpus.part("validation")
        except SaltusError:  # a recorded corpus may be elsewhere: the first sample will say so
            return self
        if (most := len(text.encode())) < self.window:  # a token has a byte at least
            raise ValueError(self._too_short(f"at most {most}"))
        return self

    @property
    def window(self) -> int:
        """Tokens that a sample takes from the corpus."""
        return self.length

    @property
    def interface(self) -> Interface:
        return Interface(self.vocabulary, self.length, self.vocabulary)

    @property
    def validation(self) -> Task:
        return self.model_copy(update={"part": "validation"})

    def windows(self, draws: Draws, batch: int) -> Int[Tensor, "*members batch token"]:
        """Stretches of `window` tokens, each beginning at any token that leaves room for it.

        Raises SaltusError where the part of the corpus has fewer tokens.
        """
        ids = _ids(self.corpus, self.part, self.vocabulary, str(draws.device))
        if len(ids) < self.window:
            raise SaltusError(f"task: {self._too_short(str(len(ids)))}")
        starts = draws.integers(0, len(ids) - self.window + 1, batch, 1)
        return ids[starts + torch.arange(self.window, device=ids.device)]

    def text(self, tokens: Int[Tensor, " token"]) -> str:
        """What tokens spell; the mask spells nothing."""
        return text_of(tokens, self.corpus, self.vocabulary)

    def characters_per_token(self) -> float:
        """Of the whole part of the corpus."""
        tokens = tokens_of(self.corpus, self.part, self.vocabulary)
        return tokens.characters / len(tokens.ids)

    def levels(self) -> dict[str, float]:
        """`start`: ln(vocabulary), every id alike. `unigram`: the entropy of a token of the part
        of the corpus, what is left when all that is known is how frequent the tokens are."""
        ids = tokens_of(self.corpus, self.part, self.vocabulary).ids
        share = ids.bincount().double() / len(ids)
        entropy = float(torch.special.entr(share).sum())
        return {"start": log(self.vocabulary), "unigram": entropy}

    def _too_short(self, tokens: str) -> str:
        where = self.corpus.path or "Python's help"
        return (
            f"length {self.length} is too long: a part of {where} has {tokens} tokens; allowed: "
            "shorter windows or a longer text (a tenth of it is held out)"
        )


@lru_cache(maxsize=8)
def _ids(corpus: Corpus, part: str, vocabulary: int, device: str) -> Int[Tensor, " token"]:
    return tokens_of(corpus, part, vocabulary).ids.to(device)
