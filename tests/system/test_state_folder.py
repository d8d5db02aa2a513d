"""State folders that an agent cannot work with: one line with what to do, and exit code 3."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.swaps import L3

pytestmark = pytest.mark.system

# As in the images.
USER = 10001
ALONE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]


def may(*command: str) -> bool:
    """Whether this system lets us."""
    try:
        ended = subprocess.run([*command, "true"], capture_output=True, check=False)
    except OSError:
        return False
    return ended.returncode == 0


# Python may lie where other users do not get to: it becomes one of them when all is loaded.
AS_USER = """
import sys, structlog
from pathlib import Path
from edgeqa.errors import EdgeqaError
from edgeqa_agent.store_folder import StoreFolder
import os
os.setgroups([]); os.setresgid(*3 * [int(sys.argv[2])]); os.setresuid(*3 * [int(sys.argv[2])])
try:
    StoreFolder.open(Path(sys.argv[1]), structlog.get_logger())
except EdgeqaError as error:
    sys.exit(f"{error} [{error.code}, {int(error.exit_code)}]")
"""


def opened_by_another(state: Path) -> str:
    """What the images' user is told; nothing if all is well."""
    ended = subprocess.run(
        [sys.executable, "-c", AS_USER, state, str(USER)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return ended.stderr


def agent(state: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    """Run one that gets no further than to a broker that is not there."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGEQA")}
    return subprocess.run(
        [*prefix, sys.executable, "-m", "edgeqa.cli", "agent", "run", "--device", "pi-1"],
        env={
            **clean,
            "HOME": "/",
            "EDGEQA_AGENT_STATE_DIR": str(state),
            "EDGEQA_AGENT_PACKAGE": str(L3.path),
            "EDGEQA_AGENT_BROKER": "mqtt://127.0.0.1:1",
            "EDGEQA_AGENT_BROKER_CONNECT_TIMEOUT_S": "0.2",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def line_of(ended: subprocess.CompletedProcess[str], code: int = 3) -> str:
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = [one for one in ended.stderr.splitlines() if one.startswith("edgeqa:")]
    return line


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
with_mounts = pytest.mark.skipif(not may(*ALONE), reason="needs mounts of its own")


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that every user gets to."""
    # Not below pytest's own folder, which is closed to others.
    with tempfile.TemporaryDirectory(prefix="edgeqa-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


@as_root
def test_a_folder_of_another_user_comes_with_the_command_to_run(open_path: Path) -> None:
    state = open_path / "state"
    state.mkdir(mode=0o755)
    command = f"chown -R {USER}:{USER} {state}"
    line = opened_by_another(state)
    assert f"belongs to root (uid 0), and the agent runs as uid {USER}" in line
    assert command in line
    assert line.endswith("[store_unusable, 3]\n")

    subprocess.run(command.split(), check=True)
    assert opened_by_another(state) == ""

    subprocess.run(["chown", "-R", "root", state], check=True)
    state.chmod(0o700)  # as Docker makes the folder of a bind mount that was not there
    assert command in opened_by_another(state)
    subprocess.run(command.split(), check=True)

    (state / "outbox.sqlite").touch(mode=0o600)
    assert f"{state}/outbox.sqlite belongs to root" in opened_by_another(state)
    subprocess.run(command.split(), check=True)
    assert opened_by_another(state) == ""

    state.chmod(0o500)
    assert f"chmod -R u+rwX {state}" in opened_by_another(state)
    (state / "lost+found").mkdir(mode=0o700)  # of a disk of its own
    subprocess.run(["chmod", "-R", "u+rwX", state], check=True)
    assert opened_by_another(state) == ""


@as_root
def test_a_folder_that_cannot_be_made_comes_with_the_command_to_run(open_path: Path) -> None:
    state = open_path / "edgeqa"
    command = f"install -d -m 700 -o {USER} -g {USER} {state}"
    line = opened_by_another(state)
    assert command in line
    assert f"mount a volume at {state}" in line

    subprocess.run(command.split(), check=True)
    assert opened_by_another(state) == ""


@with_mounts
def test_a_read_only_disk_is_said_to_be_one(tmp_path: Path) -> None:
    tmp_path.joinpath("disk").mkdir()
    mounting = f'mount --bind -o ro {tmp_path}/disk {tmp_path}/disk && exec "$@"'
    line = line_of(agent(tmp_path / "disk" / "edgeqa", *ALONE, "sh", "-c", mounting, "sh"))
    assert "its disk is read-only" in line
    assert f"mount a volume at {tmp_path}/disk/edgeqa" in line


@with_mounts
def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # Not even a folder can be made: there are no inodes left, either.
    full = (
        f"mount -t tmpfs -o size=64k,nr_inodes=3 tmpfs {disk} && touch {disk}/a && "
        f'(cat /dev/zero > {disk}/b || true) 2>/dev/null; exec "$@"'
    )
    line = line_of(agent(disk / "edgeqa", *ALONE, "sh", "-c", full, "sh"))
    assert "its disk is full" in line


@pytest.mark.slow
@with_mounts
def test_an_agent_whose_disk_is_full_serves_all_the_same(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    full = (
        f"mount -t tmpfs -o size=1m tmpfs {disk} && mkdir {disk}/edgeqa && "
        f'(cat /dev/zero > {disk}/all || true) 2>/dev/null; exec "$@"'
    )
    ended = agent(disk / "edgeqa", *ALONE, "sh", "-c", full, "sh")
    assert "[broker_unreachable]" in line_of(ended, 4)
    assert "model_ready" in ended.stderr


def test_something_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file" in line_of(agent(tmp_path / "file" / "edgeqa"))
    assert f"{tmp_path}/file is in its way" in line_of(agent(tmp_path / "file"))
