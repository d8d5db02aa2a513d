"""`edgeqa fleet tag`, and tags and queries of `fleet list` and `fleet show`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import typer
from sqlalchemy import select
from support.fleet import Fleet
from support.fleet_databases import Databases

from edgeqa.cli import build_app, main
from edgeqa_cloud.rollout.tables import audit

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def edgeqa() -> typer.Typer:
    """The whole command, built once."""
    return build_app()


@pytest.fixture
def fleet(sqlite_databases: Databases) -> Iterator[Fleet]:
    with sqlite_databases.open(sqlite_databases.new()) as database:
        made = Fleet(database, round(time.time() * 1000))
        for name in ("boiler", "hall", "pi5"):
            made.device(name, f1=40.0 if name == "hall" else 80.0)
        yield made


@pytest.fixture
def run(
    fleet: Fleet,
    edgeqa: typer.Typer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    monkeypatch.setattr("edgeqa.cli.build_app", lambda _: edgeqa)
    monkeypatch.setenv("EDGEQA_CLOUD_DATABASE", str(fleet.database.engine.url))
    monkeypatch.setenv("COLUMNS", "100")

    def run_one(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgeqa", "fleet", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run_one


def listed(run: Run, *arguments: str) -> list[str]:
    code, out, _ = run("list", "--json", *arguments)
    assert code == 0
    return [one["device"] for one in json.loads(out)["devices"]]


def test_tags_are_given_shown_searched_and_taken(run: Run, fleet: Fleet) -> None:
    assert "TAGS" not in run("list")[1]
    code, out, err = run("tag", "pi5", "hall", "--add", "canary", "--add", "lab")
    assert (code, out, err) == (0, "2 of 2 devices changed\n", "")
    code, out, _ = run("tag", "--query", "tag=lab f1<50", "--remove", "lab", "--json")
    assert json.loads(out) == {"devices": 1, "changed": 1}
    lines = run("list")[1].splitlines()
    assert [line.split("ago")[-1].strip() for line in lines[1:4]] == ["-", "canary", "canary lab"]
    assert lines[0].endswith("TAGS")
    assert "tags       canary, lab" in run("show", "pi5")[1]
    assert listed(run, "--tag", "canary") == ["hall", "pi5"]
    assert listed(run, "--tag", "canary", "--query", "not tag=lab") == ["hall"]
    assert listed(run, "--query", "f1>=50 or device=hall") == ["boiler", "hall", "pi5"]
    with fleet.database.reading() as connection:
        entries = list(connection.execute(select(audit).order_by(audit.c.id)))
    assert [entry.action for entry in entries] == ["tags_changed"] * 2
    assert entries[0].actor.startswith("cli:")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tag", "--add", "x"], "name devices, or a --query"),
        (["tag", "pi5"], "no tag to give or to take"),
        (["tag", "nobody", "--add", "x"], "no such devices: nobody"),
        (["tag", "a b\x1b[31m", "--add", "x"], "no device 'a b"),
        (["tag", "pi5", "--add", "a b"], "'a b' is no tag"),
        (["tag", "pi5", "--add", "x", "--remove", "x"], "to be given and to be taken"),
        (["tag", "--query", "em<", "--add", "x"], "at character 4: expected a value"),
        (["list", "--query", "colour=red"], "at character 1: no field 'colour'"),
    ],
)
def test_what_makes_no_sense(arguments: list[str], said: str, run: Run) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "\x1b" not in err
    assert len(err.splitlines()) == 1
