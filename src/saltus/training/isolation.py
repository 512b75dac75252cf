"""Which shapes may be stacked without changing a member by one bit.

Members never mix, but two things can make a member's last bit depend on where it lies in a stack.
Vectorised kernels finish the odd elements at the end of a tensor with scalar code, whose exp or
tanh rounds differently; and matrix products choose their path by the alignment of their operands.
Both are harmless when every member's share of a tensor is a whole number of vectors, as in nearly
every setting with a batch of 8 or more. So the engine watches one member's step and readings at
the level of kernels; if any share is ragged, members run one at a time. The promise of seed
isolation then holds by construction, at the price of speed for odd shapes. Our own kernels
(`saltus.kernels`) are not watched: nothing in them depends on where a member lies.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure, reader_of_updates

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "_scaled_dot_product")
ROUNDED = (
    "gelu", "silu", "sigmoid", "tanh", "exp", "expm1", "log", "log1p", "erf", "sin", "cos", "pow",
    "rsqrt", "addcmul", "addcdiv", "lerp", "softplus", "elu",
)  # fmt: skip
# Products care where a matrix begins; element-wise kernels step by two vectors of 64 bytes.
ALIGNMENT, STRIDE = 64, 128


def is_separable(ensemble: Ensemble) -> bool:
    """Whether stacking more members like this single one leaves its bits alone.

    `ensemble` has one member. One training step without the update, and one reading of all its
    instruments, are run under watch; an update goes row by row whatever it is made of.
    """
    watch, instruments = Watch(), ensemble.experiment.instruments
    with watch:
        ensemble.differentiate(0)
    update = ensemble.foresee(0) if reader_of_updates(ensemble, instruments) else None
    with watch:
        measure(ensemble, instruments, 0, update=update)
    return not watch.ragged


class Watch(TorchDispatchMode):
    """Notes the kernels whose operands are not whole numbers of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.ragged: dict[str, tuple[int, ...]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name.startswith(PRODUCTS):
            self._note(name, (*args, out), ALIGNMENT)
            if isinstance(out, Tensor) and out.shape[:-2] == (1,) and 1 in out.shape[-2:]:
                # A single matrix-vector product takes a path of its own, a stack of them does not.
                self.ragged[name] = tuple(out.shape)
        elif name == "pow" and isinstance(args[1], int | float) and args[1] == 2:
            pass  # a product, exact in both kinds of code
        elif name.rstrip("_").removesuffix("_backward") in ROUNDED:
            self._note(name, (out,), STRIDE)
        return out

    def _note(self, name: str, values: tuple[Any, ...], quantum: int) -> None:
        for value in values:
            if isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1:
                if value.numel() * value.element_size() % quantum:
                    self.ragged[name] = tuple(value.shape)
            elif isinstance(value, tuple):
                self._note(name, value, quantum)
