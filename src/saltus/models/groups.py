"""Named parameter groups: one vocabulary for freezing, transplanting, norms and gradients."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from saltus.errors import SaltusError, unknown

# The first rule that matches a parameter's name gives its group.
RULES = (
    ("token.*", "embeddings.token"),
    ("position.*", "embeddings.position"),
    ("*attention_norm.*", "norm.attention"),
    ("*mlp_norm.*", "norm.mlp"),
    ("*final_norm.*", "norm.final"),
    ("*.attention.query.*", "attention.qk"),
    ("*.attention.key.*", "attention.qk"),
    ("*.attention.value.*", "attention.value"),
    ("*.attention.output.*", "attention.output"),
    ("*.mlp.*", "mlp"),
    ("readout.*", "readout"),
)


def group_of(name: str) -> str:
    """The group of a parameter, e.g. `blocks.0.attention.query.weight` -> `attention.qk`."""
    return next((group for rule, group in RULES if fnmatchcase(name, rule)), "other")


def select(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The parameters that any pattern selects, in the order of `names`.

    A pattern is a group (`attention.qk`), the head of one (`attention`), or a shell-style pattern
    on parameter names (`blocks.0.*`). One that selects nothing is an error.
    """
    names = list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if _selects(pattern, name)]
        if not found:
            groups = sorted({group_of(name) for name in names})
            raise SaltusError(f"parameters: {unknown('group', pattern, groups)}")
        chosen.update(found)
    return [name for name in names if name in chosen]


def _selects(pattern: str, name: str) -> bool:
    group = group_of(name)
    return group == pattern or group.startswith(f"{pattern}.") or fnmatchcase(name, pattern)
