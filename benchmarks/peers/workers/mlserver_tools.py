"""MLServer, and the export that its runtime reads, with a torch that is newer than their optimum.

    python -m peers.workers.mlserver_tools export CHECKPOINT FOLDER
    python -m peers.workers.mlserver_tools start FOLDER

mlserver-huggingface 1.7 demands optimum 1, which takes names from a module of torch that torch has
moved since, and expects the exporter to ONNX that was torch's default then. It also imports a class
of chats that transformers dropped; nothing of it is used for questions.
"""

from __future__ import annotations

import functools
import importlib
import sys

import torch


def _old_names() -> None:
    moved = importlib.import_module("torch.onnx._internal.torchscript_exporter.symbolic_opset14")
    public = importlib.import_module("torch.onnx.symbolic_opset14")
    for name in dir(moved):
        if not hasattr(public, name):
            setattr(public, name, getattr(moved, name))


def _export(checkpoint: str, folder: str) -> None:
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    from optimum.exporters.onnx import main_export
    from transformers import AutoTokenizer

    main_export(checkpoint, folder, task="question-answering", do_validation=False)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)


def _start(folder: str) -> None:
    import transformers.pipelines
    from mlserver.cli import main

    transformers.pipelines.Conversation = type("Conversation", (), {})
    sys.argv = ["mlserver", "start", folder]
    main()


if __name__ == "__main__":
    _old_names()
    {"export": _export, "start": _start}[sys.argv[1]](*sys.argv[2:])
