"""`saltus report`, `figure` and `export`: files made from a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saltus.cli.inputs import Json, Root, RunName, find_run
from saltus.cli.output import print_json, say
from saltus.errors import SaltusError, unknown

if TYPE_CHECKING:
    from saltus.runs import Run

FORMATS = ("huggingface", "safetensors")


def report(
    name: RunName,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="[report.html in the run's directory]"),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write every figure there too, as SVG, PDF and PNG."),
    ] = None,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Write one offline HTML page about a run.

    Curves over seeds, when they leap, attention maps, cost, and the exact experiment.

    \b
    Example:
      saltus report runs/my-experiment -o my-experiment.html
    """
    from saltus.report import write_run_figures, write_run_report

    run = find_run(name, root)
    path = write_run_report(run, output or run.path / "report.html")
    if figures is None:
        return _wrote(path, json)
    drawn = write_run_figures(run, figures)
    if json:
        return print_json({"file": path, "figures": [p for each in drawn for p in each.paths]})
    for each in drawn:
        say(f"figure: {each}")
    say(f"report: {path}")


def figure(
    name: RunName,
    series: Annotated[list[str], typer.Argument(metavar="SERIES...", help="One panel for each.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Ends in .svg, .pdf or .png.")
    ],
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Draw series of a run as fans over its seeds.

    \b
    Example:
      saltus figure runs/my-experiment loss/train evaluation/accuracy -o leap.pdf
    """
    from saltus.report import write_figure

    run = find_run(name, root)
    for each in series:
        run.series(each)  # one clear line for a name that is not a scalar series
    _wrote(write_figure(run, series, output), json)


def export(
    name: RunName,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="PATH", help="Ends in .safetensors, or is a folder."
        ),
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="safetensors|huggingface", help="File or folder.")
    ] = "safetensors",
    step: Annotated[int | None, typer.Option(metavar="N", help="A kept step [the last].")] = None,
    every: Annotated[
        bool, typer.Option("--all-steps", help="huggingface: a folder step-<n> for each kept step.")
    ] = False,
    member: Annotated[int, typer.Option(metavar="K", help="Which member of the ensemble.")] = 0,
    everyone: Annotated[
        bool, typer.Option("--all-members", help="safetensors: a stack that knows its seeds.")
    ] = False,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Write parameters as safetensors, or for Hugging Face.

    One member's, under the model's names; the file's metadata holds the experiment's name, the
    seed, the step and the member's settings. With --all-members: a stack of all, for transplants.
    With --format huggingface: a folder that AutoModelForCausalLM reads, a GPT-2 with the same
    logits.

    \b
    Examples:
      saltus export runs/my-experiment --member 3 --step 400 -o model.safetensors
      saltus export runs/my-experiment --all-members -o donors.safetensors
      saltus export runs/my-experiment --format huggingface --all-steps -o hf
    """
    from saltus.report.save import save
    from saltus.runs.export import export as exported

    if form not in FORMATS:
        raise SaltusError(f"--format: {unknown('format', form, FORMATS)}")
    if everyone and (member or form == "huggingface"):
        other = "--member" if member else "--format huggingface"
        raise SaltusError(f"export: --all-members and {other} exclude each other")
    if form == "huggingface":
        return _export_folders(find_run(name, root), output, step, every, member, json)
    if every:
        raise SaltusError("--all-steps: a safetensors file holds one step; allowed: --step N")
    if output.suffix != ".safetensors":
        raise SaltusError(f"-o: '{output}' is not allowed: the name must end in .safetensors")
    run = find_run(name, root)
    if not 0 <= member < len(run.members):
        raise SaltusError(f"--member: {member} is not allowed: 0 to {len(run.members) - 1}")
    found = exported(run, step, None if everyone else member)
    _wrote(save(output, found.encoded()), json, **found.metadata)


def _export_folders(
    run: Run, output: Path, step: int | None, every: bool, member: int, json: bool
) -> None:
    from saltus.integrations.huggingface import export, export_all

    if every and step is not None:
        raise SaltusError("export: --all-steps and --step exclude each other")
    if not every:
        return _wrote(export(run, output, step, member), json)
    folders = export_all(run, output, member)
    if json:
        return print_json({"folders": folders})
    for each in folders:
        say(str(each))


def _wrote(path: Path, json: bool, **more: str) -> None:
    if json:
        print_json({"file": path, **more})
    else:
        say(str(path))
