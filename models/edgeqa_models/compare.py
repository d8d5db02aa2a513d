"""Compare: several models on the same questions, asked in turns.

The models take turns by small blocks of questions, each block in another order, so that whatever
else the machine does meets all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeqa.squad import Example
from edgeqa_models.comparison import Entry, Pair, Significance
from edgeqa_models.contenders import Loaded
from edgeqa_models.evaluate import Asked, Tally, ask
from edgeqa_models.report import Interval, Report
from edgeqa_models.significance import mcnemar, paired_difference

# Long enough that a model finds its weights in the caches for most of a block, short enough that
# a disturbance of a second meets several blocks of each.
BLOCK = 8

Progress = Callable[[int, list[Tally]], None]  # questions asked of all models together


def ask_in_turns(
    models: Sequence[Loaded],
    examples: Sequence[Example],
    on_progress: Progress,
    *,
    null_threshold: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Tally]:
    """Ask every model every question, in turns.

    Args:
        models: loaded.
        examples: the questions.
        on_progress: called after each block of one model.
        null_threshold: see `Tally`.
        stop: looked at before each question; a block that not all models have answered is then
            left out for all.

    Returns:
        One tally a model, all of the same questions.
    """
    tallies = [Tally(len(examples), null_threshold) for _ in models]
    for model in models:  # warm, as in `evaluate`
        for example in examples[:1]:
            ask(model.model.engine, example)
    asked = 0
    for turn, first in enumerate(range(0, len(examples), BLOCK)):
        block = examples[first : first + BLOCK]
        answers: list[list[Asked]] = [[] for _ in models]
        for place in range(len(models)):
            index = (turn + place) % len(models)
            for example in block:
                if stop():
                    return tallies
                answers[index].append(ask(models[index].model.engine, example))
            asked += len(block)
            on_progress(asked, tallies)
        for tally, given in zip(tallies, answers, strict=True):
            for one in given:
                tally.add(one)
    on_progress(asked, tallies)
    return tallies


def against_first(entries: Sequence[Entry], tallies: Sequence[Tally | None]) -> list[Pair]:
    """Every further model against the first.

    Args:
        entries: all models.
        tallies: their answers, None where only a report is known.
    """
    reference, *others = entries
    return [
        Pair(
            label=other.label,
            f1_share=_share(reference.report, other.report),
            speed_ratio=_speed(reference.report, other.report),
            significance=_significance(tallies[0], tally),
        )
        for other, tally in zip(others, tallies[1:], strict=True)
    ]


def _share(first: Report, other: Report) -> float | None:
    same = first.questions == other.questions
    return 100 * other.f1 / first.f1 if first.f1 and same else None


def _speed(first: Report, other: Report) -> float | None:
    same = (first.machine, first.threads) == (other.machine, other.threads)
    if not same or not first.questions_per_s:
        return None
    return other.questions_per_s / first.questions_per_s


def _significance(first: Tally | None, other: Tally | None) -> Significance | None:
    if first is None or other is None:
        return None
    points = [[100 * verdict.f1 for verdict in tally.verdicts] for tally in (first, other)]
    exact = [[verdict.exact_match for verdict in tally.verdicts] for tally in (first, other)]
    difference, test = paired_difference(*points), mcnemar(*exact)
    interval: Interval = (difference.low, difference.high)
    return Significance(
        f1_difference=difference.mean,
        f1_interval=interval,
        gained=test.gained,
        lost=test.lost,
        p=test.p,
    )
