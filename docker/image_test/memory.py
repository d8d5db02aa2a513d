"""The memory of an agent's container under a hard limit, while it is asked and afterwards."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edgeqa.client import Client
from edgeqa.messages import Answer
from image_test.asking import ANSWER_TIMEOUT_S, Site, first_answer, questions
from image_test.builds import Image
from image_test.groups import MemoryGroup
from image_test.shell import ImageTestError

_QUESTIONS = 60
_AT_ONCE = 4
# From one small window to several full ones, words.
_SHORTEST, _LONGEST = 10, 1200
_EVERY_S = 0.2
# A model process that is idle gives memory back; docs/memory.md.
_IDLE_S = 20.0


@dataclass(frozen=True)
class Memory:
    """What a container took, bytes.

    Attributes:
        limit: the hard one.
        first: resident once it had answered a question.
        most: largest resident size that was seen while it was asked, health checks included.
        idle: resident when it had not been asked for a while.
        peak: most that was ever charged to the group, with pages that the kernel can take back.
        version: of control groups.
    """

    limit: int
    first: int
    most: int
    idle: int
    peak: int
    version: int


def measure(
    site: Site,
    image: Image,
    *,
    name: str,
    limit_bytes: int,
    package: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Memory:
    """Start an agent under a limit, ask it questions of many lengths, and look.

    Args:
        site: where.
        image: of an agent.
        name: of the container.
        limit_bytes: on all memory of the container.
        package: served instead of the image's default one.
        environment: more of it.

    Raises:
        ImageTestError: the kernel had to end a process, or a question was not answered.
    """
    _forget(image.root)
    served = {} if package is None else {"EDGEQA_AGENT_PACKAGE": "/package"}
    mounts = {} if package is None else {"/package": package}
    settings = {**served, **(environment or {})}
    with (
        Client(broker=site.broker) as client,
        MemoryGroup(f"edgeqa-{os.getpid()}-{name}", limit_bytes) as group,
        site.agent(image, name, environment=settings, mounts=mounts, group=group) as container,
    ):
        first_answer(client, container, questions()[0])
        first = group.resident()
        with _Watch(group) as watch:
            _ask_all(client, name)
            code, said = container.health()
        time.sleep(_IDLE_S)
        idle, used = group.resident(), group.used()
        if used.killed or code:
            raise ImageTestError(
                f"{name}: {used.killed} processes ended for memory; {said}\n{container.log}"
            )
        if container.stop(180):
            raise ImageTestError(f"{name} did not stop well:\n{container.log}")
    return Memory(limit_bytes, first, watch.most, idle, used.peak, group.version)


class _Watch:
    """Looks at a group again and again inside the block."""

    def __init__(self, group: MemoryGroup) -> None:
        self._group = group
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")
        self.most = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.is_set():
            self.most = max(self.most, self._group.resident())
            time.sleep(_EVERY_S)


def _ask_all(client: Client, device: str) -> None:
    words = " ".join(check.context for check in questions()).split()
    chosen = random.Random(1)  # noqa: S311  the same texts each time, not a secret
    lengths = [_LONGEST, *(chosen.randint(_SHORTEST, _LONGEST) for _ in range(_QUESTIONS - 1))]
    texts = [" ".join(chosen.choices(words, k=length)) for length in lengths]
    for begin in range(0, len(texts), _AT_ONCE):
        futures: list[Future[Answer]] = [
            client.submit(
                "What does it do?", device=device, context=text, timeout_s=ANSWER_TIMEOUT_S
            )
            for text in texts[begin : begin + _AT_ONCE]
        ]
        for future in futures:
            future.result(ANSWER_TIMEOUT_S)


def _forget(root: Path) -> None:
    """Drop the image's files from the page cache, so that the group pays for what it reads.

    Source: posix_fadvise(2), POSIX_FADV_DONTNEED.
    """
    for folder, _, files in os.walk(root):
        for name in files:
            path = Path(folder) / name
            if not path.is_file() or path.is_symlink():
                continue
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
