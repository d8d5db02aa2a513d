"""An agent's container from its start to its end: asked, swapped to another model, stopped."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgeqa.client import Client
from edgeqa.demo_packages import SMALL, publish
from edgeqa.manifest import Check
from edgeqa.model_messages import ModelState
from edgeqa.operator import Operator
from image_test.answers import Given, answers
from image_test.asking import Site, ask, first_answer, questions
from image_test.builds import Image
from image_test.containers import HEALTH_S, Container
from image_test.shell import ImageTestError

_SWAP_TIMEOUT_S = 1800.0


@dataclass
class Served:
    """What came of it.

    Attributes:
        first_answer_s: from the container's start.
        health: what its health check said while it served.
        right: of the check questions, answered rightly.
        asked: of them.
        swap: states that the swap went through.
        meanwhile: answers by model during the swap.
        exit_code: after SIGTERM.
        security: what the kernel says of the first process.
        given: answers to the evaluation set's questions.
    """

    first_answer_s: float
    health: str = ""
    right: int = 0
    asked: int = 0
    swap: list[str] = field(default_factory=list)
    meanwhile: dict[str, int] = field(default_factory=dict)
    exit_code: int = -1
    security: dict[str, str] = field(default_factory=dict)
    given: list[Given] = field(default_factory=list)


def serve(site: Site, image: Image, examples: Sequence[Any]) -> Served:
    """Try a container.

    Raises:
        ImageTestError: something is not as it must be.
    """
    name = f"pi-{image.architecture}"
    published = publish(site.folder("published"))
    root = site.folder("root") / "root.json"
    root.write_bytes((published.repository / "metadata" / "1.root.json").read_bytes())
    with _web(published.repository) as url, Client(broker=site.broker) as client:
        settings = {
            "EDGEQA_AGENT_REPOSITORY": url,
            "EDGEQA_AGENT_REPOSITORY_ROOT": "/trusted/root.json",
        }
        mounts = {"/trusted": root.parent}
        with site.agent(image, name, environment=settings, mounts=mounts) as container:
            checks = questions()
            served = Served(first_answer(client, container, checks[0]))
            served.security = _security(container)
            served.health = container.wait_healthy(HEALTH_S)
            served.asked = len(checks)
            served.right = sum(_right(ask(client, name, check), check) for check in checks)
            served.given = answers(client, name, examples)
            served.swap, served.meanwhile = _swap(site.broker, client, name)
            served.exit_code = container.stop(180)
        with Operator(broker=site.broker) as operator:
            status = operator.status(name)
    if served.exit_code or status.status != "offline":
        raise ImageTestError(f"stopped with {served.exit_code}, {status.status}:\n{container.log}")
    return served


def _right(text: str, check: Check) -> bool:
    return text in check.answers


def _security(container: Container) -> dict[str, str]:
    """Who the first process is and what it may do; refused unless it is nobody and may nothing."""
    lines = Path(f"/proc/{container.pid()}/status").read_text(encoding="utf-8").splitlines()
    found = {key: " ".join(value.split()) for key, _, value in (x.partition(":") for x in lines)}
    wanted = {"Uid": "10001 10001 10001 10001", "CapEff": "0" * 16, "CapBnd": "0" * 16,
              "NoNewPrivs": "1"}  # fmt: skip
    seen = {key: found[key] for key in wanted}
    if seen != wanted:
        raise ImageTestError(f"the container may do more than it should: {seen}")
    code, said = container.execute(["touch", "/opt/edgeqa/x", "/etc/x", "/x"])
    if not code or said.count("Read-only file system") != 3:  # noqa: PLR2004  files
        raise ImageTestError(f"its root file system can be written: {said}")
    return seen


def _swap(broker: str, client: Client, device: str) -> tuple[list[str], dict[str, int]]:
    """Wish for another model while questions are asked; the states, and who answered how many."""
    answered: Counter[str] = Counter()
    failed: list[Exception] = []
    done = threading.Event()
    check = questions()[0]

    def go_on() -> None:
        while not done.is_set():
            try:
                answer = client.ask(
                    check.question, device=device, context=check.context, timeout_s=600
                )
            except Exception as error:  # noqa: BLE001  the edge of a thread
                failed.append(error)
                return
            answered[answer.model.name if answer.model else "none"] += 1

    thread = threading.Thread(target=go_on, name="asking")
    thread.start()
    try:
        with Operator(broker=broker) as operator:
            wish = secrets.token_hex(16)
            following = operator.follow(device, wish, _SWAP_TIMEOUT_S)
            operator.wish(device, *SMALL, wish_id=wish)
            reports = list(following)
    finally:
        # One more, so that the new model answers too.
        before = sum(answered.values())
        _until(lambda: sum(answered.values()) > before + 1 or bool(failed), thread)
        done.set()
        thread.join()
    states = list(dict.fromkeys(str(report.state.value) for report in reports))
    if failed or reports[-1].state is not ModelState.ACTIVE or not answered[SMALL[0]]:
        raise ImageTestError(f"the swap: {states}, {reports[-1]}, {dict(answered)}, {failed}")
    return states, dict(answered)


def _until(condition: Any, thread: threading.Thread) -> None:
    while not condition() and thread.is_alive():
        thread.join(0.1)


@contextmanager
def _web(folder: Path) -> Iterator[str]:
    """A web server for static files; its URL."""
    handler = partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, name="web", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's
        pass
