"""Saltus: a laboratory for the training dynamics of transformers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from saltus.errors import SaltusError
    from saltus.experiment import Experiment
    from saltus.integrations.plain import read
    from saltus.runs import Run, open_run
    from saltus.training.launch import resume, start

# The whole public surface: what to train, train it, go on, look at it, look into your own loop.
_HOMES = {
    "Experiment": "saltus.experiment",
    "Run": "saltus.runs",
    "SaltusError": "saltus.errors",
    "open_run": "saltus.runs",
    "read": "saltus.integrations.plain",
    "resume": "saltus.training.launch",
    "start": "saltus.training.launch",
}

__all__ = [
    "Experiment",
    "Run",
    "SaltusError",
    "__version__",
    "open_run",
    "read",
    "resume",
    "start",
]


def __getattr__(name: str) -> Any:
    """Rooms open when somebody enters: `import saltus` alone loads nothing heavy."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'saltus' has no attribute {name!r}")
