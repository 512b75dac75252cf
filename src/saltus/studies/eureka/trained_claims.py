"""Claims 1 to 10, 18 and 19 of section 11 of our spec: what trained models show.

The spec gives a tolerance for the paper's setting and one for a cheap setting of its own, of 6,000
steps. At quick scale the latter is used: what must last at least so long is scaled to the budget,
what may last at most so long is taken as it stands.
"""

from __future__ import annotations

from math import log

import numpy as np

from saltus.experiment import Experiment
from saltus.models.vit import VisionTransformer
from saltus.runs import Run
from saltus.studies.claim import Arms, Claim, Quantity, Range, amount, every, exact, median
from saltus.studies.eureka.measures import (
    EPOCH,
    TRAINING,
    VALIDATION,
    Window,
    abruptness,
    counted,
    last_in,
    longest_stretch,
    moments,
    over,
    quotient,
    rise,
    saturation,
    task_of,
    waiting,
)
from saltus.studies.eureka.remedies import REMEDIES, higher, no_help, robust, sooner
from saltus.studies.study import Scale
from saltus.transitions import Times, first_crossing
from saltus.transitions.statistics.eureka import lag

SOURCE = "2310.12956"
ABSTRACT = f"{SOURCE}, abstract"
FIGURE = f"{SOURCE}, loss curves of the authors' README"
CHEAP = 6_000  # steps of the spec's cheap setting
SHARE_OF_BUDGET = 500 / CHEAP  # what a plateau must last there


