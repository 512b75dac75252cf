"""A finished folder's list of files with their hashes, itself sealed with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltus.errors import SaltusError
from saltus.runs.files import reason, seal, sha256_of_file, unseal, write_atomic
from saltus.runs.layout import LOCK

MANIFEST, RUN, FORMAT = "manifest.json", "run", 1


@dataclass(frozen=True)
class Verified:
    """What `verify` found: how much it read, and what is wrong, one line each."""

    files: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(folder: Path | str) -> Verified:
    """Hash every file of a built folder and compare: any changed, missing or added one is found.

    Files that were added inside of `run/` (a report, a table for queries) are no problem: reading
    a run makes them. Raises SaltusError for what is no folder of the zoo.
    """
    folder = Path(folder)
    try:
        listed = read_manifest(folder)["files"]
    except SaltusError as error:
        if not (folder / MANIFEST).is_file():
            raise
        return Verified(0, 0, (str(error).removeprefix(f"{folder}: "),))
    problems, size = [], 0
    for name, said in listed.items():
        try:
            found = (folder / name).stat().st_size
            size += found
            if found != said["size"]:
                problems.append(f"{name}: has {found} bytes instead of {said['size']}")
            elif sha256_of_file(folder / name) != said["sha256"]:
                problems.append(f"{name}: its sha256 is not the one in {MANIFEST}")
        except FileNotFoundError:
            problems.append(f"{name}: missing")
        except OSError as error:
            problems.append(f"{name}: {reason(error)}")
    added = [name for name in _files(folder) if name not in listed and not _inside_run(name)]
    problems += [f"{name}: is not in {MANIFEST}" for name in added]
    return Verified(len(listed), size, tuple(problems))


def write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    """List every file below `folder`, with what is known of the whole; written last, atomically."""
    files = {
        name: {"sha256": sha256_of_file(folder / name), "size": (folder / name).stat().st_size}
        for name in _files(folder)
    }
    write_atomic(folder / MANIFEST, seal({"format": FORMAT, **about, "files": files}) + b"\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `write_manifest` wrote. Raises SaltusError where a single bit of it has changed."""
    try:
        line = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise SaltusError(
            f"{folder} is no folder of the zoo: {MANIFEST}: {reason(error)}; "
            "allowed: what saltus zoo build made"
        ) from None
    found = unseal(line.removesuffix(b"\n")) if line.endswith(b"\n") else None
    if found is None:
        raise SaltusError(f"{folder}: {MANIFEST}: its digest does not match its content")
    if found.get("format") != FORMAT:
        raise SaltusError(f"{folder}: {MANIFEST}: format {found.get('format')}; allowed: {FORMAT}")
    return found


def _files(folder: Path) -> list[str]:
    """Every file below a folder by its relative name, but for the manifest and locks."""
    paths = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    names = [path.relative_to(folder).as_posix() for path in paths if path.name != LOCK]
    return sorted(name for name in names if name != MANIFEST)


def _inside_run(name: str) -> bool:
    return name.startswith(f"{RUN}/")
