"""The peers: what each is, where its environment lies, and why it may be missing here."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
# `install.py` marks an environment that is complete with this file, which holds the requirements
# that it was made from.
DONE_FILE = "installed.txt"


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to answer questions.

    Attributes:
        name: of its row, and of the worker's options.
        title: for people.
        module: in `workers`.
        takes: `package` (also a draft), or `checkpoint`, a folder of transformers.
        environment: of its own, with `requirements-ENVIRONMENT.txt`; none: the project's.
        needs: modules of the project's environment that it needs.
        options: given to the worker with `load`.
        several: it may be asked several questions at once.
        cpu_flags: the processor must have one of these, as /proc/cpuinfo names them.
    """

    name: str
    title: str
    module: str
    takes: str = "checkpoint"
    environment: str | None = None
    needs: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    several: bool = False
    cpu_flags: tuple[str, ...] = ()

    def python(self) -> Path:
        """The interpreter that runs it."""
        if self.environment is None:
            return Path(sys.executable)
        return environments() / self.environment / "bin" / "python"

    def missing(self) -> str | None:
        """Why it cannot be asked here, in one line with what to do; none if it can."""
        if self.cpu_flags and not set(self.cpu_flags) & processor_flags():
            return f"this processor has none of {', '.join(self.cpu_flags)}"
        if self.environment is None:
            absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
            return f"{', '.join(absent)} not installed: make dev" if absent else None
        done = environments() / self.environment / DONE_FILE
        install = f"python benchmarks/peers/install.py {self.environment}"
        if not done.is_file():
            return f"not installed: {install}"
        if done.read_text() != requirements(self.environment).read_text():
            return f"installed from other requirements: {install}"
        return None


def environments() -> Path:
    """Where the peers' environments lie: EDGEQA_PEERS, or `build/peers` of this checkout."""
    return Path(os.environ.get("EDGEQA_PEERS") or HERE.parent.parent / "build" / "peers")


def requirements(environment: str) -> Path:
    """The pinned requirements of an environment."""
    return HERE / f"requirements-{environment}.txt"


def processor_flags() -> frozenset[str]:
    """What /proc/cpuinfo says the processor can do: `flags` on x86-64, `Features` on ARM64."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    named = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(flag for flags in named for flag in flags.split())


_BF16 = ("avx512_bf16", "amx_bf16", "bf16")
_ALL = [
    Peer(
        name="edgeqa",
        title="EdgeQA, the engine alone",
        module="edgeqa_engine",
        takes="package",
        needs=("onnxruntime", "tokenizers"),
        several=True,
    ),
    Peer(
        name="transformers",
        title="transformers pipeline, torch fp32",
        module="transformers_pipeline",
        needs=("torch", "transformers"),
        options={"dtype": "float32"},
    ),
    Peer(
        name="transformers-bf16",
        title="transformers pipeline, torch bf16",
        module="transformers_pipeline",
        needs=("torch", "transformers"),
        options={"dtype": "bfloat16"},
        cpu_flags=_BF16,
    ),
    Peer(
        name="transformers-padded",
        title="transformers pipeline, torch fp32, padded to 384",
        module="transformers_pipeline",
        needs=("torch", "transformers"),
        options={"dtype": "float32", "padding": "max_length"},
    ),
    Peer(
        name="tensorflow",
        title="transformers on TensorFlow 2.15, padded to 384",
        module="tensorflow_padded",
        environment="tensorflow",
    ),
    Peer(
        name="optimum",
        title="optimum pipeline, onnxruntime fp32",
        module="optimum_pipeline",
        environment="optimum",
    ),
    Peer(
        name="openvino",
        title="transformers pipeline on OpenVINO, fp32",
        module="openvino_pipeline",
        environment="openvino",
        options={"precision": "fp32"},
    ),
    Peer(
        name="openvino-bf16",
        title="transformers pipeline on OpenVINO, bf16",
        module="openvino_pipeline",
        environment="openvino",
        options={"precision": "bf16"},
        cpu_flags=_BF16,
    ),
    Peer(
        name="openvino-int8",
        title="transformers pipeline on OpenVINO, int8",
        module="openvino_pipeline",
        environment="openvino",
        options={"precision": "int8"},
    ),
    Peer(
        name="mlserver",
        title="MLServer, Hugging Face runtime on onnxruntime fp32, over HTTP",
        module="mlserver_http",
        environment="mlserver",
        several=True,
    ),
]
PEERS: dict[str, Peer] = {peer.name: peer for peer in _ALL}


def available() -> list[tuple[Peer, str | None]]:
    """All peers, each with why it cannot be asked here (none: it can)."""
    return [(peer, peer.missing()) for peer in PEERS.values()]
