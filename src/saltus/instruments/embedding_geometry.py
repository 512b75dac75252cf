"""Embedding geometry: how the rows of the token and position tables lie to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Float64, Int
from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.principal_components import correlation, principal, rank_correlation
from saltus.tasks.base import Task

Numbers = dict[str, Tensor]


class EmbeddingGeometry(Instrument):
    """Norms, principal components and cosines of embedding rows (2410.22244, section 6.6 of our
    spec), in float64. All names below stand behind `embedding-geometry/`.

    Of the tokens that stand for values v, |v| <= `limit`, by rising v (`tokens_of`):

    - `token/norms` [token]; `token/symmetry`, the rank correlation of |e(v)| and |e(-v)|, v > 0;
    - `token/coordinates` [token, 2] and `token/explained` [2]: see `principal`;
    - `token/sign`, `token/magnitude`, `token/value` [2]: |correlation| of each component with
      sign(v), |v| and v; `token/sign-magnitude`: the smaller of the two for one component as sign
      and the other as magnitude, whichever way round is better;
    - `token/progress` [token, 2] with `progress`, which needs a donor: the rows themselves, not
      centred, along the donor's two principal directions.

    Of the positions that the task uses: `position/norms` [position], `position/coordinates`
    [position, 2], `position/explained` [2], and on a grid the mean cosines of centred rows over
    pairs of cells (`position/same-column`, `.../same-row`, `.../other-column`, `.../other-row`,
    `.../neither`) with their differences `position/columns` = same-column - other-column, `rows`
    likewise, `columns-over-neither` and `rows-over-neither`.

    A task whose tokens stand for no values shows all its tokens, without what needs a value, and
    one without negative values nothing that needs a sign. A correlation or cosine with something
    constant is 0; a table with a NaN gives NaN.
    """

    stacked: ClassVar[bool] = True  # the members are taken one by one: see `_each`
    kind: Literal["embedding-geometry"] = "embedding-geometry"
    limit: float | None = Field(default=None, gt=0, description="of |value|; see tokens_of")
    progress: bool = False
    tokens: str = Field(default="token.weight", description="the parameter with the token rows")
    positions: str | None = Field(default="position.weight", description="null where none is")
    cadence: AnyCadence = Cadence(per_decade=10)

    def needs(self, task: Task) -> Needs:
        return Needs(donor=self.progress)

    def check(self, task: Task) -> None:
        if not task.interface.vocabulary:
            raise ValueError(f"task {task.kind} gives {task.interface.takes}, not tokens")
        if (count := len(tokens_of(task, self.limit))) < 2:
            raise ValueError(
                f"limit: {self.limit} leaves {count} tokens of {task.kind}; it takes 2"
            )

    def read(self, reading: Reading) -> Numbers:
        task, chosen = reading.task, tokens_of(reading.task, self.limit)
        table = self._table(reading, self.tokens, "tokens")
        values = task.token_values()
        own = None if values is None else values[chosen].to(table.device, torch.float64)
        rows = table.index_select(-2, chosen.to(table.device))
        found = _each(lambda each: token_geometry(each, own), rows)
        if self.progress:
            there = reading.donor[self.tokens].index_select(-2, chosen.to(table.device))
            both = torch.stack([rows, there], dim=-3)
            found |= _each(lambda two: {"progress": _along(two[0], two[1], own)}, both, axes=3)
        results = {f"embedding-geometry/token/{name}": value for name, value in found.items()}
        if self.positions is not None:
            table = self._table(reading, self.positions, "positions")
            used = table[..., : task.interface.positions, :]
            found = _each(lambda each: position_geometry(each, task.grid), used)
            results |= {
                f"embedding-geometry/position/{name}": value for name, value in found.items()
            }
        return results

    def _table(self, reading: Reading, name: str, field: str) -> Tensor:
        if name not in reading.parameters:
            raise SaltusError(f"embedding-geometry.{field}: the model has no parameter {name}")
        return reading.parameters[name]


def tokens_of(task: Task, limit: float | None = None) -> Int[Tensor, " token"]:
    """The tokens that are looked at, by rising value: those of |value| <= limit.

    The limit, if not given, is the paper's 1.5 where there are negative values as well, and none
    where there are not. A task whose tokens stand for no values shows them all.
    """
    values = task.token_values()
    if values is None:
        return torch.arange(task.interface.vocabulary)
    values = values.double().nan_to_num(torch.inf)
    if limit is None:
        limit = 1.5 if values.amin() < 0 else torch.finfo(values.dtype).max / 2
    inside = (values.abs() <= limit * (1 + 1e-6)).nonzero().flatten()
    return inside[values[inside].argsort(stable=True)]


def token_geometry(
    rows: Float64[Tensor, "token width"], values: Float64[Tensor, " token"] | None
) -> Numbers:
    """All that is said of one model's tokens, without the common part of the names."""
    references = _references(values)
    norms, found = torch.linalg.vector_norm(rows, dim=-1), principal(rows, [*references.values()])
    results = {"norms": norms, "coordinates": found.coordinates, "explained": found.explained}
    for name, reference in references.items():
        alike = [correlation(axis, reference).abs() for axis in found.coordinates.T]
        results[name] = torch.stack(alike)
    if "sign" in results and values is not None:
        either = torch.minimum(results["sign"], results["magnitude"].flip(0))
        results["sign-magnitude"] = either.amax()
        positive, negative = mirrored(values)
        if len(positive) > 1:
            results["symmetry"] = rank_correlation(norms[positive], norms[negative])
    return results


