"""`edgeqa ask` and `edgeqa context`: a person, or a shell script, asks a device."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edgeqa.client import Client
from edgeqa.client_settings import ClientSettings
from edgeqa.errors import EdgeqaError, UsageError
from edgeqa.flags import settings_options
from edgeqa.prompt import questions
from edgeqa.questions import AskOptions
from edgeqa.show import show_answer

# A text of some thousand pages: more is a mistaken file.
MAX_CONTEXT_BYTES = 16 << 20

context_app = typer.Typer(help="Texts stored on a device.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class _Asking:
    """One session of asking."""

    client: Client
    options: AskOptions
    as_json: bool
    console: Console

    def ask(self, question: str) -> None:
        began = time.monotonic()
        answer = self.client.ask(question, **self.options)
        total_ms = (time.monotonic() - began) * 1000
        if self.as_json:
            sys.stdout.write(answer.to_json().decode() + "\n")
            sys.stdout.flush()
            return
        context = self.options.get("context")
        show_answer(self.console, answer, context=context, total_ms=total_ms)


@settings_options(ClientSettings, short={"timeout_s": "--timeout"})
def ask(
    *,
    settings: ClientSettings,
    question: Annotated[
        str | None,
        typer.Argument(metavar="QUESTION", help="Without it, questions are read one a line."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Text that holds the answer; - is standard input."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The text itself.")] = None,
    context_id: Annotated[
        str | None, typer.Option(metavar="ID", help="A text stored on the device.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer's message, one a line.")
    ] = False,
) -> None:
    """Ask a device, or any agent of a group, about a text."""
    if (settings.device is None) == (settings.group is None):
        raise UsageError("say either --device (EDGEQA_CLIENT_DEVICE) or --group")
    if sum(source is not None for source in (context, text, context_id)) != 1:
        raise UsageError("say one of --context FILE, --text TEXT and --context-id ID")
    if context == "-" and question is None:
        raise UsageError("standard input cannot hold both the text and the questions")
    options: AskOptions = {
        "context": text if context is None else _read(context),
        "context_id": context_id,
        "device": settings.device,
        "group": settings.group,
        "top_k": settings.top_k,
        "deadline_ms": settings.deadline_ms,
        "quality": settings.quality,
        "timeout_s": settings.timeout_s,
    }
    with Client(broker=settings) as client:
        asking = _Asking(client, options, as_json, Console())
        if question is not None:
            asking.ask(question)
            return
        for line in questions():
            try:
                asking.ask(line)
            except EdgeqaError as error:
                sys.stderr.write(f"edgeqa: {error} [{error.code}]\n")


@context_app.command()
@settings_options(ClientSettings, short={"timeout_s": "--timeout"})
def put(
    settings: ClientSettings,
    target: Annotated[str, typer.Argument(metavar="DEVICE", help="The device.")],
    context_id: Annotated[str, typer.Argument(metavar="ID", help="The name of the text.")],
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="The text; standard input if not said.")
    ] = "-",
) -> None:
    """Store a text, so that questions need not carry it. The device may be offline."""
    text = _read(file)
    with Client(broker=settings) as client:
        client.store_context(target, context_id, text, timeout_s=settings.timeout_s)


@context_app.command()
@settings_options(ClientSettings, short={"timeout_s": "--timeout"})
def delete(
    settings: ClientSettings,
    target: Annotated[str, typer.Argument(metavar="DEVICE", help="The device.")],
    context_id: Annotated[str, typer.Argument(metavar="ID", help="The name of the text.")],
) -> None:
    """Delete a stored text."""
    with Client(broker=settings) as client:
        client.delete_context(target, context_id, timeout_s=settings.timeout_s)


def _read(file: str) -> str:
    """The text of a file, to the letter: offsets in answers count its characters.

    Raises:
        UsageError: it cannot be read, is no text or too large.
    """
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as stream:
            content = stream.read(MAX_CONTEXT_BYTES + 1)
        if len(content) > MAX_CONTEXT_BYTES:
            raise UsageError(f"{file}: larger than {MAX_CONTEXT_BYTES} bytes")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 at byte {error.start}") from error
