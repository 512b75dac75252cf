"""Any changed byte, missing or added file of a built entry is found."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from saltus.errors import SaltusError
from saltus.zoo.manifest import MANIFEST, verify


@pytest.fixture(scope="module")
def folder(zoo, tmp_path_factory) -> Path:
    return Path(
        shutil.copytree(zoo["bert"].folder, tmp_path_factory.mktemp("copy") / "bert-stdlib")
    )


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def test_as_built(folder):
    found = verify(folder)
    assert found.ok and found.files == len(files(folder)) - 1
    listed = [path for path in files(folder) if path != folder / MANIFEST]
    assert found.bytes == sum(path.stat().st_size for path in listed)


def test_one_flipped_bit_of_any_file_is_found(folder):
    draw = random.Random(0)
    for path in files(folder):
        whole = path.read_bytes()
        place, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        found = verify(folder)
        path.write_bytes(whole)
        assert len(found.problems) == 1, path
        assert found.problems[0].startswith(f"{path.relative_to(folder)}: "), path
    assert verify(folder).ok


@pytest.mark.parametrize("flip", range(20))
def test_the_manifest_proves_itself(folder, flip):
    path = folder / MANIFEST
    whole = path.read_bytes()
    place = random.Random(flip).randrange(len(whole))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    try:
        assert verify(folder).problems == ("manifest.json: its digest does not match its content",)
    finally:
        path.write_bytes(whole)


def test_cut_short_missing_swapped_and_added(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    one, two = (copy / step / "model.safetensors" for step in ("step-000001", "step-000002"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)  # both whole, and each in the other's place
    short = copy / "step-000003/config.json"
    short.write_bytes(short.read_bytes()[:-3])
    (copy / "step-000000/tokenizer.json").unlink()
    (copy / "step-000000/pytorch_model.bin").write_bytes(b"")
    (copy / "run/report.html").write_text("made by reading the run")
    size = short.stat().st_size
    # Safetensors pads its header, so both have the same size here.
    assert set(verify(copy).problems) == {
        "step-000001/model.safetensors: its sha256 is not the one in manifest.json",
        "step-000002/model.safetensors: its sha256 is not the one in manifest.json",
        f"step-000003/config.json: has {size} bytes instead of {size + 3}",
        "step-000000/tokenizer.json: missing",
        "step-000000/pytorch_model.bin: is not in manifest.json",
    }


def test_what_the_zoo_did_not_build_is_one_line(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SaltusError, match=r"is no folder of the zoo: manifest.json: no such"):
            verify(place)
    (tmp_path / MANIFEST).write_text(json.dumps({"files": {}}) + "\n")
    assert verify(tmp_path).problems == ("manifest.json: its digest does not match its content",)
