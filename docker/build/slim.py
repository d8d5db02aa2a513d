"""Takes what serving does not need out of a virtual environment, and compiles the rest.

    python3 slim.py agent /opt/edgeqa            libraries
    python3 slim.py agent /ours/opt/edgeqa --ours    EdgeQA itself, installed with --root

What goes and why stands in `unserved.py`. Bytecode is compiled here because the image is read-only:
Python could not keep it, and each start and each health check would compile everything again. It is
not checked against its source, so that times of files, which are all set to one, do not matter.
"""

from __future__ import annotations

import argparse
import compileall
import csv
import os
import py_compile
import re
import shutil
import sys
from pathlib import Path

import unserved

SITE = Path("lib/python3.11/site-packages")
# All files get this time, unless SOURCE_DATE_EPOCH says another: 2024-01-01.
DEFAULT_EPOCH = 1704067200


class SlimError(Exception):
    """The tables do not fit what is installed."""


def main() -> int:
    """Slim one virtual environment and say what was gained."""
    parser = argparse.ArgumentParser(description="Take out what serving does not need.")
    parser.add_argument("role", choices=sorted(unserved.OURS))
    parser.add_argument("environment", type=Path)
    parser.add_argument("--ours", action="store_true", help="EdgeQA, not its libraries.")
    arguments = parser.parse_args()
    root: Path = arguments.environment
    before = size_of(root)
    try:
        if arguments.ours:
            drop_files(root / SITE, unserved.OURS[arguments.role])
        else:
            drop_distributions(root / SITE, unserved.DISTRIBUTIONS[arguments.role])
            drop_files(root / SITE, unserved.FILES[arguments.role])
    except SlimError as error:
        sys.stderr.write(f"slim.py: {error}\n")
        return 1
    drop_commands(root / "bin")
    slimmed = size_of(root)
    compile_all(root)
    settle(root, int(os.environ.get("SOURCE_DATE_EPOCH", DEFAULT_EPOCH)))
    sys.stdout.write(
        f"{root}: {before >> 20} MiB, slimmed {slimmed >> 20} MiB, "
        f"with bytecode {size_of(root) >> 20} MiB\n"
    )
    return 0


def drop_distributions(site: Path, table: dict[str, str]) -> None:
    """Remove distributions with every file that they say is theirs.

    Raises:
        SlimError: one is not installed.
    """
    for name in table:
        found = [path for path in site.glob("*.dist-info") if _name(path) == name]
        if not found:
            raise SlimError(f"{name} is not installed, so it cannot be taken out: see unserved.py")
        rows = csv.reader((found[0] / "RECORD").read_text(encoding="utf-8").splitlines())
        for path in [site / row[0] for row in rows]:
            path.unlink(missing_ok=True)
        shutil.rmtree(found[0], ignore_errors=True)
    drop_empty(site)


def drop_files(site: Path, table: dict[str, str]) -> None:
    """Remove what matches.

    Raises:
        SlimError: nothing matches.
    """
    for pattern in table:
        found = [path for path in site.glob(pattern) if not _kept(path.relative_to(site))]
        if not found:
            raise SlimError(f"{pattern} matches nothing: see unserved.py")
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def drop_commands(folder: Path) -> None:
    """Remove programs of libraries."""
    for path in folder.iterdir():
        if path.name not in unserved.COMMANDS:
            path.unlink()


def drop_empty(site: Path) -> None:
    """Remove folders in which nothing is left."""
    for folder, _, _ in os.walk(site, topdown=False):
        if not any(Path(folder).iterdir()):
            Path(folder).rmdir()


def compile_all(root: Path) -> None:
    """Compile each module; what others wrote for other Pythons may not compile, and is left."""
    # The image's path of a module, also where it is installed below another root.
    prefix = str(root).removesuffix("/opt/edgeqa") or None
    compileall.compile_dir(
        root / SITE,
        quiet=2,
        force=True,
        stripdir=prefix,
        prependdir="/" if prefix else None,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def settle(root: Path, epoch: int) -> None:
    """Give every file the same time: equal contents make equal layers."""
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            os.utime(Path(folder) / name, (epoch, epoch), follow_symlinks=False)
    os.utime(root, (epoch, epoch))


def size_of(root: Path) -> int:
    """Bytes of all files."""
    paths = (Path(folder) / name for folder, _, files in os.walk(root) for name in files)
    return sum(path.lstat().st_size for path in paths)


def _name(info: Path) -> str:
    return re.sub(r"[-_.]+", "-", info.name.split("-")[0]).lower()


def _kept(path: Path) -> bool:
    return path.as_posix() in unserved.KEPT


if __name__ == "__main__":
    sys.exit(main())
