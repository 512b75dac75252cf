"""MLP probe: what it can and cannot learn, and an honest split."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPClassifier

from saltus.errors import SaltusError
from saltus.instruments import Instrument, Reading
from saltus.instruments.mlp_probe import MlpProbe
from saltus.tasks.matrix_completion import MatrixCompletion
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.word_cooccurrence import WordCooccurrence
from tiny_checkpoints import DIGITS, alone, found, same_bits, trained

TASK = MovingWindowSum(length=4, alphabet=4, modulus=5)  # answers are 4 tokens at positions 4 .. 7
SITE = "blocks.0.attention.output"


def probe(states, tokens, **fields):
    """Probe hand-made states [..., sequence, answer, width] for answer tokens."""
    fields = {"train": 1, "test": 60, "hidden": 16, "iterations": 300, **fields}
    prompt = torch.full((*states.shape[:-2], 4, states.shape[-1]), torch.nan)
    targets = torch.cat([torch.zeros(*tokens.shape[:-1], 4).long(), tokens], dim=-1)
    batch = {"inputs": torch.zeros_like(targets), "targets": targets}
    sites = {SITE: torch.cat([prompt, states], dim=-2)}
    results = MlpProbe(**fields).read(Reading(task=TASK, parameters={}, batch=batch, sites=sites))
    return [results[f"mlp-probe/{SITE}/accuracy/{part}"] for part in ("train", "test")]


def tokens_and_states(*members, noise=0.1):
    tokens = torch.randint(5, (*members, 100, 4))
    states = torch.nn.functional.one_hot(tokens, 8).float()
    return tokens, states + noise * torch.randn(states.shape)


def test_states_that_name_their_answer_are_told_apart():
    tokens, states = tokens_and_states()
    train, test = probe(states, tokens)
    assert train == 1 and test > 0.98


def test_what_a_line_cannot_separate_the_hidden_layer_can():
    bits = torch.randint(2, (100, 4, 2))
    exclusive = bits[..., 0] ^ bits[..., 1]
    train, test = probe(bits.float() - 0.5, exclusive)
    assert train == 1 and test == 1


def test_on_noise_it_learns_by_heart_and_only_guesses_on_what_is_held_out():
    tokens, states = tokens_and_states(noise=0)
    train, test = probe(torch.randn(states.shape), tokens, hidden=64, iterations=400)
    assert train > 0.6 and test < 0.35  # one of five


def test_the_split_is_by_sequences():
    """Each sequence has a secret of its own that all its answers share: a flat split that cuts
    into a sequence would know it, this one cannot."""
    sequences = torch.randn(100, 1, 16).expand(100, 4, 16)
    tokens = torch.randint(5, (100, 1)).expand(100, 4)
    train, test = probe(sequences, tokens, hidden=64, iterations=400)
    assert train > 0.9 and test < 0.4


def test_it_is_scikit_learns_own_on_the_first_sequences():
    tokens, states = tokens_and_states(noise=0.8)
    results = probe(states, tokens, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = MLPClassifier((16,), max_iter=300, random_state=3).fit(
            states[:40].flatten(0, 1).numpy(), tokens[:40].flatten().numpy()
        )
    for own, part in zip(results, (slice(None, 40), slice(40, None)), strict=True):
        x, y = states[part].flatten(0, 1).numpy(), tokens[part].flatten().numpy()
        assert own.item() == pytest.approx(other.score(x, y))


def test_members_do_not_mix_and_one_that_diverged_has_no_accuracy():
    tokens, states = tokens_and_states(3, noise=0.8)
    together = probe(states, tokens, iterations=5)
    for k in range(3):
        single = probe(states[k], tokens[k], iterations=5)
        assert all(own.equal(value[k]) for own, value in zip(single, together, strict=True))
    states[1, 0, 0, 0] = torch.inf
    for before, after in zip(together, probe(states, tokens, iterations=5), strict=True):
        assert after[1].isnan() and after[[0, 2]].equal(before[[0, 2]])


def test_a_decoder_is_probed_and_no_warning_of_convergence_leaks():
    part = {"kind": "mlp-probe", "train": 8, "test": 8, "hidden": 8, "iterations": 2}
    ours = trained([part])
    together = found(ours)
    assert together.keys() == {f"mlp-probe/{SITE}/accuracy/{part}" for part in ("train", "test")}
    for row in range(3):
        one = alone(Instrument.parse(part), ours, row)
        for name, value in one.items():
            assert 0 <= value <= 1 and abs(value - together[name][row]) < 0.1
    assert same_bits(found(ours), together)


def test_what_cannot_be_probed_is_refused_in_one_line():
    MlpProbe().check(MovingWindowSum())
    for task in (MatrixCompletion(), WordCooccurrence(length=4, vocabulary=16)):
        with pytest.raises(ValueError, match=r"^task .* has no answer tokens"):
            MlpProbe().check(task)
    tokens, states = tokens_and_states()
    with pytest.raises(SaltusError, match=r"^mlp-probe.test: 100 of a batch of 100 sequences"):
        probe(states, tokens, test=100)
    bad = {"kind": "mlp-probe", "sites": ["blocks.0.attention.pattern"], "train": 4, "test": 4}
    with pytest.raises(SaltusError, match=r"is not one state per position$"):
        found(trained([bad], 0, where=DIGITS))


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.neural_network", None)
    with pytest.raises(SaltusError, match=r"^scikit-learn is not installed: pip install"):
        probe(*reversed(tokens_and_states()))


def test_it_is_data_and_the_paper_trains_on_1024_answers():
    part = MlpProbe(hidden=3)
    assert Instrument.parse(part.model_dump()) == part
    paper = MlpProbe()
    assert (
        paper.train * MovingWindowSum().answer_length == 1024 and paper.train + paper.test == 2048
    )
    assert np.isclose(paper.needs(MovingWindowSum()).samples, 2048)
