"""How soon devices have their wish, and how soon a bad model is stopped and undone.

A simulated fleet, a real Mosquitto, a real `edgeqa cloud run`, all on this machine:

1. A good model, whose first stage is the first thousand devices: from the call that creates the
   rollout, in another process than the cloud's, to the moment at which the broker has delivered
   the wishes to a subscriber.
2. A bad model, whose first stage is some per cent: from the moment at which the breach was
   measurable, to the last touched device's proof that it is back. The breach is measurable with the
   receipt of the evaluation with which, of all that had been received by then, the rollout's own
   gates are breached; evaluations are put in the order of their receipt afterwards, and judged one
   after the other.

    python benchmarks/rollouts.py
    python benchmarks/rollouts.py --devices 500 --first 100 --databases sqlite

Exit code 1 where a figure misses its target, or a device is left with another model than it should
have.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.table import Table
from rollout_world import (
    BAD,
    FIRST,
    GOOD,
    Watch,
    cloud_of,
    fleet_of,
    offer,
    wait_until,
)
from rows.databases import database_url
from rows.machine import machine
from sqlalchemy import func, select

from edgeqa.commands import unix_ms
from edgeqa.errors import EdgeqaError
from edgeqa.processes import broker_process
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.judging import judge
from edgeqa_cloud.rollout.model import Evidence, PairedScore, Tally
from edgeqa_cloud.rollout.service import Rollouts
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import Action, GateStatus
from edgeqa_cloud.rollout.tables import audit, rollout_members, rollouts
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.simulate.models import SimulatedModel
from edgeqa_cloud.tables import devices, evaluations, records

WISHED_WITHIN_S = 10.0
UNDONE_WITHIN_S = 60.0


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    database: str
    devices: int
    first: int
    created_s: float  # until the call that creates it returned
    wished_s: float  # until the first of them had the wish, and the last
    all_wished_s: float
    canaries: int
    stopped_in_stage: int
    measurable_after_s: float  # since the rollout was created
    evaluations_needed: int
    decided_s: float  # since it was measurable
    undone_s: float
    touched: int
    right: bool


def main(
    count: Annotated[int, typer.Option("--devices", min=2, help="Simulated.")] = 10_000,
    first: Annotated[int, typer.Option(min=1, help="Devices of the good model's stage.")] = 1000,
    canary_percent: Annotated[float, typer.Option(help="Of the bad model's first stage.")] = 5.0,
    fetch_s: Annotated[float, typer.Option(help="A device fetches a model in about that.")] = 10.0,
    databases: Annotated[str, typer.Option(help="Of these, by commas.")] = "sqlite,postgresql",
    output: Annotated[Path, typer.Option(help="File for the report.")] = Path(
        "bench-out/rollouts.json"
    ),
) -> None:
    """Measure."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    runs = [_measure(kind, count, first, canary_percent, fetch_s) for kind in databases.split(",")]
    report = {
        "machine": machine(), "fetch_s": fetch_s, "canary_percent": canary_percent,
        "targets": {"wished_s": WISHED_WITHIN_S, "undone_s": UNDONE_WITHIN_S},
        "runs": [asdict(one) for one in runs],
    }  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2) + "\n")
    _show(runs, Console())
    missed = [
        one
        for one in runs
        if one.all_wished_s > WISHED_WITHIN_S or one.undone_s > UNDONE_WITHIN_S or not one.right
    ]
    sys.exit(1 if missed else 0)


def _measure(kind: str, count: int, first: int, percent: float, fetch_s: float) -> Figures:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeqa-rollouts-")))
        folder.chmod(0o755)
        broker = stack.enter_context(broker_process(folder, 0))
        url = stack.enter_context(database_url(kind, folder))
        stack.enter_context(cloud_of(folder, broker, url))
        database = stack.enter_context(Database.of(DatabaseSettings(database=url)))
        offer(database)
        stack.enter_context(fleet_of(folder, broker, count, fetch_s))
        wait_until(lambda: _ready(database) == count, f"{count} devices are online")
        watch = stack.enter_context(Watch(broker))
        service = Rollouts(database=database, now_ms=unix_ms)
        wished = _good(service, watch, first)
        return _bad(service, database, percent, count, (kind, first, *wished))


def _good(service: Rollouts, watch: Watch, first: int) -> tuple[float, float, float]:
    spec = _spec(GOOD, [{"count": first, "soak_s": 3600}, {"percent": 100}])
    began = time.monotonic()
    rollout = service.create(spec, actor="benchmark").rollout
    created = time.monotonic()
    wait_until(lambda: len(watch.times(GOOD.version)) >= first, f"{first} wishes")
    times = watch.times(GOOD.version)
    service.order(rollout, Action.UNDO, actor="benchmark", wait_s=10)
    wait_until(lambda: service.view(rollout).state.final, "the good model is taken back")
    return created - began, times[0] - began, times[first - 1] - began


