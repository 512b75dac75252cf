"""What the kernels in C gain over PyTorch's own routines: layer by layer, and in a whole step.

Both sides are the same layers of the same stack of members, in turns in one thread; the other side
is what those layers do on a machine without a C compiler.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from saltus import kernels
from saltus.bench.engine import HEADS, VOCABULARY, Regime, engine_step, experiment
from saltus.bench.one_thread import in_one_thread
from saltus.models.attention import Attention
from saltus.models.layers import LayerNorm, Linear
from saltus.models.mlp import Mlp
from saltus.models.normalisers import Softmax
from saltus.models.sites import SILENT
from saltus.training.plan import comfortable_chunk, cores, single


def layers(width: int) -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    """The layers of a decoder's step, and what each takes besides x."""
    attention = Attention(width, HEADS, causal=True, normaliser=Softmax())
    return {
        "LayerNorm": (LayerNorm(width), ()),
        "attention": (attention, (SILENT, "attention")),
        "MLP": (Mlp(width, 4 * width, "gelu"), ()),
        "readout": (Linear(width, VOCABULARY, bias=False), ()),
    }


def forward_and_backward(
    module: nn.Module, more: tuple[Any, ...], members: int, regime: Regime
) -> Callable[[], object]:
    """Output and all gradients of a layer of so many members, once a call."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    parameters = {name: normal(members, *p.shape) for name, p in module.named_parameters()}
    x = normal(members, regime.batch, regime.tokens, regime.width)
    above = torch.ones_like(functional_call(module, parameters, (x, *more)))

    def call() -> object:
        y = functional_call(module, parameters, (x, *more))
        return torch.autograd.grad(y, [x, *parameters.values()], above)

    return call


def measure(regime: Regime, rounds: int, seconds: float) -> dict[str, Any]:
    """Medians over rounds of both sides' milliseconds."""
    probe = single(experiment(regime))
    chunk = min(comfortable_chunk(probe), -(-regime.members // cores()))
    jobs = {
        name: forward_and_backward(module, more, chunk, regime)
        for name, (module, more) in layers(regime.width).items()
    }
    jobs["whole step"] = engine_step(regime, chunk, compile=False)
    found = {}
    for name, job in jobs.items():
        sides: dict[str, list[float]] = {"PyTorch": [], "C": []}
        for _ in range(rounds):
            for side, times in sides.items():
                with kernels.switched_off() if side == "PyTorch" else nullcontext():
                    times.append(milliseconds(job, seconds / len(jobs)))
        found[name] = {side: median(times) for side, times in sides.items()}
    return {"regime": regime.name, "chunk": chunk, "products": kernels.describe(), "layers": found}


def milliseconds(job: Callable[[], object], seconds: float) -> float:
    """Of a call, over about `seconds`, after one that does not count."""
    job()
    begin, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds:
        job()
        count += 1
    return spent / count * 1e3


def measure_all(
    regimes: list[Regime], rounds: int, seconds: float, told: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Every regime in a process of one thread; nothing where there are no kernels."""
    results = []
    for regime in regimes if kernels.are_there() else []:
        results.append(in_one_thread(measure, regime, rounds, seconds))
        told(results[-1])
    return results


def show(result: dict[str, Any]) -> None:
    """A table of a regime."""
    how = f"chunks of {result['chunk']} members, kernels in {result['products']}"
    print(f"\n{result['regime']}, forward and backward, one thread: {how}")
    for name, sides in result["layers"].items():
        ratio = sides["PyTorch"] / sides["C"]
        print(
            f"  {name:<12} PyTorch {sides['PyTorch']:8.2f} ms   C {sides['C']:8.2f} ms   "
            f"{ratio:.2f} times as fast",
            flush=True,
        )
