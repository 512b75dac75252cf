"""Labelled curves as two files that any language reads: curves.npz and labels.json.

curves.npz holds `steps` (int64) and `values` (float64) of all curves end to end, and `starts`
(int64, one more than there are curves): curve i is values[starts[i] : starts[i + 1]]. labels.json
holds what is true of each; null stands for what is not known, and the ratio "inf" for no noise.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np

from saltus.errors import SaltusError
from saltus.runs.files import reason, write_atomic
from saltus.transitions.dropbench.curves import Labelled, Leap

CURVES, LABELS = "curves.npz", "labels.json"


def write_curves(directory: Path, curves: Sequence[Labelled]) -> tuple[Path, Path]:
    """Write both files, each whole or not at all: the same curves give the same bytes."""
    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        steps=np.concatenate([each.steps for each in curves]),
        values=np.concatenate([each.values for each in curves]),
        starts=np.cumsum([0, *(len(each.steps) for each in curves)], dtype=np.int64),
    )
    labels = {"curves": [_label(each) for each in curves]}
    paths = directory / CURVES, directory / LABELS
    contents = packed.getvalue(), json.dumps(labels, indent=1, allow_nan=False).encode()
    for path, data in zip(paths, contents, strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data, durable=False)
        except OSError as error:
            raise SaltusError(f"cannot write {path}: {reason(error)}") from error
    return paths


def read_curves(directory: Path | str) -> list[Labelled]:
    """What `write_curves` wrote, without the clean curves."""
    try:
        labels = json.loads((Path(directory) / LABELS).read_bytes())["curves"]
        with np.load(Path(directory) / CURVES, allow_pickle=False) as file:
            steps, values, starts = file["steps"], file["values"], file["starts"].tolist()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SaltusError(f"{directory} holds no labelled curves: {error}") from error
    return [
        Labelled(
            name=label["name"],
            kind=label["kind"],
            steps=steps[start:end],
            values=values[start:end],
            leaps=None if label["leaps"] is None else tuple(map(_leap, label["leaps"])),
            changes=tuple(label["changes"]),
        )
        for label, start, end in zip(labels, starts[:-1], starts[1:], strict=True)
    ]


def _label(curve: Labelled) -> dict[str, Any]:
    leaps = None
    if curve.leaps is not None:
        leaps = [
            {key: _plain(value) for key, value in asdict(leap).items()} for leap in curve.leaps
        ]
    return {
        "name": curve.name,
        "kind": curve.kind,
        "leaps": leaps,
        "changes": list(curve.changes),
    }


def _plain(value: float) -> float | str | None:
    return "inf" if value == inf else None if isnan(value) else value


def _leap(fields: dict[str, Any]) -> Leap:
    return Leap(**{key: nan if value is None else float(value) for key, value in fields.items()})
