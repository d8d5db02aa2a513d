"""`python -m edgeqa_agent.evaluation_data`: makes the question file of self-evaluation, and ends.

A process of its own, of the lowest priority: `datasets` and pyarrow are imported here only, and
their memory ends with it. What it finds wrong it says in one line of JSON on standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeqa.data.identity import fingerprint, title
from edgeqa.data.sources import load_examples, located
from edgeqa.errors import DataError, EdgeqaError, ExitCode
from edgeqa.files import write_atomic
from edgeqa.squad import Example
from edgeqa.telemetry_messages import Dataset
from edgeqa_agent.evaluation_download import download
from edgeqa_agent.evaluation_settings import is_web
from edgeqa_agent.question_file import Origin, describe, pack

_LOWEST_PRIORITY = 19
_MAX_MESSAGE_CHARS = 1000
_MAX_FILES = 10_000


def main(argv: list[str]) -> int:
    """Read the source and write the file; how it went, as an exit code."""
    said = _arguments(argv)
    os.nice(_LOWEST_PRIORITY)
    # Ends this process, whatever a library is waiting for: its parent may be gone.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(max(1, round(said.timeout_s)))
    work = said.output.with_name("evaluation-download")
    try:
        # What a process left that was ended in the middle.
        for left in said.output.parent.glob(f".{said.output.name}.*"):
            left.unlink()
        with _empty_folder(work):
            content = made(said.source, said.split, said.max_bytes, said.timeout_s, work)
        write_atomic(said.output, content)
    except EdgeqaError as error:
        return _complain(error.code, str(error), error.exit_code)
    except OSError as error:
        return _complain("invalid_data", f"{said.output}: {error.strerror}", ExitCode.REFUSED)
    except MemoryError:
        return _complain("invalid_data", "not enough memory to read it", ExitCode.REFUSED)
    return int(ExitCode.OK)


def made(source: str, split: str, max_bytes: int, timeout_s: float, work: Path) -> bytes:
    """The bytes of the question file of a source.

    Args:
        source: path, URL or hub id.
        split: of it.
        max_bytes: of its data.
        timeout_s: for a download.
        work: a folder for it.

    Raises:
        DataError: it cannot be read, is too large, empty, or contradicts itself.
    """
    origin = Origin.of(source, split)
    if not is_web(source):
        dataset, examples = _read(located(source), split, max_bytes, title(located(source)))
        return pack(examples, dataset=dataset, origin=origin)
    path = download(source, work, max_bytes=max_bytes, timeout_s=timeout_s)
    try:
        dataset, examples = _read(str(path), split, max_bytes, title(path.name))
    except DataError as error:
        raise DataError(str(error).replace(str(path), source), code=error.code) from error
    return pack(examples, dataset=dataset, origin=origin)


@contextmanager
def _empty_folder(path: Path) -> Iterator[None]:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _read(source: str, split: str, max_bytes: int, name: str) -> tuple[Dataset, list[Example]]:
    _demand_size(Path(source), max_bytes)
    examples = load_examples([source], split=split)
    size = sum(len(text) for text in {one.context for one in examples})
    if size > max_bytes:
        raise _too_large(source, max_bytes)
    return describe(name, fingerprint(source, examples), examples), examples


def _demand_size(path: Path, max_bytes: int) -> None:
    """Refuse a large file, or a folder of large files, before it is read."""
    try:
        if path.is_file():
            size = path.stat().st_size
        elif path.is_dir():
            files = [file for file, _ in zip(path.rglob("*"), range(_MAX_FILES), strict=False)]
            size = sum(file.stat().st_size for file in files if file.is_file())
        elif path.exists():
            raise DataError(f"{path}: neither a file nor a folder")
        else:
            return
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if size > max_bytes:
        raise _too_large(str(path), max_bytes)


def _too_large(source: str, max_bytes: int) -> DataError:
    return DataError(
        f"{source}: larger than {max_bytes >> 20} MiB, the most that this device reads "
        "(`evaluation_data_max_mb`)"
    )


def _complain(code: str, message: str, exit_code: ExitCode) -> int:
    line = {"code": code, "message": message[:_MAX_MESSAGE_CHARS]}
    sys.stdout.write(json.dumps(line) + "\n")
    return int(exit_code)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="edgeqa_agent.evaluation_data", description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--split", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--max-bytes", type=int, required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
