"""The result of a comparison: every model's report, and each against the first."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgeqa_models.published import PUBLISHED, PublishedRow
from edgeqa_models.report import Report


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
