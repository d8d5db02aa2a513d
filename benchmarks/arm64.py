"""Do the variants compute on the device what they compute here?

    python benchmarks/arm64.py record FOLDER... --output logits.npz     on one machine
    python benchmarks/arm64.py compare logits.npz FOLDER...             on the other

FOLDER is a draft or a package. Only numpy and onnxruntime are needed, so that it runs on a bare
device, and in an emulator: with qemu-user and the ARM64 wheels of both,

    qemu-aarch64 -cpu cortex-a76 -L ROOT ROOT/usr/bin/python3.11 benchmarks/arm64.py compare …

where ROOT holds Debian's arm64 Python. An emulator's times say nothing about a board.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

OUTPUTS = ["start_logits", "end_logits"]
TOKENS = 200
# int8 kernels of two processors round differently; what is wrong correlates by far less.
MIN_CORRELATION = 0.995


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record")
    record.add_argument("folders", nargs="+", type=Path)
    record.add_argument("--output", required=True, type=Path)
    compare = commands.add_parser("compare")
    compare.add_argument("recorded", type=Path)
    compare.add_argument("folders", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "record":
        np.savez(arguments.output, **{folder.name: logits(folder) for folder in arguments.folders})
        return 0
    recorded = np.load(arguments.recorded)
    return max(shown(folder, recorded[folder.name]) for folder in arguments.folders)


def logits(folder: Path) -> np.ndarray:
    """Of one window of fixed tokens, all of them real."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    feeds = {
        "input_ids": np.arange(TOKENS, dtype=np.int64)[None] * 7 % 90 + 5,
        "attention_mask": np.ones((1, TOKENS), np.int64),
        "token_type_ids": (np.arange(TOKENS) > TOKENS // 8).astype(np.int64)[None],
    }
    known = {node.name for node in session.get_inputs()}
    return np.stack(session.run(OUTPUTS, {k: v for k, v in feeds.items() if k in known}))


def shown(folder: Path, theirs: np.ndarray) -> int:
    ours = logits(folder)
    correlation = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
    good = correlation >= MIN_CORRELATION
    print(
        f"{'same ' if good else 'OTHER'} {folder.name}: onnxruntime {ort.__version__} on "
        f"{platform.machine()}, largest difference of a logit {np.abs(ours - theirs).max():.2g}, "
        f"correlation {correlation:.5f}",
        flush=True,
    )
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
