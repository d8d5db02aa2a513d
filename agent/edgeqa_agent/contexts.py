"""Texts stored on the device, so that a question need not carry its own.

The broker's retained messages are the store of record; this is the agent's copy of them, bounded
in number and size.
"""

from __future__ import annotations

from edgeqa.errors import PayloadError


class Contexts:
    """Texts by id.

    Thread: the MQTT network thread only.
    """

    def __init__(self, *, max_texts: int, max_bytes: int, max_chars: int) -> None:
        self._max_texts = max_texts
        self._max_bytes = max_bytes
        self._max_chars = max_chars
        self._texts: dict[str, str] = {}
        self._sizes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, context_id: object) -> bool:
        return context_id in self._texts

    def get(self, context_id: str) -> str:
        """The text.

        Raises:
            PayloadError: `unknown_context`.
        """
        try:
            return self._texts[context_id]
        except KeyError:
            raise PayloadError(
                f"no text {context_id!r} is stored on this device", code="unknown_context"
            ) from None

    def put(self, context_id: str, payload: bytes) -> None:
        """Store or replace a text; an empty payload deletes it.

        Raises:
            PayloadError: not UTF-8, blank, too long, or no room; what was stored under the id is
                dropped, because it is not what the client wants there.
        """
        self._texts.pop(context_id, None)
        self._sizes.pop(context_id, None)
        if not payload:
            return
        if len(payload) > 4 * self._max_chars:
            raise self._too_long()
        try:
            text = payload.decode("utf-8")
        except UnicodeDecodeError as error:
            raise PayloadError(f"not UTF-8 at byte {error.start}", code="not_utf8") from error
        if not text.strip():
            raise PayloadError("the context is empty", code="empty_context")
        if len(text) > self._max_chars:
            raise self._too_long()
        used = sum(self._sizes.values()) + len(payload)
        if len(self._texts) >= self._max_texts or used > self._max_bytes:
            raise PayloadError(
                f"no room: at most {self._max_texts} texts and {self._max_bytes} bytes are stored",
                code="contexts_full",
            )
        self._texts[context_id] = text
        self._sizes[context_id] = len(payload)

    def _too_long(self) -> PayloadError:
        return PayloadError(
            f"the context is longer than {self._max_chars} characters", code="context_too_long"
        )
