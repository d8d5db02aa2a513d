"""What a device and the cloud say to each other when a certificate is renewed.

The device makes a new key, which never leaves it, and asks with a certificate signing request; that
the request came from the device is what the broker's access rules prove.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from edgeqa.messages import Id, Name, Wire

# A request with an RSA key of 4096 bits is under 2 KiB, a certificate under 3.
MAX_PEM_CHARS = 8 << 10

Pem = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PEM_CHARS)]


class CertificateRequest(Wire):
    """A device asks for a certificate for a new key. Not retained."""

    id: Id = Field(description="Comes back with the reply; new for each request.")
    device: Name
    request: Pem = Field(description="PKCS #10 certificate signing request, PEM.")


class CertificateIssued(Wire):
    """The reply: a certificate, or why there is none. Not retained."""

    id: Id = Field(description="Of the request.")
    certificate: Pem | None = Field(default=None, description="X.509 certificate, PEM.")
    code: str | None = Field(default=None, description="Stable error code.")
    message: str | None = Field(default=None, description="For people.")

    @model_validator(mode="after")
    def _either_or(self) -> CertificateIssued:
        if (self.certificate is None) == (self.code is None):
            raise ValueError("either `certificate` or `code` must be there")
        return self
