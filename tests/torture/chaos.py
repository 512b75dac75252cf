"""The judge from outside: ckpt-chaos kills a training script at each file it opens or renames.

ckpt-chaos 0.1.8 runs an unmodified script once to record every file that is opened for writing,
renamed, removed and every folder made; then it kills a fresh copy at each of these, runs the
script again, and compares the result. What it cannot do here: it counts no single write, and tears
only files that torch.save, safetensors' save_file or Python's open() write, while Saltus writes
with os.write; so half-written files are the business of `kills.at_every_write`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from row import Row

SCRIPT = str(Path(__file__).with_name("chaos_training.py"))
CHECKPOINTS = "{out}/experiment/shards/000/checkpoints/*.safetensors"
# "#12 os.rename:.status.json.tmp [before]   8  resumed from step 8   0.00e+00  PASS", and "[PLAN
# DRIFT]" behind it where the name of a file is a random one, as that of a run in the making is.
_POINT = re.compile(r"#\d+ .* (?P<verdict>[A-Z_]+)(  \[PLAN DRIFT\])?$")


def faults(root: Path, count: int) -> Iterator[Row]:
    """All crash points, or three for small `count`."""
    yield judged(root / "chaos", points=1000 if count >= 100 else 3)


def judged(work: Path, points: int) -> Row:
    """Let ckpt-chaos judge the script; its verdicts, one for each crash point."""
    script = [sys.executable, SCRIPT, "{out}"]
    command = [
        *(sys.executable, "-m", "ckpt_chaos", "run", "--work", str(work)),
        *("--modes", "before", "--max-points", str(points), "--jobs", "2"),
        *("--step-regex", r"resumed from step (\d+)", "--checkpoint-glob", CHECKPOINTS),
        *("--result-cmd", shlex.join([*script, "proof"])),
        *("--fail-on", "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK", "--", *script),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row = Row(
        "`ckpt-chaos run`: killed before every file opened, renamed, removed (its own count)",
        "its verdict PASS: resumed from the newest whole checkpoint, same files in the end",
    )
    for line in done.stdout.splitlines():
        if line.startswith("#"):
            found = _POINT.fullmatch(line)
            row.count(*([] if found and found["verdict"] == "PASS" else [line]))
    if not row.times:
        row.count(done.stdout[-500:] + done.stderr[-1500:])
    elif done.returncode and not row.wrong:
        row.wrong.append(f"exit code {done.returncode}: {done.stdout[-1500:]}")
    return row
