"""SQL over all runs below a directory, answered by DuckDB in memory; nothing is ever written.

Views:

    runs(run, state, step, steps, members, diverged, seconds, instrument_seconds, created,
         study, arm, name, experiment)     name, study and arm are the experiment's, or null;
                                           experiment is JSON: experiment->>'$.optimizer.name'
    members(run, member, seed, shard, overrides, diverged_at)             overrides is JSON
    metrics(run, member, seed, step, name, index, value)                  index: null for scalars

"run" is the path below the root. Metrics come from metrics.parquet where that is up to date, and
from the logs where it is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from saltus.errors import SaltusError
from saltus.runs.run import Run, list_runs
from saltus.runs.table import SCHEMA, fresh_parquet, long_tables

try:
    import duckdb
    import pyarrow as pa
    import pyarrow.dataset
except ImportError as error:  # the base install has neither pyarrow nor DuckDB
    raise SaltusError("tables and queries need `pip install saltus[studies]`") from error

_RUNS = pa.schema(
    [
        ("run", pa.string()),
        ("state", pa.string()),
        ("step", pa.int64()),
        ("steps", pa.int64()),
        ("members", pa.int64()),
        ("diverged", pa.int64()),
        ("seconds", pa.float64()),
        ("instrument_seconds", pa.float64()),
        ("created", pa.string()),
        ("study", pa.string()),
        ("arm", pa.string()),
        ("name", pa.string()),
        ("experiment", pa.string()),
    ]
)
_MEMBERS = pa.schema(
    [
        ("run", pa.string()),
        ("member", pa.int64()),
        ("seed", pa.int64()),
        ("shard", pa.int64()),
        ("overrides", pa.string()),
        ("diverged_at", pa.int64()),
    ]
)
_READ_ONLY = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


def query(root: Path | str, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """(column names, rows) of one SQL statement over the runs at or below `root`.

    One SELECT (or WITH, FROM, DESCRIBE, SUMMARIZE, EXPLAIN) is allowed; it sees the three views
    and no file. Raises SaltusError, in one line, for anything else and for SQL that fails.
    """
    runs = {_label(run, Path(root)): run for run in list_runs(root)}
    connection = duckdb.connect(":memory:")
    try:
        _require_read_only(connection, sql)
        _make_views(connection, runs, wants_metrics=re.search("metrics", sql, re.I) is not None)
        found = connection.execute(sql)
        columns = [column[0] for column in found.description or []]
        return columns, found.fetchall()
    except duckdb.Error as error:
        raise SaltusError(f"SQL: {_one_line(str(error))}") from error
    finally:
        connection.close()


def _require_read_only(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise SaltusError(f"SQL: {len(statements)} statements are not allowed; allowed: one SELECT")
    kind = statements[0].type
    if kind not in _READ_ONLY:
        raise SaltusError(f"SQL: {kind.name} is not allowed; allowed: SELECT (queries only read)")


def _make_views(
    connection: duckdb.DuckDBPyConnection, runs: dict[str, Run], wants_metrics: bool
) -> None:
    rows = [_run_row(label, run) for label, run in runs.items()]
    connection.register("runs_table", pa.Table.from_pylist(rows, _RUNS))
    connection.execute(
        "CREATE VIEW runs AS SELECT * REPLACE (TRY_CAST(experiment AS JSON) AS experiment) "
        "FROM runs_table"
    )
    rows = [row for label, run in runs.items() for row in _member_rows(label, run)]
    connection.register("members_table", pa.Table.from_pylist(rows, _MEMBERS))
    connection.execute(
        "CREATE VIEW members AS SELECT * REPLACE (TRY_CAST(overrides AS JSON) AS overrides) "
        "FROM members_table"
    )
    if wants_metrics:  # reading logs is the only slow part, and many questions don't need them
        files, tables = _metrics_sources(runs)
        connection.register("metrics_logs", pa.concat_tables([SCHEMA.empty_table(), *tables]))
        view = "CREATE VIEW metrics AS SELECT * FROM metrics_logs"
        if files:
            dataset = pyarrow.dataset.dataset([str(f) for f in files], SCHEMA, format="parquet")
            connection.register("metrics_files", dataset)
            view += " UNION ALL SELECT * FROM metrics_files"
        connection.execute(view)
    # From here on SQL reaches neither files nor Python variables, and cannot change that.
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _metrics_sources(runs: dict[str, Run]) -> tuple[list[Path], list[pa.Table]]:
    """Parquet files to scan as they are, and tables for the runs that need their logs read."""
    files: list[Path] = []
    tables: list[pa.Table] = []
    for label, run in runs.items():
        parquet = fresh_parquet(run) if label == run.name else None
        if parquet is not None:
            files.append(parquet)
        else:
            tables.extend(long_tables(run, label))
    return files, tables


def _run_row(label: str, run: Run) -> dict[str, Any]:
    status = run.status
    experiment = _or_empty(lambda: run.experiment)
    own = {key: _text(experiment.get(key)) for key in ("study", "arm", "name")}
    return {
        **{key: status[key] for key in ("state", "step", "steps")},
        "run": label,
        "members": len(run.members),
        "diverged": len(status["diverged"]),
        "seconds": status["seconds"],
        "instrument_seconds": status["instrument_seconds"],
        "created": _text(_or_empty(lambda: run.provenance).get("created")),
        **own,
        "experiment": json.dumps(experiment, default=str),
    }


def _member_rows(label: str, run: Run) -> list[dict[str, Any]]:
    diverged = run.status["diverged"]
    return [
        {
            "run": label,
            **{key: member[key] for key in ("member", "seed", "shard")},
            "overrides": json.dumps(member["overrides"]),
            "diverged_at": diverged.get(member["member"]),
        }
        for member in run.members
    ]


def _label(run: Run, root: Path) -> str:
    below = run.path.resolve().relative_to(root.resolve()).as_posix()
    return run.name if below == "." else below


def _or_empty(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A damaged run still has a row: `verify` is there to say what is wrong with it."""
    try:
        return read()
    except SaltusError:
        return {}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _one_line(message: str) -> str:
    """DuckDB's message without the quoted statement that it appends."""
    return " ".join(message.split("\n\nLINE ")[0].split())
