"""Norm policies: the five ways in which the norm-growth paper and its code measure one norm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import sqrt
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Reading
from saltus.instruments.captured import precise
from saltus.instruments.norms import joint, length
from saltus.models.groups import STATISTICS, group_of
from saltus.models.sites import matches

Policy = Literal["encoder", "total", "mean-column", "per-block", "min-rms"]
BLOCK = re.compile(r"(?:.*\.)?(?:blocks|layers)\.\d+(?=\.)")
BY_HEAD = re.compile(r".*\.attention\.(?:query|key|value)\.weight")
OUTSIDE = ("embeddings", "readout")  # of the encoder
group = lru_cache(maxsize=4096)(group_of)


class NormPolicies(Instrument):
    """What "the parameter norm" of 2010.09697 is, in five ways (M1 to M5, section 5 of our spec).

    - `encoder`, M1, the paper's text: the L2 norm of all parameters but scalars, embeddings (token,
      position, patch, class) and readout, laid end to end;
    - `total`, M2: of all that is learned; with embeddings N(0, 1) these swamp the rest;
    - `mean-column`, M3, the curves in the paper's repository: the mean L2 norm of a column over all
      input columns of all Linear layers, the readout's too, columns counted equally. Queries, keys
      and values count head by head, for the authors have a Linear layer for each;
    - `per-block`, M4: M1 within each block;
    - `min-rms`, M5: the least |W| / sqrt(entries) of a matrix, embeddings included.

    Gives `norm-policies/encoder`, `/total`, `/mean-column`, `/blocks.i` and `/min-rms`, scalars in
    the units of the parameters; what the model has nothing for is left out. Running statistics and
    parameters that the model holds fixed count nowhere.
    """

    kind: Literal["norm-policies"] = "norm-policies"
    policies: tuple[Policy, ...] = Field(
        default=("encoder", "total", "mean-column", "per-block", "min-rms"), min_length=1
    )
    cadence: AnyCadence = Cadence(every=50)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        learned = learned_of(reading)
        lengths = {name: length(value) for name, value in learned.items()}
        encoder = encoder_names(learned)
        found: dict[str, Tensor] = {}
        if "encoder" in self.policies and encoder:
            found["encoder"] = joint(lengths[name] for name in encoder)
        if "total" in self.policies:
            found["total"] = joint(lengths.values())
        if "mean-column" in self.policies:
            heads = getattr(reading.model, "heads", 1)
            if (mean := mean_column_norm(learned, heads)) is not None:
                found["mean-column"] = mean
        if "per-block" in self.policies:
            for block, names in blocks(encoder).items():
                found[block] = joint(lengths[name] for name in names)
        if "min-rms" in self.policies:
            matrices = [name for name, value in learned.items() if value.ndim == 2]
            sizes = [lengths[name] / sqrt(learned[name].numel()) for name in matrices]
            if sizes:
                found["min-rms"] = torch.stack(sizes, dim=-1).amin(-1)
        return {f"{self.kind}/{name}": value for name, value in found.items()}


def learned_of(reading: Reading) -> dict[str, Tensor]:
    """The parameters of a reading that an optimiser changes."""
    fixed = reading.model.fixed if reading.model is not None else ()
    return {
        name: value
        for name, value in reading.parameters.items()
        if group(name) != STATISTICS and not (fixed and matches(name, fixed))
    }


def encoder_names(parameters: Mapping[str, Tensor]) -> list[str]:
    """M1's parameters: of at least one axis, and neither embeddings nor readout."""
    return [
        name
        for name, value in parameters.items()
        if value.ndim > 0 and group(name).partition(".")[0] not in (*OUTSIDE, STATISTICS)
    ]


def blocks(names: Iterable[str]) -> dict[str, list[str]]:
    """The names in each block, {"blocks.0": [...], ...}; what is in none is left out."""
    found: dict[str, list[str]] = {}
    for name in names:
        if block := BLOCK.match(name):
            found.setdefault(block.group(), []).append(name)
    return found


def mean_column_norm(parameters: Mapping[str, Tensor], heads: int = 1) -> Float[Tensor, ""] | None:
    """M3: the mean norm of the columns of all Linear layers; None if there are none.

    A column of a weight [out, in] holds what one input adds to every output. With `heads` the rows
    of queries, keys and values are as many layers [out / heads, in].
    """
    total: list[Tensor] = []
    count = 0
    for name, weight in parameters.items():
        if weight.ndim != 2 or group(name).startswith(("embeddings", STATISTICS)):
            continue
        weight = precise(weight)
        if BY_HEAD.fullmatch(name) and weight.shape[0] % heads == 0:
            weight = weight.unflatten(0, (heads, -1))
        columns = weight.square().sum(-2).sqrt()  # the library's norm is slow across rows
        count += columns.numel()
        while columns.ndim:
            columns = columns.sum(-1)
        total.append(columns)
    return torch.stack(total, dim=-1).sum(-1) / count if count else None
