"""Wishes that cannot, or must not, be fulfilled: the device says why, and goes on answering."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.agents import AgentProcess, RawClient, assert_serves, serving
from support.broker import Broker
from support.repository import Repository, make_repository, serve
from support.swaps import L3, L6, Watcher, variant

pytestmark = pytest.mark.system

NAME = L3.manifest.name


def graph(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    """An edit of a package's graph."""

    def edit(folder: Path) -> None:
        model = onnx.load(folder / "model.onnx")
        change(model)
        onnx.save(model, folder / "model.onnx")

    return edit


def other_output(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == "end_logits":
                node.output[index] = "logits"
    model.graph.output[1].name = "logits"


def not_a_number(model: onnx.ModelProto) -> None:
    [bias] = [one for one in model.graph.initializer if one.name.endswith("qa_outputs.bias")]
    values = np.full_like(numpy_helper.to_array(bias), np.nan)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))


def garbage(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a graph" * 1000)


def other_answers(folder: Path) -> None:
    checks = json.loads((folder / "checks.json").read_bytes())
    for check in checks:
        check["answers"] = ["something else"]
    (folder / "checks.json").write_text(json.dumps(checks))


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


BAD = {
    "8.0.0": (graph(other_output), "model_interface"),
    "8.1.0": (graph(not_a_number), "inference_failed"),
    "8.2.0": (garbage, "model_load_failed"),
    "8.3.0": (other_answers, "checks_failed"),
    "8.4.0": (broken_tokenizer, "model_load_failed"),
}
FLIPPED, CUT, GOOD = "8.5.0", "8.6.0", "9.0.0"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("repository")
    packages = [variant(folder, version, edit=edit) for version, (edit, _) in BAD.items()]
    packages += [
        variant(folder, version, edit=lambda path, v=version: _mark(path, v))  # type: ignore[misc]
        for version in (FLIPPED, CUT)
    ]
    made = make_repository(folder, *packages, variant(folder, GOOD))
    for version in (FLIPPED, CUT):
        [target] = (made.path / "targets" / NAME / version).glob("*.checks.json")
        content = bytearray(target.read_bytes())
        if version == FLIPPED:
            content[len(content) // 2] ^= 1
            target.write_bytes(content)
        else:
            target.write_bytes(content[:-1])
    return made


def _mark(folder: Path, version: str) -> None:
    """Make a file that no other package shares."""
    checks = json.loads((folder / "checks.json").read_bytes())
    (folder / "checks.json").write_text(json.dumps(checks, indent=int(version[2]) % 3 + 3))


@pytest.fixture(scope="module")
def device(
    repository: Repository, shared_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    """A device that trusts the repository."""
    folder = tmp_path_factory.mktemp("device")
    (folder / "root.json").write_bytes(repository.root)
    with (
        serve(repository.path) as url,
        serving(
            shared_broker, folder, repository=url, repository_root=folder / "root.json"
        ) as running,
    ):
        yield running


@pytest.fixture
def watcher(shared_broker: Broker, device: AgentProcess) -> Iterator[Watcher]:
    with Watcher(shared_broker) as one:
        yield one


@pytest.fixture
def asker(shared_broker: Broker, device: AgentProcess) -> Iterator[RawClient]:
    with RawClient(shared_broker) as raw:
        yield raw


def assert_refused(
    watcher: Watcher, asker: RawClient, wish: str, code: str, *, serves: str = L6.digest
) -> dict[str, Any]:
    outcome = watcher.outcome(wish)
    assert (outcome["state"], outcome["reason"]["code"]) == ("failed", code), outcome
    assert outcome["active"]["digest"] == serves
    assert assert_serves(asker)["model"]["digest"] == serves
    return outcome


@pytest.mark.parametrize("version", BAD)
def test_a_signed_package_that_does_not_read_is_refused(
    watcher: Watcher, asker: RawClient, version: str
) -> None:
    wish = watcher.wish(name=NAME, version=version)
    assert_refused(watcher, asker, wish, BAD[version][1])


@pytest.mark.parametrize("version", [FLIPPED, CUT])
def test_bytes_that_were_not_signed_are_refused(
    watcher: Watcher, asker: RawClient, version: str
) -> None:
    wish = watcher.wish(name=NAME, version=version)
    assert_refused(watcher, asker, wish, "download_corrupt")
    assert "loading" not in watcher.states(wish)


def test_a_package_that_does_not_exist_is_refused(watcher: Watcher, asker: RawClient) -> None:
    assert_refused(watcher, asker, watcher.wish(name=NAME, version="77.0.0"), "unknown_package")


def test_another_package_than_that_of_the_digest_is_refused(
    watcher: Watcher, asker: RawClient
) -> None:
    wish = watcher.wish(name=NAME, version=GOOD, digest=L6.digest)
    assert_refused(watcher, asker, wish, "wrong_digest")


@pytest.mark.parametrize(
    ("gates", "code"),
    [
        ({"max_p95_ms": 0.001}, "gate_latency"),
        ({"max_memory_mb": 1}, "gate_memory"),
    ],
)
def test_a_model_that_misses_a_gate_is_refused_with_what_was_measured(
    watcher: Watcher, asker: RawClient, gates: dict[str, float], code: str
) -> None:
    wish = watcher.wish(L3, gates=gates)
    assert_refused(watcher, asker, wish, code)
    assert any(r.get("checks") for r in watcher.reports if r.get("wish") == wish)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"{", "not_json"),
        (b"\xff", "not_utf8"),
        (b"[]", "invalid_payload"),
        (b'{"schema": 2, "id": "a", "name": "n", "version": "1.0.0"}', "unsupported_schema"),
        (b'{"id": "a", "name": "../etc", "version": "1.0.0"}', "invalid_payload"),
        (b'{"id": "a", "name": "n", "version": "1.0.0", "gates": {"min_f1": 900}}',
         "invalid_payload"),
        (b'{"id": "a", "name": "n", "version": "1.0.0", "x": "' + b"x" * 70_000 + b'"}',
         "payload_too_large"),
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_read_is_reported_and_changes_nothing(
    watcher: Watcher, asker: RawClient, payload: bytes, code: str
) -> None:
    watcher.publish(payload)
    report = watcher.until(lambda r: (r.get("reason") or {}).get("code") == code)
    assert report["state"] == "active"
    assert assert_serves(asker)["model"]["digest"] == L6.digest
    watcher.publish(b"")


def test_two_wishes_at_once_end_in_the_newer_one(watcher: Watcher, asker: RawClient) -> None:
    first, second = watcher.wish(L3), watcher.wish(L6)
    assert watcher.outcome(second)["state"] == "active"
    assert "active" not in watcher.states(first)
    assert assert_serves(asker)["model"]["digest"] == L6.digest


def test_no_wish_is_asked_of_memory_that_is_not_there(broker: Broker, tmp_path: Path) -> None:
    with (
        serving(broker, tmp_path, memory_reserve_mb=1 << 20),
        Watcher(broker) as watcher,
        RawClient(broker) as asker,
    ):
        outcome = assert_refused(watcher, asker, watcher.wish(L3), "not_enough_memory")
        assert "MiB" in outcome["reason"]["message"]


def test_a_device_without_a_repository_says_so(broker: Broker, tmp_path: Path) -> None:
    with (
        serving(broker, tmp_path),
        Watcher(broker) as watcher,
        RawClient(broker) as asker,
    ):
        wish = watcher.wish(name=NAME, version=GOOD)
        assert_refused(watcher, asker, wish, "repository_not_set")
        wish = watcher.wish(L3, digest=L6.digest)
        assert_refused(watcher, asker, wish, "wrong_digest")


class _Away(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        pass


def test_a_repository_that_is_away_is_waited_for(
    broker: Broker, repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "root.json").write_bytes(repository.root)
    away = ThreadingHTTPServer(("127.0.0.1", 0), _Away)
    port = away.server_address[1]
    thread = threading.Thread(target=away.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    settings = {
        "repository": f"http://127.0.0.1:{port}", "repository_root": tmp_path / "root.json"
    }  # fmt: skip
    with (
        serving(broker, tmp_path, **settings),
        Watcher(broker) as watcher,
        RawClient(broker) as asker,
    ):
        wish = watcher.wish(name=NAME, version=GOOD)
        waiting = watcher.until(lambda r: r.get("reason") is not None, timeout_s=120)
        assert (waiting["state"], waiting["reason"]["code"]) == (
            "fetching", "repository_unreachable",
        )  # fmt: skip
        assert assert_serves(asker)["model"]["digest"] == L6.digest
        away.shutdown()
        away.server_close()
        thread.join()
        with serve(repository.path, port=port):
            assert watcher.outcome(wish, timeout_s=120)["state"] == "active"
        assert assert_serves(asker)["model"]["version"] == GOOD


def test_a_full_disk_is_said_and_takes_no_model_away(
    broker: Broker, repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "root.json").write_bytes(repository.root)
    huge = shutil.disk_usage(tmp_path).free // (1 << 20) + 1000
    with serve(repository.path) as url:
        settings = {"repository": url, "repository_root": tmp_path / "root.json"}
        with (
            serving(broker, tmp_path, disk_reserve_mb=huge, **settings),
            Watcher(broker) as watcher,
            RawClient(broker) as asker,
        ):
            wish = watcher.wish(name=NAME, version=GOOD)
            assert_refused(watcher, asker, wish, "disk_full")
