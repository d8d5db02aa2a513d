"""Why one of a device's two models answered."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """`choice` in an answer, `reason` in telemetry; a later version may have others.

    Attributes:
        ASKED: `quality` in the question named it.
        DEADLINE: the better model would have been late.
        LOAD: many requests wait and run.
        HEAT: the processor is hot.
        CALM: nothing speaks against the better model.
        ALONE: the other one is not there at present.
    """

    ASKED = "asked"
    DEADLINE = "deadline"
    LOAD = "load"
    HEAT = "heat"
    CALM = "calm"
    ALONE = "alone"
