"""What can be set about a second model on the device; part of the agent's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgeqa_agent.choice import Limits, Marks


class CompanionSettings(BaseModel):
    """Which model answers beside the first, and what makes it do so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    companion: Path | None = Field(
        default=None,
        description="Folder of a quicker model package that answers beside the first where a "
        "question, the queue or the temperature speak for it, or the name of an embedded one; "
        "none if not said.",
    )
    companion_queue_high: int = Field(
        default=8,
        ge=2,
        le=10_000,
        description="Requests waiting and running from which on the companion answers.",
    )
    companion_queue_low: int = Field(
        default=2, ge=1, le=10_000, description="And at or below which the first model does again."
    )
    companion_hot_celsius: float = Field(
        # Source: a Raspberry Pi 5 lowers its clock from 80 degrees on.
        default=78.0,
        ge=0,
        le=200,
        description="Temperature of the processor from which on the companion answers.",
    )
    companion_cool_celsius: float = Field(
        default=72.0,
        ge=0,
        le=200,
        description="And at or below which the first model does again.",
    )
    companion_hold_s: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        description="How long queue or temperature must be low again before that, seconds; longer "
        "where they soon were high again.",
    )

    @model_validator(mode="after")
    def _marks_are_in_order(self) -> Self:
        for low, high in (
            ("companion_queue_low", "companion_queue_high"),
            ("companion_cool_celsius", "companion_hot_celsius"),
        ):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} must be less than {high}")
        return self

    def choice_limits(self) -> Limits | None:
        """When the companion answers; None where there is none."""
        if self.companion is None:
            return None
        return Limits(
            load=Marks(self.companion_queue_high, self.companion_queue_low, self.companion_hold_s),
            heat=Marks(
                self.companion_hot_celsius, self.companion_cool_celsius, self.companion_hold_s
            ),
        )
