"""An outbox on a disk of four megabytes that is full, and then read-only; exits 0 if all is well.

    unshare -Urm python -m support.small_outbox FOLDER

mounts the disk over FOLDER, which nobody outside sees and which goes with the process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgeqa.outbox import Outbox, OutboxError
from support.outboxes import Box, numbers, rows, send_all, telemetry
from support.small_disk import fill, run


def refused(outbox: Outbox) -> None:
    """The record is not taken, the error says why in a line, and the state can be told."""
    before = outbox.state().dropped.get("telemetry", 0)
    with pytest.raises(OutboxError) as error:
        telemetry(outbox)
    assert error.value.code == "outbox_failed", error.value
    assert "\n" not in str(error.value)
    assert outbox.state().dropped["telemetry"] == before + 1


def full(folder: Path) -> None:
    """What does not fit is counted; what was there is there, and is sent and goes on."""
    box = Box(folder)
    outbox = box.open()
    telemetry(outbox, 5)
    fill(folder / "others")
    taken = 5
    for _ in range(400):  # the log has room for some more
        try:
            taken = telemetry(outbox)[0]
        except OutboxError:
            break
    lost = outbox.state().dropped["telemetry"]
    assert lost == 1
    refused(outbox)
    assert numbers(rows(outbox)) == list(range(1, taken + 1))
    outbox.close()
    # A start on a full disk: nothing can be noted, and nothing is lost of what is there.
    again = box.open("boot-2")
    with pytest.raises(OutboxError):
        telemetry(again)
    (folder / "others").unlink()
    assert telemetry(again) == [1]
    assert telemetry(outbox) == [taken + 1]
    assert outbox.state().dropped["telemetry"] == lost + 1
    assert numbers(rows(again)) == [*range(1, taken + 1), 1, taken + 1]
    send_all(again)
    assert rows(again) == []
    again.close()
    outbox.close()


def full_from_the_start(folder: Path) -> None:
    """There is no room for a file at all."""
    fill(folder / "others")
    outbox = Box(folder).open()
    refused(outbox)
    refused(outbox)
    with pytest.raises(OutboxError):
        rows(outbox)
    (folder / "others").unlink()
    assert telemetry(outbox) == [1]
    assert outbox.state().dropped == {"telemetry": 2}
    outbox.close()


def read_only(folder: Path) -> None:
    """A disk that becomes read-only while the agent runs, as after an error of the file system."""
    outbox = Box(folder).open()
    telemetry(outbox, 3)
    run("mount", "--bind", folder, folder)
    run("mount", "-o", "remount,bind,ro", folder)
    again = Box(folder).open("boot-2")
    refused(again)
    run("umount", folder)
    assert telemetry(again) == [1]
    assert again.state().dropped == {"telemetry": 1}
    assert numbers(rows(again)) == [1, 2, 3, 1]
    again.close()
    outbox.close()


def main() -> None:
    """See the module."""
    disk = Path(sys.argv[1])
    run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk)
    os.chdir("/")
    for part in (full_from_the_start, full, read_only):
        folder = disk / part.__name__
        folder.mkdir()
        part(folder)


if __name__ == "__main__":
    main()
