"""`edgeqa cloud packages` as a person runs it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.catalogue import Cloud
from support.fleet_databases import Databases
from support.forge import forge_package
from support.repository import make_package, make_repository

from edgeqa.cli import build_app, main

Run = Callable[..., list[str]]


@pytest.fixture
def cloud(sqlite_databases: Databases, tmp_path: Path) -> Iterator[Cloud]:
    repository = make_repository(tmp_path, make_package(tmp_path))
    files = {"model.onnx": b"m" * 100, "tokenizer.json": b"{}", "checks.json": b"[]"}
    forge_package(repository, files, version="0.9.0")
    with sqlite_databases.open(sqlite_databases.new()) as database:
        yield Cloud(
            database, repository.path.as_uri(), repository.root, tmp_path / "seen",
            round(time.time() * 1000),
        )  # fmt: skip


@pytest.fixture
def run(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    app = build_app("cloud")
    monkeypatch.setattr("edgeqa.cli.build_app", lambda _: app)
    monkeypatch.setenv("EDGEQA_CLOUD_DATABASE", str(cloud.database.engine.url))
    monkeypatch.delenv("COLUMNS", raising=False)

    def run_one(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["edgeqa", "cloud", "packages", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        shown = capsys.readouterr()
        assert shown.err == ""
        return shown.out.splitlines()

    return run_one


def test_before_the_first_reading(run: Run) -> None:
    [line] = run()
    assert "--repository-root" in line
    assert json.loads(run("--json")[0])["repository"] is None


def test_packages_and_troubles(run: Run, cloud: Cloud, tmp_path: Path) -> None:
    cloud.read()
    title, first, second, count = run()
    assert title.split() == ["PACKAGE", "PRECISION", "SIZE", "EM", "F1", "P95", "DEVICES", "SINCE"]
    assert {" ".join(line.split()[:3]) for line in (first, second)} == {
        "tiny 0.9.0 int8", "tiny 1.0.0 int8"
    }  # fmt: skip
    assert count.startswith(f"2 packages of {cloud.url}, read ")
    assert "signed for" in count
    (tmp_path / "repo" / "metadata" / "timestamp.json").write_bytes(b"\x1b[31m")
    cloud.read()
    assert run()[-1].endswith("[metadata_refused]")
    assert "\x1b" not in "".join(run())
    assert len(json.loads(run("--json")[0])["packages"]) == 2
