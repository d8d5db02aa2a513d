"""Why an installation was refused or taken back."""

from __future__ import annotations

from edgeqa.errors import EdgeqaError, ExitCode


class InstallError(EdgeqaError):
    """Nothing was installed, or all of it was taken back.

    Args:
        message: for people.
        code: stable slug.
        exit_code: that of the service where its end is the reason.
    """

    code = "install_failed"
    exit_code = ExitCode.CONFIG

    def __init__(
        self, message: str, *, code: str | None = None, exit_code: ExitCode | None = None
    ) -> None:
        super().__init__(message, code=code)
        if exit_code is not None:
            self.exit_code = exit_code