def claims(scale: Scale) -> list[Claim]:
    """The claims that need runs. What the paper says is known of its abstract and of one figure;
    thresholds that stand in neither are choices of our spec."""
    paper = scale == "paper"
    remedies = ("softmax", *REMEDIES)
    stand_ins = ("mlm", "icl-labels", "icl-regression") if paper else ("mlm",)
    rates = tuple(f"rates-{name}" for name in remedies)
    # Where two cores can show what remedies do: the stand-in that the study's search found.
    shown = "" if paper else "mlm-"
    compared = tuple(f"{shown}{name}" for name in remedies)
    where = "" if paper else ", in a stand-in of ours"
    convolutions = ("resnet-9", "resnet-18") if paper else ("convnet",)
    both = ("softmax", "norm-softmax")
    long = ("softmax-long",) if paper else ("softmax",)  # for the README figure's 1,000 epochs
    return [
        Claim(1, "On the plateau both targets are read and the indicators ignored",
              f"{FIGURE}; closed forms in our spec, section 2",
              "smoothed loss 1.036 and 1.039 at 117,000 steps; theory 1.0246, accuracy 0.55",
              "seeds without a Eureka-moment: loss ≤ 1.16 at step 25,000, 1.02 to 1.07 from step "
              "100,000 on, late accuracy 0.53 to 0.57" if paper
              else "every seed: accuracy 0.52 to 0.59 for a twelfth of the budget (the spec: 500 "
              "of 6,000 steps), loss 1.00 to 1.10 in the second half of the plateau",
              long, lambda arms: _plateau(arms[long[0]], paper)),
        Claim(2, "A Eureka-moment is a seed lottery", f"{FIGURE}; reviews",
              "1 of 3 seeds in 1,000 epochs",
              "8 seeds: some have one and some do not, or the last comes at twice the first's step"
              if paper else "5 seeds: last over first step ≥ 1.5, none counting as the budget",
              ("softmax",), lambda arms: _lottery(arms["softmax"], paper)),
        Claim(3, "Long saturation, then a jump, in training and in validation", ABSTRACT,
              "hundreds of epochs",
              "successful seeds: median saturation ≥ 100 epochs, 10 to 90 % within a quarter of it"
              if paper else "successful seeds: saturation ≥ a twelfth of the budget (the spec: 500 "
              "of 6,000 steps), from below 0.60 to above 0.90 within 400 steps",
              ("softmax",), lambda arms: _jump(arms["softmax"], paper)),
        Claim(4, "Training and validation improve together: no grokking", f"{ABSTRACT} of v1",
              "qualitative",
              "both moments within 5 epochs, and within 3 % of the step" if paper
              else "both moments within 200 steps", ("softmax",),
              lambda arms: _together(arms["softmax"], paper)),
        Claim(5, "A convolutional network has no such problem", f"{ABSTRACT} of v1; {FIGURE}",
              "final training loss 0.504",
              "all of 4 or more seeds succeed, at ≤ 0.2 of the softmax step; final loss 0.500 to "
              "0.515" if paper else "all of 4 or more seeds succeed within 1,200 steps, earlier "
              "than the median softmax seed",
              (*convolutions, "softmax"), lambda arms: _convolutions(arms, convolutions, paper)),
        Claim(6, "The second step alone is easy", "choice of our spec (z = 1 always)",
              "not established",
              "loss within 0.05 of its floor within 10 % of the softmax saturation" if paper
              else "accuracy ≥ 0.9 within 300 steps",
              ("control", "softmax") if paper else ("control",),
              lambda arms: _second_step(arms, paper)),
        Claim(7, f"The remedies raise the Eureka-ratio and shorten training{where}", ABSTRACT,
              "direction only", "each remedy, 5 or more seeds: ratio ≥ softmax's, censored mean e* "
              "≤ 0.7 of softmax's", compared, lambda arms: sooner(arms, shown)),
        Claim(8, f"The remedies end at a higher accuracy{where}", ABSTRACT,
              "direction only; 0.90 to 0.95 after success in a later paper",
              "each remedy: mean final accuracy ≥ softmax's + 0.05; of successful seeds ≥ "
              "softmax's - 0.005", compared, lambda arms: higher(arms, shown)),
        Claim(9, "The remedies are more robust to hyper-parameters", ABSTRACT, "direction only",
              "each remedy: more of five learning rates with a Eureka-ratio ≥ 1/2 than softmax",
              rates, robust),
        Claim(10, "On the plateau of softmax W_Q and W_K are starved; NormSoftmax feeds them",
              f"{SOURCE}, by a summary and reviews", "direction only",
              "first block, steps 5,000 to 30,000 of the plateau: G_q/G_v ≤ 0.5 for softmax, at "
              "least twice as large for NormSoftmax-var" if paper
              else "first block, plateau after a twentieth of the budget (the spec: 300 of 6,000 "
              "steps): softmax G_q/G_v ≤ 0.25 and G_k/G_v ≤ 0.6, NormSoftmax-var both ≥ 0.5", both,
              lambda arms: _starved(arms, paper)),
        Claim(18, "Language models leap too, and the remedies help (in a stand-in of ours)",
              ABSTRACT, "direction only; every number not established",
              "softmax: a plateau and a leap in 1 of 3 or more seeds; the better remedy is half "
              "way no later in the mean",
              tuple(f"{name}-{method}" for name in stand_ins for method in remedies),
              lambda arms: [each for name in stand_ins for each in _stand_in(arms, name)]),
        Claim(19, "z cannot be read from the class token before the Eureka-moment, and can after",
              f"{SOURCE}, by reviews", "not established",
              "probe of z, class token behind the last block: ≤ 0.60 on the plateau, ≥ 0.90 after",
              ("softmax",), lambda arms: _probed(arms["softmax"])),
        *([] if paper else [
            Claim(20, "With five tokens of an image the remedies do not help",
                  "pilot of our spec, section 10; not the paper's", "nothing is said of so few",
                  "each remedy, 5 or more seeds: censored mean e* > softmax's", remedies, no_help),
        ]),
    ]  # fmt: skip


def _plateau(run: Run, paper: bool) -> list[Quantity]:
    accuracy, windows = run.series(VALIDATION), waiting(run)
    if paper:
        stuck = ~moments(run).happened
        late = [window.late for window in windows]
        # The moving average of the training loss that a person would read off a figure.
        at = [("at step 25,000", Window(25_000 - 5 * EPOCH, 25_000), Range(high=1.16)),
              ("from step 100,000 on", Window(100_000, np.inf), Range(1.02, 1.07))]  # fmt: skip
        losses = [
            amount(f"training loss {when}", over(run, "loss/train", [window] * len(stuck))[stuck],
                   accepted) for when, window, accepted in at
        ]  # fmt: skip
        return [
            *losses,
            amount("late accuracy", over(run, VALIDATION, late)[stuck], Range(0.53, 0.57)),
        ]
    on = longest_stretch(accuracy.steps, (accuracy.values >= 0.52) & (accuracy.values <= 0.59))
    lasting = np.nan_to_num([window.length for window in on]) / accuracy.steps[-1]
    late = over(run, "loss/train", [window.late for window in windows])
    return [
        every("longest stretch of accuracy 0.52 to 0.59, of the budget", lasting,
              Range(low=SHARE_OF_BUDGET)),
        every("training loss, second half of the plateau", late, Range(1.00, 1.10)),
    ]  # fmt: skip


