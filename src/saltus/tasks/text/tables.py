"""Sentences as padded tables of ids, one for each part of a source."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from saltus.errors import FieldProblem
from saltus.random import Draws
from saltus.tasks.text.source import Source
from saltus.tasks.text.words import Words, encoded, vocabulary_of

HELD_OUT = 10  # one sentence in so many is for validation, where a source has no parts
PAD = 0  # which is a word's id as well: the released code has no padding symbol


class Table(NamedTuple):
    """Sentences [sentence, length] of ids, padded with 0, and how many words each has."""

    tokens: Int[Tensor, "sentence length"]
    words: Int[Tensor, " sentence"]


class Tables(NamedTuple):
    """The parts of a source, the id of each word, and what was left out."""

    parts: dict[str, Table]
    ids: dict[str, int]
    left_out: dict[str, int]  # sentences of each part that are too short or too long


@lru_cache(maxsize=8)
def tables(source: Source, words: Words, vocabulary: int, length: int, shortest: int) -> Tables:
    """Sentences of `shortest` to length - 1 words, as ids.

    A source without parts of its own is shuffled, the same way for every seed, and a tenth of the
    kept sentences, rounded down, is for validation. The vocabulary is that of training and
    validation sentences together, as in the released code (section 2.1 of our spec); test words
    that are not in it are `<unk>`.

    Raises FieldProblem at `source` or `length` where a part has no sentence left.
    """
    sentences, left_out = {}, {}
    for name, every in source.parts.items():
        kept = [words for words in every if shortest <= len(words) < length]
        left_out[name] = len(every) - len(kept)
        sentences[name] = kept
    if "all" in sentences:
        kept = sentences.pop("all")
        order = Draws(0, "sentences/shuffle").permutation(len(kept)).tolist()
        held_out = len(kept) // HELD_OUT
        sentences["training"] = [kept[index] for index in order[held_out:]]
        sentences["validation"] = [kept[index] for index in order[:held_out]]
        left_out["training"] = left_out.pop("all")
    for name, kept in sentences.items():
        if not kept:
            raise FieldProblem(
                "length",
                f"{length} leaves no {name} sentence of {shortest} to {length - 1} words in "
                f"{source.path}; allowed: other sentences or another length",
            )
    seen = [*sentences["training"], *sentences["validation"]]
    ids = vocabulary_of(seen, words, vocabulary)
    return Tables(
        {name: _table(kept, ids, length) for name, kept in sentences.items()}, ids, left_out
    )


@lru_cache(maxsize=16)
def table_on(device: str, part: str, *kept: Any) -> Table:
    """A part of the `tables` of the same arguments, on a device."""
    return Table(*(values.to(device) for values in tables(*kept).parts[part]))


def _table(sentences: list[list[str]], ids: dict[str, int], length: int) -> Table:
    rows = [encoded(sentence, ids) for sentence in sentences]
    padded = [row + [PAD] * (length - len(row)) for row in rows]
    return Table(torch.tensor(padded), torch.tensor([len(row) for row in rows]))
