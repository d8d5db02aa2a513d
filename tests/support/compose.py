"""A Compose file as its engine would see it: variables filled in, merges done."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.images import DOCKER, image_environment

# `${NAME:-default}`, `${NAME}`, and `$$` for a dollar: all that our files use.
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::-([^}]*))?\})")
_COMMENT = re.compile(r"#?([A-Z][A-Z0-9_]*)=(.*)")
_OURS = re.compile(r"edgeqa/(agent|cloud):")


@dataclass(frozen=True)
class Mount:
    """A volume, a folder or a file of the host, in a container.

    Attributes:
        source: name of a volume, or a path of the host.
        target: path in the container.
    """

    source: str
    target: str
    read_only: bool

    @property
    def named(self) -> bool:
        return not self.source.startswith((".", "/"))


@dataclass(frozen=True)
class Service:
    """One service of a Compose file."""

    name: str
    spec: Mapping[str, Any]

    @property
    def role(self) -> str | None:
        """Of ours, `agent` or `cloud`; None of others' images."""
        found = _OURS.match(self.spec["image"])
        return None if found is None else found[1]

    @property
    def command(self) -> list[str]:
        return [*self.spec.get("entrypoint", []), *self.spec.get("command", [])]

    @property
    def environment(self) -> dict[str, str]:
        """With what its image sets."""
        base = image_environment(self.role) if self.role else {}
        return {**base, **self.spec.get("environment", {})}

    @property
    def mounts(self) -> list[Mount]:
        return [_mount(one) for one in self.spec.get("volumes", [])]

    @property
    def tmpfs(self) -> list[str]:
        return [one.partition(":")[0] for one in self.spec.get("tmpfs", [])]

    @property
    def ports(self) -> list[tuple[str, int]]:
        """Address of the host, and the container's port, of each that is published."""
        found = []
        for one in self.spec.get("ports", []):
            address, _, inner = one.split(":")
            found.append((address, int(inner)))
        return found


class Composition:
    """A Compose file.

    Args:
        path: the file.
        variables: what `.env` and the shell would give.
    """

    def __init__(self, path: Path, variables: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.used: dict[str, str | None] = {}
        self._variables = variables or {}
        self.content: dict[str, Any] = self._filled(yaml.safe_load(path.read_text("utf-8")))
        self.services = {
            name: Service(name, spec) for name, spec in self.content["services"].items()
        }

    @property
    def secrets(self) -> dict[str, Path]:
        found = self.content.get("secrets", {})
        return {name: self.path.parent / one["file"] for name, one in found.items()}

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._filled(one) for one in value]
        return _VARIABLE.sub(self._value, value) if isinstance(value, str) else value

    def _value(self, found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if name is None:
            return "$"
        assert self.used.setdefault(name, default) == default, f"two defaults of {name}"
        return self._variables.get(name) or default or ""


def example_variables() -> Iterator[tuple[str, str]]:
    """Every variable that `.env.example` explains, each with the first value it shows."""
    seen = set()
    for line in (DOCKER / ".env.example").read_text(encoding="utf-8").splitlines():
        found = _COMMENT.fullmatch(line)
        if found and found[1] not in seen:
            seen.add(found[1])
            yield found[1], found[2]


def _mount(one: str | Mapping[str, Any]) -> Mount:
    if isinstance(one, str):
        source, target, *options = one.split(":")
        return Mount(source, target, "ro" in ",".join(options).split(","))
    return Mount(one["source"], one["target"], one.get("read_only", False))
