"""The toy training, as a fixture: tests are imported by path, so they cannot import it."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    path = Path(__file__).with_name("toy.py")
    spec = importlib.util.spec_from_file_location("saltus_test_toy", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def unbroken(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nobody may change."""
    run = toy.create(tmp_path_factory.mktemp("unbroken"))
    toy.train(run)
    return run


@pytest.fixture
def copy(unbroken: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes private copies of the finished run, each named like it."""
    count = 0

    def make() -> Path:
        nonlocal count
        count += 1
        return Path(shutil.copytree(unbroken, tmp_path / f"copy-{count}" / unbroken.name))

    return make


@pytest.fixture
def done(copy: Callable[[], Path]) -> Path:
    return copy()


@pytest.fixture
def halfway(toy: ModuleType, tmp_path: Path) -> Path:
    """A run whose writer died at step 10 with a block after its last checkpoint (of step 8)."""
    run = toy.create(tmp_path / "halfway", [[0, 1, 2]])
    with toy.ShardWriter(run, 0) as shard:
        shard.resume()
        record = shard.record

        def die(step: int, values: dict) -> None:
            if step == 10:
                raise KeyboardInterrupt
            record(step, values)

        shard.record = die
        with pytest.raises(KeyboardInterrupt):
            toy.train_shard(shard)
    return run
