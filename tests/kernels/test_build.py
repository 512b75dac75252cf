"""The kernels are compiled once and kept whole; where they cannot be had, nothing is missing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from saltus.errors import SaltusError
from saltus.kernels import build, choice
from saltus.models.layers import Linear


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, and a process that has not looked for the kernels yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(build.tempfile, "tempdir", None)  # it remembers
    monkeypatch.delenv(build.SWITCH, raising=False)
    forget()
    yield tmp_path / "cache" / "saltus"
    forget()


def forget() -> None:
    build.library.cache_clear()
    choice._found.clear()


needs_compiler = pytest.mark.skipif(build._compiler() is None, reason="no C compiler here")


@needs_compiler
def test_it_is_compiled_once_and_found_again(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.library() is not None
    (kept,) = fresh.iterdir()
    assert kept.name.startswith("kernels-") and kept.suffix == ".so"
    assert choice.describe().startswith("C, vectors of ")
    forget()
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
    assert build.library() is not None


@needs_compiler
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("FLAGS", [*build.FLAGS, "-g"]),
        ("_processor", lambda: "another"),
        ("_sources", lambda _: [build.SOURCES / "norm.c"]),
    ],
    ids=["flags", "processor", "sources"],
)
def test_what_it_depends_on_makes_another_file(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, name: str, other: object
) -> None:
    compiler = build._compiler()
    assert compiler is not None
    before = build._fingerprint(compiler)
    assert before == build._fingerprint(compiler)
    monkeypatch.setattr(build, name, other)
    assert build._fingerprint(compiler) != before


def test_switched_off(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.SWITCH, "off")
    assert build.library() is None and choice.describe() == "PyTorch"
    assert not fresh.exists()


def test_another_word_gets_one_clear_line(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.SWITCH, "maybe")
    with pytest.raises(SaltusError) as told:
        build.library()
    assert str(told.value) == "SALTUS_KERNELS: unknown value 'maybe'; allowed: auto, on, off"


def test_on_says_where_they_are_missing(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.SWITCH, "on")
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(SaltusError) as told:
        build.library()
    assert str(told.value) == (
        "SALTUS_KERNELS: on, but no C compiler here compiles the kernels; allowed: auto, off"
    )


def test_no_compiler(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert build.library() is None and choice.describe() == "PyTorch"


@pytest.mark.parametrize("compiler", ["false", "true"])
def test_a_compiler_that_does_not_work(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    """One fails; the other says that all is well and leaves an empty file."""
    monkeypatch.setenv("CC", compiler)
    assert build.library() is None and choice.describe() == "PyTorch"
    assert not [path for path in fresh.iterdir() if path.suffix != ".so"]


def test_a_compiler_that_hangs(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, build.PATIENCE)

    monkeypatch.setattr(build.subprocess, "run", hangs)
    assert build.library() is None
    assert not list(fresh.iterdir())


@needs_compiler
def test_a_broken_file_in_the_cache_is_compiled_again(fresh: Path) -> None:
    compiler = build._compiler()
    assert compiler is not None
    fresh.mkdir(parents=True)
    name = f"kernels-{build._fingerprint(compiler)}.so"
    (fresh / name).write_bytes(b"not a library")
    assert build.library() is not None
    forget()
    assert build._load(fresh / name).lanes() in (4, 8, 16)


@needs_compiler
def test_a_cache_that_cannot_be_written(fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert build.library() is not None
    assert not list((tmp_path / "temporary").iterdir())  # nothing is left that another could change


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_are_not_served(dtype: torch.dtype) -> None:
    x, weight = torch.ones(1, 2, 3, dtype=dtype), torch.ones(1, 4, 3, dtype=dtype)
    assert not choice.serve_product(x, weight)


def test_one_model_is_not_served() -> None:
    """A plain module keeps PyTorch's own rules, which vmap and second derivatives understand."""
    assert not choice.serve_product(torch.ones(2, 3), Linear(3, 4).weight)


def test_large_weights_are_left_to_the_library() -> None:
    assert not choice.serve_product(torch.ones(1, 2, 300), torch.ones(1, 300, 300))
