"""verify: a sound run passes; each way to break one is found, and the first broken file named."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from saltus.errors import SaltusError
from saltus.runs import Run, ShardWriter, query, verify

FIXED = ("experiment.yaml", "members.json", "provenance.json", "manifest.json")
SHARD = (
    "metrics.log",
    "chain.jsonl",
    "frames.jsonl",
    "status.json",
    "checkpoints/step-00000012.safetensors",
    "frames/member-001/step-00000007.safetensors",
)
LOSSES = "SELECT * FROM metrics WHERE name = 'loss'"
FILES = [*FIXED, *(f"shards/001/{name}" for name in SHARD)]


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_a_finished_run_is_proven(done: Path) -> None:
    report = verify(done)
    assert report.ok and report.problems == [] and report.notes == []
    # Steps 0, 12, 24 are kept, 20 is one of the newest two; 4, 8 and 16 were released.
    counted = ("shards", "checkpoints", "released", "frames")
    counts = {name: report.checked[name] for name in counted}
    assert counts == {"shards": 2, "checkpoints": 8, "released": 6, "frames": 12}


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_found_in_every_file(done: Path, file: str) -> None:
    path, chance = done / file, random.Random(file)
    bits = 8 * path.stat().st_size
    # Every bit of the last byte (a newline, mostly), and many others.
    for bit in [*range(bits - 8, bits), *(chance.randrange(bits) for _ in range(30))]:
        flip(path, bit)
        report = verify(done)
        assert not report.ok and report.problems[0].startswith(f"{file}: "), (bit, report)
        assert "\n" not in report.problems[0]
        flip(path, bit)
    assert verify(done).ok


def test_a_flipped_bit_in_the_last_line_of_an_unfinished_chain_is_found(halfway: Path) -> None:
    chain = halfway / "shards/000/chain.jsonl"
    lines = chain.read_bytes().splitlines(keepends=True)
    size = len(b"".join(lines))
    start = 8 * (size - len(lines[-1]))
    for bit in [*range(start, 8 * size, 37), *range(8 * size - 16, 8 * size)]:
        flip(chain, bit)
        assert not verify(halfway).ok
        flip(chain, bit)


@pytest.mark.parametrize("file", FILES)
def test_a_truncated_or_missing_file_is_found(copy: Callable[[], Path], file: str) -> None:
    for damage in ("truncated", "missing"):
        run = copy()
        path = run / file
        path.write_bytes(path.read_bytes()[:-3])
        if damage == "missing":
            path.unlink()
        report = verify(run)
        if (damage, path.name) == ("missing", "status.json"):
            assert any("not finished" in note for note in report.notes)
        else:
            assert not report.ok and report.problems[0].startswith(f"{file}: "), (damage, report)


def test_swapped_checkpoints_are_named(done: Path) -> None:
    folder = done / "shards/000/checkpoints"
    first, second = folder / "step-00000012.safetensors", folder / "step-00000020.safetensors"
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)
    assert verify(done).problems[:2] == [
        f"shards/000/checkpoints/{first.name}: holds the checkpoint of step 20 instead of its own",
        f"shards/000/checkpoints/{second.name}: holds the checkpoint of step 12 instead of its own",
    ]


def test_swapped_shards_are_found(done: Path) -> None:
    (done / "shards/000").rename(done / "shards/x")
    (done / "shards/001").rename(done / "shards/000")
    (done / "shards/x").rename(done / "shards/001")
    assert verify(done).problems[0].startswith("shards/000/chain.jsonl: ")


def test_a_chain_cut_at_a_line_is_found(done: Path) -> None:
    chain = done / "shards/000/chain.jsonl"
    chain.write_bytes(b"".join(chain.read_bytes().splitlines(keepends=True)[:-1]))
    assert verify(done).problems[0] == (
        "shards/000/chain.jsonl: ends at step 20, but the run is done at 24"
    )


def test_an_unfinished_run_is_sound_up_to_its_last_checkpoint(halfway: Path) -> None:
    report = verify(halfway)
    assert report.ok and "shards/000: not finished; up to step 8" in report.notes
    with (halfway / "shards/000/metrics.log").open("ab") as file:
        file.write(b"SLT1\x10")
    report = verify(halfway)
    assert report.ok and any("metrics.log: the block at" in note for note in report.notes)


def test_a_torn_tail_is_a_problem_of_a_finished_run(done: Path) -> None:
    for file in ("metrics.log", "chain.jsonl"):
        with (done / "shards/000" / file).open("ab") as stream:
            stream.write(b"SLT1")
    problems = verify(done).problems
    assert [problem.split(": ")[0] for problem in problems] == [
        "shards/000/chain.jsonl",
        "shards/000/metrics.log",
    ]


def test_a_file_that_nobody_knows_is_a_problem_of_a_finished_run(done: Path) -> None:
    folder = done / "shards/000/checkpoints"
    shutil.copy(folder / "step-00000012.safetensors", folder / "step-00000013.safetensors")
    assert "step-00000013.safetensors: is not in the chain" in verify(done).problems[0]


def test_a_live_run_verifies(toy: ModuleType, tmp_path: Path) -> None:
    run = toy.create(tmp_path, [[0, 1, 2]])
    with toy.RunWriter(run) as writer, writer.shard(0) as shard:
        assert verify(run).ok
        toy.train_shard(shard, 9)
        report = verify(run)
        assert report.ok and report.notes == ["shards/000: being written; up to step 8"]


def test_an_altered_run_is_not_continued(done: Path) -> None:
    flip(done / "experiment.yaml", 3)
    with pytest.raises(SaltusError, match=r"cannot be continued: experiment\.yaml: not what"):
        ShardWriter(done, 0)


def test_what_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(SaltusError, match="is not a run"):
        verify(tmp_path)


def test_the_status_of_another_shard_is_not_believed(done: Path, halfway: Path) -> None:
    for run, other in ((done, halfway), (halfway, done)):
        own, foreign = (path / "shards/000/status.json" for path in (run, other))
        kept = own.read_bytes()
        own.write_bytes(foreign.read_bytes())
        assert verify(run).problems[0] == (
            "shards/000/status.json: its digest does not match its content"
        )
        assert not Run(run).shards[0].done and Run(run).shards[0].status == {}
        own.write_bytes(kept)


def test_a_rolling_checkpoint_that_is_missing_is_found_where_it_was_not_released(
    done: Path,
) -> None:
    (done / "shards/000/checkpoints/step-00000020.safetensors").unlink()
    assert verify(done).problems == [
        "shards/000/checkpoints/step-00000020.safetensors: "
        "missing, though it is one of the newest checkpoints"
    ]


@pytest.mark.parametrize("file", FIXED)
def test_a_flipped_bit_in_a_fixed_file_is_not_read_as_if_it_were_true(
    done: Path, file: str
) -> None:
    data = (done / file).read_bytes()
    flip(done / file, 8 * max(data.rfind(digit) for digit in b"0123456789"))  # another digit
    run, read = Run(done), {"experiment": lambda r: r.experiment, "members": lambda r: r.seeds}
    read |= {"provenance": lambda r: r.provenance, "manifest": lambda r: r.experiment}
    with pytest.raises(SaltusError, match=rf"is damaged: {file}: ") as caught:
        read[file.split(".")[0]](run)
    assert "\n" not in str(caught.value)


def test_less_than_a_finished_run_is_refused(copy: Callable[[], Path]) -> None:
    """The last value that is left would pass for the last of the training."""
    for damage in ("flip", "cut", "delete"):
        run = copy()
        log = run / "shards/000/metrics.log"
        data = log.read_bytes()
        changed = {"flip": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[: len(data) // 2]}
        log.write_bytes(changed.get(damage, b""))
        if damage == "delete":
            log.unlink()
        assert Run(run).damage[0].startswith("shards/000/metrics.log: ")
        for read in (lambda run: run.series("loss"), lambda run: query(run.path, LOSSES)):
            with pytest.raises(SaltusError, match=r"is damaged: shards/000/metrics.log: "):
                read(Run(run))
        assert not Run(run).shards[0].done  # so that resume trains it again


def test_the_last_checkpoint_of_a_finished_run_is_its_last(done: Path) -> None:
    assert (Run(done).checkpoint()["weight"] == Run(done).checkpoint(24)["weight"]).all()
    for shard in ("000", "001"):
        (done / f"shards/{shard}/checkpoints/step-00000024.safetensors").unlink()
    with pytest.raises(SaltusError, match=r"has lost its last checkpoint; allowed: 0, 12, 20$"):
        Run(done).checkpoint()
    assert len(Run(done).damage) == 2 and Run(done).checkpoint(20)
