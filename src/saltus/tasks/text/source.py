"""Where sentences come from: Python's help, named corpora, text files, and folders as usual."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from saltus.errors import FieldProblem, SaltusError, explain
from saltus.parts import Record
from saltus.tasks.text.corpus import read
from saltus.tasks.text.formats import FORMATS, Format, Parts, format_of
from saltus.tasks.text.named import NAMES

HELP = "stdlib-text"


class Source(Record):
    """Sentences from a `path`, known by their hash. A bare path stands for `{path: ...}`.

    `path` is `stdlib-text` (the topics of Python's own help), `kjv` or `wikipedia-extract` (see
    `named.named_text`), a file, a folder, or with `format: datasets` a name on the Hugging Face
    hub. The formats, told from what is there if not given:

    - `prose`: running text, cut by `words.sentences_of`; every named corpus and every text file;
    - `lines`: a sentence per line, words parted by spaces; only if asked for;
    - `penn`: a folder with train.txt, valid.txt, test.txt in that form (Penn Treebank);
    - `wikitext`: wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens: blank lines and those that
      begin with `=` are dropped, every other line is one sequence;
    - `brown`: a file or a folder of the Brown corpus: chunks between blank lines, those beginning
      with `#` dropped, tags (`word/tag`) cut off;
    - `datasets`: `owner/name` or `owner/name/configuration` for the library `datasets`, which may
      download.

    `stdlib-text` with sentences of 4 to 39 words: 4,368 of them, 3,932 for training and 436 for
    validation, 17.38 words on average, with the topics of Python 3.11. `sha256`, of the sentences
    as they are read, is filled in where it is not given, as for a corpus.
    """

    path: str = Field(default=HELP, min_length=1, description="a name, a file or a folder")
    format: Format = Field(default="prose", description="told from what is there if not given")
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$", description="of the words")

    def __hash__(self) -> int:
        return hash((self.path, self.format, self.sha256))

    @model_validator(mode="before")
    @classmethod
    def _with_format_and_hash(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        path = data.get("path", HELP)
        path = HELP if path == "stdlib" else path
        if not isinstance(path, str) or not path:
            return data  # the field says what is wrong with it
        data = {**data, "path": path}
        if data.get("format") is None:
            data["format"] = "prose" if path == HELP or path in NAMES else format_of(path)
        if data.get("sha256") is None and data["format"] in tuple(FORMATS):
            data["sha256"] = digest(load(path, data["format"]))
        return data

    @classmethod
    def parse(cls, value: Any) -> Any:
        """A source from a path, a mapping, or None for Python's help."""
        if isinstance(value, cls):
            return value
        value = {} if value is None else {"path": value} if isinstance(value, str) else value
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise explain(error, cls) from None

    @property
    def parts(self) -> Parts:
        """The sentences of each part. Raises SaltusError where they are not what was recorded."""
        return _recorded(self.path, self.format, self.sha256 or "")


AnySource = Annotated[Source, BeforeValidator(Source.parse)]


def digest(parts: Mapping[str, list[list[str]]]) -> str:
    """SHA-256 of all sentences, part by part, in hexadecimal."""
    found = hashlib.sha256()
    for name, sentences in parts.items():
        found.update(f"{name}\n".encode())
        for sentence in sentences:
            found.update((" ".join(sentence) + "\n").encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def load(path: str, format_: Format) -> Parts:
    """The sentences of each part, `all` where the source has no parts of its own.

    Raises FieldProblem at `path` in one line: nothing there, not UTF-8, no sentences.
    """
    if path == HELP or path in NAMES:
        if format_ != "prose":
            raise FieldProblem("format", f"{format_} is not allowed for {path}: prose")
        return FORMATS["prose"](read(None if path == HELP else path), path)
    if format_ in ("prose", "lines"):
        return FORMATS[format_](read(path), path)
    return FORMATS[format_](path, path)


@lru_cache(maxsize=4)
def _recorded(path: str, format_: Format, sha256: str) -> Parts:
    try:
        parts = load(path, format_)
    except FieldProblem as error:
        raise SaltusError(f"task.source.{error}") from None
    if (found := digest(parts)) != sha256:
        raise SaltusError(
            f"task.source.sha256: {path} does not hold the sentences that were recorded: their "
            f"hash is {found[:12]}..., not {sha256[:12]}...; allowed: those, or no sha256"
        )
    return parts
