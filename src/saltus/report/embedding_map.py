"""Embedding maps: rows of a table laid out in the plane by t-SNE, to be looked at."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.errors import SaltusError


def embedding_map(
    rows: Float[ndarray, "row width"], perplexity: float = 30.0, seed: int = 0
) -> Float[ndarray, "row 2"]:
    """Coordinates by scikit-learn's t-SNE, with its defaults (2410.22244, figure 7c; section 6.6
    (c) of our spec).

    The paper fixes no seed; here the same rows and seed give the same map on the same machine. A
    map shows which rows are near each other and nothing else: axes, signs, distances between
    clusters and the coordinates themselves mean nothing and differ between versions and machines,
    so test cosines (`embedding-geometry/position/columns`), never coordinates. `perplexity` is the
    number of neighbours that count, below the number of rows. Raises SaltusError where it is not,
    and for rows that are not finite.
    """
    if not 0 < perplexity < len(rows):
        raise SaltusError(
            f"perplexity: {perplexity} is not allowed; above 0 and below the number of rows, "
            f"{len(rows)}"
        )
    if not np.isfinite(rows).all():
        raise SaltusError("embedding map: rows with NaN or infinite entries have no place")
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise SaltusError("scikit-learn is not installed: pip install 'saltus[studies]'") from None
    return TSNE(2, perplexity=perplexity, random_state=seed).fit_transform(rows)
