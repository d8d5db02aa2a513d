"""What can be set about an agent: one frozen object, read once at the start.

Every field may come from a flag, from `EDGEQA_AGENT_…` in the environment or from a TOML file, in
this order of precedence.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from edgeqa.broker import BrokerSettings
from edgeqa.errors import ConfigError
from edgeqa.logs import Format, Level
from edgeqa.model_messages import Gates
from edgeqa.repository.repository_url import parse_repository_url
from edgeqa.topics import is_name
from edgeqa_agent.cache_settings import CacheSettings
from edgeqa_agent.companion_settings import CompanionSettings
from edgeqa_agent.evaluation_settings import EvaluationSettings
from edgeqa_agent.home_assistant_settings import HomeAssistantSettings
from edgeqa_agent.identity_settings import IdentitySettings

DEFAULT_PACKAGE = "minilm-l6-squad-0.1.2"


def default_device() -> str:
    """The host name, where it can be a device id; `edgeqa-agent` elsewhere."""
    name = platform.node()
    return name if is_name(name) else "edgeqa-agent"


def default_package() -> Path:
    """The embedded default package: beside this module in a wheel, in `models/` in a checkout.

    Raises:
        ConfigError: this installation has none.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "packages", here.parents[1] / "models" / "packages"):
        if (folder / DEFAULT_PACKAGE).is_dir():
            return folder / DEFAULT_PACKAGE
    raise ConfigError(
        f"package: the embedded {DEFAULT_PACKAGE} is not part of this installation; name a folder"
    )


