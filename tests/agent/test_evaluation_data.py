"""The questions of self-evaluation: read in a process of their own, whatever they are made of."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import ValidationError
from structlog.testing import capture_logs
from support.evaluations import examples
from support.hostile_server import Fault, HostileServer, serve_hostile
from support.tiny import save_squad

from edgeqa import evaluation_set
from edgeqa.data.identity import fingerprint
from edgeqa.data.slices import shuffled
from edgeqa.errors import DataError
from edgeqa.squad import read_squad
from edgeqa_agent.evaluation_data import made
from edgeqa_agent.evaluation_source import EvaluationSource, Wanted
from edgeqa_agent.question_file import Embedded, Origin, QuestionFile, describe, pack
from edgeqa_agent.settings import AgentSettings

MIB = 1 << 20


def source_of(
    folder: Path, data: str | Path, *, max_bytes: int = 8 * MIB, timeout_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
) -> EvaluationSource:  # fmt: skip
    wanted = Wanted(str(data), "validation", max_bytes, timeout_s)
    return EvaluationSource(wanted, folder=folder, log=structlog.get_logger(), clock=clock)


def settle(source: EvaluationSource) -> list[dict[str, Any]]:
    """Until it is known which questions serve; what was logged."""
    with capture_logs() as logs:
        deadline = time.monotonic() + 60
        source.tick()
        while not source.settled:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            source.tick()
    return [dict(one) for one in logs]


def assert_embedded(source: EvaluationSource, logs: list[dict[str, Any]]) -> str:
    """The embedded set serves, and the log says why; the reason."""
    assert source.questions().dataset.name == "edgeqa-devices-1.0.0"
    [failed] = [one for one in logs if one["event"] == "evaluation_data_failed"]
    return f"{failed['code']}: {failed['reason']}"


def squad(folder: Path, count: int = 30) -> Path:
    return save_squad(folder / "own.json", count)


def test_an_own_file_is_read_by_another_process_and_survives_a_restart(tmp_path: Path) -> None:
    path = squad(tmp_path)
    source = source_of(tmp_path, path)
    logs = settle(source)
    assert [one["event"] for one in logs] == ["evaluation_data_read"]
    dataset = source.questions().dataset
    assert (dataset.name, dataset.questions, dataset.task) == ("own", 30, "squad_v1")
    assert dataset.fingerprint == fingerprint(str(path), [])  # as `edgeqa models evaluate` says it
    assert source.questions().read(0, 30) == shuffled(read_squad(path))
    assert source.questions().read(7, 9) == shuffled(read_squad(path))[7:9]

    again = source_of(tmp_path, path)
    assert [one["event"] for one in settle(again)] == ["evaluation_data_kept"]
    assert again.questions().read(7, 9) == source.questions().read(7, 9)
    assert not list(tmp_path.glob(".evaluation-questions*"))
    assert not (tmp_path / "evaluation-download").exists()


def test_a_file_that_was_changed_is_read_anew(tmp_path: Path) -> None:
    settle(source_of(tmp_path, squad(tmp_path, 30)))
    source = source_of(tmp_path, squad(tmp_path, 31))
    logs = settle(source)
    assert [one["event"] for one in logs] == ["evaluation_data_stale", "evaluation_data_read"]
    assert source.questions().dataset.questions == 31


def test_the_embedded_set_needs_no_process(tmp_path: Path) -> None:
    source = source_of(tmp_path, evaluation_set.NAME)
    assert source.settled
    source.tick()
    questions = source.questions()
    assert questions.dataset.fingerprint == evaluation_set.fingerprint()
    assert questions.dataset.task == "squad_v2"
    assert questions.read(0, 5) == Embedded().read(0, 10)[:5]
    assert not list(tmp_path.iterdir())


def wrong_offset(document: dict[str, Any]) -> None:
    document["data"][0]["paragraphs"][1]["qas"][0]["answers"][0]["answer_start"] += 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"data": []}', "holds no questions"),
        (b'{"data": 3}', "not in SQuAD format"),
        (b"[" * 200_000, "not valid JSON"),
        (b"<html>", "not valid JSON"),
        (wrong_offset, "does not stand at character"),
        (b" " * (MIB + 1), "larger than 1 MiB"),
    ],
    ids=["empty", "cut", "binary", "none", "other", "deep", "html", "offset", "huge"],
)
def test_bad_files_are_refused_with_a_reason(
    tmp_path: Path, content: bytes | Callable[[dict[str, Any]], None], reason: str
) -> None:
    path = squad(tmp_path)
    if callable(content):
        document = json.loads(path.read_bytes())
        content(document)
        path.write_text(json.dumps(document))
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        made(str(path), "validation", MIB, 60.0, tmp_path)


def test_while_a_bad_file_is_all_there_is_the_embedded_set_serves(tmp_path: Path) -> None:
    path = squad(tmp_path)
    document = json.loads(path.read_bytes())
    wrong_offset(document)
    path.write_text(json.dumps(document))
    source = source_of(tmp_path, path)
    said = assert_embedded(source, settle(source))
    assert said.startswith("invalid_data: ")
    assert "does not stand at character" in said
    assert not (tmp_path / "evaluation-questions.db").exists()


def test_a_file_that_is_not_there_and_a_device_of_endless_bytes(tmp_path: Path) -> None:
    for name, reason in (("none.json", "cannot be read"), ("/dev/zero", "neither a file")):
        with pytest.raises(DataError, match=reason):
            made(name, "validation", MIB, 60.0, tmp_path)


def test_it_is_tried_again_ever_more_seldom(tmp_path: Path) -> None:
    now = 0.0
    path = tmp_path / "late.json"
    source = source_of(tmp_path, path, clock=lambda: now)
    logs = settle(source)
    assert logs[0]["again_in_s"] == 60.0
    now = 59.0
    source.tick()
    assert source._process is None
    squad(tmp_path).rename(path)
    now = 61.0
    source.tick()
    assert source._process is not None
    source._process.wait(60)
    source.tick()
    assert source.questions().dataset.name == "late"


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    for name in ("datasets", "pyarrow"):
        (tmp_path / "lib" / f"{name}.py").write_text("raise ImportError('not installed')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    (tmp_path / "own.parquet").write_bytes(b"PAR1")
    source = source_of(tmp_path, tmp_path / "own.parquet")
    said = assert_embedded(source, settle(source))
    assert said.startswith("datasets_missing: ")
    assert "pip install 'edgeqa[evaluation]'" in said
    for name in ("datasets", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match="edgeqa"):
        made("somebody/some-data", "validation", MIB, 60.0, tmp_path)


@pytest.mark.slow
def test_a_hub_id_without_network_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    source = source_of(tmp_path, "nobody/no-such-data")
    assert "without internet, name a file" in assert_embedded(source, settle(source))


def test_the_main_process_imports_no_datasets() -> None:
    script = (
        "import sys, edgeqa_agent.app\n"
        "print([n for n in ('datasets', 'pyarrow', 'numpy', 'onnxruntime') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def web(tmp_path: Path) -> Any:
    (tmp_path / "web").mkdir()
    save_squad(tmp_path / "web" / "own.json", 20)
    with serve_hostile(tmp_path / "web") as server:
        yield server


def test_a_url_is_the_same_set_as_its_file(tmp_path: Path, web: HostileServer) -> None:
    source = source_of(tmp_path, f"{web.url}/own.json")
    settle(source)
    dataset = source.questions().dataset
    assert (dataset.name, dataset.questions) == ("own", 20)
    assert dataset.fingerprint == fingerprint(str(tmp_path / "web" / "own.json"), [])
    again = source_of(tmp_path, f"{web.url}/own.json")
    settle(again)
    assert len(web.asked) == 1  # a restart needs no network


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("", status=404), "the server answers 404"),
        (Fault("", status=500), "the server answers 500"),
        (Fault("", endless=True), "larger than 1 MiB"),
        (Fault("", body=b" " * (MIB + 1)), "larger than 1 MiB"),
        (Fault("", silent=5.0), "cannot be fetched: "),
        (Fault("", cut_at=100), "cannot be fetched: "),
        (Fault("", body=b"<html>"), "not valid JSON"),
        (Fault("", status=302, headers={"Location": "/own.json"}), "cannot be fetched: "),
        (Fault("", raw=b"\x00\x01\x02\r\n\r\n"), "cannot be fetched: "),
        (Fault("", chunk=1, every=0.05), "not fetched in time"),
    ],
    ids=["404", "500", "endless", "huge", "silent", "cut", "html", "loop", "noise", "dripping"],
)
def test_bad_servers_are_refused_with_a_reason(
    tmp_path: Path, web: HostileServer, fault: Fault, reason: str
) -> None:
    web.faults.append(fault)
    url = f"{web.url}/own.json"
    with pytest.raises(DataError, match=reason) as caught:
        made(url, "validation", MIB, 0.5, tmp_path)
    assert url in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_process_that_hangs_is_ended_and_said_so(tmp_path: Path, web: HostileServer) -> None:
    # Interim answers without end: no timeout of a read ever comes.
    web.faults.append(Fault("", raw=b"", again=b"HTTP/1.1 100 Continue\r\n\r\n"))
    source = source_of(tmp_path, f"{web.url}/own.json", timeout_s=1.0)
    assert "not read in 1 s, or ended by signal" in assert_embedded(source, settle(source))


def test_a_process_that_was_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    work = tmp_path / "evaluation-download"
    work.mkdir()
    (work / "half.json").write_bytes(b"x")
    (tmp_path / ".evaluation-questions.db.abc").write_bytes(b"x")
    settle(source_of(tmp_path, squad(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "evaluation-questions.db",
        "own.json",
    ]


def test_it_runs_at_the_lowest_priority_and_ends_with_the_agent(
    tmp_path: Path, web: HostileServer
) -> None:
    web.faults.append(Fault("", silent=30.0))
    source = source_of(tmp_path, f"{web.url}/own.json")
    source.tick()
    process = source._process
    assert process is not None
    deadline = time.monotonic() + 30
    while not web.asked:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
    source.stop()
    assert process.poll() is not None


def packed(path: Path, count: int = 30) -> Origin:
    origin = Origin("a", "b")
    path.write_bytes(
        pack(examples(count), dataset=describe("set", "f" * 64, examples(count)), origin=origin)
    )
    return origin


@pytest.mark.parametrize("keep", [0, 100, 4096, 6000])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "q.db"
    origin = packed(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError):
        QuestionFile(path, origin=origin).read(0, 30)


@pytest.mark.parametrize(
    "change",
    [
        "delete from questions where position = 3",
        "update questions set context = 'other' where position = 3",
        "update questions set answers = '{' where position = 3",
        "update questions set answers = '[[1, 2, 3]]' where position = 3",
        "update questions set question = null where position = 3",
        "drop table questions",
    ],
)
def test_questions_that_a_disk_has_changed_are_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "q.db"
    origin = packed(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute(change)
        database.commit()
    questions = QuestionFile(path, origin=origin)
    with pytest.raises(DataError):
        questions.read(0, 30)


def test_a_file_of_something_else_or_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    origin = packed(path)
    QuestionFile(path, origin=origin)
    with pytest.raises(DataError, match="made of something else"):
        QuestionFile(path, origin=Origin("a", "train"))
    with closing(sqlite3.connect(path)) as database:
        database.execute("update about set schema = 2")
        database.commit()
    with pytest.raises(DataError, match="not of this version"):
        QuestionFile(path, origin=origin)


def test_credentials_in_the_url_are_a_wrong_setting() -> None:
    with pytest.raises(ValidationError, match="credentials"):
        AgentSettings(evaluation_data="https://me:secret@example.org/own.json")
