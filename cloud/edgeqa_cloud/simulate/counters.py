"""What a simulated fleet did, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Totals since the start.

    Attributes:
        connects: connections that came up, again after a break too.
        breaks: connections that went down, by offline spells too.
        appended: records written to outboxes.
        published: records handed to the broker, repeats included.
        acknowledged: records that the broker acknowledged, or seemed to.
        bytes: payloads of those.
        unheard: acknowledged with "no matching subscribers": nobody collects, it is sent again.
        heartbeats: sent.
        resends: commands that asked for records again.
        resent: records that were queued again by them; `missing` were not held any more.
        commands: other commands that were obeyed; `refused` were not.
        swaps: wishes that came true; `swaps_failed` did not.
        lost, duplicated, reordered, malformed, jumped, spells: faults that were made.
    """

    connects: int = 0
    breaks: int = 0
    appended: int = 0
    published: int = 0
    acknowledged: int = 0
    bytes: int = 0
    unheard: int = 0
    heartbeats: int = 0
    resends: int = 0
    resent: int = 0
    missing: int = 0
    commands: int = 0
    refused: int = 0
    swaps: int = 0
    swaps_failed: int = 0
    evaluations: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    malformed: int = 0
    jumped: int = 0
    spells: int = 0
