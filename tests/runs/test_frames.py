"""Frames: what is read is proven, what is damaged is named, and who resumes writes them again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.runs import Run, ShardWriter, verify
from saltus.runs.chain import Record, encode_record, read_chain, releasable
from saltus.runs.frames import Frame, encode_frame, read_frames

STEPS = [5, 6, 7, 8, 9, 10]


def test_frames_are_read_as_they_were_written(done: Path) -> None:
    run = Run(done)
    assert [run.frames(member) for member in range(3)] == [[], STEPS, STEPS]
    for member, seed in ((1, 1), (2, 2)):
        for step in STEPS:
            (value,) = run.frame(member, step).values()
            start = seed * np.array([3, 5, 7]) + 1
            assert np.array_equal(value, start * 2**step % 1009), (member, step)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_frame_is_not_read_and_the_others_are(done: Path, damage: str) -> None:
    path = Run(done).files(1).frame(1, 7)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 4]) if damage == "flipped" else data[:-8])
    if damage == "missing":
        path.unlink()
    with pytest.raises(SaltusError, match=r"step-00000007\.safetensors") as caught:
        Run(done).frame(1, 7)
    assert "\n" not in str(caught.value)
    assert Run(done).frame(1, 8) and Run(done).frames(1) == STEPS
    assert any("step-00000007" in line for line in Run(done).damage) == (damage != "flipped")


def test_swapped_frames_are_named(done: Path) -> None:
    files = Run(done).files(1)
    (done / "x").write_bytes(files.frame(1, 6).read_bytes())
    shutil.copy(files.frame(1, 9), files.frame(1, 6))
    (done / "x").rename(files.frame(1, 9))
    place = "shards/001/frames/member-001"
    assert verify(done).problems == [
        f"{place}/step-00000006.safetensors: "
        "holds the frame of member 1, step 9 instead of its own",
        f"{place}/step-00000009.safetensors: "
        "holds the frame of member 1, step 6 instead of its own",
    ]


def test_a_frame_that_nobody_knows_is_a_problem_of_a_finished_run(done: Path) -> None:
    files = Run(done).files(1)
    shutil.copy(files.frame(1, 6), files.frame(1, 11))
    assert verify(done).problems == [
        "shards/001/frames/member-001/step-00000011.safetensors: is not in the list of frames"
    ]


@pytest.mark.parametrize("damage", ["flipped", "cut at a line", "missing", "another shard's"])
def test_a_damaged_list_of_frames_is_found_and_training_goes_back_behind_it(
    toy: ModuleType, unbroken: Path, done: Path, damage: str
) -> None:
    path = done / "shards/001/frames.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    wrong = {
        "flipped": b"".join(lines)[:700] + b"?" + b"".join(lines)[701:],
        "cut at a line": b"".join(lines[:-1]),
        "missing": None,
        "another shard's": (done / "shards/000/frames.jsonl").read_bytes(),
    }[damage]
    path.unlink()
    if wrong is not None:
        path.write_bytes(wrong)
    assert verify(done).problems[0].startswith("shards/001/frames.jsonl: ")
    assert Run(done).damage[0].startswith("shards/001/frames.jsonl: ")
    with pytest.raises(SaltusError, match=r"is damaged: shards/001/frames\.jsonl: ") as caught:
        Run(done).frames(1)
    assert "\n" not in str(caught.value)
    assert not Run(done).shards[1].done
    toy.train(done)
    assert toy.content(done) == toy.content(unbroken) and verify(done).ok


def test_without_frames_the_chain_says_nothing_of_them(toy: ModuleType, tmp_path: Path) -> None:
    """Runs of before there were frames are read as ever."""
    run = toy.create(tmp_path, [[0, 1, 2]])
    with ShardWriter(run, 0) as shard:
        shard.checkpoint(1, {"w": np.zeros((3, 2))}, keep=True)
        shard.status(state="done", step=1)
    text = (run / "shards/000/chain.jsonl").read_text()
    assert "frames" not in text and "reach" not in text
    assert not (run / "shards/000/frames.jsonl").exists()
    assert verify(run).ok and Run(run).frames(0) == []
    (run / "shards/000/frames.jsonl").write_bytes(b"{}")
    assert verify(run).problems[0].startswith("shards/000/frames.jsonl: ")


def test_steps_of_a_member_rise(copy: Callable[[], Path]) -> None:
    genesis = "0" * 64
    line = encode_frame(Frame(1, 5, "a", 3, genesis))
    (first,) = read_frames(line, genesis).frames
    again = encode_frame(Frame(1, 5, "b", 3, first.digest))
    read = read_frames(line + again, genesis)
    assert (len(read.frames), read.damage) == (1, "line 2 goes back to step 5")
    other = encode_frame(Frame(0, 2, "b", 3, first.digest))
    assert read_frames(line + other, genesis).damage is None


@pytest.mark.parametrize(
    ("reach", "left"),
    [(0, [0, 50, 60]), (5, [0, 40, 50, 60]), (10, [0, 40, 50, 60]), (25, [0, 20, 30, 40, 50, 60])],
)
def test_rolling_checkpoints_stay_while_memory_goes_back_to_them(
    reach: int, left: list[int]
) -> None:
    records = [
        Record(step, "", "", 0, step == 0, "", "", 0, "", reach=reach) for step in range(0, 61, 10)
    ]
    gone = [record.step for record in releasable(records)]
    assert [step for step in range(0, 61, 10) if step not in gone] == left
    # What is needed later has not been let go before.
    for count in range(1, len(records)):
        before = {record.step for record in releasable(records[:count])}
        assert before <= {record.step for record in releasable(records[: count + 1])}


def test_a_record_keeps_its_reach() -> None:
    record = Record(3, "f", "a", 1, True, "p", "e", 0, "m", reach=7, frames_length=9)
    line = encode_record(record)
    (read,) = read_chain(line, "p", "e").records
    assert (read.reach, read.frames_length) == (7, 9)
