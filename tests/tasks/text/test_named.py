"""Named corpora: what they hold where they are installed, and the line where they are not."""

import bz2
import os
import shutil
import sys
from pathlib import Path

import pytest

from saltus.errors import FieldProblem, SaltusError
from saltus.tasks import Task
from saltus.tasks.text import Corpus
from saltus.tasks.text.markup import articles, prose
from saltus.tasks.text.named import EXTRACT, named_text

PAGE = "<page><title>t</title><ns>{}</ns><revision><text>{}</text></revision></page>"


@pytest.fixture(autouse=True)
def _read_anew():
    named_text.cache_clear()
    yield
    named_text.cache_clear()


def program(folder: Path, told: str) -> Path:
    """A program `bible` that says something."""
    path = folder / "bible"
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{told}\nEND\n")
    path.chmod(0o755)
    return path


def test_stdlib_is_another_name_of_the_default():
    assert Corpus.parse("stdlib") == Corpus.parse(None) == Corpus.parse({"path": "stdlib"})


@pytest.mark.skipif(
    shutil.which("bible") is None, reason="the Debian package bible-kjv-text is not installed"
)
def test_the_king_james_bible_has_all_its_verses():
    corpus = Corpus.parse("kjv")
    verses = corpus.text.splitlines()
    assert len(verses) == 31_102
    assert verses[0] == "In the beginning God created the heaven and the earth."
    assert verses[-1] == "The grace of our Lord Jesus Christ be with you all. Amen."
    assert corpus.path == "kjv"


def test_verses_come_without_their_places(tmp_path, monkeypatch):
    program(tmp_path, "Ge1:1 In the beginning.\n1Sa2:3   Talk no more ; so. ")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("saltus.tasks.text.named.VERSES", 2)
    assert named_text("kjv") == "In the beginning.\nTalk no more ; so.\n"


def test_a_bible_that_is_not_whole_is_refused(tmp_path, monkeypatch):
    program(tmp_path, "Ge1:1 In the beginning.")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(FieldProblem, match="path: the program `bible` gave 1 verses of the 31102"):
        Corpus.parse("kjv")


@pytest.mark.parametrize(
    ("name", "help_"),
    [("kjv", "apt-get install bible-kjv-text"), ("wikipedia-extract", "pip install gensim")],
)
@pytest.mark.parametrize("kind", ["causal-text", "sentences"])
def test_what_is_not_installed_says_what_would_help(name, help_, kind, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "gensim", None)
    field = "source" if kind == "sentences" else "corpus"
    with pytest.raises((SaltusError, FieldProblem)) as caught:
        Task.parse({"kind": kind, field: name})
    assert str(caught.value).startswith(f"{field}.path: {name} is not here; allowed: a path, or ")
    assert help_ in str(caught.value)


def test_the_extract_is_found_without_importing_the_package(tmp_path, monkeypatch):
    folder = tmp_path / "gensim" / "test" / "test_data"
    folder.mkdir(parents=True)
    (tmp_path / "gensim" / "__init__.py").write_text("raise RuntimeError('imported')")
    pages = PAGE.format(0, "'''One''' [[two|three]].") + PAGE.format(1, "talk")
    dump = f"<mediawiki>{pages}{PAGE.format(0, '#REDIRECT [[x]]')}</mediawiki>"
    (folder / EXTRACT).write_bytes(bz2.compress(dump.encode()))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "gensim", raising=False)
    assert named_text("wikipedia-extract") == "One three.\n"
    with bz2.open(folder / EXTRACT) as file:
        assert list(articles(file)) == ["One three."]


@pytest.mark.parametrize(
    ("markup", "plain"),
    [
        ("a {{b|{{c}}|d}} e", "a  e"),
        ("{| class=x\n| [[y]] {| z |} \n|}after", "after"),
        ("[[File:x.jpg|thumb|a [[cat]]]]It is<ref name=a>no [[x]]</ref>.<ref/>", "It is."),
        ("== Head ==\n* item\ntext ''it'' '''bold'''<br/> &amp; more", "text it bold & more"),
        ("see [http://a.b the page] and [[de:Anderswo]]", "see the page and"),
        ("one\n\n\n \ntwo<!-- x\n\ny -->", "one\n\ntwo"),
        ("broken {{ [[ markup", "broken {{ [[ markup"),
    ],
    ids=str,
)
def test_prose_is_what_a_reader_sees(markup, plain):
    assert prose(markup) == plain
