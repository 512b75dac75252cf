"""Reading, tables and queries: members in run order, live runs too, and no SQL that writes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.runs import Run, ShardWriter, compact, list_runs, open_run, query
from saltus.runs.table import fresh_parquet


def weights(toy: ModuleType, step: int) -> np.ndarray:
    """The toy's weight before update `step`, members in run order."""
    weight = np.arange(3)[:, None] * np.array([[3, 5, 7]]) + 1
    for _ in range(step):
        weight = weight * 2 % 1009
    return weight


def test_series_are_merged_in_run_order(toy: ModuleType, done: Path) -> None:
    run = open_run(done)
    assert run.name == "toy" and run.experiment["study"] == "toys" and run.experiment_yaml
    assert run.seeds.tolist() == [11, 12, 13] and run.provenance["created"] == "today"
    assert run.members[1]["overrides"] == {"optimizer.lr": 0.1}
    assert run.names() == ["count", "loss", "pattern"] and run.damage == []
    loss = run.series("loss")
    expected = np.stack([weights(toy, s).sum(1) / 100 for s in range(25)], axis=1)
    assert loss.steps.tolist() == list(range(25))
    assert np.array_equal(loss.values, np.where(expected > 5, np.nan, expected), equal_nan=True)
    assert run.series("count").values.dtype == np.float64
    pattern = run.array("pattern")
    assert pattern.values.shape == (3, 9, 3, 2) and pattern.values.dtype == np.float32
    assert np.array_equal(pattern.values[:, 4, :, 1], -weights(toy, 12))


def test_unknown_names_and_wrong_kinds_get_one_line(done: Path) -> None:
    with pytest.raises(SaltusError, match="unknown metric 'los'; did you mean 'loss'"):
        Run(done).series("los")
    with pytest.raises(SaltusError, match="pattern is not a scalar"):
        Run(done).series("pattern")
    with pytest.raises(SaltusError, match=r"no checkpoint of step 7; allowed: 0, 12, 20, 24"):
        Run(done).checkpoint(7)


def test_checkpoints_are_stacked_and_leave_the_optimiser_out(toy: ModuleType, done: Path) -> None:
    run = Run(done)
    assert run.checkpoints() == [0, 12, 20, 24]
    assert run.checkpoint().keys() == {"weight"}
    assert np.array_equal(run.checkpoint(12)["weight"], weights(toy, 12))
    file = run.shards[0].files.checkpoint(24)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(SaltusError, match="is damaged: its sha256"):
        run.checkpoint()


def test_status(toy: ModuleType, done: Path, halfway: Path, tmp_path: Path) -> None:
    assert Run(done).status == {
        "state": "done",
        "step": 24,
        "steps": 24,
        "diverged": {},
        "seconds": 5.0,
        "instrument_seconds": 1.0,
    }
    assert Run(halfway).status["state"] == "interrupted"
    assert Run(toy.create(tmp_path)).status["state"] == "new"
    with ShardWriter(halfway, 0) as shard:
        shard.status(state="failed")
        assert Run(halfway).status["state"] == "running"
    assert Run(halfway).status["state"] == "failed"


def test_a_live_run_shows_the_steps_that_every_shard_has(toy: ModuleType, tmp_path: Path) -> None:
    run = Run(toy.create(tmp_path))
    with ShardWriter(run.path, 0) as first, ShardWriter(run.path, 1) as second:
        first.record(1, {"loss": np.zeros(2)})
        first.flush()
        assert run.names() == ["loss"] and run.series("loss").values.shape == (3, 0)
        second.record(1, {"loss": np.ones(1)})
        second.record(2, {"loss": np.ones(1)})
        second.flush()
        assert run.series("loss").values.tolist() == [[0], [1], [0]]


def test_a_torn_tail_is_skipped_and_said(halfway: Path) -> None:
    before = Run(halfway).series("loss").values
    log = halfway / "shards/000/metrics.log"
    log.write_bytes(log.read_bytes() + b"SLT1 torn")
    run = Run(halfway)
    assert np.array_equal(run.series("loss").values, before, equal_nan=True)
    assert len(run.damage) == 1 and "metrics.log: the block at byte" in run.damage[0]


