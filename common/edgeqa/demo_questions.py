"""The part of the demo that asks questions, in every way that there is."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from edgeqa.client import Client
from edgeqa.errors import AnswerError
from edgeqa.manifest import Check
from edgeqa.squad import Gold, best, f1

_GROUPED = 20


def ask_all(
    client: Client, device: str, checks: list[Check], console: Console
) -> Iterator[tuple[str, bool]]:
    """A package's check questions, their answers in a table; what was seen, and if it was right."""
    table = Table("question", "answer", "score", "model", "round trip", title_justify="left")
    rights, round_trips = 0, []
    for check in checks:
        begun = time.perf_counter()
        answer = client.ask(check.question, context=check.context, device=device, timeout_s=30.0)
        round_trips.append(1000 * (time.perf_counter() - begun))
        span = (answer.answers or [])[0]
        rights += best(f1, [Gold(text, 0) for text in check.answers], span.text) == 1.0
        table.add_row(
            check.question,
            span.text,
            f"{span.score:.2f}",
            f"{answer.inference_ms:.1f} ms",
            f"{round_trips[-1]:.1f} ms",
        )
    console.print(table)
    median_ms = statistics.median(round_trips)
    yield (
        f"{rights} of {len(checks)} questions answered rightly, median {median_ms:.1f} ms",
        rights >= 0.9 * len(checks),
    )


def ask_otherwise(
    client: Client, url: str, devices: tuple[str, str], group: str
) -> Iterator[tuple[str, bool]]:
    """The other ways to ask, and what happens to a bad question."""
    device, _ = devices
    text = "The spare key hangs in the blue cabinet. The alarm is switched off with code 4711."
    client.store_context(device, "house-rules", text)
    stored = client.ask("Where is the spare key?", context_id="house-rules", device=device)
    yield ("a question about a text stored on the device", _is(stored.answers, "blue cabinet"))
    asked = [
        client.submit("What is the alarm code?", context=text, group=group) for _ in range(_GROUPED)
    ]
    answers = [one.result() for one in asked]
    helped = {answer.device for answer in answers}
    yield (
        f"{_GROUPED} questions to any agent of a group, answered by {' and '.join(sorted(helped))}",
        helped == set(devices) and all(_is(answer.answers, "4711") for answer in answers),
    )
    batch = client.ask_batch(
        ["Where is the key?", "What is the code?"], context=text, device=device
    )
    yield ("two questions in one message", batch.results is not None)
    try:
        client.ask("Who?", context_id="nowhere", device=device)
        code = "none"
    except AnswerError as error:
        code = error.code
    yield (f"a bad question is refused with a code: {code}", code == "unknown_context")
    port = url.rpartition(":")[2]
    plain = subprocess.run(
        [
            *("mosquitto_rr", "-V", "5", "-p", port, "-q", "1", "-W", "20"),
            *("-t", f"edgeqa/v1/devices/{device}/ask", "-e", "edgeqa/v1/clients/rr/answers"),
            *("-m", json.dumps({"question": "What is the alarm code?", "context": text})),
        ],
        capture_output=True,
        check=False,
    )
    yield ("the same with mosquitto_rr, no EdgeQA on the client", b"4711" in plain.stdout)


def _is(spans: object, words: str) -> bool:
    return isinstance(spans, list) and bool(spans) and words in spans[0].text
