"""What can be set about self-evaluation; part of the agent's settings."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edgeqa import evaluation_set

OFF: Literal["off"] = "off"
_WEB = {"http", "https"}


def is_web(source: str) -> bool:
    """Whether a source of questions is fetched from a web server."""
    return urlsplit(source).scheme.lower() in _WEB


class EvaluationSettings(BaseModel):
    """Which questions a device asks itself, when, and what that may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluation_data: str = Field(
        default=evaluation_set.NAME,
        min_length=1,
        max_length=2048,
        description="Questions that the device evaluates itself with: `edgeqa-devices` (ships with "
        "EdgeQA), a file or folder, an http(s) URL of a file, a hub id such as rajpurkar/squad, or "
        "`off`. Anything but the first and SQuAD JSON takes edgeqa[evaluation].",
    )
    evaluation_split: str = Field(
        default="validation",
        min_length=1,
        max_length=64,
        description="Its split, where it has several.",
    )
    evaluation_questions: int = Field(
        default=50, ge=1, le=100_000, description="Questions of one evaluation: a slice, at most."
    )
    evaluation_interval_s: float = Field(
        default=3600.0, ge=1, le=30 * 86_400, description="From one evaluation to the next."
    )
    evaluation_idle_s: float = Field(
        default=2.0,
        ge=0,
        le=3600,
        description="It asks only when no question of others came for so long.",
    )
    evaluation_cpu_share: float = Field(
        default=0.1, gt=0, le=1, description="Most it takes of one core while it runs."
    )
    evaluation_max_temperature_celsius: float = Field(
        # Source: a Raspberry Pi 5 lowers its clock from 80 degrees on, which would be measured too.
        default=75.0,
        ge=0,
        le=200,
        description="It waits while the processor is warmer.",
    )
    evaluation_timeout_s: float = Field(
        default=1800.0,
        ge=1,
        le=86_400,
        description="An evaluation that is not done by then ends with what was asked.",
    )
    evaluation_data_max_mb: int = Field(
        default=64, ge=1, le=4096, description="Largest set of questions that is read, MiB."
    )
    evaluation_data_timeout_s: float = Field(
        default=600.0, ge=1, le=86_400, description="Limit for fetching and reading it."
    )

    @field_validator("evaluation_data")
    @classmethod
    def _data_url_has_no_credentials(cls, source: str) -> str:
        if is_web(source) and "@" in urlsplit(source).netloc:
            raise ValueError("must not hold credentials: it is shown in logs")
        return source
