"""The bytes of the state file: small JSON with a checksum.

Without one, a flipped bit could make, say, a command number that no later command exceeds.
"""

from __future__ import annotations

import hashlib
import json

from edgeqa_agent.store_state import StoreState

SCHEMA = 1

# The file is a few kilobytes; what is larger than this is not it.
MAX_STATE_BYTES = 256 << 10


def encode(state: StoreState) -> bytes:
    """The file's bytes.

    Raises:
        ValueError: more than `MAX_STATE_BYTES`.
    """
    fields = state.model_dump(mode="json", exclude_none=True)
    content = {"schema": SCHEMA, "sha256": _checksum(fields), "state": fields}
    raw = json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"
    if len(raw) > MAX_STATE_BYTES:
        raise ValueError(f"the state would be {len(raw)} bytes")
    return raw


def decode(raw: bytes) -> StoreState:
    """The state in a file's bytes.

    Raises:
        ValueError: cut off, changed, of another schema, or not a state at all.
    """
    if len(raw) > MAX_STATE_BYTES:
        raise ValueError(f"larger than {MAX_STATE_BYTES} bytes")
    try:
        content = json.loads(raw)
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"not of schema {SCHEMA}")
        if content.get("sha256") != _checksum(content.get("state")):
            raise ValueError("its checksum is not that of its content")
        return StoreState.model_validate_json(json.dumps(content["state"]))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _checksum(fields: object) -> str:
    # Over the fields in the file and not over those this version knows: a file of an older or
    # newer version with the same schema is whole too.
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
