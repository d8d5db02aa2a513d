"""The bundle of `edgeqa cloud enrol`, read and checked as the agent will find it in /etc/edgeqa."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from edgeqa.errors import ConfigError
from edgeqa.identity.certificate import Identity, read_identity
from edgeqa.installing.errors import InstallError
from edgeqa.settings import load_settings
from edgeqa.tls import CertificateFiles
from edgeqa_agent.identity import FOLDER, OwnIdentity
from edgeqa_agent.settings import AgentSettings

CONFIG = Path("/etc/edgeqa")
STATE = Path("/var/lib/edgeqa")
SETTINGS_FILE = "agent.toml"
# What a bundle may hold; more, or larger, is a mistaken path.
_MOST_FILES = 32
_MOST_BYTES = 1 << 20
# Settings that name files which must be there when the agent starts.
_FILES = (
    "broker_ca_file",
    "broker_cert_file",
    "broker_key_file",
    "broker_password_file",
    "repository_root",
    "package",
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What makes a machine a device of a fleet.

    Attributes:
        device: its name.
        broker: where it connects to.
        files: content by name.
        secrets: names of those that only the agent may read.
        identity: its certificate, or a newer one that the device renewed; None where it has a
            password, or nothing.
    """

    device: str
    broker: str
    files: Mapping[str, bytes]
    secrets: frozenset[str]
    identity: Identity | None


def read_bundle(folder: Path, *, now: datetime, root: Path) -> Bundle:
    """A bundle that an agent can work with.

    Args:
        folder: of the bundle.
        now: for the certificate's validity.
        root: of the system that it is for; files outside /etc/edgeqa are looked for there.

    Raises:
        ConfigError: it cannot; a setting is wrong, a file is missing, or the certificate is
            unreadable, expired or another's.
        InstallError: `bundle_unusable`, it is no bundle.
    """
    files = _files(folder)
    settings = load_settings(AgentSettings, file=folder / SETTINGS_FILE, environ={})
    if "device" not in settings.model_fields_set:
        raise _unusable(f"{folder / SETTINGS_FILE} does not say which `device` this is")
    places = {name: _place(folder, files, settings, name, root) for name in _FILES}
    identity = None
    if (certificate := places["broker_cert_file"]) is not None:
        own = CertificateFiles(certificate, places["broker_key_file"])
        if folder != root / CONFIG.relative_to("/"):
            read_identity(own)  # a new bundle must be whole, whatever the device has besides
        identity = _best(own, settings.device, root=root, now=now)
        identity.check_time(now)
    named = [getattr(settings, name) for name in ("broker_key_file", "broker_password_file")]
    if settings.broker_key_file is None:
        named.append(settings.broker_cert_file)
    secrets = frozenset(path.name for path in named if path and path.parent == CONFIG)
    return Bundle(settings.device, settings.broker, files, secrets, identity)


def _best(own: CertificateFiles, device: str, *, root: Path, now: datetime) -> Identity:
    """What the agent will use: the bundle's, or what it has renewed since."""
    return OwnIdentity(
        bundle=own,
        folder=root / STATE.relative_to("/") / FOLDER,
        device=device,
        log=structlog.get_logger(),
        now=lambda: now,
    ).current()


def installed_device(root: Path) -> str | None:
    """Which device a system is already; None if it is none, or cannot be told."""
    file = root / CONFIG.relative_to("/") / SETTINGS_FILE
    if not file.is_file():
        return None
    try:
        return load_settings(AgentSettings, file=file, environ={}).device
    except ConfigError:
        return None


def _files(folder: Path) -> dict[str, bytes]:
    if not (folder / SETTINGS_FILE).is_file():
        raise _unusable(
            f"{folder} is no bundle: it has no {SETTINGS_FILE}; name the folder that "
            "`edgeqa cloud enrol` wrote"
        )
    paths = sorted(folder.iterdir())
    if len(paths) > _MOST_FILES:
        raise _unusable(f"{folder} has {len(paths)} files; a bundle has a few")
    found = {}
    for path in paths:
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode):
            raise _unusable(f"{path} is not a file; a bundle is a folder of files alone")
        if state.st_size > _MOST_BYTES:
            raise _unusable(f"{path} has {state.st_size} bytes; that is no file of a bundle")
        found[path.name] = path.read_bytes()
    return found


def _place(
    folder: Path, files: Mapping[str, bytes], settings: AgentSettings, name: str, root: Path
) -> Path | None:
    """Where a file that a setting names is now."""
    path: Path | None = getattr(settings, name)
    if path is None:
        return None
    if path.parent == CONFIG:
        if path.name not in files:
            raise _unusable(f"{name}: {path} is not in {folder}; copy the whole bundle")
        return folder / path.name
    if not path.is_absolute():
        raise _unusable(f"{name}: {path} is relative; the service has no folder that it starts in")
    here = root / path.relative_to("/")
    if not here.exists():
        raise _unusable(f"{name}: {path} is not there")
    return here


def _unusable(message: str) -> InstallError:
    return InstallError(message, code="bundle_unusable")
