"""The evaluation set that ships with EdgeQA: what a device measures itself with by default.

Short texts on devices, their installation and safety, sensors and networks, with questions that
were written for them; README.md beside it says more. Pure Python, without numpy: the agent's main
process reads it too. A change of the questions is a new version in a new file, because scores are
only comparable on equal questions.
"""

from __future__ import annotations

from pathlib import Path

from edgeqa.files import sha256_hex
from edgeqa.squad import Example, read_squad

NAME = "edgeqa-devices"
VERSION = "1.0.0"
PATH = Path(__file__).with_name(f"{NAME}-{VERSION}.json")


def load() -> list[Example]:
    """All questions in the order of the file; those that their text does not answer included.

    Raises:
        DataError: the installation is damaged.
    """
    return read_squad(PATH)


def fingerprint() -> str:
    """SHA-256 of the file, by which telemetry and reports name the questions asked.

    Raises:
        OSError: the installation is damaged.
    """
    return sha256_hex(PATH)
