"""The agent as a service of systemd."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files
from pathlib import Path
from string import Template

from edgeqa.identity.certificate import open_to_all, shown
from edgeqa.installing.errors import InstallError
from edgeqa.installing.place import Place
from edgeqa.installing.service import Service, Wanted, check, install
from edgeqa.installing.steps import Say
from edgeqa_agent.install_bundle import CONFIG, STATE, Bundle, installed_device, read_bundle

SLOTS = (Path("/opt/edgeqa"), Path("/opt/edgeqa-2"))
# Records waiting to be sent (32 MiB), what a download leaves free (64), and a package of the size
# of an int8 DistilBERT (68), on disk once and while it is fetched.
_LEAST_MIB = 256
# What an earlier bundle may have left; a key of one that is replaced must not lie about.
_KNOWN = frozenset({"ca.crt", "identity.crt", "identity.key", "password", "repository-root.json"})


def agent_service() -> Service:
    """What is installed."""
    unit = files("edgeqa_agent").joinpath("units/edgeqa-agent.service")
    return Service(
        name="edgeqa-agent",
        user="edgeqa",
        config=CONFIG,
        state=STATE,
        unit=Template(unit.read_text(encoding="utf-8")),
        slots=SLOTS,
        least_mib=_LEAST_MIB,
        imports=("numpy", "onnxruntime", "tokenizers", "tuf"),
    )


def install_agent(
    *,
    bundle: Path | None,
    place: Place,
    program: Path,
    now: datetime,
    start: bool,
    dry_run: bool,
    say: Say,
) -> None:
    """Check all, then install, and wait until the agent is online.

    Args:
        bundle: folder of it; None: what an earlier installation left.
        place: this machine or an image.
        program: the `edgeqa` to run.
        now: for the certificate's validity.
        start: whether to start it.
        dry_run: only tell what would be done.
        say: told of each step.

    Raises:
        InstallError: it cannot be installed, or does not come up; everything is as it was.
        ConfigError: the bundle cannot be used.
    """
    service = agent_service()
    wanted = Wanted(place=place, program=program, start=start, dry_run=dry_run)
    check(service, wanted, say)
    folder = place.at(CONFIG) if bundle is None else bundle
    if bundle is None and not folder.is_dir():
        raise InstallError(
            f"{CONFIG} is not there: name the bundle that `edgeqa cloud enrol` wrote",
            code="bundle_unusable",
        )
    found = read_bundle(folder, now=now, root=place.root)
    _tell(folder, found, say)
    if bundle is not None:
        _same_device(found, place)
        wanted = Wanted(
            place=place,
            program=program,
            files=dict(found.files),
            secrets=found.secrets,
            known=_KNOWN,
            start=start,
            dry_run=dry_run,
        )
    install(service, wanted, say)
    if bundle is not None and not dry_run and found.secrets:
        say("note", f"{bundle} holds this device's secret: delete it now")


def _tell(folder: Path, bundle: Bundle, say: Say) -> None:
    identity = bundle.identity
    valid = f", certificate until {shown(identity.until)}" if identity else ", no certificate"
    say("found", f"{folder}: {bundle.device} at {bundle.broker}{valid}")
    if identity and open_to_all(identity.files):
        say("note", f"everybody on this machine can read {identity.files.key}")


def _same_device(bundle: Bundle, place: Place) -> None:
    before = installed_device(place.root)
    if before is not None and before != bundle.device:
        raise InstallError(
            f"this machine is {before} and the bundle is of {bundle.device}: copy the bundle of "
            f"{before}, or first remove what {before} left (edgeqa agent uninstall --purge)",
            code="installed_as_another",
        )
