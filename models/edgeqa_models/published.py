"""The published comparison that this project grew out of, for reference beside our own.

BERT-base against DistilBERT on a Raspberry Pi 5 (BCM2712, 4 cores at 2.4 GHz, Debian 12), with
TensorFlow 2.15 and Transformers, on the SQuAD v1.1 development set: other models, another program
and another machine than ours, so that only ratios compare.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

MACHINE: Final = "Raspberry Pi 5, TensorFlow 2.15, SQuAD v1.1 development set"


class PublishedRow(BaseModel):
    """One row as published: scores in percent, seconds for the whole set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    exact_match: float
    f1: float
    seconds: float


PUBLISHED: Final = (
    PublishedRow(model="BERT-base", exact_match=54.93, f1=72.36, seconds=13220.32),
    PublishedRow(model="DistilBERT", exact_match=52.79, f1=70.44, seconds=6505.98),
)
