"""Bounds of label values: whatever a device may say, a metric has only so many series."""

from __future__ import annotations

from collections.abc import Callable

from edgeqa.codes import CODES
from edgeqa.error_code import Where

OTHER = "other"
# A model that no record mentions for so long leaves its place to another.
FORGET_AFTER_S = 86_400.0

# What messages are put into quarantine for; also what `edgeqa.messages.parse_payload` refuses with.
QUARANTINE_CODES = (
    "payload_too_large", "not_utf8", "not_json", "unsupported_schema", "invalid_payload",
    *(code.slug for code in CODES if code.where is Where.QUARANTINE),
)  # fmt: skip
_CODES = frozenset(code.slug for code in CODES)

ModelLabels = tuple[str, str]


def known_code(code: str) -> str:
    """A code of the tables in `edgeqa.codes`; `other` for any other."""
    return code if code in _CODES else OTHER


class ModelNames:
    """Gives the first models that are seen labels of their own, and the others one together.

    Args:
        most: labels at a time, beside `other`.
        monotonic: seconds.
        forget: called with the labels of a model that has lost its place.
    """

    def __init__(
        self, *, most: int, monotonic: Callable[[], float], forget: Callable[[ModelLabels], None]
    ) -> None:
        self._most = most
        self._monotonic = monotonic
        self._forget = forget
        self._seen: dict[ModelLabels, float] = {}

    def labels(self, name: str, version: str) -> ModelLabels:
        """Labels `model` and `version`."""
        model = (name, version)
        now = self._monotonic()
        if model not in self._seen and len(self._seen) >= self._most:
            self._make_room(now)
            if len(self._seen) >= self._most:
                return OTHER, OTHER
        self._seen[model] = now
        return model

    def _make_room(self, now: float) -> None:
        for model, seen in list(self._seen.items()):
            if now - seen > FORGET_AFTER_S:
                del self._seen[model]
                self._forget(model)
