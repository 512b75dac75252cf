"""A measurement in a process of its own with one thread, as the engine's workers have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import torch

from saltus.training.launch import keep_freed_memory

# Libraries read these once, when their process starts.
LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def in_one_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module gives in a fresh process."""
    with (
        _environment(dict.fromkeys(LIBRARIES, "1")),
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
    ):
        return pool.submit(_single, function, *arguments).result()


def _single(function: Callable[..., Any], *arguments: Any) -> Any:
    torch.set_num_threads(1)
    keep_freed_memory()  # as every worker of the engine does
    return function(*arguments)


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
