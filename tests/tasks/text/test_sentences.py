"""Sentences: both losses against plain loops, samplers, levels, and what is refused."""

import re
from collections import Counter
from math import exp, log

import pytest
import torch
import yaml

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.text import PRESETS, Sentences
from saltus.tasks.text.words import UNKNOWN, sentences_of
from saltus.training.ensemble import Ensemble

LINES = [f"the {animal} sat on mat number {n} ." for n in range(10) for animal in ("cat", "dog")]
PENN = {"train": "a b c a\nd a\nb a <unk> a a\n", "valid": "a c\ne a b\n", "test": "a f g\n"}


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    path = tmp_path_factory.mktemp("prose") / "text.txt"
    path.write_text("\n".join(LINES) + "\n\ntoo short.\n\n" + "long " * 30, "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def penn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("penn")
    for name, text in PENN.items():
        (folder / f"{name}.txt").write_text(text, "utf-8")
    return str(folder)


def task(source, **fields) -> Sentences:
    return Task.parse({"kind": "sentences", "source": source, "length": 12, **fields})


def experiment(**fields):
    own = {"kind": "sentences", "length": 12, **fields}
    model = {"kind": "decoder", "width": 8}
    return Experiment.of({"task": own, "model": model, "steps": 1, "batch": 2})


def test_the_specs_numbers_of_pythons_help():
    """T = 40, V = 1000: 3,932 and 436 sentences, 17.4 words on average, where the help is that of
    Python 3.11; of any other the same rule holds."""
    found = Sentences()
    facts = found.facts()
    kept = [s for s in sentences_of("\n\n".join(_topics())) if 4 <= len(s) < 40]
    assert facts["validation"]["sentences"] == len(kept) // 10
    assert facts["training"]["sentences"] + facts["validation"]["sentences"] == len(kept)
    assert found.interface == Interface(1000, 39, 1000)
    if len(kept) == 4368:
        assert (facts["training"]["sentences"], facts["validation"]["sentences"]) == (3932, 436)
        assert sum(map(len, kept)) / len(kept) == pytest.approx(17.4, abs=0.05)


def _topics():
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


def test_every_sentence_is_in_one_part_and_spells_itself(prose):
    found = task(prose, vocabulary=30)
    spelt = []
    for name in ("training", "validation"):
        tokens, words = found.tables.parts[name]
        assert not tokens[torch.arange(12) >= words.unsqueeze(-1)].any()
        spelt += [found.text(row[:n]) for row, n in zip(tokens, words, strict=True)]
    assert sorted(spelt) == sorted(LINES)
    assert spelt != LINES
    assert found.facts()["validation"]["sentences"] == 2
    assert sum(part["left out"] for part in found.facts().values()) == 2
    assert found.validation.tables is found.tables
    assert found.text(torch.tensor([29, 28])) == f"{UNKNOWN} <28>"


def test_ids_of_a_folder_in_both_ways(penn):
    first = task(penn, words="first-appearance", length=6)
    assert first.vocabulary == 6  # a b c d <unk> e; test words do not count
    assert first.tables.ids == {"a": 0, "b": 1, "c": 2, "d": 3, UNKNOWN: 4, "e": 5}
    test = first.model_copy(update={"part": "test", "sampler": "in-order"})
    assert test.sample(Draws(0, "data"), 1)["targets"].tolist() == [[4, 4, 0, 0, 0]]
    frequent = task(penn, vocabulary=4, length=6)
    assert frequent.tables.ids == {"a": 0, "b": 1, "c": 2, UNKNOWN: 3}
    assert frequent.facts()["training"]["unknown"] == 2 / 11
    again = Task.parse(first.model_dump())
    assert again == first and hash(again) == hash(first)


@pytest.mark.parametrize("mask", ["corrected", "authors"])
def test_the_losses_are_those_of_a_plain_loop(penn, mask):
    """The released code takes mask[:, :-1] on targets tokens[:, 1:]: one end per sentence more."""
    found = task(penn, words="first-appearance", length=6, sampler="in-order", loss_mask=mask)
    batch = found.sample(Draws(0, "data"), 3)
    outputs = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    laws = outputs.log_softmax(-1)
    sentences = [[0, 1, 2, 0], [3, 0], [1, 0, 4, 0, 0]]
    means, every, right = {"corrected": [], "authors": []}, [], {"corrected": [], "authors": []}
    for row, words in enumerate(sentences):
        assert batch["inputs"][row].tolist() == (words + [0] * 6)[:5]
        targets = {"corrected": words[1:], "authors": [*words[1:], 0]}
        for kind, ids in targets.items():
            costs = [-float(laws[row, place, word]) for place, word in enumerate(ids)]
            means[kind].append(sum(costs) / len(costs))
            right[kind] += [
                int(laws[row, place].argmax()) == word for place, word in enumerate(ids)
            ]
            every += costs if kind == "corrected" else []
    assert found.loss(outputs, batch).tolist() == pytest.approx(means[mask], rel=1e-12)
    metrics = {key: float(value) for key, value in found.metrics(outputs, batch).items()}
    assert metrics == pytest.approx(
        {
            "accuracy": sum(right["corrected"]) / 8,
            "accuracy/authors": sum(right["authors"]) / 11,
            "loss/corrected": sum(means["corrected"]) / 3,
            "loss/authors": sum(means["authors"]) / 3,
            "perplexity": exp(sum(every) / 8),
            "perplexity/authors": sum(2**mean for mean in means["authors"]) / 3,
        },
        rel=1e-12,
    )


def test_perplexities_beyond_floats_are_the_largest_float(penn):
    found = task(penn, length=6, vocabulary=4)
    batch = found.sample(Draws(0, "data"), 3)
    outputs = torch.randn(3, 5, 4) * 1e6
    metrics = found.metrics(outputs, batch)
    assert all(value.isfinite() for value in metrics.values())
    assert metrics["perplexity"] == torch.finfo(torch.float32).max


def test_padding_changes_neither_loss(penn):
    found = task(penn, length=6, vocabulary=4)
    batch = found.sample(Draws(0, "data"), 8)
    outputs = torch.randn(8, 5, 4)
    other = outputs.masked_fill(~batch["real"].unsqueeze(-1), 9.0)
    for mask in ("corrected", "authors"):
        one = found.model_copy(update={"loss_mask": mask})
        assert one.loss(outputs, batch).equal(one.loss(other, batch))


def test_an_epoch_shows_every_sentence_once_and_drops_the_rest(prose):
    found = task(prose, vocabulary=30, sampler="epochs")
    tokens = found.tables.parts["training"].tokens  # 18 of them
    assert [found.epoch_steps(batch) for batch in (1, 4, 6, 9, 17)] == [17, 4, 2, 1, 1]
    epochs = []
    for epoch in range(2):
        steps = range(4 * epoch, 4 * epoch + 4)
        seen = torch.cat([found.sample(Draws(3, "data", step), 4)["inputs"] for step in steps])
        rows = Counter(map(tuple, seen.tolist()))
        assert len(rows) == 16 and set(rows.values()) == {1}
        assert rows.keys() <= set(map(tuple, tokens[:, :-1].tolist()))
        epochs.append(list(rows))
    assert epochs[0] != epochs[1]
    assert found.validation.sampler == "plain"
    with pytest.raises(SaltusError, match="batches of 18 are not allowed with 18 sentences: batch"):
        found.sample(Draws(3, "data"), 18)


def test_sentences_in_order_are_all_of_them(prose):
    found = task(prose, vocabulary=30, sampler="in-order").validation
    tokens = found.tables.parts["validation"].tokens
    batch = found.sample(Draws([0, 1], "evaluation", 7), 3)
    for row in range(2):
        assert batch["inputs"][row].equal(torch.cat([tokens, tokens[:1]])[:, :-1])


@pytest.mark.parametrize("sampler", ["plain", "epochs", "in-order"])
def test_a_stack_holds_what_each_seed_alone_would_get(prose, sampler):
    found, seeds = task(prose, vocabulary=30, sampler=sampler), [7, 8, 9]
    together = found.sample(Draws(seeds, "data", step=5), 4)
    outputs = torch.randn(3, 4, 11, 30)
    losses, metrics = found.loss(outputs, together), found.metrics(outputs, together)
    for row, seed in enumerate(seeds):
        alone = found.sample(Draws(seed, "data", step=5), 4)
        assert all(together[name][row].equal(value) for name, value in alone.items())
        assert losses[row].equal(found.loss(outputs[row], alone))
        for name, value in found.metrics(outputs[row], alone).items():
            assert metrics[name][row].equal(value)


@pytest.mark.parametrize("mask", ["corrected", "authors"])
def test_levels_are_what_guesses_cost_on_all_of_validation(prose, mask):
    found = task(prose, vocabulary=30, sampler="in-order", loss_mask=mask)
    levels = found.levels()
    seen, held = found.tables.parts["training"], found.validation
    batch = held.sample(Draws(0, "evaluation"), 2)
    assert float(held.loss(torch.zeros(2, 11, 30), batch).mean()) == pytest.approx(levels["start"])
    counts = Counter(range(30))
    for row, words in zip(seen.tokens.tolist(), seen.words.tolist(), strict=True):
        counts.update(row[1 : words + (mask == "authors")])
    law = torch.tensor([counts[word] / counts.total() for word in range(30)]).log()
    constant = held.loss(law.expand(2, 11, 30), batch).mean()
    assert float(constant) == pytest.approx(levels["constant"], rel=1e-5)
    words = Counter(batch["targets"][batch["counted"]].tolist())
    entropy = -sum(n / words.total() * log(n / words.total()) for n in words.values())
    assert levels["unigram"] == pytest.approx(entropy, rel=1e-5)


def test_a_run_records_its_sentences_and_can_be_read_without_them(prose, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES), "utf-8")
    fresh = experiment(source=str(path), words="first-appearance")
    recorded = yaml.safe_load(fresh.to_yaml())["task"]
    assert recorded["vocabulary"] == 19  # the cat sat on mat number . dog 0 ... 9 <unk>
    assert recorded["source"]["format"] == "prose"
    path.unlink()
    assert Experiment.from_yaml(fresh.to_yaml()).task == fresh.task
    gone = {**recorded["source"], "sha256": "0" * 64}
    lost = experiment(**{**recorded, "source": gone}).task
    assert lost.interface == Interface(19, 11, 19)
    with pytest.raises(SaltusError, match=r"task.source.path: .*text.txt' cannot be read"):
        lost.sample(Draws(0, "data"), 1)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"vocabulary": 1}, "task.vocabulary: 1 is not allowed"),
        ({"length": 2}, "task.length: 2 is not allowed"),
        ({"length": 2, "words": "first-appearance"}, "task.length: 2 is not allowed"),
        ({"shortest": 1}, "task.shortest: 1 is not allowed"),
        ({"words": "rare"}, "task.words: 'rare' is not allowed"),
        ({"loss_mask": "wrong"}, "task.loss_mask: 'wrong' is not allowed"),
        ({"sampler": "epoch"}, "task.sampler: 'epoch' is not allowed"),
        ({"part": "test"}, "task.part: test is no part of "),
        ({"shortest": 12}, "task.length: 12 leaves no training sentence of 12 to 11 words in "),
        ({"words": "first-appearance", "vocabulary": 5}, "task.vocabulary: 5 is not the 19 words"),
        ({"source": "nowhere.txt"}, "task.source.path: 'nowhere.txt' cannot be read: No such"),
        (
            {"source": "nowhere.txt", "words": "first-appearance"},
            "task.source.path: 'nowhere.txt' cannot be read: No such",
        ),
        ({"source": {"file": 1}}, "task.source.file: unknown field 'file'"),
        ({"tokens": 1}, "task.tokens: unknown field 'tokens'"),
    ],
    ids=str,
)
def test_bad_fields_are_refused_in_one_line(fields, problem, prose):
    with pytest.raises(SaltusError, match=re.escape(problem)) as caught:
        experiment(**{"source": prose, **fields})
    assert "\n" not in str(caught.value)


