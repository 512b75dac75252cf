"""The application: the verbs under one name, and usage errors in one clear line."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import saltus
from saltus.cli import (
    analyse,
    baseline,
    compare,
    dropbench,
    flow,
    listing,
    llm,
    look,
    power,
    read,
    reproduce,
    train,
    write,
    zoo,
)
from saltus.errors import SaltusError, unknown

# Newer versions of Typer hold a copy of click, older ones import it; this finds either.
UsageError: Any = typer.BadParameter.__mro__[1]


class Verbs(TyperGroup):
    """A group of verbs; alone it explains itself, an unknown one is answered with the nearest."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise SaltusError(unknown("verb", args[0], self.commands))
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="saltus",
    cls=Verbs,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for verb in (
    reproduce.reproduce,
    train.run,
    train.resume,
    flow.flow,
    listing.list_,
    read.runs,
    read.show,
    look.look,
    read.query,
    read.verify,
    write.report,
    compare.compare,
    dropbench.dropbench,
    power.power,
    baseline.baseline,
    llm.llm,
    analyse.analyse,
    write.figure,
    write.export,
):
    app.command(verb.__name__.rstrip("_"))(verb)
app.add_typer(zoo.zoo, name="zoo", cls=Verbs)


def _version(wanted: bool) -> bool:
    if wanted:
        print(f"saltus {saltus.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _saltus(
    version: Annotated[
        bool, typer.Option("--version", help="The version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A laboratory for the training dynamics of transformers: plateaus, and the leaps after them.

    \b
    Start here:
      saltus reproduce                      every study, its claims and a report
      saltus list tasks                     what there is to experiment with
      saltus run loss-plateau:baseline --seeds 4 --set steps=100
      saltus runs                           what has been trained
      saltus show RUN loss/train            numbers, with intervals over seeds

    `saltus VERB --help` explains a verb with an example; --json makes every verb print one JSON
    document.
    """


def run(arguments: list[str]) -> int:
    """Parse and call. Raises SaltusError for bad usage; returns the exit code."""
    try:
        code = app(args=arguments, prog_name="saltus", standalone_mode=False)
    except UsageError as error:
        raise SaltusError(_usage(error)) from None
    return code if isinstance(code, int) else 0


def _usage(error: Any) -> str:
    """'run: unknown option '--sed'; did you mean '--set'? Allowed: --json, --set'."""
    context = getattr(error, "ctx", None)
    verb = context.command_path.partition(" ")[2] if context is not None else ""
    where = f"{verb}: " if verb else ""
    option, parameter = getattr(error, "option_name", None), getattr(error, "param", None)
    if option and context is not None and not _known(context, option):
        return f"{where}{_unknown_option(option, context)}"
    if parameter is not None:
        name = parameter.opts[-1] if parameter.param_type_name == "option" else _metavar(parameter)
        if type(error).__name__ == "MissingParameter":
            return f"{where}{name} is required, and not given; see saltus {verb} --help"
        cause = error.__cause__ or error.__context__
        given = [each["input"] for each in cause.errors()] if hasattr(cause, "errors") else []
        value = f"'{given[0]}' is not allowed: " if given else ""
        return f"{where}{name}: {value}{_lower(error.message)}"
    return f"{where}{_lower(error.format_message())}"


def _unknown_option(option: str, context: Any) -> str:
    names = [name for each in context.command.get_params(context) for name in each.opts]
    allowed = sorted(name for name in names if name.startswith("--"))
    near = difflib.get_close_matches(option, allowed, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown option '{option}'{hint} Allowed: {', '.join(allowed)}"


def _known(context: Any, option: str) -> bool:
    return any(option in each.opts for each in context.command.get_params(context))


def _metavar(parameter: Any) -> str:
    return (parameter.metavar or parameter.name).strip("[]").removesuffix("...")


def _lower(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]
