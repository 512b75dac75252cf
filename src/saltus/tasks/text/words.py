"""Words: how a text is cut into sentences of words, and how words become ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

UNKNOWN = "<unk>"
Words = Literal["frequent", "first-appearance"]
Sentence = Sequence[str]

# A run of letters and underscores, one digit, or one mark.
_WORD = re.compile(r"[^\W\d]+|\d|[^\w\s]")
# After a full stop, colon or semicolon, and where lines are blank.
_END = re.compile(r"(?<=[.:;])\s+|\n\s*\n")


def sentences_of(text: str) -> list[list[str]]:
    """A text in lower case, cut into sentences after `.`, `:` or `;` and at blank lines, each a
    list of words (section 2.2 of our spec).

    The spec names the words but not where sentences end; these ends give its numbers of sentences
    exactly (see `source.Source`).
    """
    return [found for part in _END.split(text.lower()) if (found := words_of(part))]


def words_of(text: str) -> list[str]:
    """Runs of letters and underscores, single digits and single marks, in their order."""
    return _WORD.findall(text)


def vocabulary_of(sentences: Iterable[Sentence], kind: Words, size: int) -> dict[str, int]:
    """The id of each word.

    - `frequent`: the size - 1 most frequent words, the most frequent 0; of words as frequent as
      each other the first to appear comes first. `<unk>` has the last id, size - 1;
    - `first-appearance`: every word, in the order of first appearance, as in the released code of
      arXiv 2010.09697 (section 2.1 of our spec); `<unk>` comes last unless the text has it. `size`
      is not looked at.
    """
    counts = Counter(word for sentence in sentences for word in sentence)
    if kind == "first-appearance":
        ids = {word: index for index, word in enumerate(counts)}
        ids.setdefault(UNKNOWN, len(ids))
        return ids
    del counts[UNKNOWN]  # its id is the last, however frequent it is
    ids = {word: index for index, (word, _) in enumerate(counts.most_common(size - 1))}
    return {**ids, UNKNOWN: size - 1}


def encoded(sentence: Sentence, ids: Mapping[str, int]) -> list[int]:
    """Words as ids, a word without one as `<unk>`."""
    unknown = ids[UNKNOWN]
    return [ids.get(word, unknown) for word in sentence]
