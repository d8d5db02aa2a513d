"""`edgeqa rollout` against an API that answers what it should not, or seldom does."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.cells import cell_len
from support.fleet import NEW
from support.rollout_api import EVIL, GATE, ID, MODEL, NOW_MS, audit, entry, plan, view
from support.scripted_api import Answer, Asked, ScriptedApi, scripted_api

from edgeqa.cli import build_app, main
from edgeqa.processes import free_port

TOKEN = "edgeqa_" + "t" * 43


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def edgeqa() -> typer.Typer:
    return build_app()


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with scripted_api() as one:
        yield one


@pytest.fixture
def run(
    edgeqa: typer.Typer,
    api: ScriptedApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run `edgeqa rollout` in this process."""
    monkeypatch.setattr("edgeqa.cli.build_app", lambda _: edgeqa)
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    monkeypatch.setenv("EDGEQA_API_URL", api.url)
    monkeypatch.setenv("EDGEQA_API_TOKEN_FILE", str(token))
    monkeypatch.setenv("COLUMNS", "80")

    def run_one(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["edgeqa", "rollout", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int | None)
        assert "Traceback" not in shown.err
        return Done(code or 0, shown.out, shown.err)

    return run_one


def problem(status: int, code: str, detail: str) -> Answer:
    body = {"type": "about:blank", "title": "t", "status": status, "code": code, "detail": detail}
    return Answer(status, body, {"Content-Type": "application/problem+json"})


def always(answer: Answer | dict[str, Any]) -> Callable[[Asked], Answer]:
    return lambda _: answer if isinstance(answer, Answer) else Answer(body=answer)


def clean(text: str) -> bool:
    return not any(ord(ch) < 32 and ch != "\n" for ch in text) and not set(text) & set(
        "\x7f\x9b\u202e\u200b"
    )


def test_nobody_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEQA_API_URL", f"http://127.0.0.1:{free_port()}")
    done = run("list")
    assert done.code == 4
    assert "no API at http://127.0.0.1" in done.err
    assert "edgeqa cloud run" in done.err
    assert done.err.endswith("[api_unreachable]\n")
    assert len(done.err.splitlines()) == 1


def test_one_who_never_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("EDGEQA_API_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        done = run("list", "--timeout", "0.2")
    assert done.code == 4
    assert "--timeout" in done.err


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (problem(401, "unauthorized", "the token has expired"), 3, ["expired", "token create"]),
        (problem(403, "forbidden", "token:ci is a viewer, and this takes an operator"), 5,
         ["takes an operator", "[forbidden]"]),
        (problem(404, "unknown_rollout", "no rollout"), 2, ["[unknown_rollout]"]),
        (problem(409, "order_refused", "it is paused"), 5, ["it is paused"]),
        (problem(412, "changed_meanwhile", "look again"), 5, ["look again"]),
        (problem(422, "unknown_package", "the repository offers no such"), 5, ["offers no such"]),
        (problem(422, "empty_target", "no device matches"), 2, ["no device matches"]),
        (problem(503, "database_unreachable", "try again"), 4, ["[database_unreachable]"]),
        (problem(429, "busy", "slowly"), 4, ["slowly"]),
        (problem(500, "internal_error", "see the log"), 4, ["see the log"]),
        (problem(418, EVIL, EVIL), 2, ["DROP TABLE"]),
        (Answer(200, "<html>router</html>"), 4, ["not as the API", "--url"]),
        (Answer(200, {"surprise": 1}), 4, ["not as the API"]),
        (Answer(500, "<html>proxy</html>"), 4, ["answers 500"]),
        (Answer(302, "", {"Location": "https://elsewhere.example/"}), 4, ["answers 302"]),
        (Answer(404, {"detail": "Not Found"}), 4, ["answers 404"]),
        (Answer(200, b"\xff\xfe"), 4, ["not as the API"]),
        (Answer(200, "[" * 100_000), 4, ["not as the API"]),
        (Answer(cut=True), 4, ["broke"]),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_line_that_says_what_to_do(
    run: Run, api: ScriptedApi, answer: Answer, code: int, words: list[str]
) -> None:
    api.answer = always(answer)
    for command in (["show", ID], ["pause", ID]):
        done = run(*command)
        assert done.code == code
        assert done.out == ""
        assert len(done.err.splitlines()) == 1
        assert clean(done.err)
        for word in words:
            assert word in done.err
        assert TOKEN not in done.err


def test_a_token_is_sent_and_nowhere_else(run: Run, api: ScriptedApi) -> None:
    api.answer = always({"total": 0, "rollouts": []})
    done = run("list")
    assert (done.code, done.lines[0][:15]) == (0, "no rollouts yet")
    assert api.asked[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in api.asked[0].path


@pytest.mark.parametrize("text", ["", "two words", "x" * 5000, "\x1b[31m", "ümlaut", "a\nb"])
def test_a_file_that_holds_no_token(run: Run, api: ScriptedApi, tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    done = run("list")
    assert (done.code, api.asked) == (3, [])
    assert done.err.endswith("[no_token]\n")


def test_no_token(run: Run, tmp_path: Path) -> None:
    (tmp_path / "token").unlink()
    done = run("list")
    assert done.code == 3
    assert "edgeqa cloud token create" in done.err


def test_a_token_of_the_environment(
    run: Run, api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").unlink()
    monkeypatch.setenv("EDGEQA_API_TOKEN", "edgeqa_mine")
    api.answer = always(problem(401, "unauthorized", "unknown"))
    done = run("list")
    assert api.asked[0].headers["Authorization"] == "Bearer edgeqa_mine"
    assert "EDGEQA_API_TOKEN" in done.err
    assert "edgeqa_mine" not in done.err


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("EDGEQA_API_URL", "ftp://x", "url"),
        ("EDGEQA_API_URL", "http://", "url"),
        ("EDGEQA_API_CA_FILE", "/none.pem", "ca_file"),
        ("EDGEQA_API_TIMEOUT_S", "0", "timeout_s"),
        ("EDGEQA_API_TOKN", "x", "did you mean EDGEQA_API_TOKEN"),
    ],
)
def test_settings_that_are_wrong(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, word: str
) -> None:
    monkeypatch.setenv(variable, value)
    done = run("list")
    assert done.code == 3
    assert word in done.err


@pytest.mark.parametrize("rollout", ["..", "a/b", "%2e%2e", "x" * 100, "\x1b[2J", "a?b=c", ""])
def test_an_id_that_is_none_is_not_sent(run: Run, api: ScriptedApi, rollout: str) -> None:
    for command in ("show", "undo"):
        done = run(command, "--", rollout)
        assert (done.code, api.asked) == (2, [])
        assert clean(done.err)
        assert "[unknown_rollout]" in done.err


def test_what_people_and_devices_said_drives_no_terminal(run: Run, api: ScriptedApi) -> None:
    api.answer = always(view(
        created_by=EVIL, reason=EVIL, code=EVIL, note=EVIL, waiting_for=EVIL, gates=[GATE],
        model={"name": EVIL, "version": EVIL, "digest": EVIL}, rollout=EVIL,
        orders=[{"order": 1, "action": EVIL, "actor": EVIL, "note": EVIL, "ordered_ms": 1,
                 "state": "waiting", "code": None, "message": None}],
    ))  # fmt: skip
    done = run("show", ID)
    assert done.code == 0
    assert clean(done.out)
    assert "[red]x[/red]" in done.out
    api.answer = always({"total": 1, "rollouts": [view(created_by=EVIL, rollout=EVIL)]})
    assert clean(run("list").out)
    api.answer = always({"total": 1, "members": [
        {"device": EVIL, "stage": 0, "position": 0, "state": "failed", "before": MODEL,
         "wished_ms": 1, "settled_ms": 1, "code": EVIL, "message": EVIL}]})  # fmt: skip
    assert clean(run("devices", ID).out)
    api.answer = always(audit(entry(1, EVIL, EVIL, device=EVIL, actor=EVIL)))
    assert clean(run("audit", ID).out)


def test_a_rollout_as_lines_and_as_json(run: Run, api: ScriptedApi) -> None:
    api.answer = always(view(note="quicker"))
    done = run("show", ID)
    assert done.lines[0] == f"{ID}  running  {NEW['name']} {NEW['version']} (sha256:222222222222)"
    text = done.out
    for word in ("waits for  the soak", "4: 3 waiting, 1 changed", "soaking", "undecided",
                 "-12.1", "[-18.0, -6.2]", "150 questions", "note       quicker"):  # fmt: skip
        assert word in text
    assert all(cell_len(line) <= 80 for line in done.lines)
    printed = run("show", ID, "--json")
    assert len(printed.lines) == 1
    assert json.loads(printed.out) == view(note="quicker")


def test_filters_are_sent(run: Run, api: ScriptedApi) -> None:
    api.answer = always({"total": 0, "rollouts": []})
    done = run("list", "--state", "paused", "--state", "undone", "--model", "m@1.0.0",
               "--search", "a&b=ü", "--limit", "5")  # fmt: skip
    assert done.lines == ["no rollout matches"]
    assert api.asked[0].path == (
        "/api/v1/rollouts?state=paused&state=undone&model=m%401.0.0&text=a%26b%3D%C3%BC&limit=5"
        "&offset=0"
    )
    api.answer = always({"total": 0, "members": []})
    assert run("devices", ID, "--stage", "1", "--state", "failed").lines == ["no device matches"]
    assert (
        api.asked[1].path == f"/api/v1/rollouts/{ID}/members?state=failed&stage=0&limit=50&offset=0"
    )


def order(state: str, **fields: Any) -> dict[str, Any]:
    return {"order": 1, "action": "pause", "actor": "token:ci", "note": "", "ordered_ms": NOW_MS,
            "state": state, "code": None, "message": None} | fields  # fmt: skip


@pytest.mark.parametrize("action", ["pause", "resume", "promote", "abort", "undo"])
def test_an_order_obeyed(run: Run, api: ScriptedApi, action: str) -> None:
    api.answer = always(order("obeyed"))
    done = run(action, ID, "--note", "worse", "--if-revision", "7")
    assert (done.code, done.err) == (0, "")
    (asked,) = api.asked
    assert (asked.method, asked.path) == ("POST", f"/api/v1/rollouts/{ID}/{action}")
    assert asked.json == {"note": "worse"}
    assert asked.headers["If-Match"] == '"7"'
    assert len(asked.headers["Idempotency-Key"]) == 32


def test_an_order_that_waits(run: Run, api: ScriptedApi) -> None:
    api.answer = always(Answer(202, order("waiting")))
    done = run("pause", ID)
    assert done.code == 4
    assert "no engine has obeyed it yet" in done.out
    assert json.loads(run("pause", ID, "--json").out)["state"] == "waiting"


def test_a_broken_connection_orders_once(run: Run, api: ScriptedApi) -> None:
    api.answer = lambda _: Answer(cut=True) if len(api.asked) < 3 else Answer(body=order("obeyed"))
    assert run("pause", ID).code == 0
    assert len(api.asked) == 3
    assert len({one.headers["Idempotency-Key"] for one in api.asked}) == 1


def test_an_order_that_is_under_way_is_asked_for_again(run: Run, api: ScriptedApi) -> None:
    answers = iter([Answer(cut=True), problem(409, "under_way", "again"),
                    Answer(body=order("obeyed"))])  # fmt: skip
    api.answer = lambda _: next(answers)
    assert run("pause", ID).code == 0
    assert len({one.headers["Idempotency-Key"] for one in api.asked}) == 1


def test_a_dry_run_begins_nothing(run: Run, api: ScriptedApi) -> None:
    api.answer = always(plan())
    done = run("create", f"{NEW['name']}@{NEW['version']}", "--all", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert [one.path for one in api.asked] == ["/api/v1/rollouts/plan"]
    assert clean(done.out)
    for word in ("pi5", "1 device", "at once", "and 2 more", "warning: ", "for 3 devices"):
        assert word in done.out
    assert json.loads(run("create", "a@1.0.0", "--all", "--dry-run", "--json").out) == plan()


def test_creating(run: Run, api: ScriptedApi) -> None:
    api.answer = always(Answer(201, view()))
    done = run("create", f"{NEW['name']}@{NEW['version']}", "--tag", "pi5", "--stages", "1:0,100%")
    assert done.code == 0
    assert done.lines[0].startswith(ID)
    (asked,) = api.asked
    assert asked.path == "/api/v1/rollouts"
    assert asked.json["target"]["tags"] == ["pi5"]
    assert len(asked.headers["Idempotency-Key"]) == 32


def test_what_makes_no_sense_is_not_sent(run: Run, api: ScriptedApi) -> None:
    model = "m@1.0.0"
    for wrong in (["create"], ["create", model], ["create", model, "--all", "--stages", ""],
                  ["create", model, "--all", "--spec", "/none.toml"], ["explode", ID]):  # fmt: skip
        assert run(*wrong).code == 2
    assert api.asked == []


def watched(api: ScriptedApi, *views: dict[str, Any]) -> None:
    """The API tells of one after the other, each after an event."""
    left = list(views)

    def answer(asked: Asked) -> Answer:
        if "/audit" in asked.path:
            shown = min(len(views), len(views) - len(left) + 1)
            return Answer(body=audit(*(entry(n, "stage_begun", f"entry {n}")
                                       for n in range(shown, 0, -1))))  # fmt: skip
        now = left.pop(0) if left else views[-1]
        if left:
            threading.Timer(0.05, tell, (api,)).start()
        return Answer(body=now)

    api.answer = answer
    api.events = []


def tell(api: ScriptedApi) -> None:
    if api.events is None:
        return
    api.events.append(f'event: rollout\ndata: {{"rollout": "{ID}", "revision": 8}}\n\n')
    api.more_events.set()


def test_a_watch_ends_with_the_rollout(run: Run, api: ScriptedApi) -> None:
    watched(api, view(), view(stage=1), view(state="completed", stage=1,
            states={"changed": 4}))  # fmt: skip
    done = run("watch", ID)
    assert (done.code, done.err) == (0, "")
    said = [line.split("  ", 1)[-1] for line in done.lines]
    assert said[:2] == ["stage_begun: entry 1",
                        "running, stage 1/2 soaking: 3 waiting, 1 changed"]  # fmt: skip
    assert "stage_begun: entry 3" in said
    assert done.lines[-1].startswith(f"{ID}  completed")
    assert done.lines[-1].endswith("4 changed")
    assert len([line for line in said if line == "stage_begun: entry 1"]) == 1


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ({"state": "completed"}, 0),
        ({"state": "undone", "code": "gate_breached"}, 6),
        ({"state": "undo_incomplete", "gates": [GATE]}, 6),
        ({"state": "aborted"}, 5),
        ({"state": "undone", "code": "ordered"}, 5),
    ],
)
def test_how_a_watch_ends(run: Run, api: ScriptedApi, last: dict[str, Any], code: int) -> None:
    api.answer = lambda asked: Answer(body=audit() if "/audit" in asked.path else view(**last))
    assert run("watch", ID).code == code


def test_a_watch_until_paused(run: Run, api: ScriptedApi) -> None:
    paused = view(state="paused", code="gate_breached")
    api.answer = lambda asked: Answer(body=audit() if "/audit" in asked.path else paused)
    assert run("watch", ID, "--until-paused").code == 6


def test_a_watch_as_json(run: Run, api: ScriptedApi) -> None:
    watched(api, view(), view(), view(revision=9, state="completed"))
    done = run("watch", ID, "--json")
    assert done.code == 0
    assert [json.loads(line)["state"] for line in done.lines] == ["running", "completed"]


def test_a_watch_without_events_looks_by_itself(
    run: Run, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeqa_cloud.rollout_changes.WITHOUT_EVENTS_S", 0.05)
    watched(api, view(), view(state="completed"))
    api.events = None
    assert run("watch", ID).code == 0


def test_a_watch_survives_an_api_that_restarts(
    run: Run, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeqa_cloud.rollout_changes.WITHOUT_EVENTS_S", 0.05)
    looks = iter([view(), Answer(503, "<html>"), problem(503, "database_unreachable", EVIL),
                  Answer(cut=True), Answer(cut=True), Answer(cut=True),
                  view(state="completed")])  # fmt: skip

    def answer(asked: Asked) -> Answer:
        if "/audit" in asked.path:
            return Answer(body=audit())
        one = next(looks)
        return one if isinstance(one, Answer) else Answer(body=one)

    api.answer = answer
    done = run("watch", ID)
    assert done.code == 0
    assert clean(done.out)
    assert done.out.count("trying again") == 3


def test_a_watch_ends_where_the_token_does(
    run: Run, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeqa_cloud.rollout_changes.WITHOUT_EVENTS_S", 0.05)
    looks = iter([Answer(body=audit()), Answer(body=view()),
                  problem(401, "unauthorized", "revoked")])  # fmt: skip
    api.answer = lambda _: next(looks)
    done = run("watch", ID)
    assert (done.code, len(done.err.splitlines())) == (3, 1)
