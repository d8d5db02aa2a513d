"""The error tree of EdgeQA.

Every error that EdgeQA raises on purpose is an `EdgeqaError` with a stable `code` (a slug for MQTT
replies, logs and dashboards) and the process `exit_code` it leads to when nothing handles it.
Errors know nothing of MQTT or the terminal: only `main` exits, only the router replies.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes; a supervisor must not restart on 2, 3, 5 and 6."""

    OK = 0
    BUG = 1
    USAGE = 2
    CONFIG = 3
    UNREACHABLE = 4
    REFUSED = 5
    GATE = 6


class EdgeqaError(Exception):
    """Base of all expected failures.

    Attributes:
        code: stable slug, part of the public contract.
        exit_code: what a process ends with when this reaches `main`.
    """

    code = "internal_error"
    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(EdgeqaError):
    """A setting is missing, unknown or out of bounds."""

    code = "invalid_config"
    exit_code = ExitCode.CONFIG


class UsageError(EdgeqaError):
    """A command was called in a way that makes no sense."""

    code = "usage"
    exit_code = ExitCode.USAGE


class PayloadError(EdgeqaError):
    """A message or its content cannot be served; `code` says why."""

    code = "invalid_payload"
    exit_code = ExitCode.USAGE


class DeadlineError(PayloadError):
    """The deadline of a question passed before the model began."""

    code = "expired"

    def __init__(self, when: str = "before it was answered") -> None:
        super().__init__(f"its deadline passed {when}")


class BrokerError(EdgeqaError):
    """The MQTT broker cannot be reached or refuses us."""

    code = "broker_unreachable"
    exit_code = ExitCode.UNREACHABLE


class DataError(EdgeqaError):
    """A data set cannot be read, is empty or contradicts itself."""

    code = "invalid_data"
    exit_code = ExitCode.USAGE


class VerificationError(EdgeqaError):
    """Bytes are not what their manifest says."""

    code = "verification_failed"
    exit_code = ExitCode.REFUSED


class ModelLoadError(EdgeqaError):
    """A model package is malformed or does not load."""

    code = "model_load_failed"
    exit_code = ExitCode.REFUSED


class GateError(EdgeqaError):
    """A model is sound but not good enough."""

    code = "gate_failed"
    exit_code = ExitCode.GATE


class AnswerError(EdgeqaError):
    """A question was refused; `code` is the agent's, or the client's own.

    Args:
        message: for people.
        code: stable slug.
        exit_code: `UNREACHABLE` where the same question may succeed later.
    """

    code = "refused"
    exit_code = ExitCode.USAGE

    def __init__(
        self, message: str, *, code: str | None = None, exit_code: ExitCode | None = None
    ) -> None:
        super().__init__(message, code=code)
        if exit_code is not None:
            self.exit_code = exit_code


class AnswerTimeoutError(AnswerError, TimeoutError):
    """No answer came in time."""

    code = "timeout"
    exit_code = ExitCode.UNREACHABLE
