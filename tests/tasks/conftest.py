"""What the tests of several tasks measure in samples, by other means than the tasks do."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
import torch

from saltus.random import Draws
from saltus.tasks import SequenceTask


@pytest.fixture(scope="session")
def place_entropies() -> Callable[[SequenceTask], list[float]]:
    """The entropy of the token at each place of 20,000 sequences, in nats, the first left out."""

    def measure(task: SequenceTask) -> list[float]:
        columns = task.sequences(Draws(0, "data"), 20_000).T.tolist()
        return [_entropy(Counter(column)) for column in columns[1:]]

    return measure


@pytest.fixture(scope="session")
def ambiguous() -> Callable[..., set[tuple[int, int]]]:
    """Which answers the oracle's keys, with the query's own token, leave open in some samples,
    and which keys an answer could do without: pairs (answer, -1) and (answer, key)."""

    def find(task: SequenceTask, samples: int = 3000) -> set[tuple[int, int]]:
        batch = task.sample(Draws(0, "data"), samples)
        needed, rows = task.attended(), task.output_rows()
        found = set()
        for answer, row in enumerate(range(rows.start, rows.stop)):
            keys = sorted({*needed[row].nonzero().flatten().tolist(), row})
            if not _determined(batch, row, keys):
                found.add((answer, -1))
            for key in keys:
                if needed[row, key] and _determined(batch, row, [k for k in keys if k != key]):
                    found.add((answer, key))
        return found

    return find


def _determined(batch: dict[str, torch.Tensor], row: int, keys: list[int]) -> bool:
    """Whether samples that agree at the keys agree in what follows at the row."""
    answers = defaultdict(set)
    pairs = zip(batch["inputs"][:, keys].tolist(), batch["targets"][:, row].tolist(), strict=True)
    for seen, target in pairs:
        answers[tuple(seen)].add(target)
    return all(len(each) == 1 for each in answers.values())


def _entropy(counts: Counter) -> float:
    total = counts.total()
    return -sum(n / total * math.log(n / total) for n in counts.values())
