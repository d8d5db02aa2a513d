"""Which of the requests that wait is sent to a model process next, and when none is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edgeqa_agent.request import Request

# Beyond one request for each core of the model: one tokenised, two in the socket, so that it
# never waits for us. Of those that are not small as many again: they take turns in the process.
SPARE = 3


def next_request(
    waiting: Collection[Request], running: Sequence[Request], *, threads: int
) -> Request | None:
    """The first that waits; but small ones overtake others for which there is no room.

    Args:
        waiting: in the order of their coming.
        running: what is with the processes. Two models share the cores, and so this bound.
        threads: of the model.
    """
    first = next(iter(waiting), None)
    if first is None:
        return None
    # What was in a model when it died is asked again one by one, so that a second death tells
    # which question is to blame.
    if any(request.attempts for request in (first, *running)):
        return None if running else first
    small = sum(request.small for request in running)
    for request in waiting:
        beside = small if request.small else len(running) - small
        if beside < threads + SPARE:
            return request
        if request.small:
            break
    return None
