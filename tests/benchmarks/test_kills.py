"""`kill -9` of everything, on a small scale, by the benchmark; and that its check can fail."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kills import Outcome, Plan, run
from rows.check import check, open_database
from rows.outboxes import entries
from sqlalchemy import delete, update

from edgeqa_cloud.tables import records

pytestmark = pytest.mark.system


def killed(tmp_path: Path, **changes: object) -> tuple[Outcome, str, list[Path]]:
    output = tmp_path / "output"
    output.mkdir()
    database = f"sqlite:///{tmp_path}/cloud.db"
    plan = Plan(
        **{  # type: ignore[arg-type]  # by name
            "kills": 4,
            "agents": 1,
            "simulated": 5,
            "collectors": 1,
            "persistence": False,
            "pause_s": 1.5,
            "away_s": 0.5,
            "seed": 1,
            "database": database,
            "folder": tmp_path,
            "output": output,
            "hurry": True,
            **changes,
        }
    )
    return run(plan), database, sorted(tmp_path.glob("*-state/**/outbox.sqlite"))


@pytest.mark.slow
def test_each_part_killed_once_loses_no_record(tmp_path: Path) -> None:
    outcome, database, files = killed(tmp_path)
    assert outcome.kills == {"agent": 1, "broker": 1, "collector": 1, "simulator": 1}
    assert outcome.verdict.exact, list(outcome.verdict.lines())
    assert outcome.verdict.expected > 20
    assert outcome.answered > 0

    # The check sees one that is missing, one that was changed and one that nobody wrote.
    with open_database(database) as opened:
        written = list(entries(files))
        assert check(opened, written).exact
        assert len(check(opened, written[1:]).foreign) == 1
        with opened.writing() as connection:
            rows = connection.execute(records.select().limit(2)).all()
            first, second = [
                (records.c.boot == row.boot) & (records.c.seq == row.seq) for row in rows
            ]
            connection.execute(delete(records).where(first))
            connection.execute(update(records).where(second).values(payload="{}"))
        found = check(opened, written)
    assert (len(found.missing), len(found.different), len(found.foreign)) == (1, 1, 0)
    # An outbox that gave records up proves nothing.
    with closing(sqlite3.connect(files[0])) as db, db:
        db.execute("DELETE FROM records WHERE id = (SELECT min(id) FROM records)")
    with pytest.raises(ValueError, match=r"gave .* records and holds"):
        list(entries(files))


@pytest.mark.slow
@pytest.mark.parametrize("persistence", [False, True])
def test_many_kills_of_two_collectors_and_two_agents(tmp_path: Path, persistence: bool) -> None:
    outcome, _, _ = killed(
        tmp_path, kills=12, agents=2, simulated=20, collectors=2, persistence=persistence, pause_s=4
    )
    assert sum(outcome.kills.values()) == 12
    assert outcome.verdict.exact, list(outcome.verdict.lines())
