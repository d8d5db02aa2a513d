"""Who acts at a shell, as the audit log names them."""

from __future__ import annotations

import getpass


def shell_actor() -> str:
    """`shell:NAME` of the account that runs this."""
    try:
        return f"shell:{getpass.getuser()}"
    except (KeyError, OSError):  # an account that the machine has no name for
        return "shell"
