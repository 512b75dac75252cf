"""Text: the corpus and its hash, tokens that spell it, windows, masks, and what guesses cost."""

import re
from math import log

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.text import CausalText, Corpus, MaskedText
from saltus.tasks.text.corpus import digest, read
from saltus.tasks.text.tokens import MASK, tokenizer, tokens_of

WORDS = "the cat sat on the mat and the dog lay on the rug; nobody said naïve — 猫\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "words.txt"
    path.write_text("".join(f"{i}: {WORDS}" for i in range(60)), "utf-8")
    return Corpus.parse(str(path))


@pytest.fixture(scope="module", params=["masked-text", "causal-text"])
def task(request, corpus):
    fields = {"corpus": corpus, "vocabulary": 300, "length": 12}
    return Task.parse({"kind": request.param, **fields})


def experiment(**task):
    model = {"kind": "decoder", "width": 8}
    return Experiment.of({"task": task, "model": model, "steps": 1, "batch": 2})


@given(text=st.text(min_size=1).filter(str.strip), vocabulary=st.integers(257, 300))
def test_tokens_spell_any_text(tmp_path_factory, text, vocabulary):
    path = tmp_path_factory.mktemp("any") / "text.txt"
    path.write_bytes(text.encode())
    corpus = Corpus.parse(str(path))
    assert corpus.sha256 == digest(text)
    assert corpus.part("training") + corpus.part("validation") == text
    for part in ("training", "validation"):
        ids, characters = tokens_of(corpus, part, vocabulary)
        assert characters == len(corpus.part(part))
        assert ((ids > MASK) & (ids < vocabulary)).all()
        assert tokenizer(corpus, vocabulary).decode((ids - 1).tolist()) == corpus.part(part)


def test_merges_come_from_the_training_part_alone_and_are_the_same_every_time(corpus, tmp_path):
    text = corpus.text
    other = tmp_path / "other.txt"
    held_out = len(corpus.part("validation"))
    other.write_text(text[:-held_out] + "x" * held_out, "utf-8")
    found = [tokens_of(one, "training", 300).ids for one in (corpus, Corpus.parse(str(other)))]
    assert torch.equal(*found)
    tokenizer.cache_clear()
    tokens_of.cache_clear()
    assert torch.equal(tokens_of(corpus, "training", 300).ids, found[0])
    assert len(found[0]) < len(tokens_of(corpus, "training", 257).ids)  # merges make it shorter


def test_pythons_help_is_the_default_and_its_hash_is_recorded():
    task = experiment(kind="masked-text").task
    text = read(None)
    assert len(text) > 100_000
    assert task.corpus.path is None
    assert task.corpus.sha256 == digest(text)
    assert task == MaskedText() == Task.parse({"kind": "masked-text", "corpus": None})
    assert hash(task) == hash(MaskedText())


def test_a_run_records_the_text_and_can_be_read_without_it(corpus, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(corpus.text, "utf-8")
    fresh = experiment(kind="causal-text", corpus=str(path))
    recorded = yaml.safe_load(fresh.to_yaml())["task"]["corpus"]
    assert recorded == {"path": str(path), "sha256": corpus.sha256}
    path.write_text(corpus.text + "!", "utf-8")
    task = Experiment.from_yaml(fresh.to_yaml()).task
    assert task == fresh.task
    assert task.windows(Draws(0, "data"), 1).shape == (1, 65)  # read before: as it was
    forged = {**recorded, "sha256": "0" * 64}
    with pytest.raises(SaltusError, match="is not the text that was recorded: its hash is"):
        experiment(kind="causal-text", corpus=forged).task.sample(Draws(0, "data"), 1)
    gone = {"path": str(tmp_path / "gone.txt"), "sha256": "0" * 64}
    with pytest.raises(SaltusError, match=r"task.corpus.path: .*gone.txt' cannot be read"):
        experiment(kind="causal-text", corpus=gone).task.sample(Draws(0, "data"), 1)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, r"task\.corpus\.path: .*text.txt' cannot be read: No such file"),
        (b"", r"task\.corpus\.path: .*text.txt is empty"),
        (b" \n", r"task\.corpus\.path: .*text.txt is empty"),
        (b"caf\xe9", r"task\.corpus\.path: .*text.txt is not UTF-8: byte 3 is 0xe9"),
        (b"a" * 600, r"task: length 64 is too long: a part of .*text.txt has at most 60 tokens"),
    ],
    ids=["missing", "empty", "blank", "latin-1", "short"],
)
def test_a_corpus_that_will_not_do_is_refused_in_one_line(content, problem, tmp_path):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SaltusError, match=problem):
        experiment(kind="masked-text", corpus=str(path))
    with pytest.raises(SaltusError, match=problem):
        experiment(kind="masked-text", corpus={"path": str(path)})


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"vocabulary": 256}, "task.vocabulary: 256 is not allowed"),
        ({"masking": 0}, "task.masking: 0 is not allowed"),
        ({"corpus": 3}, "task.corpus: "),
        ({"corpus": {"path": 3}}, "task.corpus.path: 3 is not allowed"),
        ({"corpus": {"file": "x"}}, "task.corpus.file: unknown field 'file'"),
        ({"corpus": {"sha256": "x"}}, "task.corpus.sha256: 'x' is not allowed"),
        ({"corpus": "a\0b"}, "task.corpus.path: "),
    ],
    ids=str,
)
def test_bad_fields_are_refused_in_one_line(fields, problem):
    with pytest.raises(SaltusError, match=re.escape(problem)) as caught:
        experiment(kind="masked-text", **fields)
    assert "\n" not in str(caught.value)


