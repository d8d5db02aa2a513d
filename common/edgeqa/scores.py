"""Score cards: what was measured of each variant of a model, and what was packaged in spite of it.

A card belongs to one graph: fp32 and each quantised form of a model have their own. Scores are in
percent. A manifest carries the cards of every variant that was measured, so that who reads it sees
what the packaged one was chosen from.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Percent = Annotated[float, Field(ge=0, le=100)]
# One line that fits a table; a terminal is driven with control characters.
Reason = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"
    ),
]


class ScoreCard(BaseModel):
    """What one variant scored, how quickly, and in how much memory.

    Attributes:
        variant: name of the precision, as the manifest's own `precision`.
        packaged: this is the graph in the package.
        fingerprint: SHA-256 of the data.
        task: `squad_v1`, or `squad_v2` where the empty answer is one.
        exact_match_interval, f1_interval: 95 %, by bootstrap over the questions.
        p50_ms, p95_ms: of the whole answer to a question.
        peak_memory_bytes: largest resident memory of a process that only answers questions.
        threads: of one inference.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    variant: str
    packaged: bool
    model_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    model_bytes: int = Field(gt=0)
    dataset: str
    fingerprint: str
    task: str
    questions: int = Field(gt=0)
    exact_match: Percent
    exact_match_interval: tuple[Percent, Percent]
    f1: Percent
    f1_interval: tuple[Percent, Percent]
    questions_per_s: float = Field(ge=0)
    p50_ms: float = Field(ge=0)
    p95_ms: float = Field(ge=0)
    peak_memory_bytes: int = Field(gt=0)
    machine: str
    threads: int = Field(gt=0)


class Forced(BaseModel):
    """Why a package exists although its variant loses more to fp32 than is allowed.

    Attributes:
        reason: of the person who forced it.
        exact_match_lost, f1_lost: points below fp32, on the same questions.
        max_exact_match_loss, max_f1_loss: what was allowed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    reason: Reason
    exact_match_lost: float
    f1_lost: float
    max_exact_match_loss: float
    max_f1_loss: float

    def line(self) -> str:
        """For people, wherever the manifest is read."""
        return (
            f"FORCED although it loses {self.f1_lost:.2f} points of F1 (allowed "
            f"{self.max_f1_loss:.2f}) and {self.exact_match_lost:.2f} of EM (allowed "
            f"{self.max_exact_match_loss:.2f}) to fp32: {self.reason}"
        )
