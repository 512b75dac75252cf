"""Named parameter groups: one vocabulary for freezing, transplanting, norms and gradients."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from saltus.errors import SaltusError, unknown

# What is counted and not learned: batch norms' running values.
STATISTICS = "statistics"

# The first rule that matches a parameter's name gives its group.
RULES = (
    ("token.*", "embeddings.token"),
    ("position.*", "embeddings.position"),
    ("patch.*", "embeddings.patch"),
    ("class_token", "embeddings.class"),
    ("*.running_mean", STATISTICS),
    ("*.running_variance", STATISTICS),
    ("*batch_norm.*", "norm.batch"),
    ("*convolution.weight", "convolution"),
    ("embedding_norm.*", "norm.embedding"),
    ("*attention_norm.*", "norm.attention"),
    ("*mlp_norm.*", "norm.mlp"),
    ("*final_norm.*", "norm.final"),
    ("*.attention.query.*", "attention.qk"),
    ("*.attention.key.*", "attention.qk"),
    ("*.attention.query_norm.*", "attention.qk"),
    ("*.attention.key_norm.*", "attention.qk"),
    ("*.attention.log_temperature", "attention.temperature"),
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
    on parameter names (`blocks.0.*`). After an exclamation mark it says what to leave out:
    `attention, !attention.output` is queries, keys and values; with nothing but exclusions,
    as in `!attention`, everything else is selected. The order of the patterns is of no account.
    One that matches no parameter is an error, and so are patterns that together select nothing.
    """
    names, patterns = list(names), list(patterns)
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    chosen = _matched(names, wanted) if wanted or not unwanted else set(names)
    chosen -= _matched(names, unwanted)
    if patterns and not chosen:
        raise SaltusError(f"parameters: {', '.join(patterns)} together select none")
    return [name for name in names if name in chosen]


def _matched(names: list[str], patterns: list[str]) -> set[str]:
    """The parameters that some pattern matches; each must match one."""
    matched: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if _matches(pattern, name)]
        if not found:
            groups = {group_of(name) for name in names}
            raise SaltusError(f"parameters: {unknown('group', pattern, groups)}")
        matched.update(found)
    return matched


def _matches(pattern: str, name: str) -> bool:
    group = group_of(name)
    return group == pattern or group.startswith(f"{pattern}.") or fnmatchcase(name, pattern)
