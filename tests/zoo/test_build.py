"""A built entry is whole or absent, whatever stops the builder, and the same however it came."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from saltus.errors import SaltusError
from saltus.runs import verify as verify_run
from saltus.runs.layout import LOCK
from saltus.runs.locks import Lock
from saltus.studies.reproduce import Watcher
from saltus.zoo import ENTRIES, build, find_entry, verify
from saltus.zoo.entries import doubling
from saltus.zoo.manifest import read_manifest


class Stopping(Watcher):
    """Ctrl-C after so many steps."""

    def __init__(self, after: int) -> None:
        self.after, self.how = after, ""

    def begin(self, label, run, how):
        self.how = how

        def step(shard: int, reached: int, loss: float, leapt: int) -> None:
            if reached >= self.after:
                raise KeyboardInterrupt

        return step


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_holds_the_run_and_every_step(zoo):
    built = zoo["gpt2"]
    assert built.steps == (0, 1, 2, 3, 4, 5, 6) == tuple(built.run.checkpoints())
    assert [folder.name for folder in built.folders][:2] == ["step-000000", "step-000001"]
    assert names(built.folder) == ["manifest.json", "run", *(f.name for f in built.folders)]
    model = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert all(names(folder) == model for folder in built.folders)
    assert built.how == "new" and built.run.status["state"] == "done"
    assert verify_run(built.folder / "run").ok
    assert built.model_bytes == (built.folders[0] / "model.safetensors").stat().st_size
    assert names(built.folder.parent) == ["bert-stdlib", "gpt2-stdlib"]  # no hidden siblings


def test_one_that_is_there_is_taken_and_another_is_refused(zoo, gpt2):
    root = zoo["gpt2"].folder.parent
    again = build(gpt2, root)
    assert again.how == "reused"
    assert replace(again, how="new", seconds=zoo["gpt2"].seconds) == zoo["gpt2"]
    with pytest.raises(SaltusError, match="is there already, built from another text or with"):
        build(gpt2, root, steps=7)
    assert names(root) == ["bert-stdlib", "gpt2-stdlib"]


def test_a_folder_of_somebody_else_is_left_alone(gpt2, tmp_path):
    (tmp_path / gpt2.name).mkdir()
    (tmp_path / gpt2.name / "notes.txt").write_text("mine")
    with pytest.raises(SaltusError, match=r"is no folder of the zoo: manifest.json: no such file"):
        build(gpt2, tmp_path)
    assert (tmp_path / gpt2.name / "notes.txt").read_text() == "mine"
    assert names(tmp_path) == [gpt2.name]


def test_an_interrupted_one_is_continued_to_the_same_bits(zoo, gpt2, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build(gpt2, tmp_path, watcher=Stopping(after=3))
    assert names(tmp_path) == [f".{gpt2.name}.tmp"]
    watcher = Stopping(after=99)
    built = build(gpt2, tmp_path, watcher=watcher)
    assert built.how == watcher.how == "resumed"
    assert names(tmp_path) == [gpt2.name]
    for mine, other in zip(built.folders, zoo["gpt2"].folders, strict=True):
        for name in names(other):
            assert (mine / name).read_bytes() == (other / name).read_bytes()
    assert verify(built.folder).ok


def test_what_is_left_of_another_experiment_is_not_continued(gpt2, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build(gpt2, tmp_path, watcher=Stopping(after=3))
    built = build(gpt2, tmp_path, steps=2)
    assert built.how == "new" and built.steps == (0, 1, 2)
    assert verify(built.folder).ok


def test_a_full_disk_leaves_no_half_entry(gpt2, tmp_path, monkeypatch):
    from saltus.zoo.export import write_step

    def full(folder: Path, *rest) -> None:
        if folder.name == "step-000001":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_step(folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("saltus.zoo.builder.write_step", full)
        with pytest.raises(SaltusError, match=r"cannot write .*: no space left on device"):
            build(gpt2, tmp_path, steps=2)
    assert names(tmp_path) == [f".{gpt2.name}.tmp"]
    built = build(gpt2, tmp_path, steps=2)
    assert built.how == "resumed" and verify(built.folder).ok
    assert names(tmp_path) == [gpt2.name]


def test_two_builders_do_not_meet(gpt2, tmp_path):
    place = tmp_path / f".{gpt2.name}.tmp"
    place.mkdir()
    lock = Lock(place / LOCK, "test")
    try:
        with pytest.raises(SaltusError, match=r"is being written by process \d+"):
            build(gpt2, tmp_path)
    finally:
        lock.close()


def test_the_manifest_says_what_was_built(zoo, gpt2):
    said = read_manifest(zoo["gpt2"].folder)
    assert said["entry"] == gpt2.name and said["steps"] == list(zoo["gpt2"].steps)
    assert said["parameters"] == zoo["gpt2"].parameters
    assert LOCK not in {Path(name).name for name in said["files"]}


@pytest.mark.parametrize("name", [name for name in ENTRIES if ENTRIES[name].corpus is None])
def test_every_entry_that_needs_no_text_is_an_experiment(name):
    entry = find_entry(name)
    experiment = entry.experiment()
    assert experiment.name == name and experiment.seeds == (entry.seed,)
    kept = [s for s in range(entry.steps + 1) if experiment.checkpoints.keeps(s, entry.steps)]
    assert {0, 1, 2, 4, 8, 16, entry.steps // 10, entry.steps} <= set(kept)


def test_entries_differ_in_what_they_say():
    plain, other, decaying = (
        find_entry(f"gpt2-stdlib{suffix}").experiment().data() for suffix in ("", "-seed1", "-sqrt")
    )
    differ = [{key for key in plain if plain[key] != each[key]} for each in (other, decaying)]
    assert differ == [{"name", "seeds"}, {"name", "optimizer"}]


def test_doubling_steps():
    assert doubling(1) == (1,)
    assert doubling(500) == (1, 2, 4, 8, 16, 32, 64, 128, 256)
    assert doubling(512)[-1] == 512


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"steps": 0}, "--steps: 0 is not allowed: 1 or more"),
        ({"corpus": "/nowhere/text.txt"}, "its text: .*'/nowhere/text.txt' cannot be read"),
    ],
    ids=["steps", "corpus"],
)
def test_bad_input_is_one_line_and_nothing_is_written(gpt2, tmp_path, arguments, line):
    with pytest.raises(SaltusError, match=line):
        build(gpt2, tmp_path / "zoo", **arguments)
    assert not (tmp_path / "zoo").exists()


def test_a_short_text_is_refused(gpt2, tmp_path):
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(SaltusError, match=r"gpt2-stdlib: task: .*length 64 is too long"):
        build(gpt2, tmp_path / "zoo", corpus=str(tmp_path / "short.txt"))


def test_an_unknown_entry_is_answered_with_the_nearest():
    with pytest.raises(SaltusError, match="unknown entry 'gpt2-stdlip'; did you mean 'gpt2-std"):
        find_entry("gpt2-stdlip")
