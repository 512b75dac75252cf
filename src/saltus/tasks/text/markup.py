"""The prose of Wikipedia's pages: articles out of a dump, without their markup."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from io import BufferedIOBase

ASIDE = "ref|math|gallery|source|syntaxhighlight|timeline|code|pre|nowiki|score"


def articles(dump: BufferedIOBase) -> Iterator[str]:
    """The prose of each article of a MediaWiki dump (XML), in its order; redirects and pages that
    are no articles are left out."""
    space = text = ""
    for _, element in ElementTree.iterparse(dump):
        match element.tag.rsplit("}", 1)[-1]:
            case "ns":
                space = element.text or ""
            case "text":
                text = element.text or ""
            case "page":
                element.clear()
                if space == "0" and not text.lower().startswith("#redirect"):
                    yield prose(text)


def prose(markup: str) -> str:
    """Paragraphs of plain text: no templates, tables, references, headings, lists and files.

    A link becomes what it shows. Meant for a corpus to train on: what is left of rare markup does
    no harm there.
    """
    text = re.sub(r"<!--.*?-->", "", markup, flags=re.DOTALL)
    text = re.sub(r"<ref[^<>]*/>", "", text)
    text = re.sub(rf"<({ASIDE})\b[^<>]*>.*?</\1>", "", text, flags=re.DOTALL | re.IGNORECASE)
    text = _until_none(r"\{\{[^{}]*\}\}", "", text)
    text = _until_none(r"\{\|(?:(?!\{\||\|\}).)*\|\}", "", text)
    text = _links(text)
    text = re.sub(r"\[(?:https?|ftp)://\S+ ?([^\]]*)\]", r"\1", text)
    text = re.sub(r"<[^<>]*>|'{2,}", "", text)
    text = re.sub(r"^(?:=.*=\s*|[*#:;|!].*)$", "", text, flags=re.MULTILINE)
    text = html.unescape(text).replace("\xa0", " ")
    return re.sub(r"\n\s*\n", "\n\n", text).strip()


def _links(text: str) -> str:
    """From the innermost link outwards: a caption may hold links of its own."""
    before = None
    while text != before:
        before = text
        text = re.sub(
            r"\[\[(?:file|image|category|[a-z-]{2,12}):[^\[\]]*\]\]", "", text, flags=re.IGNORECASE
        )
        text = re.sub(r"\[\[(?:[^\[\]|]*\|)*([^\[\]|]*)\]\]", r"\1", text)
    return text


def _until_none(pattern: str, by: str, text: str) -> str:
    """Replace as long as there is something: what is nested goes from the inside."""
    count = 1
    while count:
        text, count = re.subn(pattern, by, text, flags=re.DOTALL)
    return text
