"""The name of the collectors' shared subscription."""

from __future__ import annotations

from pathlib import Path

from edgeqa_cloud.database import Database
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.share_name import share_name


def _database(path: Path) -> Database:
    database = Database.of(DatabaseSettings(database=f"sqlite:///{path}"))
    migrate(database)
    return database


def test_collectors_of_a_group_on_one_database_share(tmp_path: Path) -> None:
    with _database(tmp_path / "a.db") as one, _database(tmp_path / "a.db") as other:
        name = share_name(one, "edgeqa")
        assert name.startswith("edgeqa-")
        assert share_name(other, "edgeqa") == name
    with _database(tmp_path / "a.db") as later:
        assert share_name(later, "edgeqa") == name


def test_groups_do_not_share(tmp_path: Path) -> None:
    with _database(tmp_path / "a.db") as database:
        assert len({share_name(database, "a")[-32:], share_name(database, "b")[-32:]}) == 2


def test_the_name_of_another_database_is_another(tmp_path: Path) -> None:
    with _database(tmp_path / "a.db") as one, _database(tmp_path / "b.db") as other:
        assert share_name(one, "edgeqa") != share_name(other, "edgeqa")
