"""Files that change behind the back of Saltus: bits flipped, cut, deleted, swapped."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reading import mistakes, read
from row import Row
from victim import contents, copied, differences, experiment, finished, interrupted

from saltus.errors import SaltusError
from saltus.runs import verify
from saltus.training.launch import resume

FIXED = ("experiment.yaml", "members.json", "provenance.json", "manifest.json")
KINDS = (*FIXED, "metrics.log", "chain.jsonl", "status.json", "checkpoint")
PATTERNS = {"checkpoint": "checkpoints/*.safetensors", "frame": "frames/*/*.safetensors"}
KINDS_OF_FRAMES = ("frames.jsonl", "frame")
FOUND = "`verify` finds it"
NAMED = "`verify` finds it and names the file"
HONEST = "what is read is true, or refused in one line; of less than all, the run says so"
MENDED = "mended, or refused in one line; or that file alone stays damaged, and `verify` names it"


@dataclass
class Victim:
    """A run, what is true of it, and what its files hold once it has been resumed to its end."""

    path: Path
    state: str  # "finished" or "interrupted"
    ended: dict[str, bytes]

    def __post_init__(self) -> None:
        self.truth = read(self.path)
        self.notes = set(verify(self.path).notes)

    def files(self, kind: str) -> list[Path]:
        """The files of a kind, relative to the run."""
        found = self.path.rglob(PATTERNS.get(kind, kind))
        files = sorted(file.relative_to(self.path) for file in found)
        # What was written and not listed before the kill is no frame: resuming drops it.
        listed = "is not in the list of frames"
        return [file for file in files if f"{file.as_posix()}: {listed}" not in self.notes]


def faults(root: Path, count: int) -> Iterator[Row]:
    """All faults of this file, `count` times or a multiple of it."""
    path = finished(root / "finished", experiment())
    ended = contents(path)
    whole = Victim(path, "finished", ended)
    stopped = Victim(interrupted(root / "interrupted", experiment()), "interrupted", ended)
    for victim in (whole, stopped):
        yield from flips(victim, root, 5 * count)
    for victim in (whole, stopped):
        yield from truncations(victim, root, count)
    for victim in (whole, stopped):
        yield from deletions(victim, root, count)
    stranger = finished(root / "stranger", experiment(first_seed=7))
    yield from swaps(whole, stranger, root, count)
    stranger = interrupted(root / "stranger-interrupted", experiment(first_seed=7))
    yield from swaps(stopped, stranger, root, count)


def flips(victim: Victim, root: Path, count: int, kinds: Sequence[str] = KINDS) -> Iterator[Row]:
    """`count` single bits, the same number in each kind of file; one row for each kind."""
    chance, each = random.Random(f"flip {victim.state}"), -(-count // len(kinds))

    def flip(data: bytes, _: Path) -> bytes:
        bit = chance.randrange(8 * len(data))
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    plan = [(kind, chance.choice(victim.files(kind))) for kind in kinds for _ in range(each)]
    yield from tried(victim, root, plan, flip, "one bit flipped")


def truncations(
    victim: Victim, root: Path, count: int, kinds: Sequence[str] = KINDS
) -> Iterator[Row]:
    """`count` files cut at a random length."""
    chance = random.Random(f"truncate {victim.state}")
    plan = [("any file", chance.choice(victim.files(chance.choice(kinds)))) for _ in range(count)]
    yield from tried(
        victim, root, plan, lambda data, _: data[: chance.randrange(len(data))], "cut short"
    )


def deletions(
    victim: Victim, root: Path, count: int, kinds: Sequence[str] = KINDS
) -> Iterator[Row]:
    """Each file of the run deleted, one at a time; `count` of them."""
    plan = [("any file", file) for kind in kinds for file in victim.files(kind)][-count:]
    yield from tried(victim, root, plan, lambda data, _: None, "deleted")


def swaps(
    victim: Victim, stranger: Path, root: Path, count: int, kinds: Sequence[str] = KINDS
) -> Iterator[Row]:
    """Each file replaced by its namesake of another run, of other seeds, whole in itself."""
    plan = [("any file", file) for kind in kinds for file in victim.files(kind)]
    plan = [
        (kind, file)
        for kind, file in plan
        if (stranger / file).is_file()
        and (stranger / file).read_bytes() != (victim.path / file).read_bytes()
    ][-count:]
    yield from tried(
        victim,
        root,
        plan,
        lambda _, file: (stranger / file).read_bytes(),
        "replaced by another run's",
    )


def tried(
    victim: Victim,
    root: Path,
    plan: list[tuple[str, Path]],
    change: Callable[[bytes, Path], bytes | None],
    what: str,
) -> Iterator[Row]:
    """Change one file at a time in a copy of the run; verify, read and resume it; put it back."""
    state, bit = victim.state, what == "one bit flipped"
    found: dict[str, Row] = {}
    noted: Counter[str] = Counter()
    told = Row(f"{what}, {state} run, then read", HONEST)
    again = Row(f"{what}, {state} run, then resumed", MENDED)
    every = max(1, len(plan) // 100)  # resuming trains: of very many, every so many
    run = copied(victim.path, root / "copy" / victim.path.name)
    for number, (kind, file) in enumerate(plan):
        original = (run / file).read_bytes()
        changed = change(original, file)
        put(run / file, changed)
        demanded = NAMED if bit else FOUND
        row = found.setdefault(kind, Row(f"{what}: {kind} of {an(state)} run", demanded))
        seen = detection(victim, run, file, named=bit)
        row.count(*([f"{file}: not found"] if seen == "unseen" else []))
        noted[kind] += seen == "noted"
        told.count(*guarded(str(file), misread, victim, run, number % 5 == 0))
        if number % every == 0:
            again.count(*guarded(str(file), after_resume, victim, run, file))
            run = copied(victim.path, root / "copy" / victim.path.name)
        else:
            put(run / file, original)
    for kind, row in found.items():
        if noted[kind]:
            row.remark = f"{noted[kind]} of them as a note: resuming mends it"
        yield row
    yield told
    yield again


def detection(victim: Victim, run: Path, file: Path, named: bool) -> str:
    """'found', with the file named; 'noted', where resuming will mend it; or 'unseen'.

    Without `named` another file will do as well: of two that do not fit together either is wrong.
    """
    report, where = verify(run), file.as_posix()
    if any(not named or line.startswith(f"{where}: ") for line in report.problems):
        return "found"
    return "noted" if set(report.notes) - victim.notes and report.ok else "unseen"


def after_resume(victim: Victim, run: Path, file: Path) -> list[str]:
    """Resume a damaged run: it must mend, or refuse and be left as it was."""
    before = contents(run)
    try:
        resume(run)
    except SaltusError as error:
        several = ["a message of several lines"] if "\n" in str(error) else []
        return several + ([] if contents(run) == before else ["refused, yet files changed"])
    if contents(run) == before and not verify(run).ok:  # finished, and left alone
        return mistakes(read(run), victim.truth)
    wrong = differences(run, victim.ended)
    alone = all(line.startswith(file.as_posix()) for line in wrong)
    return [] if alone and not verify(run).ok else wrong


def misread(victim: Victim, run: Path, sql: bool) -> list[str]:
    """What is told of a damaged run that is not true."""
    return mistakes(read(run, sql), victim.truth)


def guarded(where: str, work: Callable[..., list[str]], *arguments: Any) -> list[str]:
    """What `work` finds wrong, named; an exception that no user should see is wrong too."""
    try:
        return [f"{where}: {problem}" for problem in work(*arguments)]
    except Exception as error:
        return [f"{where}: {type(error).__name__}: {error}"]


def put(path: Path, data: bytes | None) -> None:
    """Make the file hold `data`, or be gone."""
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)


def an(state: str) -> str:
    return f"an {state}" if state[0] in "aeiou" else f"a {state}"
