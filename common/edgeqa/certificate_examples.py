"""Examples of the messages that renew a certificate, for the AsyncAPI document and its tests."""

from __future__ import annotations

from typing import Any

REQUESTS: dict[str, dict[str, Any]] = {
    "request": {
        "schema": 1,
        "id": "f2b1c8d07a5e4c39",
        "device": "pi5",
        "request": "-----BEGIN CERTIFICATE REQUEST-----\nMIH…\n-----END CERTIFICATE REQUEST-----\n",
    },
}
REPLIES: dict[str, dict[str, Any]] = {
    "issued": {
        "schema": 1,
        "id": "f2b1c8d07a5e4c39",
        "certificate": "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n",
    },
    "refused": {
        "schema": 1,
        "id": "f2b1c8d07a5e4c39",
        "code": "not_enrolled",
        "message": "pi5 was revoked on 2026-11-20",
    },
}
