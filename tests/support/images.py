"""What the Dockerfiles say."""

from __future__ import annotations

import re
from pathlib import Path

DOCKER = Path(__file__).parents[2] / "docker"


def image_environment(role: str) -> dict[str, str]:
    """The variables of ours that an image sets: `agent` or `cloud`."""
    text = (DOCKER / f"{role}.Dockerfile").read_text(encoding="utf-8")
    last_stage = text.replace("\\\n", " ").rpartition("\nFROM ")[2]
    return dict(re.findall(r"\b(EDGEQA_\w+)=(\S*)", last_stage))
