"""From what a person types to what the commands need: key folder, bench, roles, days."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edgeqa.errors import UsageError
from edgeqa_models.repository.environment import Passphrase, default_keys
from edgeqa_models.repository.keys import KeyFolder
from edgeqa_models.repository.layout import Layout
from edgeqa_models.repository.publication import Bench
from edgeqa_models.repository.roles import Role
from edgeqa_models.repository.terminal import ask


def open_keys(keys: Path | None, repository: Path | None) -> KeyFolder:
    """The key folder that was named, else the default one.

    Raises:
        ConfigError: `keys_in_repository`.
    """
    passphrase = Passphrase(environ=os.environ, ask=ask if sys.stdin.isatty() else None)
    return KeyFolder(keys or default_keys(os.environ), passphrase, repository=repository)


def open_bench(repository: Path, keys: Path | None, *, restored: bool = False) -> Bench:
    """A repository and the keys to work on it.

    Raises:
        ConfigError: `repository_missing` or `keys_in_repository`.
    """
    layout = Layout(repository)
    layout.demand()
    return Bench(layout, open_keys(keys, repository), restored=restored)


def role_named(text: str) -> Role:
    """A role by its name.

    Raises:
        UsageError: there is none of that name.
    """
    try:
        return Role(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no role; there are {', '.join(Role)}") from error


def days_given(*given: int | None) -> dict[Role, int]:
    """The days of those roles for which some were given; in the order of `Role`."""
    return {role: days for role, days in zip(Role, given, strict=True) if days is not None}