def _lottery(run: Run, paper: bool) -> list[Quantity]:
    found = moments(run)
    least, enough = (2.0, 8) if paper else (1.5, 5)
    ratio = found.times.leaps / found.runs
    if found.runs < enough:
        return [exact(f"last over first step, of {enough} seeds or more", np.nan, Range(low=least))]
    if paper and 0 < ratio < 1:
        return [exact("Eureka-ratio", ratio, Range(0.0, 1.0, open=True))]
    spread = counted(found).max() / max(counted(found).min(), 1.0)
    return [exact("last over first step, none counting as the budget", spread, Range(low=least))]


def _jump(run: Run, paper: bool) -> list[Quantity]:
    leapt = moments(run).happened
    waited = saturation(run)[leapt]
    if paper:
        return [
            median("saturation, epochs", waited / EPOCH, Range(low=100.0)),
            *(every(f"10 to 90 % over saturation, {what}", (abruptness(run, name)
                    / saturation(run, name))[leapt], Range(high=0.25))
              for what, name in (("validation", VALIDATION), ("training", TRAINING))),
        ]  # fmt: skip
    budget = moments(run).budget
    return [
        every("saturation, of the budget", waited / budget, Range(low=SHARE_OF_BUDGET)),
        *(every(f"steps from below 0.60 to above 0.90, {what}", rise(run, name)[leapt],
                Range(high=400.0))
          for what, name in (("validation", VALIDATION), ("training", TRAINING))),
    ]  # fmt: skip


def _together(run: Run, paper: bool) -> list[Quantity]:
    validation, training = moments(run), moments(run, TRAINING)
    # A seed that learns only one of the two has no lag, and cannot be left out.
    either = validation.happened | training.happened
    apart = np.abs(lag(validation, training)[0])[either]
    if not paper:
        return [amount("steps between the two moments", apart, Range(high=200.0))]
    return [
        amount("epochs between the two moments", apart / EPOCH, Range(high=5.0)),
        amount("the same over e*", apart / validation.step[either], Range(high=0.03)),
    ]


def _convolutions(arms: Arms, names: tuple[str, ...], paper: bool) -> list[Quantity]:
    softmax, found = moments(arms["softmax"]), []
    for name in names:
        run = arms[name]
        own = moments(run)
        found.append(_all_succeed(name, own.times))
        if paper:
            end = run.series("loss/train").steps[-1]
            last = over(run, "loss/train", [Window(end - EPOCH, end)] * own.runs)
            found += [
                amount(f"{name}: training loss in the last epoch", last, Range(0.500, 0.515)),
                quotient(f"{name}: e* over softmax's, censored means", counted(own),
                         counted(softmax), Range(high=0.2)),
            ]  # fmt: skip
        else:
            # A softmax seed that never succeeds is later than any that does.
            middle = float(np.median(np.where(softmax.happened, softmax.step, np.inf)))
            found += [
                every(f"{name}: e*, steps", own.step, Range(high=1200.0)),
                every(f"{name}: e*, before the median softmax seed", own.step,
                      Range(high=middle)),
            ]  # fmt: skip
    return found


def _second_step(arms: Arms, paper: bool) -> list[Quantity]:
    run = arms["control"]
    if not paper:
        accuracy = run.series(VALIDATION)
        best = accuracy.values[:, accuracy.steps <= 300].max(axis=1)
        return [every("best accuracy up to step 300", best, Range(low=0.9))]
    near = _times(run, "evaluation/loss", task_of(run).levels()["floor"] + 0.05)
    return [
        _all_succeed("loss within 0.05 of the floor", near),
        quotient("step of that over the softmax saturation", near.times,
                 saturation(arms["softmax"]), Range(high=0.1)),
    ]  # fmt: skip


