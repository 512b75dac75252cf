"""The embedded source: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels."""

from __future__ import annotations

import torch

from saltus.errors import SaltusError
from saltus.tasks.images.sources.base import Pictures, Split, divided

TRAINING = 1437  # of 1,797; 360 are for validation (section 3.4 of our spec)


def handwritten_digits(split: Split) -> Pictures:
    """The digits of a split, pixels from 0 to 16. Raises SaltusError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise SaltusError(
            "source digits needs scikit-learn, which is not installed: "
            "pip install 'saltus[studies]' or pip install scikit-learn"
        ) from None
    rows, classes = load_digits(return_X_y=True)
    pixels = torch.as_tensor(rows, dtype=torch.uint8).view(-1, 1, 8, 8)
    whole = Pictures(pixels, torch.as_tensor(classes, dtype=torch.int64), white=16)
    return divided(whole, split, TRAINING, "digits")
