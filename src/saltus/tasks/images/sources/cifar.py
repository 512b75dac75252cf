"""CIFAR-10 from its binary version, made as large as a cell."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from saltus.errors import SaltusError
from saltus.tasks.images.sources.base import Pictures, Split

SIDE, RECORD, CLASSES = 32, 1 + 3 * 32 * 32, 10
FILES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "validation": ("test_batch.bin",),
}
BINARY = "cifar-10-binary.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html"


def read_cifar(split: Split, folder: str | None, side: int) -> Pictures:
    """50,000 or 10,000 colour images, 32 x 32 made `side` x `side` (bilinear, smoothed as it
    shrinks, rounded to bytes).

    The files lie in FOLDER/cifar-10-batches-bin or FOLDER. Raises SaltusError where they are not
    there or not what they should be, and for the version for Python, which is made of pickles:
    reading one can run any code.
    """
    help_ = f"unpack {BINARY} into folder, or choose source digits, or another variant than T3"
    if folder is None:
        raise SaltusError(f"CIFAR-10 is needed, and no folder is given: {help_}")
    own = Path(folder).expanduser()
    for place in (own / "cifar-10-batches-bin", own):
        if (place / FILES[split][0]).is_file():
            parts = [_read(place / name) for name in FILES[split]]
            break
    else:
        for place in (own / "cifar-10-batches-py", own):
            if (place / "data_batch_1").is_file():
                raise SaltusError(
                    f"{place} holds CIFAR-10's version for Python, pickles that could run code "
                    f"and are not read: unpack the binary version, {BINARY}"
                )
        raise SaltusError(
            f"CIFAR-10 is in neither {own / 'cifar-10-batches-bin'} nor {own}: {help_}"
        )
    records = torch.cat(parts)
    pixels = records[:, 1:].unflatten(1, (3, SIDE, SIDE))
    small = [
        F.interpolate(some.float(), (side, side), mode="bilinear", antialias=True)
        .round()
        .clamp(0, 255)
        .byte()
        for some in pixels.split(5000)
    ]
    return Pictures(torch.cat(small), records[:, 0].long())


def _read(path: Path) -> torch.Tensor:
    """Records [image, 3073]: a class, and red, green and blue, row by row."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SaltusError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not data or len(data) % RECORD:
        raise SaltusError(f"{path}: {len(data)} bytes: allowed: a multiple of {RECORD}")
    records = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(-1, RECORD)
    if (most := int(records[:, 0].max())) >= CLASSES:
        raise SaltusError(f"{path}: class {most}: allowed: 0 to {CLASSES - 1}")
    return records
