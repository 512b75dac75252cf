"""Grid attention: do heads look along rows and columns of a matrix (2410.22244)?"""

from __future__ import annotations

from typing import Annotated, Literal, SupportsFloat

import torch
from jaxtyping import Bool, Float
from pydantic import Field, StringConstraints
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns
from saltus.instruments.other_task import check_other
from saltus.tasks.base import AnyTask, Task

Category = Literal["row", "column", "self", "unstructured", "mixed"]


class GridAttention(Instrument):
    """Shares of attention that fall on parts of the grid of cells (section 6.3 of our spec).

    For a query at cell (i, j), the share on keys of the same row i except itself (`row`), of the
    same column j except itself (`column`), on itself (`self`), and on observed cells
    (`observed`, where the task says which are); means over samples and queries, per head:
    the arrays `grid-attention/row/blocks.i` [head] and so on, and the scalars
    `grid-attention/largest-row` and `grid-attention/largest-column` over all heads.

    Attention without preference has `chance(grid)`: (columns - 1) / cells, (rows - 1) / cells and
    1 / cells, and the share of cells that are observed. Shares are of absolute weights,
    normalised per query: for softmax these are the weights, for linear attention they can be
    signed and have any sum. `task` reads on the samples of another task, such as another pattern
    of the mask; `label` takes the place of `grid-attention`.
    """

    kind: Literal["grid-attention"] = "grid-attention"
    samples: int | None = Field(default=None, ge=1, description="evaluation_batch if not given")
    task: AnyTask | None = None
    label: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "grid-attention"
    cadence: AnyCadence = Cadence(every=200)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=PATTERNS, samples=self.samples, task=self.task)

    def check(self, task: Task) -> None:
        if (self.task or task).grid is None:
            raise ValueError(f"task {(self.task or task).kind} has no grid of cells")
        check_other(self.task or task, task)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        grid, observed = reading.task.grid, reading.batch.get("observed")
        assert grid is not None  # `check` saw to it
        results: dict[str, Tensor] = {}
        for block, pattern in attention_patterns(reading).items():
            weights = shares(pattern)
            masses = {
                name: (weights * mask.to(pattern.device)).sum(-1).mean((0, 2))
                for name, mask in same(grid).items()
            }
            if observed is not None:
                masses["observed"] = (weights * observed[:, None, None, :]).sum(-1).mean((0, 2))
            results |= {f"{self.label}/{name}/{block}": mass for name, mass in masses.items()}
        for name in ("row", "column"):
            every = [v for key, v in results.items() if key.startswith(f"{self.label}/{name}/")]
            results[f"{self.label}/largest-{name}"] = torch.cat(every).amax()
        return results


def category(
    row: SupportsFloat,
    column: SupportsFloat,
    own: SupportsFloat,
    structured: float = 0.6,
    unstructured: float = 0.2,
) -> Category:
    """What a head is, by its shares of attention.

    The first of row, column and self that is above `structured`; `unstructured` where all three
    are below that threshold; otherwise `mixed`. The thresholds are ours: 0.6 and 0.2 at the
    paper's scale, 0.5 for the small settings (section 10 of our spec, claims 11 and 12).
    """
    masses: dict[Category, float] = {"row": float(row), "column": float(column), "self": float(own)}
    for name, mass in masses.items():
        if mass > structured:
            return name
    return "unstructured" if max(masses.values()) < unstructured else "mixed"


def chance(grid: tuple[int, int]) -> dict[str, float]:
    """`row`, `column` and `self` of attention that is the same on every cell."""
    rows, columns = grid
    cells = rows * columns
    return {"row": (columns - 1) / cells, "column": (rows - 1) / cells, "self": 1 / cells}


def same(grid: tuple[int, int]) -> dict[str, Bool[Tensor, "query key"]]:
    """Which keys share the query's row or column, or are the query itself."""
    cell = torch.arange(grid[0] * grid[1])
    row, column = cell // grid[1], cell % grid[1]
    itself = cell == cell[:, None]
    return {
        "row": (row == row[:, None]) & ~itself,
        "column": (column == column[:, None]) & ~itself,
        "self": itself,
    }


def shares(
    pattern: Float[Tensor, "batch head query key"],
) -> Float[Tensor, "batch head query key"]:
    """|A_qk| / sum_k |A_qk|; a row of zeros stays one."""
    weights = pattern.abs()
    return weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
