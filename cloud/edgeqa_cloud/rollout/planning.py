"""Who is in a rollout, and in which turn."""

from __future__ import annotations

from dataclasses import dataclass

from edgeqa.messages import ModelRef


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that a target means.

    Attributes:
        device_id: its key in the database.
        model: that it runs; None where it has told none.
    """

    device_id: int
    device: str
    online: bool
    model: ModelRef | None
