"""A causal language model in Hugging Face's format, by folder or hub name, or one clear line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from saltus.errors import SaltusError, unknown

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

PRECISIONS = ("float32", "float64", "bfloat16", "float16")
HUB_NAME = re.compile(r"(?P<name>[\w-][\w.-]*(/[\w-][\w.-]*)?)(@(?P<revision>.+))?")


@dataclass(frozen=True)
class Loading:
    """How checkpoints are loaded. No code of theirs is ever run.

    `offline`: only folders and what the hub's cache already holds. `pickled`: also weights kept
    as pickles, through torch's restricted reader (weights_only); safetensors stay preferred.
    """

    precision: str = "float32"
    device: str = "cpu"
    offline: bool = False
    pickled: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise SaltusError(f"precision: {unknown('precision', self.precision, PRECISIONS)}")
        try:
            kind = torch.device(self.device).type
        except RuntimeError:
            kind = ""
        if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
            allowed = "cpu, cuda" if torch.cuda.is_available() else "cpu"
            raise SaltusError(f"device: '{self.device}' is not available; allowed: {allowed}")


@dataclass(frozen=True)
class Source:
    """Where a checkpoint is: a folder, or a name and a revision on the hub."""

    place: str
    revision: str | None = None
    local: bool = True


def load(checkpoint: str, loading: Loading) -> PreTrainedModel:
    """The model, in evaluation mode. Raises SaltusError with a line that does not name it again."""
    from transformers import AutoModelForCausalLM

    source = find(checkpoint)
    config = configuration(source, loading)
    _check_kind(config)
    model: Any = read_weights(AutoModelForCausalLM, source, config, loading)
    return model.to(loading.device).eval()


def read_weights(
    kind: Any,
    source: Source,
    config: PreTrainedConfig,
    loading: Loading,
    spare: tuple[str, ...] = (),
    **more: Any,
) -> PreTrainedModel:
    """The model of an auto class of the library with all of its weights, on the CPU.

    Names with any of `spare` in them may be missing. `more` goes to the library. Raises SaltusError
    for files that are not read, weights that are missing, and shapes that do not fit.
    """
    if source.local and not loading.pickled:
        check_files(Path(source.place))
    with quiet(), one_line("the weights"):
        loaded: Any = kind.from_pretrained(
            source.place,
            config=config,
            use_safetensors=None if loading.pickled else True,
            weights_only=True,
            torch_dtype=getattr(torch, loading.precision),
            ignore_mismatched_sizes=True,  # to name them ourselves, below
            output_loading_info=True,
            **more,
            **where(source, loading),
        )
    model, report = loaded
    keys = sorted(report["missing_keys"])
    if missing := [name for name in keys if not any(part in name for part in spare)]:
        raise SaltusError(f"its weights are not complete: {missing[0]} is missing")
    if mismatched := sorted(report["mismatched_keys"], key=str):
        name, found, wanted = mismatched[0]
        raise SaltusError(
            f"its weights do not fit its config.json: {name} has shape {list(found)}; "
            f"allowed: {list(wanted)}"
        )
    return model


def encode(checkpoint: str, texts: Sequence[str], loading: Loading) -> list[list[int]]:
    """Token ids of the texts, by the checkpoint's own tokenizer, with what it adds by itself."""
    from transformers import AutoTokenizer

    source = find(checkpoint)
    with quiet(), one_line("a tokenizer for prompts of text"):
        tokenizer = AutoTokenizer.from_pretrained(source.place, **where(source, loading))
        return [list(tokenizer(text)["input_ids"]) for text in texts]


def find(checkpoint: str) -> Source:
    """Where a checkpoint is: a folder of that name if there is one, else the hub."""
    if Path(checkpoint).is_dir():
        return Source(checkpoint)
    named = None if Path(checkpoint).exists() else HUB_NAME.fullmatch(checkpoint)
    if named is None:
        raise SaltusError("there is no such folder; allowed: a folder, NAME or NAME@REVISION")
    return Source(named["name"], named["revision"], local=False)


def configuration(source: Source, loading: Loading) -> PreTrainedConfig:
    """What the checkpoint says of its architecture; cheap next to the weights."""
    from transformers import AutoConfig

    if source.local and not (Path(source.place) / "config.json").is_file():
        raise SaltusError("the folder has no config.json: not a checkpoint of Hugging Face's")
    with (
        quiet(),
        one_line("config.json" if source.local else "a folder of that name, or from the hub"),
    ):
        return AutoConfig.from_pretrained(source.place, **where(source, loading))


def _check_kind(config: PreTrainedConfig) -> None:
    """A model of another kind would load too, with a readout of noise or with a two-sided mask."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    said = config.architectures or []
    known = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    known = known[0] if isinstance(known, tuple) else known
    allowed = {getattr(known, "__name__", None)}
    if known is None or (said and not any(n in allowed or "CausalLM" in n for n in said)):
        kind = said[0] if said else config.model_type
        raise SaltusError(f"{kind} is not a causal language model")


def check_files(folder: Path) -> None:
    """Raise SaltusError where a folder has no safetensors."""
    names = sorted(path.name for path in folder.iterdir())
    if any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names):
        return
    pickles = [name for name in names if name.endswith((".bin", ".bin.index.json", ".pt", ".pth"))]
    if pickles:
        raise SaltusError(
            f"its weights are a pickle ({pickles[0]}), which is not read unless asked for "
            "(--pickled); allowed: model.safetensors"
        )
    raise SaltusError("the folder has no weights; allowed: model.safetensors")


def where(source: Source, loading: Loading) -> dict[str, Any]:
    """What the library is told of a place: never its code, nothing from afar for a folder."""
    revision = {} if source.revision is None else {"revision": source.revision}
    local = source.local or loading.offline
    return {"local_files_only": local, "trust_remote_code": False, **revision}


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Whatever the library raises (it has many kinds), as one line; memory stays memory."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        text, stop, _ = text.partition(". ")
        raise SaltusError(f"cannot read {what}: {text[:240]}{stop.rstrip()}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """No bars, no advice, and no pull request against a stranger's model.

    (Asked for safetensors that are not there, the library has the hub convert the pickle.)
    """
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    with ExitStack() as undo:
        for each in (logging, hub):
            undo.callback(each.set_verbosity, each.get_verbosity())
            each.set_verbosity_error()
        if logging.is_progress_bar_enabled():
            undo.callback(logging.enable_progress_bar)
            logging.disable_progress_bar()
        before = os.environ.get(CONVERSION)
        undo.callback(_set, CONVERSION, before)
        _set(CONVERSION, "1")
        yield


CONVERSION = "DISABLE_SAFETENSORS_CONVERSION"


def _set(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value
