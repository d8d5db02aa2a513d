"""The passphrase of an authority's keys: from a file, or from a person; never from an argument."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from edgeqa_cloud.enrolment.refusals import AuthorityError

_MAX_BYTES = 4096


def read_passphrase(file: Path) -> str:
    """What the file holds, without a final line break.

    Raises:
        AuthorityError: `passphrase_missing`.
    """
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_BYTES).decode()
    except OSError as error:
        raise _missing(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _missing(f"{file}: not text") from error
    passphrase = text.removesuffix("\n").removesuffix("\r")
    if not passphrase:
        raise _missing(f"{file}: is empty")
    return passphrase


def ask_passphrase(file: Path | None, *, new: bool = False) -> str | None:
    """From the file, or from whoever sits there; None where there is neither.

    Args:
        file: that may hold it.
        new: ask twice, as keys will be made with it.
    """
    if file is not None:
        return read_passphrase(file)
    if not sys.stdin.isatty():
        return None
    asked = typer.prompt(
        "passphrase of the authority", hide_input=True, confirmation_prompt=new, err=True
    )
    return str(asked)


def _missing(message: str) -> AuthorityError:
    return AuthorityError(f"authority_passphrase_file: {message}", code="passphrase_missing")
