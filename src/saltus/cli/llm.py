"""`saltus llm`: collapse and repetition in any causal language model, checkpoint by checkpoint."""

from __future__ import annotations

import json as text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saltus.cli import Failed
from saltus.cli.inputs import Json
from saltus.cli.output import console, count, plain, print_json, say, table
from saltus.errors import SaltusError

if TYPE_CHECKING:
    from saltus.integrations.language_models import Measured, Unmeasured
    from saltus.integrations.prompts import Prompts
    from saltus.transitions import Interval

MEASURES = ("cosine", "repetition", "entropy")


def llm(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="CHECKPOINT...", help="A folder, or NAME@REVISION on the hub."),
    ],
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A text a line; .jsonl: a list of token ids a line."),
    ] = None,
    random_prompts: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Instead: N prompts of random tokens.")
    ] = None,
    arc_easy: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Instead: N questions of ARC-Easy (2506.13688)."),
    ] = None,
    length: Annotated[
        int, typer.Option("--length", min=1, metavar="N", help="Tokens of a random prompt.")
    ] = 16,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Draws other prompts.")] = 0,
    new_tokens: Annotated[
        int, typer.Option(min=2, metavar="N", help="Tokens to write after each prompt.")
    ] = 8,
    steps_from: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="One group, the step, in a checkpoint's name."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Prompts together.")] = 8,
    precision: Annotated[
        str, typer.Option(metavar="TYPE", help="float32, float64, bfloat16 or float16.")
    ] = "float32",
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where it runs.")] = "cpu",
    offline: Annotated[
        bool, typer.Option("--offline", help="Folders, and what the hub's cache holds.")
    ] = False,
    pickled: Annotated[
        bool, typer.Option("--pickled", help="Also weights in pickles (torch's weights_only).")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Every prompt's numbers, as .jsonl."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure collapse and repetition in language models.

    Each checkpoint continues each prompt greedily. COS: how alike the last states that wrote the
    tokens are; rho: how often the same token is written twice in a row; the entropy of what is
    written. Intervals are over prompts. docs/language-models.md says more.

    \b
    Examples:
      saltus llm checkpoints/step-* --random-prompts 100
      saltus llm EleutherAI/pythia-14m@step0 EleutherAI/pythia-14m@step512 \\
          --prompts questions.txt
    """
    from saltus.integrations.language_models import STEP, Measured, trajectory
    from saltus.integrations.pretrained import Loading
    from saltus.report.save import save

    if output is not None and output.suffix != ".jsonl":
        raise SaltusError(f"-o: '{output}' is not allowed: the name must end in .jsonl")
    asked = _prompts(prompts, random_prompts, arc_easy, length, seed)
    loading = Loading(precision, device, offline, pickled)
    found = trajectory(
        checkpoints, asked, new_tokens, batch=batch, loading=loading, steps_from=steps_from or STEP
    )
    measured: list[Measured] = []
    failed: list[Unmeasured] = []
    news, lines = console(stderr=True), b""
    for number, each in enumerate(found, start=1):
        if isinstance(each, Measured):
            measured.append(each)
            said = f"{each.checkpoint}: {each.seconds:.1f} s"
            if output is not None:  # after each, so that Ctrl-C keeps what is there
                lines += (
                    text.dumps(plain(_document(each, True)), ensure_ascii=False) + "\n"
                ).encode()
                save(output, lines)
        else:
            failed.append(each)
            said = f"{each.checkpoint}: {each.reason}"
        if len(checkpoints) > 1:
            news.print(f"{number} of {len(checkpoints)}  {said}", soft_wrap=True)
    if not measured and len(failed) == 1:
        raise SaltusError(f"{failed[0].checkpoint}: {failed[0].reason}")
    if not measured:
        raise SaltusError(f"none of the {len(failed)} checkpoints could be measured")
    if json:
        print_json(
            {
                "checkpoints": [_document(each, False) for each in measured],
                "failed": [{"checkpoint": e.checkpoint, "reason": e.reason} for e in failed],
                "file": output,
            }
        )
    else:
        _print(measured, output)
    if failed:
        raise Failed(f"{len(failed)} of {len(checkpoints)} checkpoints could not be measured")


def _prompts(
    file: Path | None, number: int | None, arc: int | None, length: int, seed: int
) -> Prompts:
    from saltus.integrations.prompts import RandomPrompts, arc_easy, read_prompts

    if sum(each is not None for each in (file, number, arc)) != 1:
        raise SaltusError("llm: one of --prompts, --random-prompts, --arc-easy is required")
    if file is not None:
        return read_prompts(file)
    return RandomPrompts(number, length, seed) if number else arc_easy(arc or 1, seed)


def _print(measured: Sequence[Measured], output: Path | None) -> None:
    prompts, written = measured[0].written.shape
    pairs = written * (written - 1) // 2
    say(f"{measured[0].architecture}, {count(prompts, 'prompt')}, {written} tokens written to each")
    say(f"means over prompts [95 % over prompts]; {pairs} pairs of states, {written - 1} of tokens")
    steps = all(each.step is not None for each in measured)
    names = [f"{each.step:,}" if steps else str(n) for n, each in enumerate(measured, start=1)]
    if not steps:
        for name, each in zip(names, measured, strict=True):
            say(f"  {name}  {each.checkpoint}")
    head = ("step" if steps else "", "COS", "rho", "entropy")
    made = table(*head, right=head, padding=(0, 1, 0, 0))
    for name, each in zip(names, measured, strict=True):
        made.add_row(name, *(_decimals(getattr(each, measure)) for measure in MEASURES))
    console().print(made)
    if ended := sum(each.ended for each in measured):
        texts = count(prompts * len(measured), "text")
        say(f"{ended} of {texts} went on beyond a token that ends texts")
    if output is not None:
        say(f"written    {output}")


def _decimals(value: Interval) -> str:
    return f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _document(each: Measured, whole: bool) -> dict[str, Any]:
    prompts, written = each.written.shape
    intervals = {name: getattr(each, name) for name in MEASURES}
    document = {
        "checkpoint": each.checkpoint,
        "step": each.step,
        "architecture": each.architecture,
        "prompts": prompts,
        "new_tokens": written,
        "intervals_over": "prompts",
        **{
            name: {"mean": value.estimate, "low": value.low, "high": value.high}
            for name, value in intervals.items()
        },
        "ended": each.ended,
        "seconds": each.seconds,
    }
    if whole:
        document["each_prompt"] = {
            "cosine": each.cosines,
            "repetition": each.repetitions,
            "entropy": each.entropies,
            "written": each.written,
        }
    return document
