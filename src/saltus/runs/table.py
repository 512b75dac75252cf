"""The metrics of a run as one long table, and the Parquet file that keeps it.

Columns: run, member, seed, step, name, index (null for scalars, else the position in the
flattened array), value (float64). The file can always be rebuilt from the logs. Its metadata says
from which bytes it was made, and a digest beside it what it was when it was written: a reader knows
when it is out of date or damaged, and reads the logs instead.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from saltus.errors import SaltusError
from saltus.runs.files import clear_write_errors, sha256_of_file, sync_directory, write_atomic
from saltus.runs.layout import MANIFEST, PARQUET
from saltus.runs.merge import Series
from saltus.runs.run import Run

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:  # the base install has neither pyarrow nor DuckDB
    raise SaltusError("tables and queries need `pip install saltus[studies]`") from error

SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("member", pa.int32()),
        ("seed", pa.int64()),
        ("step", pa.int64()),
        ("name", pa.string()),
        ("index", pa.int32()),
        ("value", pa.float64()),
    ]
)
_SOURCE = b"saltus.source"


def compact(run: Run | Path | str) -> Path:
    """Write RUN/metrics.parquet from the logs, atomically, and return its path.

    Works on a live run too: the table then ends where the logs ended. Rows come by name, shard,
    step, member, index. Raises SaltusError.
    """
    run = run if isinstance(run, Run) else Run(run)
    path = run.path / PARQUET
    temporary = path.with_name(f".{PARQUET}.{secrets.token_hex(6)}.tmp")
    metadata = {_SOURCE: _source(run, run.name).encode()}
    try:
        with clear_write_errors(path, run.path):
            with pq.ParquetWriter(
                temporary, SCHEMA.with_metadata(metadata), compression="zstd"
            ) as writer:
                for table in long_tables(run, run.name):
                    writer.write_table(table)
            _flush(temporary)
            digest = sha256_of_file(temporary)
            os.replace(temporary, path)
            sync_directory(run.path)
            write_atomic(_digest_of(path), f"{digest}\n".encode())
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def fresh_parquet(run: Run) -> Path | None:
    """The Parquet file of `run` if it says exactly what the logs say now, else None."""
    path = run.path / PARQUET
    try:
        if _digest_of(path).read_text().strip() != sha256_of_file(path):
            return None
        found = (pq.read_metadata(path).metadata or {}).get(_SOURCE, b"").decode()
    except (OSError, ValueError, pa.ArrowException):
        return None
    return path if found == _source(run, run.name) else None


def _digest_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def long_tables(run: Run, label: str) -> Iterator[pa.Table]:
    """The long table of `run`, one piece per metric, with `label` in the column "run".

    Every shard contributes all the steps it has: a live run's shards need not be equally far.
    """
    for name in run.names():
        for shard in run.shards:
            column = shard.columns.get(name)
            if column is not None:
                values = np.moveaxis(column.values, 0, 1)
                yield _long(run, label, Series(name, column.steps, values), shard.members)


def _long(run: Run, label: str, series: Series, members: list[int]) -> pa.Table:
    steps, count = len(series.steps), len(members)
    size = int(np.prod(series.values.shape[2:], dtype=np.int64))
    rows = count * steps * size
    # step is the slowest axis, then member, then position: [steps, members, size]
    values = np.moveaxis(series.values.reshape(count, steps, size), 0, 1)
    seeds = run.seeds[members]
    index = None if series.values.ndim == 2 else np.tile(np.arange(size), steps * count)
    return pa.table(
        [
            _repeat(label, rows),
            pa.array(np.tile(np.repeat(members, size), steps), pa.int32()),
            pa.array(np.tile(np.repeat(seeds, size), steps), pa.int64()),
            pa.array(np.repeat(series.steps, count * size), pa.int64()),
            _repeat(series.name, rows),
            pa.nulls(rows, pa.int32()) if index is None else pa.array(index, pa.int32()),
            pa.array(values.reshape(-1).astype(np.float64), pa.float64()),
        ],
        schema=SCHEMA,
    )


def _repeat(text: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), rows)


def _source(run: Run, label: str) -> str:
    """What a table is made from, cheaply: for each log its length and its last 32 bytes, which
    are the digest that covers all of it; and the manifest, which covers seeds and experiment."""
    logs = []
    for shard in run.shards:
        try:
            with shard.files.metrics.open("rb") as file:
                length = file.seek(0, os.SEEK_END)
                file.seek(max(0, length - 32))
                logs.append([length, file.read().hex()])
        except FileNotFoundError:
            logs.append([0, ""])
    manifest = sha256_of_file(run.path / MANIFEST)
    return json.dumps({"run": label, "manifest": manifest, "logs": logs})


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
