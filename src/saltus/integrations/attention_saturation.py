"""Saturation, attended positions and head types of a Hugging Face model on a text.

Merrill et al. 2021 (2010.09697), sections M13, M15, M17 and M18 of our spec: what changes in a
model's states when every parameter is multiplied by c = 1000, and where its heads look then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from saltus.errors import SaltusError
from saltus.integrations.architectures import Seen, load_encoder, saturated, scaled, see
from saltus.integrations.pretrained import Loading
from saltus.integrations.sentences import Sentences, fit

SCALE = 1000.0  # c of the paper, section 4.1
ATTENDED = 1e-5  # a weight above it attends (the authors' code)
ARGMAX_LIKE = 5.0  # M18: mean number of attended positions up to which a head counts as argmax
MEAN_LIKE = 0.9  # M18: and the share of an even head's from which it counts as a mean
SHORTEST = 12  # positions below which the two cannot be told apart: 0.9 * 11 / 2 < 5
TOGETHER = 1024  # tokens whose unscaled states are kept until the scaled pass
TYPES = ("argmax-like", "intermediate", "mean-like")
Mode = Literal["scale", "zeta"]


@dataclass(frozen=True)
class StackSaturation:
    """M13 of one stack: mean over tokens of cos(h(x; theta), h(x; c theta)), per layer."""

    name: str
    embedding: float  # 1 wherever the embedding is homogeneous; not one of the layers
    layers: Float[ndarray, " layer"]


@dataclass(frozen=True)
class Heads:
    """M15 and M17 of one stack's heads, every parameter times c: over all texts and queries."""

    name: str
    causal: bool
    length: float  # keys of a text, each query counting once
    attended: Float[ndarray, "layer head"]  # mean number of keys with a weight above 1e-5
    deviation: Float[ndarray, "layer head"]  # of that number over queries
    split: Float[ndarray, "layer head"]  # share of queries that attend to more than one key
    entropy: Float[ndarray, "layer head"]  # of a query's weights, nats

    @property
    def types(self) -> list[list[str]]:
        """M18, per layer and head; the paper has no threshold. [] where texts are too short.

        argmax-like: 5 attended positions or fewer; mean-like: 0.9 of T / 2 or more, where a head
        sees the T positions before it, and 0.9 of T where it sees all (the project's choice).
        """
        if self.length < SHORTEST:
            return []
        even = MEAN_LIKE * self.length / (2 if self.causal else 1)
        kinds = np.where(self.attended <= ARGMAX_LIKE, 0, np.where(self.attended >= even, 2, 1))
        return [[TYPES[kind] for kind in row] for row in kinds.tolist()]

    @property
    def counts(self) -> dict[str, int]:
        """Heads of each type; {} where texts are too short to tell."""
        found = Counter(kind for row in self.types for kind in row)
        return {kind: found[kind] for kind in TYPES} if found else {}


@dataclass(frozen=True)
class AttentionSaturation:
    """One checkpoint on one list of texts; `mode` is how it was saturated."""

    checkpoint: str
    architecture: str
    mode: Mode
    scale: float  # 1 where weights stay and attention is exact (zeta)
    texts: int
    tokens: int
    cut: int  # texts of which only the beginning was read
    stacks: tuple[StackSaturation, ...]
    heads: tuple[Heads, ...]
    seconds: float

    @property
    def saturated_by(self) -> str:
        """What was done to the model, in words."""
        if self.mode == "zeta":
            return "attention on its best keys alone (ζ)"
        return f"every parameter times {self.scale:g}"


