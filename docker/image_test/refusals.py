"""What a container says that cannot work: one line, no crash loop, unhealthy, a known exit code."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeqa.client import Client
from image_test.asking import EMULATED, USER, Site, first_answer, questions
from image_test.bases import native
from image_test.builds import Image
from image_test.containers import HEALTH_S, Container
from image_test.shell import ImageTestError, run

_SAID_S = 180.0
_BUNDLE, _DATA = "/etc/edgeqa", "/var/lib/edgeqa"
Mounts = dict[str, Path]


@dataclass(frozen=True)
class Case:
    """A container that cannot work.

    Attributes:
        name: what is wrong with it.
        change: of a good container's mounts.
        environment: of it.
        code: stable slug that the line ends with.
        exit_code: after SIGTERM.
    """

    name: str
    code: str
    exit_code: int
    change: Callable[[Mounts], object] = dict  # a copy, which changes nothing
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Refused:
    """What it said, and with which code it ended."""

    name: str
    line: str
    exit_code: int


def _without_bundle(mounts: Mounts) -> None:
    del mounts[_BUNDLE]


def _without_data(mounts: Mounts) -> None:
    del mounts[_DATA]


def _of_root(mounts: Mounts) -> None:
    os.chown(mounts[_DATA], 0, 0)


def _unreadable_key(mounts: Mounts) -> None:
    """A bundle as `edgeqa cloud enrol` writes it, copied by root: its key is root's alone."""
    folder = mounts[_BUNDLE]
    subject = ["-subj", "/O=EdgeQA/OU=device/CN=pi"]
    run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", *subject, "-days", "2", "-keyout", folder / "identity.key",
         "-out", folder / "identity.crt"]
    )  # fmt: skip
    (folder / "identity.key").chmod(0o600)
    with (folder / "agent.toml").open("a", encoding="utf-8") as file:
        for name, value in (
            ("broker", '"mqtts://127.0.0.1:8883"'),
            ("broker_cert_file", '"/etc/edgeqa/identity.crt"'),
            ("broker_key_file", '"/etc/edgeqa/identity.key"'),
        ):
            file.write(f"{name} = {value}\n")
    lines = (folder / "agent.toml").read_text().splitlines()
    (folder / "agent.toml").write_text("\n".join(lines[:1] + lines[2:]) + "\n")


CASES = (
    Case("no bundle", "invalid_config", 3, _without_bundle),
    Case("no data volume", "store_unusable", 3, _without_data),
    Case("a data volume of another owner", "store_unusable", 3, _of_root),
    Case("a bundle whose key is another's", "certificate_unreadable", 3, _unreadable_key),
    Case(
        "a typing mistake in a variable", "invalid_config", 3,
        environment={"EDGEQA_AGENT_BROKKER": "mqtt://127.0.0.1"},
    ),
)  # fmt: skip


def refuse(site: Site, image: Image) -> Iterator[Refused]:
    """Try each case.

    Raises:
        ImageTestError: one is not refused as it must be.
    """
    for number, case in enumerate(CASES):
        yield _refused(site, image, case, f"bad-{number}-{image.architecture}")


def _refused(site: Site, image: Image, case: Case, name: str) -> Refused:
    slow = {} if image.architecture == native() else EMULATED
    mounts = {
        _BUNDLE: site.bundle(name, {"device": name, "broker": site.broker}),
        _DATA: site.data(name),
    }
    case.change(mounts)
    container = Container(
        image=image, name=name, work=site.work, mounts=mounts,
        environment={**slow, **(case.environment or {})},
    )  # fmt: skip
    with container:
        line = container.wait_for("edgeqa: ", _SAID_S)
        code, said = container.health()
        others = [one for one in container.log.splitlines() if not one.startswith("{")]
        held = container.running
        exit_code = container.stop()
    if others != [line] or not line.endswith(f"[{case.code}]"):
        raise ImageTestError(f"{case.name}: [{case.code}] was due, in one line:\n{container.log}")
    if not held or not code or line.removeprefix("edgeqa: ").rpartition(" [")[0] not in said:
        raise ImageTestError(f"{case.name}: held {held}, health {code}: {said}")
    if exit_code != case.exit_code:
        raise ImageTestError(f"{case.name}: ended with {exit_code}, not {case.exit_code}\n{line}")
    return Refused(case.name, line, exit_code)


def without_space(site: Site, image: Image) -> str:
    """A full data volume ends nothing: the agent answers, and says in its log what is wrong.

    Raises:
        ImageTestError: it does not answer, or says nothing.
    """
    name = f"full-{image.architecture}"
    folder = site.folder("data-full")
    options = f"size=1m,mode=700,uid={USER},gid={USER}"
    run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder])
    try:
        (folder / "other").write_bytes(b"x" * (1 << 20))
        with (
            Client(broker=site.broker) as client,
            site.agent(image, name, mounts={_DATA: folder}) as container,
        ):
            first_answer(client, container, questions()[0])
            container.wait_healthy(HEALTH_S)
            lines = [line for line in container.log.splitlines() if '"disk_full"' in line]
            if not lines or container.stop(180):
                raise ImageTestError(
                    f"a full volume: nothing said of it, or no stop:\n{container.log}"
                )
    finally:
        run(["umount", folder])
    return str(json.loads(lines[0])["reason"])


def foreign(work: Path, image: Image) -> str:
    """What the kernel says to the image of another architecture, where no emulator is registered.

    In a user namespace with a binfmt_misc of its own, which is empty: the machine's stays as it is.
    Needs Linux 6.7; empty where it is older.
    """
    script = (
        f"mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && exec chroot {image.root} "
        f"/opt/edgeqa/bin/python --version"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True, text=True, check=False, cwd=work,
    )  # fmt: skip
    return done.stderr.strip()
