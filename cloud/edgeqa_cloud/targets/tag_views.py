"""What the cloud tells of tags. Fields are added, never renamed."""

from __future__ import annotations

from pydantic import Field

from edgeqa_cloud.fleet_views import View


class DeviceTags(View):
    """The tags of a device."""

    device: str
    tags: list[str] = Field(description="By name.")
    revision: str = Field(description="Another one for other tags; the ETag.")


class TagCount(View):
    """A tag in use."""

    tag: str
    devices: int


class TagPage(View):
    """Some of the tags in use."""

    total: int
    tags: list[TagCount]


class TagChange(View):
    """What a change of many devices did."""

    devices: int = Field(description="That were meant.")
    changed: int = Field(description="Of those, had other tags before.")
