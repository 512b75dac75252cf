"""What is kept: the run directory, its writers, its reading API, its proof and its queries.

Start with `layout.py` (what lies where), then `shard_writer.py` (how it is written so that
`kill -9` does no harm), `run.py` (how it is read) and `verification.py` (how it is proven).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saltus.runs.create import create_run
from saltus.runs.merge import Series
from saltus.runs.run import Run, list_runs, open_run
from saltus.runs.run_writer import RunWriter
from saltus.runs.shard_writer import ShardWriter
from saltus.runs.verification import VerifyReport, verify

if TYPE_CHECKING:
    from saltus.runs.catalogue import query
    from saltus.runs.table import compact

__all__ = [
    "Run",
    "RunWriter",
    "Series",
    "ShardWriter",
    "VerifyReport",
    "compact",
    "create_run",
    "list_runs",
    "open_run",
    "query",
    "verify",
]


def __getattr__(name: str) -> Any:
    """`compact` and `query` need pyarrow and DuckDB, which the base install does not have."""
    if name == "compact":
        from saltus.runs.table import compact

        return compact
    if name == "query":
        from saltus.runs.catalogue import query

        return query
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
