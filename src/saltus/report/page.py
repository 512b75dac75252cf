"""The page around the sections: one HTML file that opens offline and asks the network nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files

import saltus
from saltus.report import style
from saltus.report.markup import Markup, tag

TAGLINE = "The laboratory for the training dynamics of transformers"
MOTTO = "natura non facit saltus"
# The browser itself refuses whatever is not in the file.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(title: str, *sections: object) -> str:
    """The whole document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"Saltus {saltus.__version__}"),
        tag("title", title),
        tag("style", Markup(style.css_variables() + _asset("page.css") + _asset("figures.css"))),
    )
    body = tag(
        "body",
        masthead(),
        tag("main", sections),
        footer(),
        [tag("script", Markup(_asset(name))) for name in ("page.js", "spots.js", "film.js")],
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def masthead() -> Markup:
    """The name over a line that runs level and then leaps, as losses do."""
    leap = tag(
        "svg",
        tag("path", d="M0 10H690C720 10 722 12 728 40C734 68 736 70 766 70H1000"),
        viewBox="0 0 1000 80",
        preserveAspectRatio="none",
        class_="leap-line",
        aria_hidden="true",
    )
    words = tag("div", tag("h1", "Saltus"), tag("p", TAGLINE, class_="tagline"), class_="words")
    button = tag(
        "button", "Dark", type="button", class_="theme", aria_label="switch light and dark"
    )
    motto = tag("p", tag("i", MOTTO), lang="la", class_="motto")
    return tag("header", tag("div", words, motto, button, class_="top"), leap, class_="masthead")


def footer() -> Markup:
    """Which version made the page, and when."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return tag("footer", f"Made by Saltus {saltus.__version__} on {when}. One file, no network.")


def _asset(name: str) -> str:
    return files("saltus.report").joinpath(name).read_text(encoding="utf-8")
