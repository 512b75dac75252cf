"""Where a run comes from: versions, platform, threads, code revision, when. No paths, no names."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("saltus", "torch", "numpy", "safetensors", "pydantic")


def collect_provenance() -> dict[str, Any]:
    """What can be said about this process and its code; unknown things are None."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "threads": _threads(),
        "revision": code_revision(Path(__file__).parent),
    }


def code_revision(directory: Path) -> dict[str, Any] | None:
    """{"commit", "modified"} of the git checkout that tracks `directory`, or None.

    A package installed inside somebody else's checkout is not tracked there, so it has none.
    """
    if not _git(directory, "ls-files", "."):
        return None
    commit = _git(directory, "rev-parse", "HEAD")
    if not commit:
        return None
    status = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "modified": bool(status)}


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _threads() -> int | None:
    """What torch uses, if this process has torch at all; this room does not import it."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else None
