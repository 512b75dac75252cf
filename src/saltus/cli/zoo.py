"""`saltus zoo`: tiny language models with whole trajectories, to build, list and verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saltus.cli import Failed, Interrupted
from saltus.cli.inputs import Json
from saltus.cli.output import console, count, print_json, say, table

if TYPE_CHECKING:
    from saltus.zoo import Built

zoo = typer.Typer(rich_markup_mode=None)


@zoo.callback()
def _zoo() -> None:
    """Build tiny language models with whole trajectories.

    A language model of a megabyte, trained here in less than a minute without a download, with
    every checkpoint of its way: as a run, and as folders that transformers reads. With --json
    each of the three verbs prints one JSON document.

    \b
    Examples:
      saltus zoo list
      saltus zoo build gpt2-stdlib
      saltus zoo verify zoo/gpt2-stdlib
    """


@zoo.command("list")
def list_(json: Json = False) -> None:
    """List what can be built.

    \b
    Example:
      saltus zoo list
    """
    from saltus.zoo import ENTRIES

    entries = [
        {
            "name": entry.name,
            "about": entry.about,
            "model": entry.model.kind,
            "corpus": entry.corpus,
            "seed": entry.seed,
            "steps": entry.steps,
        }
        for entry in ENTRIES.values()
    ]
    if json:
        return print_json(entries)
    made = table("name", "what it is", "steps", right=("steps",))
    for entry in entries:
        made.add_row(entry["name"], entry["about"], str(entry["steps"]))
    console().print(made)
    say("saltus zoo build NAME trains one into zoo/NAME")


@zoo.command()
def build(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="What saltus zoo list names.")
    ],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="Where it goes.")] = Path(
        "zoo"
    ),
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="Another length of training.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="FILE", help="Another text, in UTF-8.")
    ] = None,
    json: Json = False,
) -> None:
    """Train entries of the zoo, each into its own folder.

    The folder holds the run and, as step-000000, step-000001, ..., every kept step in Hugging
    Face's format with its tokenizer. It appears when it is complete; one that is there already is
    taken as it is, and an interrupted one is continued by the same command.

    \b
    Examples:
      saltus zoo build gpt2-stdlib bert-stdlib
      saltus zoo build gpt2-stdlib --root novel --corpus novel.txt --steps 900
    """
    from saltus.cli.progress import Board
    from saltus.zoo import build as built_entry
    from saltus.zoo import find_entry

    entries = [find_entry(name) for name in names]
    for entry in entries:
        entry.experiment(steps, corpus)  # what is wrong with the last is said before the first
    done: list[Built] = []
    try:
        with Board() as board:
            for entry in entries:
                done.append(built_entry(entry, root, steps, corpus, board))
    except KeyboardInterrupt:
        raise Interrupted("nothing is lost: the same command goes on from here") from None
    if json:
        return print_json([_document(each) for each in done])
    for each in done:
        _show(each)


@zoo.command()
def verify(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="What saltus zoo build made.")
    ],
    json: Json = False,
) -> None:
    """Check every byte of built folders.

    The exit code is 1 if a file has changed, is missing, or was added.

    \b
    Example:
      saltus zoo verify zoo/gpt2-stdlib
    """
    from saltus.zoo import verify as verified

    found = {folder: verified(folder) for folder in folders}
    if json:
        print_json(
            [
                {"folder": folder, "ok": each.ok, "files": each.files, "problems": each.problems}
                for folder, each in found.items()
            ]
        )
    else:
        for folder, each in found.items():
            for line in each.problems:
                say(f"{folder}: {line}")
            if each.ok:
                say(f"{folder}: {count(each.files, 'file')}, {size_text(each.bytes)}: all as built")
    damaged = [folder for folder, each in found.items() if not each.ok]
    if damaged:
        raise Failed(f"{len(damaged)} of {len(found)} folders are not as they were built")


def size_text(amount: int) -> str:
    """'1.08 MB': three digits, in powers of ten."""
    return f"{amount / 1e6:.3g} MB"


def _document(built: Built) -> dict[str, Any]:
    return {
        "name": built.entry,
        "folder": built.folder,
        "how": built.how,
        "parameters": built.parameters,
        "steps": built.steps,
        "model_bytes": built.model_bytes,
        "bytes": built.bytes,
        "seconds": built.seconds,
    }


def _show(built: Built) -> None:
    loss = built.run.series("evaluation/loss").values[0]
    how = "was there already" if built.how == "reused" else f"{built.seconds:.1f} s"
    say(f"{built.folder}: {how}")
    model, whole = size_text(built.model_bytes), size_text(built.bytes)
    steps = f"{count(len(built.steps), 'checkpoint')}, steps {built.steps[0]} to {built.steps[-1]}"
    say(f"  {built.parameters:,} parameters, {model}; {steps}; {whole} in all")
    say(f"  loss on held-out text {loss[0]:.3f} to {loss[-1]:.3f} nats per token")
