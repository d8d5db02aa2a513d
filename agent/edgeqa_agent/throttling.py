"""Whether the board holds its processor back: the flags of a Raspberry Pi's firmware.

Either from the kernel's file, where it has one, or from the firmware's own command.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeqa_agent.probes import ROOT, read_text

# Where the kernel of Raspberry Pi OS has it; the folder's name says where the chip's registers lie.
_FILES = (
    "sys/devices/platform/soc*/soc*firmware/get_throttled",
    "sys/devices/platform/soc*firmware/get_throttled",
)
_COMMANDS = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")
# It answers in milliseconds; when the firmware hangs, it never does.
_COMMAND_TIMEOUT_S = 2.0
_MAX_DIGITS = 8  # of 32 bits
# Source: Raspberry Pi documentation, `vcgencmd get_throttled`, a number of 32 bits.
_FLAGS = {
    0: "under_voltage",
    1: "frequency_capped",
    2: "throttled",
    3: "soft_temperature_limit",
    16: "under_voltage_occurred",
    17: "frequency_capped_occurred",
    18: "throttled_occurred",
    19: "soft_temperature_limit_occurred",
}

Run = Callable[[Sequence[str]], str | None]


def run_command(command: Sequence[str]) -> str | None:
    """What a command prints; None where it fails, or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        return done.stdout.decode("ascii") if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def throttled(*, root: Path = ROOT, run: Run = run_command) -> list[str] | None:
    """The flags that are set; None where nothing tells them, as on other boards.

    Args:
        root: of the kernel's files and the command.
        run: runs the command.
    """
    for pattern in _FILES:
        for path in _found(root, pattern):
            flags = flags_in(read_text(path) or "")
            if flags is not None:
                return flags
    for place in _COMMANDS:
        command = root / place
        if os.access(command, os.X_OK):
            return flags_in((run([str(command), "get_throttled"]) or "").removeprefix("throttled="))
    return None


def flags_in(text: str) -> list[str] | None:
    """The names of the bits of a hexadecimal number; None for anything else."""
    digits = text.strip().lower().removeprefix("0x")
    if not digits or len(digits) > _MAX_DIGITS or not all(c in "0123456789abcdef" for c in digits):
        return None
    bits = int(digits, 16)
    return [name for bit, name in _FLAGS.items() if bits >> bit & 1]


def _found(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(root.glob(pattern))
    except OSError:
        return []
