"""`edgeqa cloud user` and `edgeqa cloud token`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select
from support.fleet_databases import Databases
from typer.testing import CliRunner, Result

from edgeqa_cloud.access.accounts import Accounts, LoginError
from edgeqa_cloud.access.roles import Role
from edgeqa_cloud.cli import app
from edgeqa_cloud.rollout.tables import audit

PASSWORD = "correct horse battery"


def run(url: str, *command: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [*command, "--database", url], input=stdin)


def test_people_and_tokens(sqlite_databases: Databases, tmp_path: Path) -> None:
    url, file = sqlite_databases.new(), tmp_path / "password"
    file.write_text(f"{PASSWORD} two\n")
    assert run(url, "user", "add", "anna", "--role", "admin", stdin=f"{PASSWORD}\n").exit_code == 0
    assert run(url, "user", "passwd", "anna", "--password-file", str(file)).exit_code == 0
    made = run(url, "token", "create", "ci", "--role", "operator", "--expires", "30d")
    token = made.stdout.splitlines()[0]
    with sqlite_databases.open(url) as database:
        known = Accounts(database=database, now_ms=lambda: 1)
        assert known.login("anna", f"{PASSWORD} two", address="x").caller.role is Role.ADMIN
        with pytest.raises(LoginError):
            known.login("anna", PASSWORD, address="x")
        caller = known.of_token(token)
        assert caller is not None
        assert (caller.actor, caller.role) == ("token:ci", Role.OPERATOR)
        assert run(url, "token", "revoke", "ci").exit_code == 0
        assert known.of_token(token) is None
        assert run(url, "user", "remove", "anna").exit_code == 0
        with database.reading() as connection:
            actions = list(connection.scalars(select(audit.c.action).order_by(audit.c.id)))
            actors = set(connection.scalars(select(audit.c.actor)))
    assert actions == [
        "user_created", "password_changed", "token_created", "token_revoked", "user_removed",
    ]  # fmt: skip
    assert all(one.startswith("shell") for one in actors)
    listed = run(url, "token", "list", "--json").stdout
    assert json.loads(listed)["name"] == "ci"
    assert token not in listed + run(url, "token", "list").stdout
    assert "no users" in run(url, "user", "list").stdout


@pytest.mark.parametrize(
    ("command", "stdin", "code"),
    [
        (("user", "add", "anna"), "short\n", "bad_password"),
        (("user", "add", "../x"), f"{PASSWORD}\n", "bad_account"),
        (("user", "passwd", "nobody"), f"{PASSWORD}\n", "unknown_account"),
        (("token", "revoke", "nobody"), None, "unknown_account"),
    ],
)
def test_what_cannot_be_is_refused(
    sqlite_databases: Databases, command: tuple[str, ...], stdin: str | None, code: str
) -> None:
    done = run(sqlite_databases.new(), *command, stdin=stdin)
    assert done.exit_code != 0
    assert getattr(done.exception, "code", None) == code
