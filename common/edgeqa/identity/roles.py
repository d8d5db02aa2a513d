"""The roles that the broker tells apart, and how a certificate names them."""

from __future__ import annotations

from enum import StrEnum

# The subject of a certificate: O=EdgeQA, OU=<role>, CN=<name>; CN is the broker's user name.
ORGANISATION = "EdgeQA"


class Role(StrEnum):
    """What somebody may do at the broker. Each role has an authority and a listener of its own.

    Attributes:
        DEVICE: an agent: publishes under its own id, and answers.
        CLIENT: asks questions, stores texts, hears the answers to itself.
        SERVICE: the cloud side, and an operator's shell: wishes, commands, hears everything.
    """

    DEVICE = "device"
    CLIENT = "client"
    SERVICE = "service"


# TCP ports of the listeners. With a certificate, and with user name and password (plus TLS).
PORTS = {Role.DEVICE: 8883, Role.CLIENT: 8884, Role.SERVICE: 8885}
PASSWORD_PORTS = {Role.DEVICE: 8893, Role.CLIENT: 8894, Role.SERVICE: 8895}

# A certificate is renewed when this share of its lifetime is left, unless a device is told another.
RENEW_SHARE = 0.33
