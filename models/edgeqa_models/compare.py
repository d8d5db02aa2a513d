"""Compare: several models on the same questions, asked in turns.

The models take turns by small blocks of questions, each block in another order, so that whatever
else the machine does meets all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgeqa.squad import Example
from edgeqa_models.contenders import Loaded
from edgeqa_models.evaluate import Asked, Tally, ask
from edgeqa_models.published import PUBLISHED, PublishedRow
from edgeqa_models.report import Interval, Report
from edgeqa_models.significance import mcnemar, paired_difference

# Long enough that a model finds its weights in the caches for most of a block, short enough that
# a disturbance of a second meets several blocks of each.
BLOCK = 8

Progress = Callable[[int, list[Tally]], None]  # questions asked of all models together


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(_Part):
    """One model of a comparison."""

    label: str
    report: Report

    @property
    def title(self) -> str:
        """The label with the precision, unless it says so itself."""
        precision = self.report.precision
        return self.label if precision in self.label else f"{self.label} ({precision})"


class Significance(_Part):
    """Paired on the same questions; see the module `significance`.

    Attributes:
        f1_difference: to the first model, in points.
        f1_interval: of that difference, 95 % paired bootstrap.
        gained: questions that only this model answers exactly.
        lost: questions that only the first does.
        p: of McNemar's exact test.
    """

    f1_difference: float
    f1_interval: tuple[float, float]
    gained: int
    lost: int
    p: float


class Pair(_Part):
    """One model against the first.

    Attributes:
        f1_share: F1 in percent of the first's; None where that is 0 or of other questions, which
            happens when Ctrl-C ends a comparison with a report.
        speed_ratio: questions a second over the first's; None on another machine or other threads.
        significance: None where one of the two is known by its report alone.
    """

    label: str
    f1_share: float | None
    speed_ratio: float | None
    significance: Significance | None


class Comparison(_Part):
    """The result, as its JSON file holds it. All pairs are against the first entry."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    complete: bool
    entries: list[Entry]
    pairs: list[Pair]
    published: list[PublishedRow] = list(PUBLISHED)


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