def _references(values: Float64[Tensor, " token"] | None) -> Numbers:
    """What components are compared with."""
    if values is None:
        return {}
    signed = {"sign": values.sign(), "magnitude": values.abs()} if (values < 0).any() else {}
    return signed | {"value": values}


def position_geometry(
    rows: Float64[Tensor, "position width"], grid: tuple[int, int] | None
) -> Numbers:
    """All that is said of one model's positions, without the common part of the names."""
    found = principal(rows)
    results = {
        "norms": torch.linalg.vector_norm(rows, dim=-1),
        "coordinates": found.coordinates,
        "explained": found.explained,
    }
    return results if grid is None else results | grid_cosines(rows, grid)


def grid_cosines(rows: Float64[Tensor, "position width"], grid: tuple[int, int]) -> Numbers:
    """Mean cosines of centred rows over kinds of pairs of different cells.

    With u = (e - mean) / |e - mean| the cosines of all ordered pairs inside groups of cells sum to
    sum over groups |sum u|^2 - sum |u|^2, so the matrix of cosines is never written out. Kinds
    that the grid has no pairs of are left out.
    """
    high, wide = grid
    centred = rows - rows.mean(0)
    lengths = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    units = centred / lengths.clamp_min(torch.finfo(rows.dtype).tiny)
    cells = units.unflatten(0, grid)
    own = units.square().sum()
    column = cells.sum(0).square().sum() - own
    row = cells.sum(1).square().sum() - own
    every = units.sum(0).square().sum() - own
    count, across, down = high * wide, wide - 1, high - 1
    sums = {
        "same-column": (column, down),
        "same-row": (row, across),
        "other-column": (every - column, count - 1 - down),
        "other-row": (every - row, count - 1 - across),
        "neither": (every - column - row, down * across),
    }
    means = {name: total / (count * pairs) for name, (total, pairs) in sums.items() if pairs}
    differences = {
        "columns": ("same-column", "other-column"),
        "rows": ("same-row", "other-row"),
        "columns-over-neither": ("same-column", "neither"),
        "rows-over-neither": ("same-row", "neither"),
    }
    return means | {
        name: means[one] - means[other]
        for name, (one, other) in differences.items()
        if one in means and other in means
    }


def mirrored(values: Float64[Tensor, " token"]) -> tuple[Tensor, Tensor]:
    """Places of all v > 0 that have a -v, and the places of these, by rising v."""
    same: Bool[Tensor, "token token"] = torch.isclose(values, -values.unsqueeze(-1), atol=1e-6)
    positive, negative = (same & (values.unsqueeze(-1) > 0)).nonzero().T
    return positive, negative


def _along(
    rows: Float64[Tensor, "token width"],
    donor: Float64[Tensor, "token width"],
    values: Float64[Tensor, " token"] | None,
) -> Float64[Tensor, "token 2"]:
    """Rows, not centred, along the principal directions of the donor's rows."""
    directions = principal(donor, [*_references(values).values()]).directions
    return (rows.unsqueeze(-2) * directions).sum(-1)


def _each(
    analyse: Callable[[Tensor], Numbers], tables: Float[Tensor, "*members row width"], axes: int = 2
) -> Numbers:
    """An analysis in float64 of every member by itself, stacked.

    One by one, because a decomposition inside a stack may differ in its last bit: each member is
    copied to memory of its own, so that its numbers do not depend on who is beside it. Results
    that are not numbers are left to show where a table has some.
    """
    kind = tables.dtype if tables.element_size() >= 4 else torch.float32
    if tables.ndim == axes:
        return {name: value.to(kind) for name, value in _guarded(analyse, tables).items()}
    found = [_guarded(analyse, table) for table in tables]
    return {name: torch.stack([one[name] for one in found]).to(kind) for name in found[0]}


def _guarded(analyse: Callable[[Tensor], Numbers], table: Tensor) -> Numbers:
    whole = bool(table.isfinite().all())
    own = table.detach().to(torch.float64, copy=True, memory_format=torch.contiguous_format)
    found = analyse(own if whole else torch.zeros_like(own))
    if whole:
        return found
    return {name: torch.full_like(value, torch.nan) for name, value in found.items()}
