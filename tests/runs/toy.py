"""A tiny deterministic training that writes a run as the real loop does; also a program to kill.

python toy.py RUN    trains RUN from where it stands to its end, saying "ready" at its start
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from saltus.runs import RunWriter, ShardWriter, create_run

STEPS = 24
MEMBERS = [{"seed": 11}, {"seed": 12, "overrides": {"optimizer.lr": 0.1}}, {"seed": 13}]
YAML = f"name: toy\nstudy: toys\narm: plain\nsteps: {STEPS}\n"
# What differs between two runs of the same experiment: the clock, the machine, the process.
OWN = ("lock", "status.json", "provenance.json", "manifest.json")


def create(root: Path, shards: list[list[int]] | None = None) -> Path:
    """A new run of three members, in two shards that are not in order."""
    return create_run(root, "toy", YAML, MEMBERS, shards or [[0, 2], [1]], {"created": "today"})


def train(run: Path, steps: int = STEPS) -> None:
    """Train every shard of a run to its end."""
    with RunWriter(run) as writer:
        for index in writer.shards:
            with writer.shard(index) as shard:
                train_shard(shard, steps)


def train_shard(shard: ShardWriter, steps: int = STEPS) -> None:
    """A weight that doubles modulo a prime and a state that counts; metrics of three kinds, and
    frames of each shard's last member."""
    found = shard.resume()
    step, tensors = found or (0, {})
    weight = tensors.get("weight", np.array(shard.members)[:, None] * np.array([[3, 5, 7]]) + 1)
    shard.status(state="running", step=step)
    for now in range(step, steps + 1):
        if now % 4 == 0 and (now > step or found is None):
            state = {"weight": weight, "state/count": np.array(now)}
            shard.checkpoint(now, state, keep=now % 12 == 0)
        loss = weight.sum(axis=1) / 100.0
        shard.record(now, {"loss": np.where(loss > 5, np.nan, loss), "count": weight[:, 0] > 50})
        if now % 3 == 0:
            shard.record(now, {"pattern": np.float32(weight[:, :, None] * [1, -1])})
        if 5 <= now <= 10:
            shard.frames([(len(shard.members) - 1, now, {"weight": weight[-1]})])
        if now % 5 == 4:
            shard.flush()
        weight = weight * 2 % 1009
    shard.status(state="done", step=steps, seconds=2.5, instrument_seconds=0.5, diverged={})


def content(run: Path) -> dict[str, bytes]:
    """Every file that an unbroken and a resumed run must share, by its path in the run."""
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in OWN
    }


if __name__ == "__main__":
    print("ready", flush=True)
    train(Path(sys.argv[1]))
