"""What can be set about what is kept of earlier questions; part of the agent's settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

CONTEXT_CACHE_MB = 4


class CacheSettings(BaseModel):
    """How much is kept of answers, and of texts as tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer_cache_entries: int = Field(
        default=1024,
        ge=0,
        le=1_000_000,
        description="Answers kept for others who ask the same of the same text and model; 0: none, "
        "and equal questions in hand are each inferred.",
    )
    answer_cache_mb: int = Field(
        default=4, ge=1, le=1 << 12, description="Room for them in memory, MiB."
    )
    context_cache_mb: int = Field(
        default=CONTEXT_CACHE_MB,
        ge=0,
        le=1 << 12,
        description="Room for texts as tokens, so that the next question of one is tokenised "
        "alone, MiB in each model process; 0: none are kept.",
    )
