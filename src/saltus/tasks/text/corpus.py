"""A corpus: a text of the user's or the one that Python brings along, known by its hash."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from saltus.errors import FieldProblem, SaltusError, explain
from saltus.parts import Record
from saltus.tasks.text.named import NAMES, named_text

HELD_OUT = 0.1  # the last part of the text, for validation


class Corpus(Record):
    """A UTF-8 text file, a named corpus, or without a `path` the topics of Python's own help.

    The names are `stdlib` (the help), `kjv` and `wikipedia-extract` (see `named.named_text`); a
    file of that name is `./kjv`.

    `sha256` is filled in where it is not given, so a run records the text it was trained on: the
    help differs between versions of Python, and files change. Where it is given, the text is first
    read when samples are drawn, and refused if its hash is another one; so a run can be read where
    its corpus is not at hand. A bare path stands for `{path: ...}`.

    Raises, in one line: a file that cannot be read or is not UTF-8, an empty one, another hash.
    """

    path: str | None = Field(
        default=None, description="a UTF-8 text file, `kjv` or `wikipedia-extract`; Python's help"
    )
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$", description="of its UTF-8")

    def __hash__(self) -> int:  # as a frozen record has; type checkers want to see it
        return hash((self.path, self.sha256))

    @model_validator(mode="before")
    @classmethod
    def _with_hash(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if data.get("path") == "stdlib":
            data = {**data, "path": None}
        if data.get("sha256") is not None:
            return data
        path = data.get("path")
        if path is not None and not isinstance(path, str):
            return data  # the field says what is wrong with it
        return {**data, "sha256": digest(read(path))}

    @classmethod
    def parse(cls, value: Any) -> Any:
        """A corpus from a path, a mapping, or None for Python's help."""
        if isinstance(value, cls):
            return value
        value = {"path": value} if value is None or isinstance(value, str) else value
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise explain(error, cls) from None

    @property
    def text(self) -> str:
        """All of it. Raises SaltusError where it is not what was recorded."""
        assert self.sha256 is not None  # filled in at the latest when it was made
        return _text(self.path, self.sha256)

    def part(self, name: str) -> str:
        """The `training` part, the first 9 characters in 10, or the `validation` part."""
        text = self.text
        cut = len(text) - round(HELD_OUT * len(text))
        return text[cut:] if name == "validation" else text[:cut]


AnyCorpus = Annotated[Corpus, BeforeValidator(Corpus.parse)]


def digest(text: str) -> str:
    """SHA-256 of a text's UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: str | None) -> str:
    """The text of a file or a named corpus, or Python's help: its topics in the order of their
    names.

    Raises FieldProblem at `path` with one line.
    """
    if path is None or path in NAMES:
        return named_text(path or "stdlib")
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
        raise FieldProblem("path", f"{problem}; allowed: a UTF-8 text file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FieldProblem(
            "path", f"{path!r} cannot be read: {reason}; allowed: a UTF-8 text file"
        ) from None
    if not text.strip():
        raise FieldProblem("path", f"{path} is empty; allowed: a file with text in it")
    return text


@lru_cache(maxsize=4)
def _text(path: str | None, sha256: str) -> str:
    try:
        text = read(path)
    except FieldProblem as error:
        raise SaltusError(f"task.corpus.{error}") from None
    if (found := digest(text)) != sha256:
        whose = path or "Python's help"
        raise SaltusError(
            f"task.corpus.sha256: {whose} is not the text that was recorded: its hash is "
            f"{found[:12]}..., not {sha256[:12]}...; allowed: that text, or no sha256"
        )
    return text
