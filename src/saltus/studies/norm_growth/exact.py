"""Claim 19 of section 8 of our spec: the closed forms of its section 7, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import relu

from saltus.instruments.norm_policies import encoder_names
from saltus.instruments.scaled_view import scaled
from saltus.models.attention import Attention
from saltus.models.base import Interface, initial_parameters
from saltus.models.language_model import LanguageModel
from saltus.models.layers import LayerNorm, Linear
from saltus.models.saturated import Saturated, zeta
from saltus.models.sites import SILENT, Tape
from saltus.random import Draws
from saltus.studies.claim import Arms, Claim, Quantity, Range, amount, every, exact
from saltus.studies.norm_growth import fixture
from saltus.transitions.statistics.growth import (
    Motion,
    aligned,
    misaligned,
    motion_of_pairs,
    motion_of_vectors,
)

SEEDS = 5
DRAWN = 20_000  # random score vectors of a seed, and numbers for sigmoid and tanh
WIDTH = 16  # of random inputs
ROUNDING = 1e-10
WALK = 100_000  # steps of the closed walks
FACTORS = (0.25, 3.0, 40.0)
ENCODER = 37_837_824  # parameters of the paper's
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)  # B: how far a network is scaled up before it is doubled


def claims() -> list[Claim]:
    """Claim 19."""
    return [
        Claim(19, "Closed forms: degrees of homogeneity, limits of attention, laws of growth",
              "2010.09697, appendices B to E; corrected in our spec, section 7",
              "proved there, but for the softmax lemma, which is false as stated",
              "rounding for what is exact, no draw beyond a bound, printed digits of the walks",
              (), closed_forms),
    ]  # fmt: skip


def closed_forms(arms: Arms) -> list[Quantity]:
    """All items of section 7, in its order."""
    return [
        *degrees(),
        *encoder_degree(),
        *softmax_bound(),
        *softmax_limit(),
        *squashing(),
        *walks(),
        *counting_heads(),
        *argmax_head(),
        *accounting(),
        *size(),
    ]


def degrees() -> list[Quantity]:
    """Item 1, Table 1: largest relative error of f(c^k x, c θ) against c^degree f(x, θ)."""
    found: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        for name, error in degree_errors(seed).items():
            found.setdefault(name, []).append(error)
    return [every(f"degree of {name}", errors, Range(high=ROUNDING))
            for name, errors in found.items()]  # fmt: skip


def degree_errors(seed: int) -> dict[str, float]:
    """Of every row of Table 1, over inputs of degree k = 0, 1, 2 and several c."""
    draws = Draws(seed, "degrees", dtype=torch.float64)
    x, other = draws.normal(32, WIDTH), draws.normal(32, WIDTH)
    theta = {"weight": draws.normal(WIDTH, WIDTH), "bias": draws.normal(WIDTH)}
    scale = {"weight": draws.normal(WIDTH), "bias": draws.normal(WIDTH)}
    one = {"weight": torch.ones(WIDTH).double()}
    linear, affine = Linear(WIDTH, WIDTH, bias=False), Linear(WIDTH, WIDTH)
    plain, gained = LayerNorm(WIDTH, 0.0, bias=False), LayerNorm(WIDTH, 0.0)
    found: dict[str, float] = {}
    for c in FACTORS:
        weight = {"weight": c * theta["weight"]}
        both = scaled(theta, c)
        for k in (0, 1, 2):
            own = c**k * x
            rows = {
                "linear: k + 1": (k + 1, _call(linear, weight, own),
                                  _call(linear, {"weight": theta["weight"]}, x)),
                "LayerNorm without scale: 0": (0, _call(plain, one, own), _call(plain, one, x)),
                "LayerNorm with its scale: 1": (1, _call(gained, scaled(scale, c), own),
                                                _call(gained, scale, x)),
                "ReLU: k": (k, relu(own), relu(x)),
                "sum of two of degree k: k": (k, own + c**k * other, x + other),
                "product: the sum": (k + 1, own * (c * other), x * other),
            }  # fmt: skip
            if k == 0:
                rows["affine of degree 0: 1"] = (1, _call(affine, both, x),
                                                 _call(affine, theta, x))  # fmt: skip
            if k == 1:
                bias = theta["bias"]
                rows["bias on degree 1: 1"] = (1, own + c * bias, x + bias)
            for name, (degree, here, there) in rows.items():
                error = float((here - c**degree * there).norm() / (c**degree * there).norm())
                found[name] = max(found.get(name, 0.0), error)
    return found


def encoder_degree() -> list[Quantity]:
    """Item 2: a bias-free branch-out encoder is of degree 1 approximately, ever more so as its
    parameters grow: e = |f(2 B θ) / 2 - f(B θ)| / |f(B θ)| per token."""
    errors = np.stack([encoder_errors(seed) for seed in range(SEEDS)])  # seed, B, token
    middle, worst = np.median(errors, axis=-1), errors.max(-1)
    return [
        amount("encoder, B = 1: median error, far from degree 1", middle[:, 0], Range(0.03, 0.3)),
        amount("encoder, B = 3: median error", middle[:, 1], Range(high=0.02)),
        every("encoder, B = 10: largest error", worst[:, 2], Range(high=0.2)),
        every("encoder, B = 30: largest error", worst[:, 3], Range(high=1e-3)),
        every("encoder, B = 100: largest error", worst[:, 4], Range(high=ROUNDING)),
    ]


def encoder_errors(seed: int) -> np.ndarray:
    """[B, token] of two layers of width 32 with LayerNorm as in theory, x - mean over its length:
    ours divides by the deviation, which is the same with gains of 1 / √width."""
    width = 32
    model = LanguageModel(
        depth=2, heads=4, width=width, hidden=24, epsilon=0.0,
        qkv_bias=False, output_bias=False, mlp_bias=False, norm_bias=False, readout_bias=False,
    )  # fmt: skip
    module = model.build(Interface(10, 10, 10))
    start = initial_parameters(model, module, seed, dtype=torch.float64)
    start = {name: value / width**0.5 if "norm" in name else value for name, value in start.items()}
    letters = Draws(seed, "encoder").integers(0, 10, 10, 10)

    def encoding(factor: float) -> Tensor:
        tape = Tape(("final",))
        functional_call(module, scaled(start, factor), (letters, tape))
        return tape.values["final"].flatten(0, 1)

    with torch.no_grad():
        rows = []
        for strength in STRENGTHS:
            here = encoding(strength)
            rows.append((encoding(2 * strength) / 2 - here).norm(dim=-1) / here.norm(dim=-1))
    return torch.stack(rows).numpy()


def softmax_bound() -> list[Quantity]:
    """Item 3: |softmax(c x) - softmax(x)| against the bound by the gap, and the one by the norm."""
    excess = []
    for seed in range(SEEDS):
        x, c = _scores(seed), 1 + 99 * Draws(seed, "factors").uniform(DRAWN, 1).double()
        error = ((c * x).softmax(-1) - x.softmax(-1)).abs().amax(-1)
        top = x.topk(2).values
        rest = (x.shape[-1] - 1) * torch.exp(top[:, 1] - top[:, 0])
        excess.append((error - rest / (1 + rest)).max().item())
    pair = torch.tensor([10.0, 9.9], dtype=torch.float64)
    error = ((1000 * pair).softmax(-1) - pair.softmax(-1)).abs().max().item()
    return [
        every("softmax: error less the bound by the gap", excess, Range(high=ROUNDING)),
        exact("softmax: error at (10, 9.9)", error, Range(0.4745, 0.4755)),
        exact("softmax: that error over the paper's bound by the norm",
              error / exp(-pair.norm().item()), Range(low=1.0, open=True)),
    ]  # fmt: skip


def softmax_limit() -> list[Quantity]:
    """Item 4: softmax(c a) tends to ζ(a) as fast as its gap says, and ties stay exactly even."""
    excess, ties = [], []
    for seed in range(SEEDS):
        a = _scores(seed).mul(3).round()  # whole numbers: many ties
        limit, largest = zeta(a), a.amax(-1, keepdim=True)
        tied = a == largest
        count = tied.double().sum(-1)
        gap = (largest - a).masked_fill(tied, float("inf")).amin(-1)
        for c in (1.0, 4.0, 1000.0):
            error = ((c * a).softmax(-1) - limit).abs().amax(-1)
            bound = (a.shape[-1] - count) * torch.exp(-c * gap) / count
            excess.append((error - bound).max().item())
        ties.append((limit - tied / count[:, None]).abs().max().item())
    return [
        every("softmax(c a) - ζ(a) less its bound", excess, Range(high=ROUNDING)),
        every("ζ: distance from 1 / |M| on ties", ties, Range(high=0.0)),
    ]


def squashing() -> list[Quantity]:
    """Item 5: sigmoid and tanh of c x against those of x."""
    sigmoid, tanh = [], []
    for seed in range(SEEDS):
        draws = Draws(seed, "squashing", dtype=torch.float64)
        x, c = 5 * draws.normal(DRAWN), 1 + 99 * draws.uniform(DRAWN)
        near = (c * x).sigmoid() - x.sigmoid()
        sigmoid.append((near.abs() - 1 / (1 + x.abs().exp())).max().item())
        near = (c * x).tanh() - x.tanh()
        tanh.append((near.abs() - 2 / ((2 * x.abs()).exp() + 1)).max().item())
    return [
        every("sigmoid: error less its bound", sigmoid, Range(high=ROUNDING)),
        every("tanh: error less its bound", tanh, Range(high=ROUNDING)),
    ]


def walks() -> list[Quantity]:
    """Items 6 to 8: steps orthogonal to the parameters, and along them."""
    side, steps = np.arange(257), 256
    walk = np.where(side[:, None] >= side, 0.7, 0.0)  # step t goes 0.7 along axis t
    walk[:, 0] = 3.0
    norms = motion_of_vectors(walk).norms
    error = np.abs(norms / np.sqrt(9 + 0.49 * np.arange(steps + 1)) - 1).max()
    t = np.arange(1.0, WALK + 1)
    late = slice(999, None)  # from step 1,000 on
    found = [exact("orthogonal walk: relative error of the norm", error, Range(high=1e-12))]
    for kappa, expected in ((0.1, 0.0050), (0.5, 0.1250), (1.0, 0.5000)):
        norms = misaligned(1.0, t**-0.5, kappa)[1:]
        slope = np.polyfit(np.log(t[late]), np.log(norms[late]), 1)[0]
        found.append(exact(f"misaligned, κ = {kappa:g}: exponent", slope,
                           Range(expected - 1e-4, expected + 1e-4)))  # fmt: skip
    error = np.abs(np.square(misaligned(1.0, t**-0.5, 1.0)[1:]) / (t + 1) - 1).max()
    found.append(exact("misaligned, κ = 1: relative error of ‖θ‖² = t + 1", error,
                       Range(high=1e-9)))  # fmt: skip
    for kappa, expected in ((0.1, 0.19994), (0.5, 0.9985)):
        norms = aligned(1.0, t**-0.5, kappa)[1:]
        slope = np.polyfit(np.sqrt(t[late]), np.log(norms[late]), 1)[0]
        found.append(exact(f"aligned, κ = {kappa:g}: slope of ln ‖θ‖ on √t", slope,
                           Range(expected - 1e-4, expected + 1e-4)))  # fmt: skip
    return found


def counting_heads() -> list[Quantity]:
    """Item 9: saturated attention without queries and keys counts, (#a - #b) / t at position t."""
    wrong, at_end, sign = [], [], []
    for seed in range(SEEDS):
        draws = Draws(seed, "counting")
        bits = draws.integers(0, 2, 64, 41)  # 0 is a, 1 is b; 41 of them: no draw
        heads = counted(bits)
        value = torch.where(bits == 0, 1.0, -1.0).double()
        expected = value.cumsum(-1) / torch.arange(1, 42)
        wrong.append((heads - expected).abs().max().item())
        feature = torch.stack([heads[:, -1], torch.zeros(64).double()], -1)
        normed = _call(LayerNorm(2, 0.0, bias=False), {"weight": torch.ones(2).double()}, feature)
        sign.append((normed[:, 0] - value.sum(-1).sign()).abs().max().item())
        words = [torch.tensor([0] * n + [1] * n) for n in range(1, 21)] + balanced(draws)
        at_end.append(max(counted(word[None])[0, -1].abs().item() for word in words))
    return [
        every("counting head: error of (#a - #b) / t", wrong, Range(high=ROUNDING)),
        every("counting head: at the end of aⁿbⁿ and balanced brackets", at_end,
              Range(high=ROUNDING)),
        every("counting head, LayerNorm: error of the majority's sign", sign, Range(high=ROUNDING)),
    ]  # fmt: skip


def counted(bits: Tensor) -> Tensor:
    """[word, position] what the head writes: +1 for 0, -1 for 1, averaged over what is seen."""
    head = {f"{part}.weight": torch.zeros(2, 2).double() for part in ("query", "key", "value")}
    head["value.weight"][0] = torch.tensor([1.0, -1.0])
    one_hot = torch.nn.functional.one_hot(bits, 2).double()
    return _saturated_head(one_hot, head)[..., 0]


def balanced(draws: Draws, words: int = 20, pairs: int = 12) -> list[Tensor]:
    """Dyck-1: fair coins where both brackets are allowed."""
    found = []
    for coins in draws.integers(0, 2, words, 2 * pairs).tolist():
        depth, word = 0, []
        for place, coin in enumerate(coins):
            left = 2 * pairs - place
            bracket = 0 if depth == 0 else 1 if depth == left else coin
            depth += 1 - 2 * bracket
            word.append(bracket)
        found.append(torch.tensor(word))
    return found


def argmax_head() -> list[Quantity]:
    """Item 10: M the identity on letters; values are positions, so the mean is seen to be right."""
    letters, length, wrong = 4, 24, []
    total = letters + length
    look, tell = torch.zeros(2, total, total).double()
    look[:letters, :letters] = torch.eye(letters)
    tell[letters:, letters:] = torch.eye(length)
    head = {"query.weight": look, "key.weight": look, "value.weight": tell}
    for seed in range(SEEDS):
        word = Draws(seed, "argmax").integers(0, letters, 32, length)
        place = torch.eye(length).double().expand(32, -1, -1)
        x = torch.cat([torch.nn.functional.one_hot(word, letters).double(), place], -1)
        same = (word[:, :, None] == word[:, None]) & torch.ones(length, length).tril().bool()
        expected = same.double() / same.sum(-1, keepdim=True)
        wrong.append((_saturated_head(x, head)[..., letters:] - expected).abs().max().item())
    return [every("argmax head: error of the mean over equal letters", wrong, Range(high=ROUNDING))]


def accounting() -> list[Quantity]:
    """Item 11: ‖θ_T‖² - ‖θ_0‖² = Σ ‖δ‖² + 2 Σ θ · δ, and what T5-base's growth is made of."""
    errors = []
    for seed in range(SEEDS):
        theta = Draws(seed, "accounting", dtype=torch.float64).normal(50, 200).cumsum(0)
        errors.append(_unaccounted(motion_of_vectors(theta.numpy())))
    recorded = motion_of_pairs(fixture.NORMS, fixture.COSINES)
    return [
        every("growth accounting: relative error", errors, Range(high=1e-9)),
        exact("T5-base: growth accounting, relative error", _unaccounted(recorded),
              Range(high=1e-9)),
        exact("T5-base: Σ ‖δ‖², millions", recorded.squares / 1e6, Range(9.54, 9.64)),
        exact("T5-base: cross term, millions", recorded.cross / 1e6, Range(7.49, 7.59)),
        exact("T5-base: growth, millions", recorded.growth / 1e6, Range(17.12, 17.16)),
        exact("T5-base: share of squared steps", recorded.squares / recorded.growth,
              Range(0.555, 0.565)),
    ]  # fmt: skip


def size() -> list[Quantity]:
    """Item 12: the paper's encoder, its parameters and their norm at the start."""
    model = LanguageModel()
    with torch.device("meta"):
        module = model.build(Interface(10, 10, 10))
    names = encoder_names(dict(module.named_parameters()))
    count, square = 0, 0.0
    for name in names:
        parameter = module.get_parameter(name)
        start = model.start_in(module, name)  # its mean, or scale times uniform on (-1, 1)
        count += parameter.numel()
        square += parameter.numel() * (start.mean**2 + start.scale**2 / 3)
    return [
        exact("encoder: parameters", count, Range(float(ENCODER), float(ENCODER))),
        exact("encoder: root of the expected squared norm at the start", square**0.5,
              Range(187.9, 189.9)),
    ]  # fmt: skip


def _call(module: torch.nn.Module, parameters: Mapping[str, Tensor], *inputs: object) -> Tensor:
    return functional_call(module, dict(parameters), inputs)


def _scores(seed: int) -> Tensor:
    """Score vectors of 8 numbers, of widths from 0.1 to 10."""
    draws = Draws(seed, "scores", dtype=torch.float64)
    return draws.normal(DRAWN, 8) * 10 ** draws.uniform(DRAWN, 1, low=-1.0, high=1.0)


def _saturated_head(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Causal saturated attention of one head, whose output projection is the identity."""
    width = x.shape[-1]
    head = Attention(width, 1, True, Saturated(), bias=False)
    own = {**weights, "output.weight": torch.eye(width).double()}
    return _call(head, own, x, SILENT, "head")


def _unaccounted(motion: Motion) -> float:
    return float(abs(motion.growth - motion.squares - motion.cross) / np.square(motion.norms).max())
