"""What language models are asked to continue: texts, token ids, or random ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltus.errors import SaltusError
from saltus.random import Draws


@dataclass(frozen=True)
class RandomPrompts:
    """`count` prompts of `length` ids, uniform on the vocabulary of whatever model is asked.

    The same for every model with the same vocabulary.
    """

    count: int
    length: int = 16
    seed: int = 0

    def ids(self, vocabulary: int) -> list[list[int]]:
        return Draws(self.seed, "prompts").integers(0, vocabulary, self.count, self.length).tolist()


Prompts = Sequence[str] | Sequence[Sequence[int]] | RandomPrompts


def read_prompts(path: Path) -> Sequence[str] | Sequence[Sequence[int]]:
    """A text file's lines, one prompt each; or a .jsonl file's: lists of token ids, or strings.

    Empty lines are skipped. Raises SaltusError with the line that is not a prompt.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SaltusError(f"{path}: cannot be read: {error}") from None
    numbered = [(n, line) for n, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise SaltusError(f"{path}: no prompts; one per line is allowed")
    if path.suffix != ".jsonl":
        return [line for _, line in numbered]
    values: list[Any] = [_value(line, f"{path}:{n}") for n, line in numbered]
    if len({type(value) for value in values}) > 1:
        raise SaltusError(f"{path}: texts and token ids in one file; allowed: one of the two")
    return values


def arc_easy(count: int, seed: int = 0) -> list[str]:
    """`count` random questions of ARC-Easy's test split (2506.13688 asks 100 of them).

    Needs the package `datasets`, and the internet or its cache.
    """
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SaltusError("ARC-Easy needs the package datasets: pip install datasets") from None
    questions = load_dataset("allenai/ai2_arc", "ARC-Easy", split="test")["question"]
    if count > len(questions):
        raise SaltusError(f"ARC-Easy: {count} is not allowed: 1 to {len(questions)} questions")
    chosen = Draws(seed, "prompts").permutation(len(questions))[:count]
    return [questions[index] for index in chosen.tolist()]


def _value(line: str, where: str) -> str | list[int]:
    try:
        value = json.loads(line)
    except ValueError:
        raise SaltusError(f'{where}: not JSON; allowed: [3, 5, 1] or "a text"') from None
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(type(each) is int for each in value):
        return value
    raise SaltusError(f'{where}: {line[:60]} is not a prompt; allowed: [3, 5, 1] or "a text"')
