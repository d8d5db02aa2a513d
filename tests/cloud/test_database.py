"""The database's URL, its password, and what is said when it cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeqa.errors import ConfigError, EdgeqaError, ExitCode
from edgeqa.postgres_process import PostgresServer
from edgeqa.processes import free_port
from edgeqa_cloud.cli import app
from edgeqa_cloud.database import Database, DatabaseError, database_url
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.settings import DatabaseSettings


def settings(**values: object) -> DatabaseSettings:
    return DatabaseSettings.model_validate(values)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cloud.db",
        "mysql://localhost/edgeqa",
        "postgresql+asyncpg://localhost/edgeqa",
        "postgresql://localhost",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite://host/path",
        "postgresql://localhost:port/edgeqa",
    ],
)
def test_other_urls_are_refused_with_the_form_that_is_wanted(url: str) -> None:
    with pytest.raises(ConfigError, match=r"sqlite:///PATH|names no database|database:"):
        database_url(settings(database=url))


def test_the_password_comes_from_its_file_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p@ss:w/rd\n")
    for scheme in ("postgres", "postgresql"):
        wanted = settings(database=f"{scheme}://user@host/name", database_password_file=secret)
        assert database_url(wanted).password == "p@ss:w/rd"
        with Database.of(wanted) as database:
            assert "p@ss" not in database.shown
    for url in ("postgresql://host/name", "postgresql://user:other@host/name", "sqlite:////x.db"):
        with pytest.raises(ConfigError):
            database_url(settings(database=url, database_password_file=secret))
    with pytest.raises(ConfigError, match="database_password_file"):
        database_url(
            settings(database="postgresql://u@h/n", database_password_file=tmp_path / "none")
        )


def test_a_server_that_is_not_there_is_said_in_one_line() -> None:
    url = f"postgresql://user:secret@127.0.0.1:{free_port()}/edgeqa"
    with Database.of(settings(database=url, database_timeout_s=2)) as database:
        for act in (database.check, lambda: migrate(database)):
            with pytest.raises(DatabaseError) as error:
                act()
            assert error.value.exit_code == ExitCode.UNREACHABLE
            assert "\n" not in str(error.value)
            assert "secret" not in str(error.value)
            assert "refused" in str(error.value)


def test_a_wrong_password_or_database_is_said(postgres: PostgresServer) -> None:
    with (
        Database.of(settings(database=postgres.url_of("not_there"))) as database,
        pytest.raises(DatabaseError, match="not_there"),
    ):
        database.check()


@pytest.mark.parametrize("what", ["folder", "file", "text"])
def test_an_sqlite_file_that_cannot_be_used_is_said(tmp_path: Path, what: str) -> None:
    path = tmp_path / "cloud.db"
    if what == "folder":
        (tmp_path / "in").write_text("a file, not a folder")
        path = tmp_path / "in" / "cloud.db"
    elif what == "file":
        path.mkdir()
    else:
        path.write_text("this is no database, and long enough to be seen as none" * 20)
    with (
        pytest.raises(DatabaseError) as error,
        Database.of(settings(database=f"sqlite:///{path}")) as database,
    ):
        migrate(database)
    assert error.value.exit_code == ExitCode.UNREACHABLE
    assert "\n" not in str(error.value)


def test_commands_exit_with_the_codes_of_their_errors(tmp_path: Path) -> None:
    def failed(*words: str) -> EdgeqaError:
        error = CliRunner().invoke(app, [*words]).exception
        assert isinstance(error, EdgeqaError), error
        return error

    nobody = f"postgresql://127.0.0.1:{free_port()}/edgeqa"
    assert failed("collect", "--database", nobody).exit_code == ExitCode.UNREACHABLE
    assert failed("run", "--metrics-listen", "off", "--database", "x").exit_code == ExitCode.CONFIG
    assert failed("migrate", "--database", "redis://x").exit_code == ExitCode.CONFIG
    url = f"sqlite:///{tmp_path / 'cloud.db'}"
    no_broker = failed(
        "collect", "--database", url, "--broker", f"mqtt://127.0.0.1:{free_port()}",
        "--broker-connect-timeout-s", "0.5",
    )  # fmt: skip
    assert no_broker.code == "broker_unreachable"
    assert failed("quarantine", "drop", "--database", url).exit_code == ExitCode.USAGE
    assert os.path.exists(tmp_path / "cloud.db")  # noqa: PTH110  made by collect
