"""What can be set about the metrics that Prometheus scrapes."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


class MetricsSettings(BaseModel):
    """Where metrics are exposed, and how many series there may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics_listen: str = Field(
        # OpenTelemetry's default for a Prometheus endpoint. Local, as there is no password.
        default="127.0.0.1:9464",
        description="HOST:PORT for /metrics, /metrics/fleet and /healthz; port 0: any free one; "
        "`off`: none.",
    )
    metrics_models: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Models with series of their own; the others are counted together as `other`.",
    )
    metrics_devices: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Devices with series of their own, the first by name; 0: none.",
    )
    metrics_cache_s: float = Field(
        default=15.0,
        ge=0,
        le=3600,
        description="The database is read for /metrics/fleet at most this often.",
    )

    @field_validator("metrics_listen")
    @classmethod
    def _is_an_address(cls, listen: str) -> str:
        if listen != "off":
            listen_address(listen)
        return listen


def listen_address(listen: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `[IPV6]:PORT` or `:PORT`, which is all addresses.

    Raises:
        ValueError: it is none of them.
    """
    parts = urlsplit(f"//{listen}")
    if parts.port is None or parts.path or parts.query or parts.fragment or parts.username:
        raise ValueError("must be HOST:PORT, or `off`")
    return parts.hostname or "", parts.port
