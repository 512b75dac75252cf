"""Every width of a vector that this machine can run, each compiled from the same sources."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from saltus.kernels import build, calls

# Vectors of 16, 8 and 4 numbers on a machine that has them all; what does not compile is skipped.
TARGETS = {"own": "-march=native", "eight": "-march=haswell", "four": "-march=x86-64"}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ctypes.CDLL]:
    compiler, folder = build._compiler(), tmp_path_factory.mktemp("kernels")
    found = {}
    for name, target in TARGETS.items():
        path: Path = folder / f"{name}.so"
        if compiler and can_run(name) and build._compile(compiler, path, [[target]]):
            found[name] = build._load(path)
    return found


def can_run(name: str) -> bool:
    """Whether this processor has the abilities that a target's code uses."""
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    return name == "own" or (name == "four" and "sse2" in flags) or ("avx2" in flags)


@pytest.fixture(params=TARGETS)
def kernels(
    request: pytest.FixtureRequest,
    compiled: dict[str, ctypes.CDLL],
    monkeypatch: pytest.MonkeyPatch,
) -> ctypes.CDLL:
    """The kernels for one width of a vector."""
    if request.param not in compiled:
        pytest.skip(f"no compiler, or no processor, for {TARGETS[request.param]}")
    monkeypatch.setattr(calls, "library", lambda: compiled[request.param])
    return compiled[request.param]
