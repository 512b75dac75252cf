"""Formal languages: automata of other people's making, laws that add up, and exact levels."""

import re
from collections import Counter
from functools import lru_cache
from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.formal import BOS, EOS, PAD, Counting, Dyck, FormalTask

FIELDS = {
    "a-n-b-n": {"kind": "a-n-b-n"},
    "dyck-1": {"kind": "dyck"},
    "dyck-3": {"kind": "dyck", "kinds": 3},
    "majority": {"kind": "majority"},
    "counting": {"kind": "counting", "cap": 2},
    "parity": {"kind": "parity"},
    "first-token": {"kind": "first-token", "symbols": 2},
}
named = pytest.mark.parametrize("name", FIELDS)


def language(name: str, length: int = 10) -> FormalTask:
    return Task.parse({**FIELDS[name], "length": length})


def balanced(text: str) -> bool:
    """Brackets vanish pair by pair."""
    while (shorter := re.sub(r"\(\)|\[\]|\{\}", "", text)) != text:
        text = shorter
    return not text


def belongs(name: str, spelt: list[str], length: int) -> bool:
    """Whether a spelt string is in the language, by other means than the package's."""
    inner = spelt[1:-1]
    if len(inner) < 4 or "<" in "".join(inner):
        return False
    text = "".join(inner)
    if name == "a-n-b-n":
        found = re.fullmatch("(a{2,})(b+)", text)
        fits = bool(found) and len(found[1]) == len(found[2])
        return fits and len(inner) <= 2 * ((length - 3) // 2)
    if name.startswith("dyck"):
        return 4 <= len(inner) <= 2 * ((length - 3) // 2) and balanced(text)
    *symbols, answer = inner
    if not set(symbols) <= {"counting": set("abc"), "first-token": set("ab")}.get(name, {"0", "1"}):
        return False
    ones = symbols.count("1")
    right = {
        "majority": "yes" if ones > symbols.count("0") else "no",
        "counting": ["0", "1", "2+"][min(2, symbols.count("a"))],
        "parity": ["even", "odd"][ones % 2],
        "first-token": "first-" + symbols[0],
    }
    return 5 <= len(symbols) <= length - 3 and answer == right[name]


def whole(task: FormalTask, row: list[int]) -> list[int]:
    """A padded row without its padding, which must all be at its end."""
    tokens = row[: len(row) - row[::-1].index(EOS)]
    assert set(row[len(tokens) :]) <= {PAD}
    return tokens


def strings(task: FormalTask, samples: int = 300, seed: int = 0) -> list[list[int]]:
    batch = task.sample(Draws(seed, "data"), samples)
    rows = torch.cat([batch["inputs"], batch["targets"][:, -1:]], 1).tolist()
    return [whole(task, row) for row in rows]


@named
@settings(max_examples=30)
@given(length=st.integers(8, 24), seed=st.integers(0, 999))
def test_every_sample_is_in_the_language(name, length, seed):
    task = language(name, length)
    for tokens in strings(task, 6, seed):
        assert task.recognises(tokens)
        assert belongs(name, task.text(tokens).split(" "), length)


@named
@settings(max_examples=30)
@given(data=st.data())
def test_the_automaton_accepts_what_the_definition_accepts(name, data):
    """Random strings, half of them strings of the language with one token changed."""
    task = language(name)
    inner = st.integers(3, task.vocabulary - 1)
    tokens = data.draw(st.lists(inner, min_size=0, max_size=9))
    tokens = [BOS, *tokens, EOS]
    if data.draw(st.booleans()):
        tokens = list(data.draw(st.sampled_from(strings(task, 1, data.draw(st.integers(0, 99))))))
        tokens[data.draw(st.integers(1, len(tokens) - 2))] = data.draw(inner)
    assert task.recognises(tokens) == belongs(name, task.text(tokens).split(" "), task.length)


@lru_cache
def everything(task: FormalTask) -> dict[tuple[int, ...], float]:
    """Every string of the language and its chance, by following the exact law."""
    found, open_ = {}, {(BOS,): 1.0}
    while open_:
        prefix, chance = open_.popitem()
        law = task.following(prefix)
        assert sum(law.values()) == pytest.approx(1)
        for token, share in law.items():
            longer = (*prefix, token)
            (found if token == EOS else open_)[longer] = chance * share
    return found


@named
def test_the_law_is_that_of_the_samples_and_its_cost_is_the_floor(name):
    task = language(name, 9)
    law = everything(task)
    assert sum(law.values()) == pytest.approx(1)
    assert all(task.recognises(string) for string in law)
    counts = Counter(map(tuple, strings(task, 4000)))
    assert counts.keys() <= law.keys()
    # Pearson's statistic over what is expected often enough: 5 deviations of its own law.
    often = [string for string, chance in law.items() if 4000 * chance >= 5]
    if often:
        gaps = [(counts[s] - 4000 * law[s]) ** 2 / (4000 * law[s]) for s in often]
        assert sum(gaps) < len(often) + 5 * (2 * len(often)) ** 0.5
    else:  # too many strings: their lengths, then
        lengths = Counter(map(len, counts.elements()))
        assert len(lengths) == len(task.sizes)
    floor = sum(-p * log(p) / (len(s) - 1) for s, p in law.items())
    assert task.levels()["floor"] == pytest.approx(floor, rel=1e-12)
    assert task.levels()["start"] == log(task.vocabulary)


@named
def test_what_is_possible_is_the_support_of_the_law(name):
    task = language(name, 11)
    batch = task.sample(Draws(1, "data"), 25)
    possible = task.possible(batch["inputs"])
    for row, allowed in zip(batch["inputs"].tolist(), possible, strict=True):
        for place in range(len(row)):
            found = set(allowed[place].nonzero().flatten().tolist())
            assert found == set(task.following(row[: place + 1])), task.text(row[: place + 1])


@named
def test_the_loss_of_the_exact_law_is_the_floor_on_average(name):
    task = language(name, 9)
    batch = task.sample(Draws(2, "data"), 100)
    laws = torch.full((*batch["inputs"].shape, task.vocabulary), -1e9)
    seen = {}
    for row, tokens in enumerate(batch["inputs"].tolist()):
        for place in range(len(tokens)):
            prefix = tuple(tokens[: place + 1])
            law = seen.setdefault(prefix, task.following(prefix))
            for token, chance in law.items():
                laws[row, place, token] = log(chance)
    losses = task.loss(laws, batch)
    error = float(losses.std()) / 10 + 1e-6
    assert float(losses.mean()) == pytest.approx(task.levels()["floor"], abs=4 * error)
    metrics = task.metrics(laws, batch)
    assert metrics["accuracy/possible"] == 1
    assert metrics.get("accuracy/closing", torch.tensor(1)) == 1
    assert metrics["accuracy/determined"] == 1 or name == "dyck-3"  # may have none
    flat = task.loss(torch.zeros_like(laws), batch)
    assert torch.allclose(flat, torch.tensor(log(task.vocabulary)))


@named
def test_padding_counts_for_nothing(name):
    task = language(name)
    batch = task.sample(Draws(3, "data"), 8)
    assert batch["counted"].equal(batch["targets"] != PAD)
    assert batch["real"].equal(batch["inputs"] != PAD)
    outputs = torch.randn(*batch["targets"].shape, task.vocabulary)
    other = outputs.masked_fill(~batch["counted"].unsqueeze(-1), 7.0)
    assert task.loss(outputs, batch).equal(task.loss(other, batch))
    for key, value in task.metrics(outputs, batch).items():
        assert torch.equal(value, task.metrics(other, batch)[key]) or value.isnan()
    log_p = outputs.log_softmax(-1)
    rows = [
        sum(-float(log_p[0, i, t]) for i, t in enumerate(batch["targets"][0].tolist()) if t)
        / int(batch["counted"][0].sum())
    ]
    assert float(task.loss(outputs, batch)[0]) == pytest.approx(rows[0], rel=1e-5)
    chosen = log_p.gather(-1, batch["targets"].unsqueeze(-1)).squeeze(-1)
    mean = -chosen[batch["counted"]].mean().item()
    assert float(task.metrics(outputs, batch)["loss/token"]) == pytest.approx(mean, rel=1e-5)


@named
def test_a_stack_holds_what_each_seed_alone_would_get(name):
    task, seeds = language(name, 14), [7, 8, 9]
    together = task.sample(Draws(seeds, "data", step=3), 5)
    outputs = torch.randn(3, 5, 13, task.vocabulary)
    losses, metrics = task.loss(outputs, together), task.metrics(outputs, together)
    labels, probes = task.labels(together), task.probe_targets(together)
    for row, seed in enumerate(seeds):
        alone = task.sample(Draws(seed, "data", step=3), 5)
        assert all(together[key][row].equal(value) for key, value in alone.items())
        assert losses[row].equal(task.loss(outputs[row], alone))
        for key, value in task.metrics(outputs[row], alone).items():
            assert torch.equal(metrics[key][row].nan_to_num(), value.nan_to_num())
        assert all(labels[key][row].equal(value) for key, value in task.labels(alone).items())
        own = task.probe_targets(alone)
        assert all(probes[key][row].equal(value) for key, value in own.items())


@named
def test_labels_are_in_range_and_say_what_the_string_says(name):
    task = language(name, 12)
    batch = task.sample(Draws(4, "data"), 200)
    for key, classes in task.label_classes().items():
        values = task.labels(batch)[key]
        assert values.min() >= 0 and values.max() < classes
    for row, tokens in enumerate(strings(task, 200, 4)):
        assert task.tokens_in(int(batch["size"][row])) == len(tokens)
        if "y" in task.label_classes():
            answer = tokens[-2] - task.first_answer
            assert int(task.labels(batch)["y"][row]) == answer


@pytest.mark.parametrize("name", ["majority", "counting", "parity", "first-token"])
def test_the_plateau_is_a_guess_of_the_answer_alone(name):
    task = language(name, 9)
    law, answers, cost = everything(task), Counter(), 0.0
    for string, chance in law.items():
        answers[len(string), string[-2]] += chance
    for (tokens, _), chance in answers.items():  # each length is as likely
        guess = -log(chance * len(task.sizes))
        free = log(len(task.sizes)) + task.entropy(tokens - 3) + guess
        cost += chance * free / (tokens - 1)
    assert task.levels()["plateau"] == pytest.approx(cost, rel=1e-12)
    assert task.levels()["plateau"] > task.levels()["floor"]


def test_the_depth_and_the_share_of_each_kind():
    task = Dyck(length=16, kinds=2)
    batch = task.sample(Draws(0, "data"), 2000)
    depth = task.probe_targets(batch)["balance"].squeeze(-1)
    assert depth.min() == 0
    ends = batch["targets"] == EOS
    assert (depth[ends] == 0).all()
    openings = batch["targets"][(batch["targets"] == 3) | (batch["targets"] == 4)]
    assert float((openings == 3).double().mean()) == pytest.approx(0.5, abs=0.02)


def test_the_sizes_of_the_spec():
    """T = 40: n and m from 2 to 18, L from 5 to 37; 2 n + 2 = 38 tokens at most."""
    for name in FIELDS:
        task = language(name, 40)
        pairs = name in ("a-n-b-n", "dyck-1", "dyck-3")
        assert (task.sizes[0], task.sizes[-1]) == ((2, 18) if pairs else (5, 37))
        sizes = task.sample(Draws(0, "data"), 3000)["size"]
        assert sizes.unique().tolist() == list(task.sizes)
        assert task.interface == Interface(task.vocabulary, 39, task.vocabulary)
    assert Counting().names == ("a", "b", "c", *"012345678", "9+")
    assert Dyck(kinds=5).names[4] == "open-4" and Dyck(kinds=5).names[9] == "close-4"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"kind": "a-n-b-n", "length": 7}, "task.length: 7 is not allowed"),
        ({"kind": "dyck", "kinds": 0}, "task.kinds: 0 is not allowed"),
        ({"kind": "counting", "cap": 0}, "task.cap: 0 is not allowed"),
        ({"kind": "first-token", "symbols": 27}, "task.symbols: 27 is not allowed"),
        ({"kind": "parity", "bits": 3}, "task.bits: unknown field 'bits'"),
    ],
    ids=str,
)
def test_bad_fields_are_refused_in_one_line(fields, problem):
    with pytest.raises(SaltusError, match=re.escape(problem)) as caught:
        Experiment.of({"task": fields, "model": "decoder", "steps": 1, "batch": 2})
    assert "\n" not in str(caught.value)
