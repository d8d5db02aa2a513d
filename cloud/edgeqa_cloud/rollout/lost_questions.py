"""Which outcomes of questions count as the device's fault.

The error gate compares how many questions a device lost before and after a change of its model.
What was wrong with the question itself (`empty_question`, `unknown_context`, `invalid_payload` …),
what came too late (`expired`), and what an operator caused (`stopping`) says nothing of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ANSWERED = "answered"
# Codes of `edgeqa.codes`, and why each counts.
LOST: Mapping[str, str] = MappingProxyType(
    {
        "busy": "its queue was full: a slower model fills it sooner",
        "inference_failed": "the model failed on the question",
        "model_crashed": "the model's process ended, twice",
        "model_given_up": "the model kept dying",
        "model_start_timeout": "the model did not load in time",
        "model_load_failed": "the model did not load",
        "timeout": "the model gave no answer in time",
        "internal_error": "a bug on the device",
    }
)


def count(outcomes: Mapping[str, int]) -> tuple[int, int]:
    """Questions that were answered, and those that were lost by the device's fault."""
    return outcomes.get(ANSWERED, 0), sum(outcomes.get(code, 0) for code in LOST)
