"""The peers' processes: what they answer, and how they fail."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from peers import PEERS, Peer, PeerError, Worker
from peers.catalogue import DONE_FILE, HERE, environments, requirements
from peers.workers import protocol

from edgeqa.manifest import TOKENIZER_FILE, open_package
from edgeqa_agent.settings import default_package
from edgeqa_models.draft import SERVED


def questions() -> list[dict[str, str]]:
    return [
        {"id": str(number), "question": check.question, "context": check.context}
        for number, check in enumerate(open_package(default_package()).checks()[:4])
    ]


def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Peer:
    """A peer whose interpreter is a shell script, in an environment that looks installed."""
    monkeypatch.setenv("EDGEQA_PEERS", str(tmp_path))
    python = tmp_path / "optimum" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "optimum" / DONE_FILE).write_text(requirements("optimum").read_text())
    return PEERS["optimum"]


def ended(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def test_sizes_are_those_that_drafts_are_served_with() -> None:
    assert (
        SERVED.max_seq_len,
        SERVED.doc_stride,
        SERVED.max_question_tokens,
        SERVED.max_answer_tokens,
    ) == (
        protocol.MAX_SEQ_LEN,
        protocol.DOC_STRIDE,
        protocol.MAX_QUESTION_TOKENS,
        protocol.MAX_ANSWER_TOKENS,
    )


def test_every_environment_has_pinned_requirements() -> None:
    for name in {peer.environment for peer in PEERS.values() if peer.environment}:
        lines = requirements(name).read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert pins
        assert all("==" in pin for pin in pins), name


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_engine_answers_the_check_questions(at_once: int) -> None:
    asked = questions()
    checks = open_package(default_package()).checks()
    with Worker(PEERS["edgeqa"]) as worker:
        loaded = worker.load(default_package(), threads=2)
        reply = worker.ask(asked, at_once=at_once)
    assert loaded.versions["onnxruntime"]
    assert reply.seconds > 0
    assert reply.windows >= len(asked)
    for question in asked:
        assert reply.answers[question["id"]] in checks[int(question["id"])].answers


def test_a_model_that_does_not_load_is_one_line_and_the_process_lives_on(tmp_path: Path) -> None:
    with Worker(PEERS["edgeqa"]) as worker:
        with pytest.raises(PeerError, match=r"edgeqa: ModelLoadError: .*draft") as raised:
            worker.load(tmp_path, threads=1)
        assert "\n" not in str(raised.value)
        worker.load(default_package(), threads=1)
        assert worker.ask(questions()[:1]).answers


def test_questions_before_a_model_are_refused() -> None:
    with Worker(PEERS["edgeqa"]) as worker, pytest.raises(PeerError, match="no model is loaded"):
        worker.ask(questions())


def test_a_process_that_dies_leaves_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = scripted(tmp_path, monkeypatch, "read line; echo first >&2; echo out of memory >&2")
    with Worker(peer) as worker, pytest.raises(PeerError, match="process ended: out of memory"):
        worker.load(tmp_path, threads=1)


def test_a_process_that_does_not_reply_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = scripted(tmp_path, monkeypatch, f"sleep 600 & echo $! > {tmp_path}/child; wait")
    worker = Worker(peer, load_timeout_s=0.5, stop_timeout_s=0.1)
    with worker, pytest.raises(PeerError, match=r"no reply to load within 0\.5 s"):
        worker.load(tmp_path, threads=1)
    child = int((tmp_path / "child").read_text())
    # Whoever adopted it may not have taken its exit yet.
    assert any(ended(child) or time.sleep(0.01) for _ in range(500))
    worker.stop()  # again: nothing to do


def test_a_reply_that_is_not_json_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = scripted(tmp_path, monkeypatch, "read line; echo Loading...; read line")
    with Worker(peer) as worker, pytest.raises(PeerError, match="not JSON"):
        worker.load(tmp_path, threads=1)


def test_what_is_not_installed_says_how_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEQA_PEERS", str(tmp_path))
    with pytest.raises(PeerError, match=r"optimum: not installed: python .*install\.py optimum"):
        Worker(PEERS["optimum"]).start()


def test_other_requirements_than_installed_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = scripted(tmp_path, monkeypatch, "exit 0")
    (environments() / "optimum" / DONE_FILE).write_text("onnxruntime==1.0\n")
    assert "other requirements" in str(peer.missing())


def test_a_processor_without_bf16_is_said() -> None:
    peer = replace(PEERS["transformers-bf16"], cpu_flags=("no_such_flag",))
    assert peer.missing() == "this processor has none of no_such_flag"


def install(*names: str) -> subprocess.CompletedProcess[str]:
    script = HERE / "install.py"
    return subprocess.run(
        [sys.executable, str(script), *names], capture_output=True, text=True, check=False
    )


def test_installing_an_unknown_peer_names_those_that_there_are() -> None:
    done = install("nothing")
    assert done.returncode == 2
    assert "no peer environment nothing: mlserver, openvino, optimum, tensorflow" in done.stderr


def test_what_is_installed_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(tmp_path, monkeypatch, "exit 1")
    done = install("optimum")
    assert (done.returncode, done.stderr) == (0, "optimum: there\n")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small DistilBERT with random weights and the default package's tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(1)
    config = transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    model = transformers.DistilBertForQuestionAnswering(config)
    with torch.no_grad():
        model.qa_outputs.weight *= 50  # clear winners: no ties that rounding decides
    model.save_pretrained(folder)
    transformers.BertTokenizerFast(
        tokenizer_file=str(open_package(default_package()).file(TOKENIZER_FILE)),
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    return folder


EXACT = ["transformers-padded", "tensorflow", "optimum", "openvino", "mlserver"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_a_peer_answers_as_the_pipeline_on_torch_does(name: str, checkpoint: Path) -> None:
    if missing := PEERS[name].missing():
        pytest.skip(missing)
    with Worker(PEERS["transformers"]) as reference, Worker(PEERS[name]) as worker:
        reference.load(checkpoint, threads=1)
        worker.load(checkpoint, threads=1)
        expected = reference.ask(questions())
        found = worker.ask(questions())
        assert found.answers == expected.answers
        assert found.windows in {0, expected.windows}  # MLServer does not say
        if worker.peer.several:
            assert worker.ask(questions(), at_once=4).answers == expected.answers


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformers-bf16", "openvino-bf16", "openvino-int8"])
def test_a_rounding_peer_answers_every_question(name: str, checkpoint: Path) -> None:
    if missing := PEERS[name].missing():
        pytest.skip(missing)
    asked = questions()
    with Worker(PEERS[name]) as worker:
        worker.load(checkpoint, threads=1)
        answers = worker.ask(asked).answers
    for question in asked:
        assert answers[question["id"]]
        assert answers[question["id"]] in question["context"]