def test_a_batch_larger_than_an_epoch_is_refused_before_it_trains(prose):
    own = {"kind": "sentences", "source": prose, "length": 12, "sampler": "epochs"}
    with pytest.raises(SaltusError, match=r"batch: .*batches of 18 are not allowed with 18 sent"):
        Experiment.of({"task": own, "model": "decoder", "steps": 1, "batch": 18})


def test_all_sentences_as_a_fixed_training_set(prose):
    """With `examples` as many as there are, in order: every epoch of the engine shows each once."""
    own = {"kind": "sentences", "source": prose, "length": 12, "vocabulary": 30}
    fields = {"task": {**own, "sampler": "in-order"}, "steps": 1, "batch": 6, "examples": 18}
    ensemble = Ensemble(Experiment.of({**fields, "model": "decoder", "seeds": 2}).members())
    seen = torch.cat([ensemble.training_batch(step)["inputs"] for step in range(3)], 1)
    tokens = ensemble.task.tables.parts["training"].tokens[:, :-1].tolist()
    for member in seen.tolist():
        assert sorted(member) == sorted(tokens)


def test_the_presets_are_fields_that_a_task_takes(prose):
    authors, corrected = (task(prose, vocabulary=None, **PRESETS["authors"]), task(prose))
    assert (authors.vocabulary, authors.sampler) == (19, "epochs")
    assert corrected == task(prose, **PRESETS["corrected"])
