"""How fast a series of checkpoints is read and measured, and how much memory that takes.

    python -m saltus.bench.trajectories               # speed, on files in the cache
    python -m saltus.bench.trajectories --sparse 6    # memory: 10 sparse files of 6 GB each

A sparse file's zeros take no room on the disk and are read like any others.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saltus.trajectories import analyse, find_series

WIDTH, VOCABULARY = 1024, 8192
KINDS = {"F32": torch.float32, "BF16": torch.bfloat16}


def main() -> None:
    """Print one line for each measurement."""
    parser = argparse.ArgumentParser(prog="python -m saltus.bench.trajectories")
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--megabytes", type=int, default=100, help="of a checkpoint, for speed")
    parser.add_argument("--sparse", type=float, metavar="GB", help="of a checkpoint, for memory")
    parser.add_argument("--folder", type=Path, help="where files are made for the while")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.sparse:
            memory(Path(folder), options.checkpoints, int(options.sparse * 1e9))
        else:
            measure_all(Path(folder), options.checkpoints, options.megabytes, show)


def measure_all(
    folder: Path, checkpoints: int, megabytes: int, told: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """The speed for each type of number; `told` hears of each as it is measured."""
    results = [speed(folder, checkpoints, megabytes * 1_000_000, kind) for kind in KINDS]
    for result in results:
        told(result)
    return results


def show(result: dict[str, Any]) -> None:
    """One line."""
    rates = f"{result['clock']:.0f} MB/s by the clock, {result['processor']:.0f} of processor"
    size = f"{result['checkpoints']} x {result['megabytes']:.0f} MB"
    print(f"{result['type']}: {size}, {rates}", flush=True)


def speed(folder: Path, checkpoints: int, size: int, kind: str) -> dict[str, Any]:
    """Megabytes per second of one core, by the clock and by the processor's own time."""
    shapes = shapes_of(size // KINDS[kind].itemsize)
    for step in range(checkpoints):
        write(folder / f"{kind}-step-{step}.safetensors", shapes, kind, seed=step)
    series = find_series([f"{folder}/{kind}-*"])
    analyse(series)  # brings the files into the cache
    began, used = time.perf_counter(), time.process_time()
    found = analyse(series)
    clock, processor = time.perf_counter() - began, time.process_time() - used
    megabytes = found.bytes_read / 1e6
    return {
        "type": kind,
        "checkpoints": checkpoints,
        "megabytes": megabytes / checkpoints,
        "clock": megabytes / clock,
        "processor": megabytes / processor,
    }


def memory(folder: Path, checkpoints: int, size: int) -> None:
    """Peak resident memory of this process over what it had before, in megabytes."""
    shapes = shapes_of(size // 2)
    for step in range(checkpoints):
        write(folder / f"step-{step}.safetensors", shapes, "BF16", seed=None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    began = time.perf_counter()
    found = analyse(find_series([folder]))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{checkpoints} x {found.bytes_read / checkpoints / 1e9:.2f} GB in {seconds:.0f} s")
    print(f"peak resident memory {peak:.0f} MB, {peak - before:.0f} MB more than before")


def shapes_of(numbers: int) -> dict[str, tuple[int, int]]:
    """A GPT-2 of this many numbers or a few more: embedding, then blocks of 12 width²."""
    shapes = {"transformer.wte.weight": (VOCABULARY, WIDTH)}
    for block in range(max(1, (numbers - VOCABULARY * WIDTH) // (12 * WIDTH * WIDTH))):
        name = f"transformer.h.{block}"
        shapes |= {
            f"{name}.attn.c_attn.weight": (WIDTH, 3 * WIDTH),
            f"{name}.attn.c_proj.weight": (WIDTH, WIDTH),
            f"{name}.mlp.c_fc.weight": (WIDTH, 4 * WIDTH),
            f"{name}.mlp.c_proj.weight": (4 * WIDTH, WIDTH),
        }
    return shapes


def write(path: Path, shapes: dict[str, tuple[int, int]], kind: str, seed: int | None) -> None:
    """A .safetensors of these shapes, a tensor at a time: random numbers, or a hole for None."""
    item, reached, table = KINDS[kind].itemsize, 0, {}
    for name, shape in shapes.items():
        size = shape[0] * shape[1] * item
        table[name] = {"dtype": kind, "shape": shape, "data_offsets": [reached, reached + size]}
        reached += size
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)  # tensors aligned, as the format's own writer does
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        if seed is None:
            file.truncate(8 + len(header) + reached)
            return
        random = np.random.default_rng(seed)
        for shape in shapes.values():
            numbers = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
            file.write(numbers.to(KINDS[kind]).view(torch.uint8).numpy().tobytes())


if __name__ == "__main__":
    main()
