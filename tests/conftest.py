"""What holds for every test: one thread, repeatable randomness, no GPU where there is none."""

import random

import hypothesis
import numpy as np
import pytest
import torch

# Bit-identical arithmetic needs a fixed thread count, and parallel tests need a small one.
torch.set_num_threads(1)

# `ci` draws the same examples every time; `--hypothesis-profile=explore` looks for new ones.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=500)
hypothesis.settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Make a test's own `torch.randn` repeatable; the package reads no global generator."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` tests on machines without one."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
