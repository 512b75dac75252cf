"""A driver that resumes a run in child processes and kills each at a random instant.

    python killing.py RUN KILLS SEED LONGEST_SECONDS

One import, many children: a fork costs milliseconds, so kills land all over the loop and its
writes instead of in the import of libraries.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import torch

from saltus.runs import open_run
from saltus.training.launch import resume
from training.leaping import register


def kill_repeatedly(path: str, kills: int, seed: int, longest: float) -> int:
    """Kill `kills` resumes of a run at random instants; returns how many died in the middle."""
    generator = random.Random(seed)
    died = 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            resume(path)
            os._exit(0)
        time.sleep(generator.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        died += os.WIFSIGNALED(status)
        if open_run(path).status["state"] == "done":
            break
    return died


if __name__ == "__main__":
    torch.set_num_threads(1)
    register()
    run, kills, seed, longest = sys.argv[1:]
    print(kill_repeatedly(run, int(kills), int(seed), float(longest)))