def test_the_table_is_fresh_until_the_log_grows(halfway: Path) -> None:
    run = Run(halfway)
    assert fresh_parquet(run) is None
    path = compact(run)
    assert path == halfway / "metrics.parquet" and fresh_parquet(run) == path
    names = sorted(p.name for p in halfway.glob("*.parquet*"))
    assert names == ["metrics.parquet", "metrics.parquet.sha256"]
    with ShardWriter(halfway, 0) as shard:
        shard.resume()
        shard.record(8, {"new": np.zeros(3)})
        shard.flush()
    assert fresh_parquet(run) is None
    path.write_bytes(b"not parquet")
    assert fresh_parquet(run) is None


def test_a_table_with_a_flipped_bit_is_not_used(copy: Callable[[], Path]) -> None:
    run = Run(copy())
    path = compact(run)
    sql = "SELECT name, member, step, value FROM metrics ORDER BY ALL"
    truth, data = repr(query(run.path, sql)), path.read_bytes()  # repr: NaN is itself
    for place in random.Random(0).sample(range(8 * len(data)), 60):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert fresh_parquet(run) is None, place
    assert repr(query(run.path, sql)) == truth
    path.write_bytes(data)
    assert fresh_parquet(run) == path and repr(query(run.path, sql)) == truth
    path.with_name("metrics.parquet.sha256").unlink()
    assert fresh_parquet(run) is None


def test_queries_agree_with_the_logs_compacted_or_not(copy: Callable[[], Path]) -> None:
    run = copy()
    sql = """SELECT member, seed, step, index, value FROM metrics JOIN members USING (member, seed)
             WHERE metrics.name = 'pattern' ORDER BY ALL"""
    before = query(run.parent, sql)
    compact(run)
    assert query(run.parent, sql) == before == query(run, sql)
    columns, rows = before
    assert columns == ["member", "seed", "step", "index", "value"] and len(rows) == 3 * 9 * 6
    pattern = Run(run).array("pattern").values
    assert [row[4] for row in rows] == pattern.reshape(-1).tolist()
    assert rows[-1][:4] == (2, 13, 24, 5)
    scalars = "SELECT count(*), count(index) FROM metrics WHERE name = 'loss'"
    assert query(run, scalars)[1] == [(75, 0)]


def test_runs_below_folders_are_named_by_their_path(copy: Callable[[], Path]) -> None:
    first, second = copy(), copy()
    compact(first)
    root = first.parent.parent
    names = {run.path.relative_to(root).as_posix() for run in list_runs(root)}
    assert names == {"copy-1/toy", "copy-2/toy"} == {r[0] for r in query(root, "FROM runs")[1]}
    assert {r[0] for r in query(root, "SELECT DISTINCT run FROM metrics")[1]} == names
    assert second in [run.path for run in list_runs(root)] and list_runs(root / "none") == []


def test_the_views(done: Path) -> None:
    sql = "SELECT state, members, study, arm, name, experiment->>'$.steps', created FROM runs"
    assert query(done, sql)[1] == [("done", 3, "toys", "plain", "toy", "24", "today")]
    sql = "SELECT overrides->>'$.\"optimizer.lr\"' FROM members WHERE seed = 12"
    assert query(done, sql)[1] == [("0.1",)]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "SQL: Parser Error: syntax error"),
        ("SELECT nothing FROM runs", 'Referenced column "nothing" not found'),
        ("SELECT 1; SELECT 2", "2 statements are not allowed"),
        ("", "0 statements are not allowed"),
        ("DROP VIEW runs", "DROP is not allowed; allowed: SELECT"),
        ("COPY runs TO 'out.csv'", "COPY is not allowed"),
        ("ATTACH 'x.db'", "ATTACH is not allowed"),
        ("SET threads = 1", "SET is not allowed"),
        ("SELECT * FROM read_text('toy.py')", "disabled by configuration"),
    ],
)
def test_sql_only_reads(
    done: Path, sql: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SaltusError, match=message) as error:
        query(done, sql)
    assert "\n" not in str(error.value) and sorted(tmp_path.rglob("*")) == before
