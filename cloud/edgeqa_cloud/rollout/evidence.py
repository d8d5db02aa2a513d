"""What a rollout's devices measured, gathered for `judging.judge`.

Counts, and paired evaluations, are of all devices that changed up to the current stage: stages are
cumulative. Telemetry is of a sample of them, the same at each gathering, where they are many. An
evaluation counts where it is of the new model, against the one that the device had before, and was
made after the wish. A record that names another device than its topic does not get here: it lies in
quarantine.

Thread: the engine's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, case, func, or_, select

from edgeqa_cloud.presence import USUAL_INTERVAL_S, Presence
from edgeqa_cloud.rollout.baselines import NOTHING, Baseline
from edgeqa_cloud.rollout.hearing import SILENT_AFTER
from edgeqa_cloud.rollout.model import (
    DeviceServed,
    Evidence,
    Member,
    PairedScore,
    Rollout,
    Tally,
)
from edgeqa_cloud.rollout.served import ServedSince, served_before
from edgeqa_cloud.rollout.states import MemberState
from edgeqa_cloud.rollout.tables import rollout_members
from edgeqa_cloud.tables import devices, evaluations

# Devices whose telemetry is read. A hundred with a record a minute are 6000 records an hour; their
# merged histograms tell a 95th percentile to within the width of a bucket.
SAMPLE = 100
# Pasts that are read in one gathering: some milliseconds each.
_PASTS_AT_ONCE = 25
# Of a device that changed, evaluations that are looked at: the last of each is worth most.
_MAX_EVALUATIONS = 50_000
_STOPPED = "stopped"
_COUNTED = (MemberState.WISHED, MemberState.CHANGED, MemberState.FAILED, MemberState.EXPIRED)
_HEARD = (MemberState.WISHED, MemberState.CHANGED, MemberState.FAILED)


class Gatherer:
    """Of one rollout, while it is under way.

    Args:
        baselines: as they were read from the database.
    """

    def __init__(self, rollout: Rollout, baselines: Mapping[int, Baseline]) -> None:
        self._served = ServedSince(rollout.target.digest)
        self._baselines = dict(baselines)

    def wish_before(self, device_id: int) -> str | None:
        """The wish that a device had when its turn came."""
        return self._baselines.get(device_id, NOTHING).wish

    def reached(self, found: Mapping[int, Baseline]) -> None:
        """The turn of these devices came: they were written to the database."""
        self._baselines.update(found)

    def gather(
        self, connection: Connection, rollout: Rollout, *, now_ms: int, deaf: bool
    ) -> tuple[Evidence, dict[int, Baseline]]:
        """What is known now.

        Args:
            connection: in a transaction.
            rollout: as it is.
            now_ms: by our clock.
            deaf: the cloud did not hear devices lately, so that no silence is theirs.

        Returns:
            The evidence, and pasts that were read now: to be written, and given to `reached`.
        """
        changed = [
            one
            for one in rollout.members.values()
            if one.state is MemberState.CHANGED
            and one.stage <= rollout.stage
            and one.wish is not None
            and one.settled_ms is not None
        ]
        sample = _sample(rollout, changed)
        pasts = self._read_pasts(connection, rollout, sample)
        self._served.read(
            connection, {one.device_id: one.settled_ms or 0 for one in sample}, now_ms=now_ms
        )
        stage, whole = _tallies(connection, rollout, now_ms=now_ms, deaf=deaf)
        evidence = Evidence(
            stage=rollout.stage,
            gathered_ms=now_ms,
            stage_tally=stage,
            rollout_tally=whole,
            paired=_paired(connection, rollout) if changed else (),
            served=[
                DeviceServed(
                    device_id=one.device_id,
                    before=(pasts.get(one.device_id) or self._past(one.device_id)).served,
                    after=self._served.served(one.device_id),
                )
                for one in sample
            ],
        )
        return evidence, pasts

    def _past(self, device_id: int) -> Baseline:
        return self._baselines.get(device_id, NOTHING)

    def _read_pasts(
        self, connection: Connection, rollout: Rollout, sample: list[Member]
    ) -> dict[int, Baseline]:
        missing = [one for one in sample if not self._past(one.device_id).read]
        found = {}
        for one in missing[:_PASTS_AT_ONCE]:
            turn_ms = one.wished_ms or 0
            served = served_before(
                connection,
                one.device_id,
                digest=None if one.before is None else one.before.digest,
                not_digest=rollout.target.digest,
                since_ms=turn_ms - round(1000 * rollout.spec.baseline_s),
                until_ms=turn_ms,
            )
            found[one.device_id] = Baseline(self.wish_before(one.device_id), True, served)
        return found


def _sample(rollout: Rollout, changed: list[Member]) -> list[Member]:
    """Some of these, by chance but the same each time; those with a smaller hash stay in it."""
    if len(changed) <= SAMPLE:
        return changed

    def lot(one: Member) -> bytes:
        text = f"{rollout.rollout}/telemetry/{one.device}"
        return hashlib.sha256(text.encode()).digest()

    return sorted(changed, key=lot)[:SAMPLE]


def _tallies(
    connection: Connection, rollout: Rollout, *, now_ms: int, deaf: bool
) -> tuple[Tally, Tally]:
    """Of the current stage alone, and of all stages so far."""
    m, d = rollout_members.c, devices.c
    patience_ms = SILENT_AFTER * 1000 * func.coalesce(d.heartbeat_interval_s, USUAL_INTERVAL_S)
    silent = and_(
        m.online_when_wished,
        m.state.in_([one.value for one in _HEARD]),
        now_ms - d.last_seen_ms > patience_ms,
        # Somebody switched it off, and it said so.
        or_(
            d.presence.is_(None),
            d.presence != Presence.OFFLINE.value,
            d.presence_reason.is_(None),
            d.presence_reason != _STOPPED,
        ),
    )
    query = (
        select(m.stage, m.state, func.count(), func.sum(case((silent, 1), else_=0)))
        .join(devices, d.id == m.device_id)
        .where(
            m.rollout_id == rollout.key,
            or_(
                and_(m.wish.is_not(None), m.state.in_([one.value for one in _COUNTED])),
                # Their turn comes: a share is of the whole stage, also while it has just begun.
                and_(m.state == MemberState.WAITING.value, m.stage <= rollout.stage),
            ),
        )
        .group_by(m.stage, m.state)
    )
    rows = connection.execute(query).all()
    return (
        _tally([row for row in rows if row[0] == rollout.stage], deaf=deaf),
        _tally(rows, deaf=deaf),
    )


def _tally(rows: Any, *, deaf: bool) -> Tally:
    def devices_in(state: MemberState) -> int:
        return sum(int(row[2]) for row in rows if row[1] == state.value)

    size = sum(int(row[2]) for row in rows)
    return Tally(
        size=size,
        wished=size - devices_in(MemberState.WAITING),
        changed=devices_in(MemberState.CHANGED),
        failed=devices_in(MemberState.FAILED),
        silent=0 if deaf else sum(int(row[3]) for row in rows),
    )


def _paired(connection: Connection, rollout: Rollout) -> list[PairedScore]:
    e, m = evaluations.c, rollout_members.c
    query = (
        select(e.device_id, e.fingerprint, e.slice_id, e.paired, m.before_digest)
        .join(rollout_members, m.device_id == e.device_id)
        .where(
            m.rollout_id == rollout.key,
            m.state == MemberState.CHANGED.value,
            m.stage <= rollout.stage,
            m.wish.is_not(None),
            e.model_digest == rollout.target.digest,
            e.time_ms > m.wished_ms,
            e.paired.is_not(None),
        )
        .order_by(e.time_ms.desc())
        .limit(_MAX_EVALUATIONS)
    )
    found = []
    for device_id, fingerprint, slice_id, paired, before in connection.execute(query):
        if not paired or (before and paired["previous"]["digest"] != before):
            continue
        found.append(
            PairedScore(
                device_id=device_id,
                fingerprint=fingerprint,
                slice_id=slice_id,
                questions=paired["questions"],
                exact_match_difference=paired["exact_match_difference"],
                exact_match_interval=tuple(paired["exact_match_interval"]),
                f1_difference=paired["f1_difference"],
                f1_interval=tuple(paired["f1_interval"]),
            )
        )
    return found