class AgentSettings(
    BrokerSettings,
    IdentitySettings,
    CacheSettings,
    CompanionSettings,
    EvaluationSettings,
    HomeAssistantSettings,
    BaseSettings,
):
    """Settings of `edgeqa agent run`."""

    model_config = SettingsConfigDict(env_prefix="EDGEQA_AGENT_", frozen=True, extra="forbid")

    broker_keepalive_s: int = Field(
        # Above the heartbeat's default interval: pings cost an idle device 0.4 MB a day.
        default=65,
        ge=5,
        le=3600,
        description="MQTT keep-alive, seconds; while it is above `heartbeat_interval_s`, the "
        "heartbeat stands for the pings.",
    )
    device: str = Field(
        default_factory=default_device, description="Id of this device in topics; the host name."
    )
    groups: list[str] = Field(
        default_factory=list,
        max_length=16,
        description="Groups whose questions this agent helps to answer; repeat the flag, or "
        "separate by commas.",
    )
    package: Path | None = Field(
        default=None,
        description="Folder of the model package to serve until another is wished for; the "
        "embedded default if not said.",
    )
    state_dir: Path | None = Field(
        default=None,
        description="Folder for fetched packages and what must survive a restart; "
        "`$XDG_STATE_HOME/edgeqa/DEVICE` if not said.",
    )
    repository: str | None = Field(
        default=None,
        description="URL (http, https or file) of the repository that packages are fetched from.",
    )
    repository_root: Path | None = Field(
        default=None,
        description="The repository's `root.json`, which this device trusts at first.",
    )
    fetch_rate_bytes_s: int = Field(
        default=0, ge=0, description="Most bytes a second of a download; 0: as fast as it goes."
    )
    fetch_timeout_s: float = Field(
        default=30.0, ge=1, le=3600, description="A download without a byte for so long is broken."
    )
    fetch_retries: int = Field(
        default=5, ge=0, le=100, description="Tries again of a file before the fetch is put off."
    )
    max_package_mb: int = Field(
        default=2048, ge=1, le=1 << 20, description="Largest package that is fetched, MiB."
    )
    disk_reserve_mb: int = Field(
        default=64, ge=0, le=1 << 20, description="Disk space that a download leaves free, MiB."
    )
    store_quota_mb: int = Field(
        default=4096,
        ge=0,
        le=1 << 20,
        description="Packages kept on disk, MiB; those in use are always kept.",
    )
    memory_reserve_mb: int = Field(
        default=64,
        ge=0,
        le=1 << 20,
        description="Memory that must stay free beside a model that is loaded, MiB.",
    )
    gate_min_exact_match: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="A model below this EM on its check questions is not taken, percent.",
    )
    gate_min_f1: float | None = Field(
        default=None, ge=0, le=100, description="The same for F1, percent."
    )
    gate_max_p95_ms: float | None = Field(
        default=None,
        gt=0,
        description="A model with a larger p95 of inference time on them is not taken, ms.",
    )
    gate_max_memory_mb: float | None = Field(
        default=None, gt=0, description="A model with more resident memory is not taken, MiB."
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Cores that the model may use; 0: all that this process may.",
    )
    queue_size: int = Field(
        default=64, ge=1, le=10_000, description="Questions that may wait; more are refused `busy`."
    )
    max_batch: int = Field(default=64, ge=1, le=1024, description="Questions in one request.")
    max_payload_bytes: int = Field(
        default=2 << 20, ge=1024, le=16 << 20, description="Largest request, bytes."
    )
    max_context_chars: int = Field(
        default=200_000, ge=100, le=4_000_000, description="Longest text, code points."
    )
    max_contexts: int = Field(
        default=256, ge=0, le=100_000, description="Texts stored on this device."
    )
    max_contexts_bytes: int = Field(
        default=16 << 20, ge=0, le=1 << 30, description="Size of all stored texts, bytes of UTF-8."
    )
    remembered_answers: int = Field(
        default=1024,
        ge=0,
        le=1_000_000,
        description="Answers kept so that a question sent again is not inferred again.",
    )
    remembered_s: float = Field(
        default=600.0, ge=0, le=86_400, description="How long they are kept, seconds."
    )
    session_expiry_s: int = Field(
        default=3600,
        ge=0,
        le=7 * 86_400,
        description="How long the broker keeps questions for this agent after a crash, seconds.",
    )
    inference_timeout_s: float = Field(
        default=60.0,
        ge=1,
        le=3600,
        description="A model process that is longer at one request is ended and replaced.",
    )
    model_start_timeout_s: float = Field(
        default=60.0, ge=1, le=3600, description="Limit for loading and checking a model."
    )
    drain_timeout_s: float = Field(
        default=10.0, ge=0, le=600, description="Limit for finishing questions at a stop."
    )
    telemetry_interval_s: float = Field(
        default=60.0,
        ge=1,
        le=86_400,
        description="How often a device that is asked tells how it serves, seconds.",
    )
    telemetry_idle_interval_s: float = Field(
        default=900.0, ge=1, le=86_400, description="The same, of one to which nothing happens."
    )
    outbox_max_rows: int = Field(
        default=20_000,
        ge=100,
        le=10_000_000,
        description="Records kept on disk until the cloud's broker has them; the oldest telemetry "
        "goes first.",
    )
    outbox_max_mb: int = Field(
        default=32, ge=1, le=1 << 16, description="Room for them on disk, MiB."
    )
    outbox_keep_sent_s: float = Field(
        default=86_400.0,
        ge=0,
        le=30 * 86_400,
        description="How long a record that was sent can be sent again, seconds of running time.",
    )
    heartbeat_interval_s: float = Field(
        default=60.0, ge=1, le=86_400, description="How often a device says that it is there."
    )
    health_file: Path | None = Field(
        default=None, description="Written every few seconds; read by `edgeqa agent health`."
    )
    log_level: Level = Field(default="info", description="Least level that is logged.")
    log_format: Format = Field(
        default="auto", description="`json`, `console`, or `auto`: console on a terminal."
    )

    @model_validator(mode="after")
    def _repository_has_a_root(self) -> Self:
        if (self.repository is None) != (self.repository_root is None):
            raise ValueError("repository and repository_root belong together: set both or neither")
        return self

    @field_validator("repository")
    @classmethod
    def _repository_is_a_url(cls, repository: str | None) -> str | None:
        if repository is None:
            return None
        try:
            return parse_repository_url(repository).text
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("repository: ")) from error

    @field_validator("device")
    @classmethod
    def _device_is_a_name(cls, device: str) -> str:
        if not is_name(device):
            raise ValueError(
                "must be 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit"
            )
        return device

    @field_validator("groups")
    @classmethod
    def _groups_are_names(cls, groups: list[str]) -> list[str]:
        bad = [group for group in groups if not is_name(group)]
        if bad:
            raise ValueError(f"not a group name: {', '.join(map(repr, bad))}")
        return list(dict.fromkeys(groups))

    def resolved_threads(self) -> int:
        """Cores that the model may use."""
        return self.threads or len(os.sched_getaffinity(0))

    def base_packages(self) -> list[Path]:
        """Packages that are on the device without a store; the first is served at first.

        Raises:
            ConfigError: none is named and none is embedded.
        """
        embedded = default_package()
        others = sorted(path for path in embedded.parent.iterdir() if path.is_dir())
        first = self.package or embedded
        return [first, *(path for path in others if path != first)]

    def resolved_state_dir(self) -> Path:
        """Where state lies."""
        if self.state_dir is not None:
            return self.state_dir
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return Path(home) / "edgeqa" / self.device

    def gates(self) -> Gates:
        """What this device demands of every model."""
        return Gates(
            min_exact_match=self.gate_min_exact_match,
            min_f1=self.gate_min_f1,
            max_p95_ms=self.gate_max_p95_ms,
            max_memory_mb=self.gate_max_memory_mb,
        )
