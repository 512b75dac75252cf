"""Fetch MNIST and Fashion-MNIST: `python -m saltus.tasks.images.download FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from saltus.errors import SaltusError


def download(folder: Path) -> None:
    """Put both data sets under a folder, where `folder` of a task finds them. Needs torchvision
    and internet; raises SaltusError where there is none."""
    try:
        from torchvision.datasets import MNIST, FashionMNIST  # pyright: ignore
    except ImportError:
        raise SaltusError(
            "download needs torchvision, which is not installed: pip install torchvision"
        ) from None
    for dataset in (MNIST, FashionMNIST):
        try:
            dataset(str(folder), download=True)
        except (OSError, RuntimeError) as error:
            raise SaltusError(f"{dataset.__name__} cannot be fetched: {error}") from None


def main(arguments: list[str]) -> int:
    """The exit code: 0, or 2 with one line that says what is wrong."""
    try:
        if len(arguments) != 1:
            raise SaltusError("usage: python -m saltus.tasks.images.download FOLDER")
        download(Path(arguments[0]))
    except SaltusError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
