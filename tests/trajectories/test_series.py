"""Which checkpoints a path stands for, in which order, and one line for what is none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from saltus.errors import SaltusError
from saltus.trajectories import analyse, find_series
from saltus.trajectories.safetensors_file import read_safetensors
from saltus.trajectories.tensors import Damage


def problem(*paths, **options):
    """The one line that refuses a series."""
    with pytest.raises(SaltusError) as caught:
        find_series([str(path) for path in paths], **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_come_in_the_order_of_their_steps(walk, write, tmp_path):
    paths = write(walk(12))
    found = find_series([str(tmp_path / "*.safetensors")])
    assert found.steps.tolist() == [100 * i for i in range(12)] and found.numbered
    assert find_series(paths[::-1]).checkpoints == found.checkpoints
    assert find_series([tmp_path]).checkpoints == found.checkpoints
    assert find_series(paths[::-1], in_given_order=True).steps.tolist()[0] == 1100


def test_every_kind_of_file_gives_the_same_numbers(walk, write, tmp_path):
    states = walk(3)
    wanted = analyse(find_series(write(states)))
    nested, folders = tmp_path / "pt", tmp_path / "hf"
    nested.mkdir()
    for i, state in enumerate(states):
        torch.save(
            {"optimizer": {"state": {}}, "model": state, "step": 100 * i}, nested / f"step{i}.pt"
        )
        folder = folders / f"checkpoint-{100 * i}"
        folder.mkdir(parents=True)
        names = list(state)
        shards = {
            name: f"model-0000{1 + (k > 2)}-of-00002.safetensors" for k, name in enumerate(names)
        }
        for shard in set(shards.values()):
            save_file({n: state[n] for n in names if shards[n] == shard}, folder / shard)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": 100 * i}))
    for place in (nested, folders):
        found = find_series([place])
        assert [each.stated for each in found.checkpoints] == [0, 100, 200]
        assert analyse(found).total.norm.tolist() == pytest.approx(
            wanted.total.norm.tolist(), rel=1e-14
        )


def test_tied_weights_and_buffers_count_once_and_not_at_all(tmp_path):
    tied = torch.randn(5, 4)
    state = {"transformer.wte.weight": tied, "lm_head.weight": tied, "count": torch.tensor(3)}
    torch.save(state | {"transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4)}, tmp_path / "a.pt")
    found = analyse(find_series([tmp_path / "a.pt"]))
    assert [each.name for each in found.parameters] == ["transformer.wte.weight"]
    assert found.total.norm[0] == pytest.approx(float(tied.double().norm()))


def test_wrong_paths_are_one_line(tmp_path, walk, write):
    assert problem(tmp_path / "nowhere").endswith("there is no such file or folder")
    assert "no file or folder has a name of this pattern" in problem(tmp_path / "*.pt")
    assert "holds no checkpoints" in problem(tmp_path)
    assert problem() == "checkpoints: none given; allowed: 1 or more files or folders"
    (tmp_path / "notes.txt").write_text("no weights")
    assert "is no checkpoint" in problem(tmp_path / "notes.txt")
    assert "is not one run of Saltus" in problem(write(walk(1))[0], member=2)


def test_steps_must_be_there_and_differ(walk, tmp_path):
    (state,) = walk(1)
    for name in ("a", "b", "step-5", "step-05"):
        save_file(state, tmp_path / f"{name}.safetensors")
    named = [tmp_path / f"{name}.safetensors" for name in "ab"]
    assert problem(*named).startswith("a.safetensors: no step in its name")
    assert find_series(named, in_given_order=True).steps.tolist() == [0, 1]
    same = [tmp_path / "step-5.safetensors", tmp_path / "step-05.safetensors"]
    assert problem(*same).startswith("step 5 is that of two checkpoints: step-5")
    assert problem(*named[:1], *named[:1]).endswith("given twice")
    assert "must have one group" in problem(*same, steps_from=r"\d+")


def test_mixed_architectures_name_what_differs(walk, write, tmp_path):
    states = walk(2)
    other = {
        "shape": states[1] | {"lm_head.weight": torch.zeros(9, 9)},
        "is bfloat16": {name: value.bfloat16() for name, value in states[1].items()},
        "is missing": {n: v for n, v in states[1].items() if n != "lm_head.weight"},
        "is new": states[1] | {"more.weight": torch.zeros(3)},
    }
    for said, state in other.items():
        line = problem(*write([states[0], state]))
        assert (
            line.startswith("step-100.safetensors: another architecture than step-0")
            and said in line
        )


class Custom:
    """Something that is not a tensor."""


def test_a_pickle_of_more_than_weights_is_not_read(tmp_path):
    torch.save({"weight": torch.ones(2), "args": Custom()}, tmp_path / "step1.pt")
    assert "a pickle of more than weights, which is not read" in problem(tmp_path / "step1.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "step2.pt", _use_new_zipfile_serialization=False)
    assert "before torch 1.6" in problem(tmp_path / "step2.pt")
    torch.save(torch.ones(2), tmp_path / "step3.pt")
    assert "holds a" in problem(tmp_path / "step3.pt")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_file_cut_anywhere_is_damaged_and_the_others_go_on(walk, write, tmp_path, suffix):
    states = walk(3)
    for i, state in enumerate(states):
        path = tmp_path / f"step-{i}.{suffix}"
        save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    whole = (tmp_path / f"step-1.{suffix}").read_bytes()
    for cut in (0, 1, 7, 9, 300, len(whole) // 2, len(whole) - 1):
        (tmp_path / f"step-1.{suffix}").write_bytes(whole[:cut])
        found = find_series([tmp_path])
        assert [each.step for each in found.checkpoints] == [0, 2]
        assert [(each.step, each.kind in ("truncated", "corrupt")) for each in found.damaged] == [
            (1, True)
        ]
        assert suffix == "pt" or found.damaged[0].kind == "truncated"


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_bytes_are_read_refused_or_damaged(tmp_path_factory, data):
    """A header in which bytes were altered never gives another exception or wrong extents."""
    path = tmp_path_factory.mktemp("bytes") / "a.safetensors"
    save_file({"a": torch.ones(3, 4), "b": torch.ones(2)}, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 57))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        entries, _ = read_safetensors(path)
    except Damage:
        return
    assert all(entry.offset + entry.nbytes <= len(content) for entry in entries.values())


def test_a_missing_shard_is_damage(walk, tmp_path):
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (damaged,) = find_series([folder]).damaged
    assert damaged.kind == "truncated" and "is missing" in damaged.reason


MEMORY = """
import resource, sys
from saltus.trajectories import analyse, find_series
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = analyse(find_series([sys.argv[1]]))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(found.bytes_read, (after - before) * 1024)
"""


def test_memory_does_not_grow_with_the_files(tmp_path):
    """Three sparse files of 128 MiB each (zeros that take no disk) in less than 48 MiB."""
    shape = [8192, 4096]
    header = json.dumps(
        {"h.0.mlp.c_fc.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, 1 << 27]}}
    )
    for step in range(3):
        with (tmp_path / f"step-{step}.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header.encode())
            file.truncate(8 + len(header) + (1 << 27))
    ran = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True)
    read, memory = map(int, ran.stdout.split())
    assert read == 3 << 27 and memory < 48 << 20
