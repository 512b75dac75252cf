"""Faults to put into a sound series of files, of every kind that the audit should find.

A series here is a list of files (the bytes of .safetensors) with their names; nothing on disk is
touched. Every fault says which findings would be right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class File:
    """One checkpoint as it would lie on disk."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Faulty:
    """A series with a fault: its files, what findings name it, and where (any one of `names`)."""

    files: tuple[File, ...]
    expected: tuple[str, ...]
    names: tuple[str, ...]
    in_given_order: bool = False


Fault = Callable[[Sequence[File], Sequence[File], np.random.Generator], Faulty]


def truncated(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """One file ends early, anywhere."""
    i = int(random.integers(len(files)))
    cut = int(random.integers(len(files[i].content)))
    return _one(files, i, files[i].content[:cut], "truncated")


def wrong_header(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """The offsets or the shape of one tensor are other numbers."""
    i = int(random.integers(len(files)))
    start, table = _header(files[i].content)
    names = [name for name in table if name != "__metadata__"]
    said = table[names[int(random.integers(len(names)))]]
    field = ("data_offsets", "shape")[int(random.integers(2))] if said["shape"] else "data_offsets"
    said[field][int(random.integers(len(said[field])))] += int(random.integers(1, 100))
    text = json.dumps(table).encode()
    content = len(text).to_bytes(8, "little") + text + files[i].content[start:]
    return _one(files, i, content, "corrupt", "truncated")


def random_block(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """64 to 4096 bytes of one file are random."""
    return _block(files, random, lambda count: random.bytes(count), "corrupt", "not finite")


def zero_block(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """64 to 4096 bytes of one file are zero, as where a disk never wrote a page."""
    return _block(files, random, lambda count: bytes(count), "corrupt")


def flipped_bit(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """One bit of one number has flipped: beneath notice in most places of a number."""
    i = int(random.integers(len(files)))
    content = bytearray(files[i].content)
    at = int(random.integers(_header(files[i].content)[0], len(content)))
    content[at] ^= 1 << int(random.integers(8))
    return _one(files, i, bytes(content), "corrupt", "not finite", "stranger")


def not_finite(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """One number is NaN or infinite."""
    i = int(random.integers(len(files)))
    start, content = _header(files[i].content)[0], bytearray(files[i].content)
    at = start + 4 * int(random.integers((len(content) - start) // 4))
    value = np.array([np.nan, np.inf, -np.inf], dtype="<f4")[int(random.integers(3))]
    content[at : at + 4] = value.tobytes()
    return _one(files, i, bytes(content), "not finite")


def duplicated(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """One checkpoint is a copy of another."""
    i, j = _two(files, random)
    return _one(files, i, files[j].content, "duplicated")


def final_weights(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """Two checkpoints or more, up to half of them, hold the last one's weights."""
    others = [i for i, file in enumerate(files) if file.content != files[-1].content]
    count = int(random.integers(2, max(3, len(others) // 2)))
    places = set(random.choice(others, count, replace=False).tolist())
    changed = tuple(
        replace(file, content=files[-1].content) if i in places else file
        for i, file in enumerate(files)
    )
    names = tuple(files[i].name for i in sorted(places))
    return Faulty(changed, ("final weights",), names)


def swapped_neighbours(
    files: Sequence[File], _: Sequence[File], random: np.random.Generator
) -> Faulty:
    """Two neighbours stand in each other's place."""
    moves = [i for i in range(len(files) - 1) if files[i].content != files[i + 1].content]
    i = int(random.choice(moves))
    return _exchanged(files, i, i + 1)


def swapped(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """Two checkpoints stand in each other's place."""
    return _exchanged(files, *sorted(_two(files, random)))


def missing(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """One checkpoint between the others is not there."""
    i = int(random.integers(1, len(files) - 1))
    names = (files[i - 1].name, files[i + 1].name)
    return Faulty((*files[:i], *files[i + 1 :]), ("missing",), names)


def missing_renumbered(
    files: Sequence[File], _: Sequence[File], random: np.random.Generator
) -> Faulty:
    """One is not there, and the names of those after it close the gap."""
    i = int(random.integers(1, len(files) - 1))
    kept = [*files[:i], *files[i + 1 :]]
    changed = tuple(replace(files[k], content=each.content) for k, each in enumerate(kept))
    return Faulty(changed, ("missing",), (files[i - 1].name, files[i].name))


def falling_steps(files: Sequence[File], _: Sequence[File], random: np.random.Generator) -> Faulty:
    """The series is given in an order in which one step falls."""
    i = int(random.integers(len(files) - 1))
    changed = list(files)
    changed[i], changed[i + 1] = changed[i + 1], changed[i]
    return Faulty(tuple(changed), ("order",), (files[i].name,), in_given_order=True)


def stranger(files: Sequence[File], others: Sequence[File], random: np.random.Generator) -> Faulty:
    """One checkpoint is that of another seed at the same step."""
    i = int(random.integers(len(files)))
    return _one(files, i, others[i].content, "stranger")


FAULTS: dict[str, Fault] = {
    "truncated": truncated,
    "wrong header": wrong_header,
    "random block": random_block,
    "zero block": zero_block,
    "flipped bit": flipped_bit,
    "not finite": not_finite,
    "duplicated": duplicated,
    "final weights": final_weights,
    "swapped neighbours": swapped_neighbours,
    "swapped": swapped,
    "missing": missing,
    "missing, renumbered": missing_renumbered,
    "falling steps": falling_steps,
    "stranger": stranger,
}


def _one(files: Sequence[File], i: int, content: bytes, *expected: str) -> Faulty:
    changed = (*files[:i], replace(files[i], content=content), *files[i + 1 :])
    return Faulty(changed, expected, (files[i].name,))


def _two(files: Sequence[File], random: np.random.Generator) -> tuple[int, int]:
    """Two checkpoints that are not equal (a training that rests leaves equal ones)."""
    while True:
        i, j = random.choice(len(files), 2, replace=False).tolist()
        if files[i].content != files[j].content:
            return i, j


def _exchanged(files: Sequence[File], i: int, j: int) -> Faulty:
    changed = list(files)
    changed[i] = replace(files[i], content=files[j].content)
    changed[j] = replace(files[j], content=files[i].content)
    return Faulty(tuple(changed), ("swapped",), (files[i].name, files[j].name))


def _block(
    files: Sequence[File],
    random: np.random.Generator,
    filling: Callable[[int], bytes],
    *expected: str,
) -> Faulty:
    i = int(random.integers(len(files)))
    start, content = _header(files[i].content)[0], bytearray(files[i].content)
    count = min(int(2 ** random.uniform(6, 12)), len(content) - start)
    at = int(random.integers(start, len(content) - count + 1))
    content[at : at + count] = filling(count)
    return _one(files, i, bytes(content), *expected)


def _header(content: bytes) -> tuple[int, dict]:
    """(first byte of the tensors, the table)."""
    length = int.from_bytes(content[:8], "little")
    return 8 + length, json.loads(content[8 : 8 + length])
