"""Make the environments that peers need of their own: a venv each, from pinned requirements.

    python benchmarks/peers/install.py                 # all that can be installed here
    python benchmarks/peers/install.py optimum openvino

Done ones are left alone, so it goes on where it was stopped. pip's own settings apply: name an
index with CPU builds of torch in PIP_EXTRA_INDEX_URL to save some gigabytes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.catalogue import DONE_FILE, PEERS, environments, requirements

NAMES = sorted({peer.environment for peer in PEERS.values() if peer.environment})
_LAST_LINES = 3


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(NAMES)}; all of them by default.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what is there already.")] = False,
) -> None:
    """Install peers, each into an environment of its own below build/peers."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    unknown = sorted(set(names or []) - set(NAMES))
    if unknown:
        console.print(f"error: no peer environment {', '.join(unknown)}: {', '.join(NAMES)}")
        raise typer.Exit(2)
    failed = [name for name in names or NAMES if not _install(name, again, console)]
    if failed:
        console.print(f"not installed: {', '.join(failed)}; the others can be measured")
        raise typer.Exit(1)


def _install(name: str, again: bool, console: Console) -> bool:
    wanted = requirements(name)
    folder = environments() / name
    done = folder / DONE_FILE
    if not again and done.is_file() and done.read_text() == wanted.read_text():
        console.print(f"{name}: there")
        return True
    console.print(f"{name}: installing into {folder}; this takes some minutes")
    try:
        # An environment that is half made is made anew; pip keeps what it has downloaded.
        if folder.exists():
            shutil.rmtree(folder)
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "--quiet", "--requirement", str(wanted)])
    except subprocess.CalledProcessError as error:
        console.print(f"{name}: {_reason(error.stderr)}")
        return False
    except OSError as error:
        console.print(f"{name}: {folder}: {error.strerror}")
        return False
    done.write_text(wanted.read_text())
    console.print(f"{name}: installed")
    return True


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)


def _reason(output: str) -> str:
    lines = [line for line in output.splitlines() if line.startswith("ERROR")]
    lines = lines or [line for line in output.splitlines() if line.strip()]
    return " ".join(lines[-_LAST_LINES:]) or "pip failed and said nothing"


if __name__ == "__main__":
    try:
        typer.run(main)
    except KeyboardInterrupt:
        print("stopped; the next run goes on", file=sys.stderr)
        sys.exit(130)
