"""Tests that must hold whatever computes the products of a stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from saltus import kernels

PRODUCTS = ("C", "PyTorch")
with_either = pytest.mark.parametrize("products", PRODUCTS)


@contextmanager
def computing(products: str) -> Iterator[None]:
    """By the compiled kernels, or as on a machine that cannot have them."""
    if products == "C":
        if not kernels.are_there():
            pytest.skip("no kernels here: no C compiler, or switched off")
        yield
        return
    with kernels.switched_off():
        yield
