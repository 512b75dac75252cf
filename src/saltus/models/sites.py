"""Sites: the named places of a model that can be read and overwritten.

A model calls `x = tape("blocks.0.attention.pattern", x)` where something has a name. The tape
records what was asked for and applies edits; the silent tape does nothing and costs a comparison.
There are no hooks and no global state: what a forward pass exposes is what its tape was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

from torch import Tensor

from saltus.random import Draws

Edit = Callable[[str, Tensor], Tensor]


class Tape:
    """Records the sites that match `capture` and applies `edits` (pattern -> function).

    Patterns are shell-style: `blocks.*.attention.pattern`. An edit gets (site name, value) and
    returns the value to use from there on; what is recorded is the value after edits.

    `training` says that the pass belongs to a training step. Then layers with noise take it from
    `noise`, a pure function of (seed, step), and layers with running statistics use the batch's
    and leave the new running ones in `statistics`, {parameter: value}, for the engine to keep.
    """

    def __init__(
        self,
        capture: Iterable[str] = (),
        edits: Mapping[str, tuple[Edit, ...]] | None = None,
        noise: Draws | None = None,
        training: bool = False,
    ) -> None:
        self.capture = tuple(capture)
        self.edits = dict(edits or {})
        self.values: dict[str, Tensor] = {}
        self.idle = not self.capture and not self.edits
        self.noise, self.training = noise, training
        self.statistics: dict[str, Tensor] = {}

    def __call__(self, name: str, value: Tensor) -> Tensor:
        if self.idle:
            return value
        for pattern, edits in self.edits.items():
            if fnmatchcase(name, pattern):
                for edit in edits:
                    value = edit(name, value)
        if matches(name, self.capture):
            self.values[name] = value
        return value

    def wants(self, name: str) -> bool:
        """Whether the site is captured or edited: then the model must compute it explicitly."""
        return not self.idle and matches(name, (*self.capture, *self.edits))


SILENT = Tape()


@lru_cache(maxsize=4096)
def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name matches any of the shell-style patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