def _starved(arms: Arms, paper: bool) -> list[Quantity]:
    shares = {}
    for name in ("softmax", "norm-softmax"):
        after = 300 / CHEAP * arms[name].series(VALIDATION).steps[-1]
        low, high = (5_000, 30_000) if paper else (after, np.inf)
        windows = [Window(max(window.start, low), min(window.end, high))
                   for window in waiting(arms[name])]  # fmt: skip
        for part in ("query", "key"):
            series = f"qkv-gradients/blocks.0/{part}-to-value"
            shares[name, part] = over(arms[name], series, windows)
    softmax, normed = shares["softmax", "query"], shares["norm-softmax", "query"]
    if paper:
        return [
            amount("softmax: G_q/G_v", softmax, Range(high=0.5)),
            quotient("G_q/G_v, NormSoftmax-var over softmax", normed, softmax, Range(low=2.0)),
        ]
    return [
        amount("softmax: G_q/G_v", softmax, Range(high=0.25)),
        amount("softmax: G_k/G_v", shares["softmax", "key"], Range(high=0.6)),
        amount("NormSoftmax-var: G_q/G_v", normed, Range(low=0.5)),
        amount("NormSoftmax-var: G_k/G_v", shares["norm-softmax", "key"], Range(low=0.5)),
    ]


def _stand_in(arms: Arms, task: str) -> list[Quantity]:
    softmax = arms[f"{task}-softmax"]
    half = {name: _half_way(arms[f"{task}-{name}"]) for name in ("softmax", *REMEDIES)}
    leapt = _plateau_and_leap(softmax, half["softmax"])
    better = min(REMEDIES, key=lambda name: float(half[name].times.mean()))
    enough = half["softmax"].count >= 3
    late = half["softmax"].times
    if half[better].leaps == half["softmax"].leaps == 0:  # nothing to compare
        late = late * np.nan
    return [
        exact(f"{task}, softmax: seeds with a plateau and a leap", leapt if enough else np.nan,
              Range(low=1.0)),
        quotient(f"{task}, {REMEDIES[better]}: step half way over softmax's, censored means",
                 half[better].times, late, Range(high=1.0)),
    ]  # fmt: skip


def _half_way(run: Run) -> Times:
    """When the evaluation loss is half way from where the task waits to its floor."""
    low, high = _ends(run)
    return _times(run, "evaluation/loss", (high + low) / 2)


def _ends(run: Run) -> tuple[float, float]:
    """The floor, and the plateau; a task without one waits at its start."""
    levels = task_of(run).levels()
    return levels["floor"], levels.get("plateau", levels["start"])


def _plateau_and_leap(run: Run, half: Times) -> int:
    """Seeds that lie near the plateau for a twelfth of the budget, and come half way later.

    Near is within 10 % of the gap to the floor of the plateau, or of ln 2, the loss of who reads
    both payloads but does not notice where they agree.
    """
    loss, (floor, plateau) = run.series("evaluation/loss"), _ends(run)
    margin = 0.1 * (plateau - floor)
    low, high = plateau - margin, max(plateau, log(2)) + margin
    on = longest_stretch(loss.steps, (loss.values >= low) & (loss.values <= high))
    waits = [window.length >= SHARE_OF_BUDGET * loss.steps[-1] and window.end < time
             for window, time in zip(on, half.times, strict=True)]  # fmt: skip
    return int((np.array(waits) & half.happened).sum())


def _probed(run: Run) -> list[Quantity]:
    """The last reading on the plateau, and the last after it, of the seeds that were read there.

    Of the residual stream, or of the attention's output where that alone was probed.
    """
    model = Experiment.of(run.experiment, str(run.path)).model
    assert isinstance(model, VisionTransformer)
    sites = [f"class-probe/blocks.{model.depth - 1}.{site}/z/class/accuracy"
             for site in ("residual.post", "attention.output")]  # fmt: skip
    series = next((name for name in sites if name in run.names()), sites[0])
    before = last_in(run, series, waiting(run))
    after = last_in(run, series, [Window(step, np.inf) for step in moments(run).step])
    return [
        amount("plateau: accuracy of the probe", before[np.isfinite(before)], Range(high=0.60)),
        amount("after: accuracy of the probe", after[np.isfinite(after)], Range(low=0.90)),
    ]


def _times(run: Run, name: str, level: float) -> Times:
    """When a series first lies at or below a level; else its last step, censored."""
    series = run.series(name)
    first = first_crossing(series.steps, series.values, level, above=False)
    happened = np.array([step is not None for step in first])
    end = series.steps[-1]
    return Times(np.array([float(end if step is None else step) for step in first]), happened)


def _all_succeed(name: str, found: Times) -> Quantity:
    """Every seed does; one that does not is a counterexample."""
    return every(f"{name}: seeds that succeed", found.happened.astype(float), Range(low=1.0))
