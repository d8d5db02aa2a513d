"""Room for a connection a device: the limit of open files of this process."""

from __future__ import annotations

import resource

from edgeqa.errors import ConfigError

# Beside the connections: database, logs, terminal, the loop itself.
_OTHERS = 64


def make_room(devices: int) -> None:
    """Raise the limit of open files as far as the devices need.

    Raises:
        ConfigError: it may not be raised so far; says what can be done.
    """
    need = devices + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= need:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, max(hard, need)))
    except (ValueError, OSError) as error:
        most = max(0, hard - _OTHERS)
        raise ConfigError(
            f"devices: {devices} devices need {need} open files and this process may have {hard}; "
            f"raise that (`ulimit -Hn {need}` as root, systemd's LimitNOFILE=, Docker's --ulimit), "
            f"or run several simulations of at most {most} devices, each with a --prefix "
            "of its own"
        ) from error
