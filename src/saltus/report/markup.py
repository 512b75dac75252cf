"""HTML from Python: every text is escaped unless it was made by `tag`."""

from __future__ import annotations

import json
from html import escape
from typing import Any

VOID = {"br", "hr", "input", "link", "meta"}


class Markup(str):
    """Text that is HTML already."""


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """`tag("td", 3, class_="n")` → `<td class="n">3</td>`.

    In attribute names a trailing underscore is dropped and others become dashes; None and False
    leave an attribute out, True writes it without a value. Children may be nested lists.
    """
    parts = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(key)
        elif value is not None and value is not False:
            parts.append(f'{key}="{escape(str(value))}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening if name in VOID else f"{opening}{join(children)}</{name}>")


def join(children: object) -> Markup:
    """Children one after the other: Markup as it is, None as nothing, anything else escaped."""
    if isinstance(children, Markup):
        return children
    if isinstance(children, (list, tuple)):
        return Markup("".join(join(child) for child in children))
    return Markup("" if children is None else escape(str(children)))


def data_script(value: Any, class_: str) -> Markup:
    """Data for page.js, in a script element that cannot be closed from inside."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return tag("script", Markup(text), type="application/json", class_=class_)
