"""Texts as a model reads them: cut at blank lines, by its own tokenizer, within its window."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saltus.errors import SaltusError
from saltus.integrations.architectures import vocabulary_of, window_of
from saltus.integrations.pretrained import Loading, find, one_line, quiet, where
from saltus.integrations.prompts import RandomPrompts, read_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True)
class Sentences:
    """Texts, token ids or random ids, and how much of each is read.

    `longest`: tokens after which a text is cut, special tokens included; not given: 512, as in the
    paper's Fig. 2, or the model's window if that is shorter. `tokenizer`: a folder with one, for
    checkpoints that have none.
    """

    each: Sequence[str] | Sequence[Sequence[int]] | RandomPrompts
    longest: int | None = None
    tokenizer: str | None = None


@dataclass(frozen=True)
class Fitted:
    """Token ids that the model takes; of `cut` texts they are only the beginning."""

    ids: list[list[int]]
    cut: int = 0


PAPER_LONGEST = 512
# The library makes an empty tokenizer of a folder that has none of these.
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
)
INSTEAD = "another folder with one (--tokenizer), token ids as .jsonl, or random texts"


def read_sentences(path: Path, most: int = 100) -> Sequence[str] | Sequence[Sequence[int]]:
    """The first `most` texts of a UTF-8 file, cut at blank lines, those that begin with # left out.

    The paper's way with the Brown corpus (section 2.1 of our spec). A .jsonl file has token ids, or
    a text, in every line. Raises SaltusError in one line.
    """
    if most < 1:
        raise SaltusError(f"texts: {most} is not allowed: 1 or more")
    if path.suffix == ".jsonl":
        return read_prompts(path)[:most]
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SaltusError(f"{path}: not UTF-8 at byte {error.start}; allowed: UTF-8 text") from None
    except OSError as error:
        raise SaltusError(f"{path}: cannot be read: {error.strerror or error}") from None
    texts = [each.strip() for each in BLANK_LINE.split(text)]
    kept = [each for each in texts if each and not each.startswith("#")]
    if not kept:
        raise SaltusError(f"{path}: it has no text; allowed: texts with blank lines between them")
    return kept[:most]


def fit(sentences: Sentences, model: PreTrainedModel, checkpoint: str, loading: Loading) -> Fitted:
    """The texts as ids of this model, or one line on what does not fit it."""
    vocabulary, window = vocabulary_of(model), window_of(model.config)
    given = sentences.longest
    if given is not None and (given < 1 or (window is not None and given > window)):
        allowed = f"1 to {window}, the model's window" if window else "1 or more"
        raise SaltusError(f"{given} tokens of a text are not allowed: {allowed}")
    longest = given or min(PAPER_LONGEST, window or PAPER_LONGEST)
    each: Any = sentences.each
    cut = 0
    if isinstance(each, RandomPrompts):
        if min(each.count, each.length) < 1:
            raise SaltusError("random texts: count and length must be 1 or more")
        ids = [row[:window] for row in each.ids(vocabulary)]
    elif each and isinstance(each[0], str):
        ids, cut = _tokens(each, sentences.tokenizer or checkpoint, longest, loading)
    else:
        ids = [list(text) for text in each]
    if not ids:
        raise SaltusError("texts: none given; allowed: 1 or more")
    _check(ids, vocabulary, given or window)
    return Fitted(ids, cut)


def _tokens(
    texts: Sequence[str], place: str, longest: int, loading: Loading
) -> tuple[list[list[int]], int]:
    from transformers import AutoTokenizer

    source = find(place)
    if source.local and not any((Path(place) / name).is_file() for name in TOKENIZERS):
        raise SaltusError(f"{place} has no tokenizer for the text; allowed: {INSTEAD}")
    with quiet(), one_line("a tokenizer for the text"):
        tokenizer = AutoTokenizer.from_pretrained(source.place, **where(source, loading))
        whole = [len(tokenizer(text)["input_ids"]) for text in texts]
        ids = [list(tokenizer(text, truncation=True, max_length=longest)["input_ids"])
               for text in texts]  # fmt: skip
    return ids, sum(length > longest for length in whole)


def _check(ids: list[list[int]], vocabulary: int, longest: int | None) -> None:
    for index, text in enumerate(ids):
        if not text:
            raise SaltusError(f"text {index}: its tokenizer makes no tokens of it")
        for token in text:
            if not 0 <= token < vocabulary:
                raise SaltusError(
                    f"text {index}: token {token} does not fit the model's vocabulary; "
                    f"allowed: 0 to {vocabulary - 1}"
                )
        if longest is not None and len(text) > longest:
            raise SaltusError(
                f"text {index}: {len(text)} tokens do not fit; allowed: {longest} or fewer"
            )
