"""How the broker's configuration is filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeqa.identity.roles import PASSWORD_PORTS, PORTS, Role


def _ports(ports: Mapping[Role, int]) -> dict[Role, str]:
    return {role: str(port) for role, port in ports.items()}


@dataclass(frozen=True, slots=True)
class BrokerView:
    """What the broker sees, which may run in a container or on another machine.

    Attributes:
        files: its folder of files, as it is called there; absolute.
        data: where it keeps sessions and retained messages.
        listeners: port, or port and address, of each role's listener for certificates.
        password_listeners: the same for passwords.
        extra: more lines for its configuration.
    """

    files: Path
    data: Path = Path("/var/lib/mosquitto")
    listeners: Mapping[Role, str] = field(default_factory=lambda: _ports(PORTS))
    password_listeners: Mapping[Role, str] = field(default_factory=lambda: _ports(PASSWORD_PORTS))
    extra: str = ""

    @property
    def variables(self) -> dict[str, str]:
        """Of the template `broker/mosquitto.conf`."""
        return {
            "files": str(self.files),
            "data": str(self.data),
            "extra": self.extra,
            **{f"{role}_listener": port for role, port in self.listeners.items()},
            **{f"{role}_password_listener": port for role, port in self.password_listeners.items()},
        }
