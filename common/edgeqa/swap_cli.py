"""`edgeqa swap|rollback|prune|packages`: an operator changes the model of a device."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from edgeqa.client_settings import HOW_TO_ASK, ClientSettings, RollbackSettings
from edgeqa.errors import UsageError
from edgeqa.flags import settings_options
from edgeqa.model_messages import CommandReply, Gates, Shadow, Verb
from edgeqa.operator import Operator
from edgeqa.questions import MAX_TIMEOUT_S
from edgeqa.swap_order import SwapOrder, print_message
from edgeqa.swap_view import megabytes, model_in_words, package_lines
from edgeqa.wanted import wanted_package

PartT = TypeVar("PartT", bound=BaseModel)

# Settings that say how to ask questions; the commands here name their device.
_ASKING = ("device", "group", *HOW_TO_ASK)
_SHORT = {"timeout_s": "--timeout"}
# A download over a slow line, and loading a large model on a small device.
_WAIT_S = 600.0

Device = Annotated[str, typer.Argument(metavar="DEVICE", help="The device.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the messages, one a line.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `edgeqa`."""
    for command in (swap, rollback, prune, packages):
        app.command()(command)


@settings_options(ClientSettings, short=_SHORT, without=_ASKING)
def swap(
    *,
    settings: ClientSettings,
    target: Device,
    package: Annotated[
        str | None,
        typer.Argument(
            metavar="PACKAGE", help="NAME@VERSION, NAME-VERSION, or a package's folder: ./FOLDER."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take the wish back, instead of PACKAGE.")
    ] = False,
    digest: Annotated[
        str | None, typer.Option(metavar="SHA256", help="Refuse any other package.")
    ] = None,
    min_exact_match: Annotated[
        float | None, typer.Option(help="Gate: EM on the check questions, percent.")
    ] = None,
    min_f1: Annotated[
        float | None, typer.Option(help="Gate: F1 on the check questions, percent.")
    ] = None,
    max_p95_ms: Annotated[
        float | None, typer.Option(help="Gate: p95 of inference times, milliseconds.")
    ] = None,
    max_memory_mb: Annotated[
        float | None, typer.Option(help="Gate: memory of the loaded model, MiB.")
    ] = None,
    shadow_fraction: Annotated[
        float | None, typer.Option(help="Shadow: share of live questions, at most 1.")
    ] = None,
    shadow_questions: Annotated[
        int | None, typer.Option(help="Shadow: live questions to compare.")
    ] = None,
    shadow_min_agreement: Annotated[
        float | None, typer.Option(help="Shadow: least mean F1 between the answers, 0 to 1.")
    ] = None,
    shadow_max_latency_ratio: Annotated[
        float | None, typer.Option(help="Shadow: most that its median time may be of the other's.")
    ] = None,
    shadow_timeout: Annotated[
        float | None, typer.Option(help="Shadow: seconds for all its questions; 3600.")
    ] = None,
    wait_timeout: Annotated[
        float | None, typer.Option(help="How long --wait waits, seconds; 600, and a shadow's time.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have a device run another model. It may be offline: the broker keeps the wish.

    Exit codes: 0 done (without --wait: the broker has the wish), 4 no connection or not done in
    time, 5 refused, 6 not good enough: a gate, the shadow, or rolled back.
    """
    gates = _part(Gates, "--", {
        "min_exact_match": min_exact_match,
        "min_f1": min_f1,
        "max_p95_ms": max_p95_ms,
        "max_memory_mb": max_memory_mb,
    })  # fmt: skip
    shadow = _part(Shadow, "--shadow-", {
        "fraction": shadow_fraction,
        "questions": shadow_questions,
        "min_agreement": shadow_min_agreement,
        "max_latency_ratio": shadow_max_latency_ratio,
        "timeout_s": shadow_timeout,
    })  # fmt: skip
    if withdraw:
        if wait or any(said is not None for said in (package, digest, gates, shadow)):
            raise UsageError("--withdraw goes alone: say it without a package and its options")
        _withdraw(settings, target, as_json=as_json)
        return
    if package is None:
        raise UsageError("say a PACKAGE, such as minilm-l6-squad@0.1.2, or --withdraw")
    if wait_timeout is not None and not 0 < wait_timeout <= MAX_TIMEOUT_S:
        raise UsageError(f"--wait-timeout: must be more than 0 and at most {MAX_TIMEOUT_S:g}")
    order = SwapOrder(target, wanted_package(package, digest), gates, shadow, as_json)
    with Operator(broker=settings) as operator:
        if not wait:
            order.leave(operator, timeout_s=settings.timeout_s)
            return
        patience_s = min(_WAIT_S + (shadow.timeout_s if shadow else 0), MAX_TIMEOUT_S)
        order.follow(
            operator,
            timeout_s=settings.timeout_s,
            wait_s=patience_s if wait_timeout is None else wait_timeout,
        )


@settings_options(RollbackSettings, short=_SHORT, without=_ASKING)
def rollback(*, settings: RollbackSettings, target: Device, as_json: AsJson = False) -> None:
    """Take a device back to its previous model.

    Exit codes: 0 done, 4 no connection or no reply in time, 5 refused.
    """
    reply = _command(settings, target, Verb.ROLLBACK)
    if as_json:
        print_message(reply)
        return
    model = "no model" if reply.active is None else model_in_words(reply.active)
    typer.echo(f"{target} is back on {model}")


@settings_options(ClientSettings, short=_SHORT, without=_ASKING)
def prune(*, settings: ClientSettings, target: Device, as_json: AsJson = False) -> None:
    """Delete the packages on a device that it needs neither now nor for a rollback.

    Exit codes: 0 done, 4 no connection or no reply in time, 5 refused.
    """
    reply = _command(settings, target, Verb.PRUNE)
    if as_json:
        print_message(reply)
        return
    typer.echo(f"{target} freed {megabytes(reply.freed_bytes or 0)}")
    if reply.packages:
        typer.echo("\n".join(package_lines(reply.packages)))


@settings_options(ClientSettings, short=_SHORT, without=("group", *HOW_TO_ASK))
def packages(
    *,
    settings: ClientSettings,
    target: Annotated[
        str | None, typer.Argument(metavar="[DEVICE]", help="The device; or --device.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the packages on a device: what it serves, would go back to, and keeps.

    Exit codes: 0 done, 4 no connection or no reply in time, 5 refused.
    """
    device = target or settings.device
    if device is None:
        raise UsageError("say a device: DEVICE or --device (EDGEQA_CLIENT_DEVICE)")
    reply = _command(settings, device, Verb.PACKAGES)
    if as_json:
        print_message(reply)
        return
    typer.echo("\n".join(package_lines(reply.packages or [])))


def _withdraw(settings: ClientSettings, device: str, *, as_json: bool) -> None:
    with Operator(broker=settings) as operator:
        operator.withdraw(device, timeout_s=settings.timeout_s)
    if as_json:
        typer.echo(json.dumps({"device": device, "withdrawn": True}))
    else:
        typer.echo(f"the wish for {device} is taken back; what is under way for it ends")


def _command(settings: ClientSettings, device: str, verb: Verb) -> CommandReply:
    with Operator(broker=settings) as operator:
        return operator.command(device, verb, timeout_s=settings.timeout_s)


def _part(kind: type[PartT], prefix: str, flags: Mapping[str, float | None]) -> PartT | None:
    """Gates or a shadow from their flags; None if none of them was given.

    Raises:
        UsageError: a value is out of bounds or missing; names the flag.
    """
    said = {field: value for field, value in flags.items() if value is not None}
    if not said:
        return None

    def flag(field: str) -> str:
        return prefix + field.removesuffix("_s").replace("_", "-")

    for field, value in said.items():
        if not math.isfinite(value):
            raise UsageError(f"{flag(field)}: {value} is not a finite number")
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        missing = "goes with the other --shadow flags, say it too"
        why = missing if first["type"] == "missing" else first["msg"]
        raise UsageError(f"{flag(str(first['loc'][0]))}: {why}") from error
