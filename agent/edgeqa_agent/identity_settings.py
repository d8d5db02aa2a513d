"""What can be set about the certificate of an agent."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from edgeqa.identity.roles import RENEW_SHARE


class IdentitySettings(BaseModel):
    """When it is renewed. Where it lies is said by the broker's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate_renew_share: float = Field(
        default=RENEW_SHARE,
        ge=0,
        le=0.95,
        description="The certificate is renewed, over MQTT, when this share of its lifetime is "
        "left; 0: never.",
    )