def _bad(
    service: Rollouts, database: Database, percent: float, count: int, known: tuple[Any, ...]
) -> Figures:
    stages = [{"percent": percent, "soak_s": 600}, {"percent": 100, "soak_s": 600}]
    rollout = service.create(_spec(BAD, stages), actor="benchmark").rollout
    wait_until(lambda: service.view(rollout).state.final, "the bad model is undone")
    view = service.view(rollout)
    measurable_ms, needed = _measurable(database, rollout)
    touched = view.states.get("reverted", 0)  # type: ignore[call-overload]  # a str enum
    kind, first, *wished = known
    with database.reading() as connection:
        old = connection.execute(
            select(func.count()).where(devices.c.model_digest == FIRST.ref().digest)
        ).scalar_one()
    return Figures(
        kind, count, first, *(round(one, 2) for one in wished),
        canaries=view.stage_list[0].devices,
        stopped_in_stage=view.stage + 1,
        measurable_after_s=round((measurable_ms - view.created_ms) / 1000, 2),
        evaluations_needed=needed,
        decided_s=round((_entry_ms(database, rollout, "undo_begun") - measurable_ms) / 1000, 2),
        undone_s=round(((view.ended_ms or 0) - measurable_ms) / 1000, 2),
        touched=touched,
        right=view.state == "undone" and view.stage == 0 and old == count,
    )  # fmt: skip


def _measurable(database: Database, rollout: str) -> tuple[int, int]:
    """When the evaluation came with which the breach could be told, and which one that was."""
    with database.reading() as connection:
        row = connection.execute(select(rollouts).where(rollouts.c.rollout == rollout)).one()
        e, r = evaluations.c, records.c
        came = connection.execute(
            select(r.received_ms, e.device_id, e.fingerprint, e.slice_id, e.paired)
            .join(records, (r.boot == e.boot) & (r.seq == e.seq))
            .join(rollout_members, rollout_members.c.device_id == e.device_id)
            .where(
                rollout_members.c.rollout_id == row.id,
                e.model_digest == row.model_digest,
                e.time_ms > rollout_members.c.wished_ms,
                e.paired.is_not(None),
            )
            .order_by(r.received_ms)
        ).all()
    gates = RolloutSpec.model_validate(row.spec).gates
    scores: list[PairedScore] = []
    nothing = Tally(0, 0, 0, 0, 0)
    for received_ms, device_id, fingerprint, slice_id, paired in came:
        scores.append(
            PairedScore(
                device_id, fingerprint, slice_id, paired["questions"],
                paired["exact_match_difference"], tuple(paired["exact_match_interval"]),
                paired["f1_difference"], tuple(paired["f1_interval"]),
            )
        )  # fmt: skip
        results = judge(gates, Evidence(0, received_ms, nothing, nothing, paired=scores))
        if any(one.status is GateStatus.BREACHED for one in results):
            return received_ms, len(scores)
    raise EdgeqaError("no breach could be told", code="benchmark_failed")


def _entry_ms(database: Database, rollout: str, action: str) -> int:
    with database.reading() as connection:
        query = select(audit.c.time_ms).where(audit.c.rollout == rollout, audit.c.action == action)
        return int(connection.execute(query).scalars().first() or 0)


def _spec(model: SimulatedModel, stages: list[dict[str, Any]]) -> RolloutSpec:
    return RolloutSpec.model_validate(
        {
            "package": {"name": model.name, "version": model.version},
            "target": {"all": True},
            "stages": stages,
        }
    )


def _ready(database: Database) -> int:
    with database.reading() as connection:
        query = select(func.count()).where(
            devices.c.presence == "online", devices.c.reported_ms.is_not(None)
        )
        return int(connection.execute(query).scalar_one())


def _show(runs: list[Figures], console: Console) -> None:
    table = Table("", *(one.database for one in runs), title=f"{runs[0].devices:,} devices")
    rows = (
        ("the call to create returned after, s", "created_s"),
        ("the first wish was delivered after, s", "wished_s"),
        (f"wish {runs[0].first:,} was delivered after, s", "all_wished_s"),
        ("bad model: devices of its first stage", "canaries"),
        ("breach measurable after creation, s", "measurable_after_s"),
        ("evaluations that it took", "evaluations_needed"),
        ("undo begun after that, s", "decided_s"),
        ("stage in which it was stopped", "stopped_in_stage"),
        ("undone everywhere after that, s", "undone_s"),
        ("devices that had it", "touched"),
        ("all devices as they should be", "right"),
    )
    for text, name in rows:
        table.add_row(text, *(str(getattr(one, name)) for one in runs))
    console.print(table)


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgeqaError as error:
        sys.exit(f"rollouts: {error}")