def test_merges_can_leave_too_few_tokens_for_a_window(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcdefgh " * 100, "utf-8")
    task = experiment(kind="causal-text", corpus=str(path), length=40).task
    with pytest.raises(SaltusError, match=r"length 40 is too long: .* has \d+ tokens"):
        task.validation.sample(Draws(0, "data"), 1)


def test_windows_are_stretches_of_their_part_and_begin_anywhere(task, corpus):
    for one, name in ((task, "training"), (task.validation, "validation")):
        ids = tokens_of(corpus, name, 300).ids
        windows = one.windows(Draws(0, "data"), 4000)
        every = ids.unfold(0, one.window, 1)
        assert windows.shape == (4000, one.window)
        allowed = {tuple(row) for row in every.tolist()}
        found = {tuple(row) for row in windows.tolist()}
        assert found <= allowed
        assert len(found) > 0.9 * len(allowed) or name == "training"
        text = corpus.part(name)
        assert all(one.text(row) in text or "\ufffd" in one.text(row) for row in windows[:20])
    assert task.interface == Interface(300, 12, 300)
    assert task.validation.interface == task.interface


def test_the_shares_of_the_masks(corpus):
    task = MaskedText(corpus=corpus, vocabulary=300, length=40)
    batch = task.sample(Draws(0, "data"), 5000)
    chosen, inputs, targets = batch["masked"], batch["inputs"], batch["targets"]
    assert (chosen.sum(-1) == 6).all()
    assert torch.allclose(chosen.double().mean(0), torch.tensor(0.15).double(), atol=0.025)
    assert torch.equal(inputs[~chosen], targets[~chosen])
    assert (targets != MASK).all()
    hidden = (inputs == MASK)[chosen].double().mean()
    kept = (inputs == targets)[chosen].double().mean()
    assert hidden == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1 + 0.1 / 299, abs=0.01)
    random = inputs[chosen & (inputs != MASK) & (inputs != targets)]
    assert random.unique().tolist() == list(range(1, 300))
    tiny = MaskedText(corpus=corpus, length=2).sample(Draws(0, "data"), 50)["masked"]
    assert (tiny.sum(-1) == 1).all()


def test_the_level_of_single_tokens_is_what_their_frequencies_cost(task, corpus):
    for one in (task, task.validation):
        ids = tokens_of(corpus, one.part, 300).ids
        share = ids.bincount(minlength=300).double() / len(ids)
        batch = one.sample(Draws(0, "data"), 1000)
        outputs = share.log().clamp_min(-1e30).expand(*batch["targets"].shape, 300)
        losses = one.loss(outputs, batch)
        levels = one.levels()
        # Windows see the first and last tokens less often than the others.
        assert float(losses.mean()) == pytest.approx(levels["unigram"], abs=0.06)
        flat = one.loss(torch.zeros_like(outputs), batch)
        assert float(flat.mean()) == pytest.approx(levels["start"])
        assert levels["start"] == pytest.approx(log(300))


def test_metrics_of_known_predictions(corpus):
    causal = CausalText(corpus=corpus, vocabulary=300, length=12)
    batch = causal.sample(Draws(0, "data"), 50)
    right = torch.nn.functional.one_hot(batch["targets"], 300) * 1e3
    metrics = causal.metrics(right, batch)
    assert metrics["accuracy"] == 1
    assert metrics["bits-per-character"] == 0
    ids, characters = tokens_of(corpus, "training", 300)
    spread = causal.metrics(torch.zeros(50, 12, 300), batch)["bits-per-character"]
    assert spread == pytest.approx(log(300) / log(2) * len(ids) / characters)
    masked = MaskedText(corpus=corpus, vocabulary=300, length=12, masking=0.3)
    batch = masked.sample(Draws(0, "data"), 50)
    right = torch.nn.functional.one_hot(batch["targets"], 300) * 1e3
    wrong = right.roll(1, -1).masked_fill(batch["masked"].unsqueeze(-1), 0) + right
    assert masked.metrics(wrong, batch)["accuracy"] == 1
    assert masked.loss(wrong, batch).max() == 0  # what was not chosen does not count
    copied = torch.nn.functional.one_hot(batch["inputs"], 300) * 1e3
    assert masked.metrics(copied, batch)["accuracy"] == pytest.approx(0.1, abs=0.08)


def test_a_stack_holds_what_each_seed_alone_would_get(task):
    seeds = [7, 8, 9]
    together = task.sample(Draws(seeds, "data", step=3), 4)
    outputs = torch.randn(3, 4, 12, 300)
    losses, metrics = task.loss(outputs, together), task.metrics(outputs, together)
    for row, seed in enumerate(seeds):
        alone = task.sample(Draws(seed, "data", step=3), 4)
        assert all(together[name][row].equal(value) for name, value in alone.items())
        assert losses[row].equal(task.loss(outputs[row], alone))
        for name, value in task.metrics(outputs[row], alone).items():
            assert metrics[name][row].equal(value)
