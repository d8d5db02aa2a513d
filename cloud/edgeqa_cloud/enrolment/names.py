"""What somebody at the broker can be called."""

from __future__ import annotations

from edgeqa.topics import is_name
from edgeqa_cloud.enrolment.refusals import BadNameError


def check_name(name: str) -> None:
    """Take a name that fits one level of a topic, a line of a password file and a file's name.

    Raises:
        BadNameError: it does not.
    """
    if not is_name(name):
        raise BadNameError(
            f"{name[:80]!r} is no name: it must be 1 to 64 letters, digits, '.', '_' or '-', and "
            "begin with a letter or a digit"
        )