def attention_saturation(
    checkpoint: str,
    sentences: Sentences,
    *,
    loading: Loading = Loading(offline=True),  # noqa: B008 - frozen
    mode: Mode = "scale",
    scale: float = SCALE,
    random_seed: int | None = None,
) -> AttentionSaturation:
    """Saturation per layer, attended positions and types of heads of one checkpoint.

    Always in evaluation mode, one text at a time without padding, as in the paper's Fig. 2. T5's
    decoder reads what its encoder reads; both are given (the paper's figure has the decoder's).
    `mode` zeta leaves the weights and replaces softmax by its limit (M16, 9.23 of our spec): c need
    not reach it where scores differ by less than float32 resolves, and scaling changes more than
    attention.
    `random_seed`: of the same architecture with random weights instead. Needs memory for the
    weights twice; `load_encoder` says more. Raises SaltusError, with a line that does not name the
    checkpoint.
    """
    began = perf_counter()
    if not scale > 1:
        raise SaltusError(f"scale: {scale:g} is not allowed: above 1")
    model = load_encoder(checkpoint, loading, random_seed)
    fitted = fit(sentences, model, checkpoint, loading)
    ids = [torch.tensor(each, device=loading.device) for each in fitted.ids]
    cosines: dict[str, list[Tensor]] = {}
    tallies: dict[str, _Tally] = {}
    for group in _groups(ids):
        plain = [see(model, each) for each in group]
        with scaled(model, scale) if mode == "scale" else saturated(model):
            for before, each in zip(plain, group, strict=True):
                after = see(model, each)
                _check_finite(before, after, loading, scale)
                for name, states in before.states.items():
                    pairs = zip(states, after.states[name], strict=True)
                    rows = torch.stack([token_cosines(*pair).sum() for pair in pairs])
                    cosines.setdefault(name, []).append(rows)
                for name, patterns in after.patterns.items():
                    tally = tallies.setdefault(name, _Tally())
                    tally.add(patterns, is_causal(before.patterns[name]))
    tokens = sum(map(len, ids))
    return AttentionSaturation(
        checkpoint,
        type(model).__name__,
        mode,
        scale if mode == "scale" else 1.0,
        len(ids),
        tokens,
        fitted.cut,
        tuple(_stack(name, torch.stack(rows).sum(0) / tokens) for name, rows in cosines.items()),
        tuple(tally.heads(name) for name, tally in tallies.items()),
        perf_counter() - began,
    )


def token_cosines(
    states: Float[Tensor, "position width"], others: Float[Tensor, "position width"]
) -> Float[Tensor, " position"]:
    """cos of each token's two states in float64, the authors' 1e-9 in the denominator."""
    one, other = states.double(), others.double()
    return (one * other).sum(-1) / (one.norm(dim=-1) * other.norm(dim=-1) + 1e-9)


def is_causal(patterns: Sequence[Float[Tensor, "head query key"]]) -> bool:
    """Whether no query of any layer looks ahead."""
    return all(
        each.shape[-1] == each.shape[-2] and not each.triu(1).any().item() for each in patterns
    )


class _Tally:
    """Sums over queries, so that no pattern is kept."""

    def __init__(self) -> None:
        self.queries = 0
        self.keys = 0.0
        self.causal = True
        self.sums: Tensor | None = None  # [quantity, layer, head]

    def add(self, patterns: Sequence[Float[Tensor, "head query key"]], causal: bool) -> None:
        rows = torch.stack([_sums(each) for each in patterns], dim=1)
        self.sums = rows if self.sums is None else self.sums + rows
        queries, keys = patterns[0].shape[-2:]
        self.queries += queries
        self.keys += queries * keys
        self.causal = self.causal and causal

    def heads(self, name: str) -> Heads:
        assert self.sums is not None
        mean, square, split, entropy = (self.sums / self.queries).cpu().numpy()
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        length = self.keys / self.queries
        return Heads(name, self.causal, length, mean, deviation, split, entropy)


def _sums(pattern: Float[Tensor, "head query key"]) -> Float[Tensor, "4 head"]:
    attended = (pattern > ATTENDED).sum(-1).double()
    weights = pattern.double()
    entropy = -torch.xlogy(weights, weights).sum(-1)
    quantities = (attended, attended.square(), (attended > 1).double(), entropy)
    return torch.stack([each.sum(-1) for each in quantities])


def _stack(name: str, means: Float[Tensor, " state"]) -> StackSaturation:
    values = means.cpu().numpy()
    return StackSaturation(name, float(values[0]), values[1:])


def _groups(ids: list[Int[Tensor, " _"]]) -> Iterator[list[Int[Tensor, " _"]]]:
    """Texts in turn, as many together as have TOGETHER tokens, or one."""
    group: list[Tensor] = []
    for each in ids:
        if group and sum(map(len, group)) + len(each) > TOGETHER:
            yield group
            group = []
        group.append(each)
    yield group


def _check_finite(before: Seen, after: Seen, loading: Loading, scale: float) -> None:
    for seen, what in (
        (before, "its states"),
        (after, f"its states at {scale:g} times its weights"),
    ):
        for states in seen.states.values():
            if not all(each.isfinite().all() for each in states):
                hint = "" if seen is before else f" in {loading.precision}"
                why = "a diverged model?" if seen is before else "allowed: another precision"
                raise SaltusError(f"{what} are not finite (NaN or infinity){hint}; {why}")
