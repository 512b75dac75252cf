"""What checkpoints a path stands for: a file, a folder of weights, a folder of those, a pattern."""

from __future__ import annotations

import glob
import json
import re
from pathlib import Path

from saltus.errors import SaltusError
from saltus.trajectories.pickled_file import read_pickled
from saltus.trajectories.safetensors_file import read_safetensors
from saltus.trajectories.steps import step_of
from saltus.trajectories.tensors import Damage, Entry

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
# The names of weights in a folder of their own, the first that is there; those with an index first.
SHARDED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "model.pt")
SHARD = re.compile(r"-\d{5}-of-\d{5}\.(?:safetensors|bin)$")


def places(path: str | Path, steps_from: str) -> list[Path]:
    """The checkpoints at `path`, each a file or a folder of weights, in the order of their names.

    SaltusError, one line, if there is nothing there or nothing of this kind.
    """
    place = Path(path)
    if not place.exists():
        if glob.has_magic(str(path)):
            found = sorted(Path(each) for each in glob.glob(str(path), recursive=True))
            if found:
                return found
            raise SaltusError(f"{path}: no file or folder has a name of this pattern")
        raise SaltusError(f"{path}: there is no such file or folder")
    if place.is_file():
        return [place]
    try:
        inside = sorted(place.iterdir())
    except OSError as error:
        raise SaltusError(f"cannot read {place}: {error.strerror}") from error
    folders = [each for each in inside if each.is_dir() and weights_in(each)]
    if steps := [each for each in folders if step_of(each.name, steps_from) is not None]:
        return steps  # a trainer's folder: the final weights beside the checkpoints are one of them
    if weights_in(place):
        return [place]
    files = [each for each in inside if each.is_file() and each.suffix in SUFFIXES]
    if files or folders:
        return files or folders
    raise SaltusError(f"{place}: holds no checkpoints; allowed: {', '.join(SUFFIXES)}, or folders")


def weights_in(folder: Path) -> Path | None:
    """The file with a folder's weights, or their index; None if it is no folder of weights."""
    for name in (*SHARDED, *SINGLE):
        if (folder / name).is_file():
            return folder / name
    files = [each for each in folder.iterdir() if each.suffix in SUFFIXES]
    shards = sorted(each for each in files if SHARD.search(each.name))
    return shards[0] if shards else None


def read_place(place: Path) -> tuple[dict[str, Entry], int | None]:
    """The tensors of a checkpoint by name, and the step that its files state.

    Raises Damage for what is truncated or corrupt, SaltusError for what is no checkpoint.
    """
    file = place
    if place.is_dir():
        inside = weights_in(place)
        if inside is None:
            raise SaltusError(f"{place}: holds no weights; allowed: {', '.join(SINGLE)}, or shards")
        file = inside
    if file.name.endswith(".index.json"):
        entries, metadata = _sharded(file)
    elif SHARD.search(file.name):
        raise Damage("corrupt", f"{file.parent.name}: shards of weights without their index")
    else:
        entries, metadata = _single(file)
    return entries, _stated(place, metadata)


def _single(file: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    if file.suffix in SUFFIXES:
        return read_pickled(file)
    raise SaltusError(f"{file}: is no checkpoint; allowed: {', '.join(SUFFIXES)}")


def _sharded(index: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """All shards of an index; each must be there and hold what the index says of it."""
    try:
        shard_of = json.loads(index.read_bytes())["weight_map"]
        if not all(Path(shard).name == shard for shard in shard_of.values()):
            raise ValueError
    except OSError as error:
        raise SaltusError(f"cannot read {index}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damage("corrupt", f"{index.name}: is no index of shards") from None
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] = {}
    for shard in dict.fromkeys(shard_of.values()):
        if not (index.parent / shard).is_file():
            raise Damage("truncated", f"{index.parent.name}: its shard {shard} is missing")
        inside, said = _single(index.parent / shard)
        metadata |= said
        entries |= {name: entry for name, entry in inside.items() if shard_of.get(name) == shard}
    return entries, metadata


def _stated(place: Path, metadata: dict[str, str]) -> int | None:
    """The step in the files themselves: their metadata, or the Trainer's trainer_state.json."""
    step = metadata.get("step", "")
    if step.isdecimal():
        return int(step)
    state = place / "trainer_state.json"
    try:
        said = json.loads(state.read_bytes())["global_step"] if state.is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return said if type(said) is int else None
