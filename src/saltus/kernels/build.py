"""Compiling the kernels once per machine, and loading them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from saltus.errors import SaltusError

SOURCES = Path(__file__).parent
# What a compiler may call the processor it runs on; the last is any processor of the kind.
TARGETS = (["-march=native"], ["-mcpu=native"], [])
FLAGS = ["-O3", "-std=gnu11", "-shared", "-fPIC"]
# What every function takes: i a whole number of 64 bits, d a double, p an address.
KINDS = {"i": ctypes.c_int64, "d": ctypes.c_double, "p": ctypes.c_void_p}
TAKES = {
    "lanes": "",
    "linear_forward": "iiiiiiipppp",
    "linear_backward": "iiiiiiipppppp",
    "mlp_scratch": "i",
    "mlp_forward": "iiiiiiiii" + 8 * "p",
    "mlp_backward": "iiiiii" + 12 * "p",
    "norm_forward": "iiidiipppppp",
    "norm_backward": "iiiipppppppp",
    "attention_forward": "iiiiidppp",
    "attention_backward": "iiiiidpppp",
}
SWITCH = "SALTUS_KERNELS"
PATIENCE = 120  # seconds


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where there is no compiler or they are switched off.

    The environment's SALTUS_KERNELS=off switches them off, and =on raises SaltusError where they
    cannot be had, as any other value does but `auto`.
    """
    wanted = os.environ.get(SWITCH, "auto")
    if wanted not in ("auto", "on", "off"):
        raise SaltusError(f"{SWITCH}: unknown value {wanted!r}; allowed: auto, on, off")
    found = None if wanted == "off" else _find()
    if found is None and wanted == "on":
        raise SaltusError(
            f"{SWITCH}: on, but no C compiler here compiles the kernels; allowed: auto, off"
        )
    return found


def _find() -> ctypes.CDLL | None:
    """From the cache, or compiled."""
    compiler = _compiler()
    if compiler is None:
        return None
    name = f"kernels-{_fingerprint(compiler)}.so"
    with suppress(OSError, RuntimeError):  # nowhere to keep it, or no home
        kept = _cache()
        kept.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            return _load(kept / name)
        # It is not there, or not whole.
        return _load(kept / name) if _compile(compiler, kept / name) else None
    with suppress(OSError), tempfile.TemporaryDirectory() as own:  # of this process alone
        return _load(Path(own) / name) if _compile(compiler, Path(own) / name) else None
    return None


def _compiler() -> str | None:
    """The path of $CC or of the system's C compiler."""
    named = os.environ.get("CC", "").split()
    found = (shutil.which(name) for name in (*named[:1], "cc", "gcc", "clang"))
    return next((path for path in found if path), None)


def _fingerprint(compiler: str) -> str:
    """Of everything that the compiled file depends on: sources, compiler, flags, processor."""
    digest = hashlib.sha256(repr((FLAGS, TARGETS, platform.machine())).encode())
    for source in _sources(("*.c", "*.h")):
        digest.update(source.read_bytes())
    with suppress(OSError, subprocess.SubprocessError):
        version = subprocess.run([compiler, "--version"], capture_output=True, timeout=PATIENCE)
        digest.update(version.stdout)
    digest.update(_processor().encode())
    return digest.hexdigest()[:16]


def _processor() -> str:
    """The processor's name and abilities: code for one may not run on another."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kept = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
        return "\n".join(sorted(kept))
    return platform.processor()


def _cache() -> Path:
    """Where the user's compiled files are kept. Nobody else may write there: they are run."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "saltus"


def _compile(compiler: str, path: Path, targets: Sequence[list[str]] = TARGETS) -> bool:
    """Whether the sources now stand compiled at `path`, for the first target that the compiler
    takes: whole, written beside it and then renamed.

    Raises OSError where the folder cannot be written.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".so")
    os.close(descriptor)
    sources = [str(source) for source in _sources(("*.c",))]
    try:
        for target in targets:
            command = [compiler, *FLAGS, *target, "-o", temporary, *sources, "-lm"]
            try:
                done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
            except (OSError, subprocess.SubprocessError):
                return False
            if done.returncode == 0:
                os.replace(temporary, path)
                return True
        return False
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _sources(patterns: tuple[str, ...]) -> list[Path]:
    return sorted(path for pattern in patterns for path in SOURCES.glob(pattern))


def _load(path: Path) -> ctypes.CDLL:
    """The library, told what its functions take."""
    found = ctypes.CDLL(str(path))
    for name, takes in TAKES.items():
        function = getattr(found, name)
        function.argtypes = [KINDS[kind] for kind in takes]
        function.restype = ctypes.c_int64 if name in ("lanes", "mlp_scratch") else None
    return found
