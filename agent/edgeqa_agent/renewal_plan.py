"""When a certificate is renewed, how long to wait after a failure, when to worry. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from edgeqa.identity.certificate import Identity
from edgeqa.identity.roles import RENEW_SHARE

# A fleet that was enrolled in one afternoon does not come back in one: each device's turn is
# somewhere in this part of the time that is left.
_SPREAD = 0.25
# After a failure: full jitter below a doubling ceiling. Six hours are some hundred tries in the
# month that is left of 90 days, each a message of about a kilobyte.
_FIRST_S = 60.0
_MOST_S = 6 * 3600.0
_LEAST_S = 2.0
# Of what is left; so that a certificate of an hour gets its tries, too.
_PART_OF_LEFT = 8
# With half of the time for renewals gone, something is wrong.
_WORRY = 0.5


def due_at(identity: Identity, share: float) -> datetime:
    """When it is to be renewed: the same moment at each start.

    Args:
        identity: the certificate.
        share: of its lifetime that may be left.
    """
    # The digest of a certificate is as good as chance.
    turn = int(identity.fingerprint[:8], 16) / 0xFFFF_FFFF
    return identity.until - identity.lifetime * (share * (1 - _SPREAD * turn))


def worry_at(identity: Identity, share: float) -> datetime:
    """When people are told that it expires."""
    return identity.until - identity.lifetime * ((share or RENEW_SHARE) * _WORRY)


def pause_s(
    *,
    failures: int,
    refused: bool,
    left: timedelta,
    uniform: Callable[[float, float], float],
) -> float:
    """How long to leave it alone.

    Args:
        failures: in a row, before this one.
        refused: the cloud said no, which it will say again for a while.
        left: until the certificate expires.
        uniform: gives a number between two.
    """
    ceiling = _MOST_S if refused else min(_MOST_S, _FIRST_S * 2 ** min(failures, 16))
    if (left_s := left.total_seconds()) > 0:
        ceiling = min(ceiling, max(_LEAST_S, left_s / _PART_OF_LEFT))
    return uniform(ceiling / 2, ceiling)


def first_pause_s(left: timedelta, uniform: Callable[[float, float], float]) -> float:
    """After a start: a site that gets its power back asks not all at once."""
    return uniform(0.0, min(_FIRST_S, max(0.0, left.total_seconds() / _PART_OF_LEFT)))


def rest_s(left: timedelta) -> float:
    """After a success that left less than is renewed at, as near the end of an authority."""
    return max(_FIRST_S, left.total_seconds() / _PART_OF_LEFT)
