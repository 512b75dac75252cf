"""How many images a second are composed on one core: `python -m saltus.tasks.images.speed`."""

from __future__ import annotations

from statistics import median
from time import process_time

import torch

from saltus.random import Draws
from saltus.tasks.images.two_step import TwoStepImage

BATCHES = (128, 512, 2000)


def images_per_second(task: TwoStepImage, batch: int, seconds: float = 1.0) -> float:
    """Images per second of processor time of `task.sample`, drawing included and reading the files
    left out: the median step of so many seconds."""
    task.sample(Draws(0, "data"), batch)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = process_time()
        task.sample(Draws(0, "data", len(times) + 1), batch)
        times.append(process_time() - start)
    return batch / median(times)


def main() -> None:
    """Print a line for each size of a batch."""
    torch.set_num_threads(1)
    for batch in BATCHES:
        rate = images_per_second(TwoStepImage(), batch)
        print(f"batches of {batch:4}: {rate:9,.0f} images of 3 x 16 x 16 a second")


if __name__ == "__main__":
    main()
