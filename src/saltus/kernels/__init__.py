"""Kernels in C for the small products of small models, compiled where they run.

A library's routines are made for matrices that fill a cache; for those of a model of width 32 most
of their time goes into getting started. These take all members of an ensemble in one call, keep a
member's numbers in cache from one product to the next, and need nothing but a C compiler: the
first process that asks compiles them in two seconds for the machine's own processor, later ones
find the result in the user's cache. Without a compiler, in float64 and on accelerators the same
layers run on PyTorch's own routines, whose results differ in the last bits; `describe()` says which
it is, and a run's provenance keeps it.

Member k's bits depend on neither its neighbours nor the place where it lies in memory.
"""

from saltus.kernels.choice import (
    are_there,
    as_begun,
    attend,
    describe,
    linear,
    mlp,
    norm,
    serve_attention,
    serve_norm,
    serve_product,
    switched_off,
)

__all__ = [
    "are_there",
    "as_begun",
    "attend",
    "describe",
    "linear",
    "mlp",
    "norm",
    "serve_attention",
    "serve_norm",
    "serve_product",
    "switched_off",
]
