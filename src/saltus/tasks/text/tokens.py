"""Token ids of a corpus, by a byte-pair encoding that is learned from its training part."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from saltus.errors import SaltusError
from saltus.tasks.text.corpus import Corpus

MASK = 0  # the one id that stands for no text
BYTES = 256


class Tokens(NamedTuple):
    """A part of a corpus as ids, and how many characters they spell."""

    ids: Int[Tensor, " token"]
    characters: int


@lru_cache(maxsize=8)
def tokens_of(corpus: Corpus, part: str, vocabulary: int) -> Tokens:
    """A part of a corpus in ids 1 .. vocabulary - 1; 0 is the mask.

    Byte-level byte-pair encoding (1508.07909 on the bytes of the text, as GPT-2's): no text is
    unknown, and ids decode to the text again. The merges are learned from the training part and
    depend on nothing but (corpus, vocabulary). A short corpus may leave the last ids unused.
    """
    text = corpus.part(part)
    ids = tokenizer(corpus, vocabulary).encode(text).ids
    return Tokens(torch.tensor(ids, dtype=torch.int64) + 1, len(text))


@lru_cache(maxsize=8)
def tokenizer(corpus: Corpus, vocabulary: int) -> Any:
    """The `tokenizers.Tokenizer` of a corpus; its ids are ours less 1."""
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise SaltusError("text needs the package tokenizers: pip install 'saltus[llm]'") from None
    found = Tokenizer(models.BPE())
    # Attributes of a compiled class, which type checkers take for read-only.
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[misc]
    found.decoder = decoders.ByteLevel()  # type: ignore[misc]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    found.train_from_iterator([corpus.part("training")], trainer=trainer)
    return found


def text_of(ids: Int[Tensor, " token"], corpus: Corpus, vocabulary: int) -> str:
    """What ids spell; the mask spells nothing."""
    kept = [token - 1 for token in ids.tolist() if token != MASK]
    return tokenizer(corpus, vocabulary).decode(kept)
