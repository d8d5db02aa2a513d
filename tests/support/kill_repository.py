"""Kill a repository's command at each of its writes, for real, and keep what each kill leaves.

    python -m support.kill_repository BASE OUT COMMAND [ARGUMENT...]

copies BASE (with repo/ and keys/) to OUT/0, OUT/1, … and runs the command in a child process there
that kills itself with SIGKILL before its 0th, 1st, … write, until one ends by itself. A file that
is being written at that moment is left half-written under its temporary name.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from edgeqa.files import copy_atomic, write_atomic
from edgeqa_models.repository.environment import Passphrase
from edgeqa_models.repository.keys import KeyFolder
from edgeqa_models.repository.layout import Layout
from edgeqa_models.repository.publication import Bench, publish, rotate, sign
from edgeqa_models.repository.roles import Role
from edgeqa_models.repository.rotation import KeyChange
from edgeqa_models.repository.signing import Order
from edgeqa_models.repository.state import load

MOST_WRITES = 50


class Fuse:
    """Dies at the n-th write."""

    def __init__(self, at: int) -> None:
        self._left = at

    def _burn(self, path: Path) -> None:
        if self._left == 0:
            (path.parent / f".{path.name}.half").write_bytes(b"{")
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def write(self, path: Path, content: bytes) -> None:
        self._burn(path)
        write_atomic(path, content)

    def copy(self, source: Path, path: Path, *, sha256: str) -> None:
        self._burn(path)
        copy_atomic(source, path, sha256=sha256)


def act(folder: Path, fuse: Fuse, command: str, *arguments: str) -> None:
    """One command, in `folder`."""
    layout = Layout(folder / "repo")
    keys = KeyFolder(folder / "keys", Passphrase(environ={}, ask=None), repository=layout.path)
    bench = Bench(layout, keys, write=fuse.write, copy=fuse.copy)
    order = Order(now=datetime.now(UTC).replace(microsecond=0))
    if command == "publish":
        publish(bench, [Path(one) for one in arguments], order)
    elif command == "sign":
        sign(bench, order, approve=lambda _: True)
    else:
        role = Role(arguments[0])
        old = load(layout).root.signed.roles[role].keyids
        if len(arguments) > 1:  # the old key is lost
            for path in keys.path.glob(f"{role}-*.pem"):
                path.unlink()
        rotate(bench, KeyChange(role, remove=old), order, generate=1, encrypt=False)


def main() -> None:
    """See the module."""
    base, out = Path(sys.argv[1]), Path(sys.argv[2])
    for at in range(MOST_WRITES):
        folder = out / str(at)
        for part in ("repo", "keys"):
            shutil.copytree(base / part, folder / part)
        child = os.fork()
        if child == 0:
            act(folder, Fuse(at), *sys.argv[3:])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"write {at}: ended with {status}")
    sys.exit("it never ends")


if __name__ == "__main__":
    main()
