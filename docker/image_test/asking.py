"""An agent's container and the questions that it is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeqa.client import Client
from edgeqa.errors import AnswerError, AnswerTimeoutError
from edgeqa.manifest import Check, open_package
from edgeqa_agent.settings import default_package
from image_test.bases import native
from image_test.builds import Image
from image_test.containers import Container
from image_test.groups import MemoryGroup
from image_test.shell import ImageTestError

USER = 10001
# An emulated processor is some twenty times as slow.
EMULATED = {
    "EDGEQA_AGENT_MODEL_START_TIMEOUT_S": "900",
    "EDGEQA_AGENT_INFERENCE_TIMEOUT_S": "900",
    "EDGEQA_AGENT_DRAIN_TIMEOUT_S": "120",
    "EDGEQA_AGENT_EVALUATION_DATA": "off",
}
START_TIMEOUT_S = 600.0
ANSWER_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Site:
    """Where containers of a trial live.

    Attributes:
        work: folder for everything.
        broker: URL of a broker on this machine.
    """

    work: Path
    broker: str

    def data(self, name: str) -> Path:
        """A new data volume that belongs to the container's user."""
        folder = self.folder(f"data-{name}")
        _own(folder, USER)
        return folder

    def bundle(self, name: str, lines: Mapping[str, str]) -> Path:
        """A bundle that says these settings."""
        folder = self.folder(f"bundle-{name}")
        text = "".join(f"{key} = {value!r}\n" for key, value in lines.items())
        (folder / "agent.toml").write_text(text.replace("'", '"'), encoding="utf-8")
        return folder

    def folder(self, name: str) -> Path:
        """An empty folder; what an earlier run left is not in it."""
        number = 0
        while (path := self.work / f"{name}-{number}").exists():
            number += 1
        path.mkdir(parents=True)
        return path

    @contextmanager
    def agent(
        self,
        image: Image,
        name: str,
        *,
        environment: Mapping[str, str] | None = None,
        mounts: Mapping[str, Path] | None = None,
        group: MemoryGroup | None = None,
    ) -> Iterator[Container]:
        """An agent's container with a bundle and a data volume, not started yet."""
        settings = {"device": name, "broker": self.broker}
        slow = {} if image.architecture == native() else EMULATED
        container = Container(
            image=image,
            name=name,
            work=self.work,
            environment={**slow, **(environment or {})},
            mounts={
                "/etc/edgeqa": self.bundle(name, settings),
                "/var/lib/edgeqa": self.data(name),
                **(mounts or {}),
            },
            group=group,
        )
        try:
            yield container
        finally:
            container.remove()


def questions() -> Sequence[Check]:
    """The default package's check questions, which every default model answers."""
    return open_package(default_package()).checks()


def ask(client: Client, device: str, check: Check) -> str:
    """Ask one; the text of the first answer.

    Raises:
        ImageTestError: refused, or no answer.
    """
    try:
        answer = client.ask(
            check.question, device=device, context=check.context, timeout_s=ANSWER_TIMEOUT_S
        )
    except AnswerError as error:
        raise ImageTestError(f"{device}: {error} [{error.code}]") from error
    return answer.answers[0].text if answer.answers else ""


def first_answer(client: Client, container: Container, check: Check) -> float:
    """Start a container and ask until it answers; the seconds from start to answer.

    Raises:
        ImageTestError: it ends, or does not answer in time.
    """
    begun = time.monotonic()
    container.start()
    while time.monotonic() < begun + START_TIMEOUT_S:
        try:
            client.ask(
                check.question, device=container.name, context=check.context,
                timeout_s=ANSWER_TIMEOUT_S,
            )  # fmt: skip
        except AnswerTimeoutError:
            break
        except AnswerError as error:
            if error.code != "no_agent":
                raise ImageTestError(f"{container.name}: {error} [{error.code}]") from error
            if not container.running or container.refusal():
                break
            time.sleep(0.02)
        else:
            return time.monotonic() - begun
    raise ImageTestError(f"{container.name} does not answer:\n{container.log}")


def _own(path: Path, user: int) -> None:
    os.chown(path, user, user)
    path.chmod(0o700)
