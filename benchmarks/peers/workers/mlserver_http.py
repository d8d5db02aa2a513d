"""MLServer with its Hugging Face runtime, asked over HTTP on this machine.

The server is a child of this process. Its runtime makes optimum's pipeline on onnxruntime
(`optimum_model`).
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from peers.workers.pipelines import kept
from peers.workers.protocol import (
    DOC_STRIDE,
    MAX_ANSWER_TOKENS,
    MAX_QUESTION_TOKENS,
    MAX_SEQ_LEN,
    serve,
)

PACKAGES = ("mlserver", "mlserver-huggingface", "optimum", "onnxruntime", "transformers", "torch")
_NAME = "reader"
_TOOLS = [sys.executable, "-P", "-m", "peers.workers.mlserver_tools"]
_START_S = 600.0
_POLL_S = 0.5
_REQUEST_S = 300.0


class ServerReader:
    """A running server. Connections are kept open and are as many as there are questions open."""

    packages = PACKAGES

    def __init__(self, folder: Path, threads: int) -> None:
        self.settings = (
            f"float32, optimum_model on onnxruntime, {threads} cores, parallel_workers 0, "
            "inference over HTTP with connections kept open, do_not_pad"
        )
        self._port, *others = _free_ports(3)
        self._folder = tempfile.TemporaryDirectory()
        home = Path(self._folder.name)
        _write_settings(home, folder, [self._port, *others])
        # The runtime cannot tell onnxruntime how many threads: the server gets as many cores.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        self._server = subprocess.Popen([*_TOOLS, "start", str(home)], stdin=subprocess.DEVNULL)
        self._idle: queue.SimpleQueue[http.client.HTTPConnection] = queue.SimpleQueue()
        self._wait()

    def answer(self, question: str, context: str) -> tuple[str, int]:
        """One question; the server does not say how many windows it read."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_REQUEST_S)
        body = json.dumps(_request(question, context))
        connection.request(
            "POST", f"/v2/models/{_NAME}/infer", body, {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        reply = json.loads(response.read())
        self._idle.put(connection)
        if response.status != http.client.OK:
            raise RuntimeError(f"MLServer replied {response.status}: {reply.get('error', reply)}")
        answer = json.loads(reply["outputs"][0]["data"][0])
        return str(answer["answer"]), 0

    def at_once(self, count: int) -> None:  # noqa: ARG002  # of the protocol
        """The server queues what is asked at the same time.

        Connections of the last block are not used again: the server closes those that were idle for
        5 s (uvicorn's default), and peers take turns.
        """
        while not self._idle.empty():
            self._idle.get().close()

    def close(self) -> None:
        """End the server."""
        self._server.terminate()
        self._server.wait()
        self._folder.cleanup()

    def _wait(self) -> None:
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            if self._server.poll() is not None:
                raise RuntimeError(f"MLServer ended with {self._server.returncode}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_POLL_S)
                connection.request("GET", f"/v2/models/{_NAME}/ready")
                ready = connection.getresponse().status == http.client.OK
                connection.close()
            except OSError:
                ready = False
            if ready:
                return
            time.sleep(_POLL_S)
        raise TimeoutError(f"MLServer was not ready after {_START_S:.0f} s")


def _write_settings(home: Path, model: Path, ports: list[int]) -> None:
    http_port, grpc_port, metrics_port = ports
    server = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        # Inference in the server's own process: one model, and no copies between processes.
        "parallel_workers": 0,
        "environments_dir": str(home / "environments"),
    }
    runtime = {
        "name": _NAME,
        "implementation": "mlserver_huggingface.HuggingFaceRuntime",
        "parameters": {
            "extra": {
                "task": "question-answering",
                "pretrained_model": str(model),
                "pretrained_tokenizer": str(model),
                "optimum_model": True,
            }
        },
    }
    (home / "settings.json").write_text(json.dumps(server))
    (home / "model-settings.json").write_text(json.dumps(runtime))


def _request(question: str, context: str) -> dict[str, Any]:
    values = {
        "question": question,
        "context": context,
        "max_answer_len": MAX_ANSWER_TOKENS,
        "max_seq_len": MAX_SEQ_LEN,
        "doc_stride": DOC_STRIDE,
        "max_question_len": MAX_QUESTION_TOKENS,
    }
    return {
        "inputs": [
            {
                "name": name,
                "datatype": "BYTES",
                "shape": [1],
                "data": [value],
                "parameters": {"content_type": "raw"},
            }
            for name, value in values.items()
        ]
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _load(model: Path, threads: int, _: dict[str, str]) -> ServerReader:
    versions = " ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)

    def make(folder: Path) -> None:
        # In a process of its own: what is imported for it would stay in this one.
        subprocess.run([*_TOOLS, "export", str(model), str(folder)], check=True)

    return ServerReader(kept(model, f"mlserver {versions}", make), threads)


if __name__ == "__main__":
    serve("mlserver", _load)
