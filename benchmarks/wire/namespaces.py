"""Two network namespaces joined by a cable of their own: a device here, its broker there.

Nothing else is on that cable: no other program, no IPv6 and no router. Needs root.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeqa.errors import DataError

WIRE = "wire0"
BROKER_ADDRESS = "10.213.0.1"
DEVICE_ADDRESS = "10.213.0.2"


@dataclass(frozen=True, slots=True)
class Cable:
    """The names of the two namespaces."""

    broker: str
    device: str

    def on_broker(self, command: list[str]) -> list[str]:
        """A command as it runs at the broker's end."""
        return ["ip", "netns", "exec", self.broker, *command]

    def on_device(self, command: list[str]) -> list[str]:
        """A command as it runs at the device's end."""
        return ["ip", "netns", "exec", self.device, *command]

    def counters(self) -> dict[str, int]:
        """What the device's end has counted: bytes with Ethernet headers, and frames.

        Source: the kernel's ABI/testing/sysfs-class-net-statistics.
        """
        names = ("tx_bytes", "rx_bytes", "tx_packets", "rx_packets")
        files = [f"/sys/class/net/{WIRE}/statistics/{name}" for name in names]
        # `ip netns exec` mounts the /sys of the namespace.
        values = _run(self.on_device(["cat", *files])).split()
        return dict(zip(names, map(int, values), strict=True))


@contextmanager
def cable() -> Iterator[Cable]:
    """Namespaces that exist inside the block.

    Raises:
        DataError: not run as root, or the kernel does not allow it.
    """
    if os.geteuid() != 0:
        raise DataError("network namespaces need root: run this with sudo")
    names = Cable(f"edgeqa-broker-{os.getpid()}", f"edgeqa-device-{os.getpid()}")
    try:
        for namespace in (names.broker, names.device):
            _run(["ip", "netns", "add", namespace])
        here, there = names.broker, names.device
        ends = ["add", WIRE, "netns", here, "type", "veth", "peer", "name", WIRE, "netns", there]
        _run(["ip", "link", *ends])
        for namespace, address in ((here, BROKER_ADDRESS), (there, DEVICE_ADDRESS)):
            ip = ["ip", "-n", namespace]
            _run([*ip, "link", "set", "lo", "up"])
            # No IPv6 address, so no IPv6 packets; and no frame larger than an Ethernet has.
            _run([*ip, "link", "set", WIRE, "addrgenmode", "none", "gso_max_segs", "1"])
            _run([*ip, "address", "add", f"{address}/30", "dev", WIRE])
            _run([*ip, "link", "set", WIRE, "up"])
        yield names
    finally:
        for namespace in (names.broker, names.device):
            if Path("/run/netns", namespace).exists():
                _run(["ip", "netns", "delete", namespace])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"`{' '.join(command)}`: {done.stderr.strip()}")
    return done.stdout
