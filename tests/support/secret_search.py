"""Everything secret of a running system, and every place that it must not be in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeqa.broker import BrokerSettings
from edgeqa.client_ids import private_client_id
from edgeqa.topics import NAME_PATTERN
from edgeqa_cloud.database import Database
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.share_name import share_name
from support.guarded import PASSPHRASE
from support.guarded_system import MODELS_PASSPHRASE, GuardedSystem

# A shorter line of a key is its padding, and could be anywhere by chance.
_LEAST_CHARS = 16
_KEYS = ("*.key", "*.pem", "identity.key")


def secrets_of(system: GuardedSystem) -> dict[str, bytes]:
    """What it is, and how it reads. What is in the broker's log by its nature is not among them."""
    found = {"the authority's passphrase": PASSPHRASE, "the models' passphrase": MODELS_PASSPHRASE}
    for path in sorted(system.folder.rglob("password")):
        found[f"password {path}"] = path.read_text().strip()
    for path in sorted(system.folder.rglob("*.passwords")):
        for line in path.read_text().splitlines():
            found[f"hash in {path}"] = line.partition(":")[2]
    for path in {one for pattern in _KEYS for one in system.folder.rglob(pattern)}:
        for number, line in enumerate(_private(path.read_text())):
            found[f"line {number} of {path}"] = line
    for path in sorted(system.repository.keys.rglob("*")):
        if path.is_file():
            for number, line in enumerate(path.read_text().splitlines()):
                if len(line) >= _LEAST_CHARS and "-----" not in line:
                    found[f"line {number} of {path}"] = line
    found["the API's token"] = system.token.read_text().strip()
    return {what: value.encode() for what, value in found.items()}


def names_of_connections(system: GuardedSystem) -> dict[str, bytes]:
    """What must not be guessed: only the broker's own log may have it."""
    with Database.of(DatabaseSettings(database=system.site.database)) as database:
        found = {"the collectors' share name": share_name(database, "edgeqa")}
    ids = {"pi-1": "edgeqa-agent-pi-1", "pi-2": "edgeqa-agent-pi-2", "cloud": "cloud"}
    for member, name in ids.items():
        settings: BrokerSettings = system.broker(member)
        found[f"client id of {member}"] = private_client_id(name, settings)
    assert all(re.match(NAME_PATTERN, one) for one in found.values())
    return {what: value.encode() for what, value in found.items()}


def leaks(secrets: Mapping[str, bytes], places: Mapping[str, bytes]) -> list[str]:
    """Which secret is where."""
    return [
        f"{what} is in {where}"
        for where, content in places.items()
        for what, secret in secrets.items()
        if secret in content
    ]


def contents(paths: Iterable[Path]) -> dict[str, bytes]:
    """Of files."""
    return {str(path): path.read_bytes() for path in paths}


def processes(mention: Path) -> dict[str, bytes]:
    """Arguments of all processes, and environments of those that have to do with a folder."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue  # it ended, or is not ours to see
        found[f"arguments of {process.name}"] = arguments
        if bytes(mention) in arguments + environment:
            found[f"environment of {process.name}"] = environment
    return found


def _private(text: str) -> list[str]:
    """Lines of private keys in a PEM file, without what is public in it."""
    blocks = re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END", text, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if len(line) >= _LEAST_CHARS]
