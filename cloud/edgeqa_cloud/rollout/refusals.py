"""What people ask of rollouts and do not get, with what to do instead."""

from __future__ import annotations

from edgeqa.errors import ExitCode, UsageError
from edgeqa.show import clean

_SHOWN_CHARS = 80


class UnknownRolloutError(UsageError):
    """There is no such rollout."""

    code = "unknown_rollout"

    def __init__(self, rollout: str) -> None:
        super().__init__(
            f"no rollout {clean(rollout)[:_SHOWN_CHARS]!r}; `edgeqa rollout list` shows all"
        )


class ChangedMeanwhileError(UsageError):
    """The rollout is not what the person who orders has seen any more."""

    code = "changed_meanwhile"
    exit_code = ExitCode.REFUSED

    def __init__(self, rollout: str, *, seen: int, now: int) -> None:
        super().__init__(
            f"{rollout} changed meanwhile: it is at revision {now}, and the order was for {seen}; "
            "look at it again, then order again"
        )
        self.now = now


class OrderRefusedError(UsageError):
    """The order makes no sense in the state that the rollout is in."""

    code = "order_refused"
    exit_code = ExitCode.REFUSED


class NoIdError(UsageError):
    """Too many rollouts of exactly the same spec on one day."""

    code = "too_many_alike"
    exit_code = ExitCode.REFUSED

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} rollouts like this one were made today; say another note")
