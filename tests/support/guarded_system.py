"""The whole system behind access rules: broker, cloud, agents and a repository, all at debug level.

Each process is started with the bundle that `edgeqa cloud enrol` wrote for it, as a person would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeqa.broker import BrokerSettings
from edgeqa.identity.roles import Role
from edgeqa.processes import edgeqa_process, free_port
from support.guarded import GuardedSite, Member
from support.repository import Repository, serve
from support.swaps import variant

NEW = "9.0.0"
MODELS_PASSPHRASE = "another that stands in no log"
_ONE = {"target": {"devices": ["pi-1"]}, "stages": [{"count": 1, "soak_s": 3600}]}


@dataclass
class GuardedSystem:
    """A running one.

    Attributes:
        site: with its broker.
        folder: for logs and state.
        members: by name; `pi-2` and `bob` have passwords, all others certificates.
        pids: of processes that run.
        said: what commands printed.
    """

    site: GuardedSite
    folder: Path
    members: dict[str, Member]
    repository: Repository
    api: str
    pids: list[int]
    said: list[str]

    def broker(self, name: str) -> BrokerSettings:
        """How a member reaches it."""
        return self.members[name].broker

    def edgeqa(self, *arguments: str, who: str) -> subprocess.CompletedProcess[str]:
        """`edgeqa …` as this member, with everything logged that can be."""
        done = subprocess.run(
            [sys.executable, "-m", "edgeqa.cli", *arguments],
            env={
                **clean_environment(),
                **self.members[who].environment,
                "EDGEQA_API_URL": self.api,
                "EDGEQA_API_TOKEN_FILE": str(self.token),
            },
            capture_output=True, text=True, check=False, timeout=150,
        )  # fmt: skip
        self.said.append(done.stdout + done.stderr)
        return done

    @property
    def token(self) -> Path:
        """Of the API."""
        return self.folder / "operator-token"

    @property
    def logs(self) -> list[Path]:
        """What the processes wrote, the broker's too."""
        return [*self.folder.glob("*.log"), self.site.broker.folder / "mosquitto.log"]

    def roll_out(self, package: str) -> subprocess.CompletedProcess[str]:
        """To one device."""
        spec = self.folder / "spec.json"
        spec.write_text(json.dumps(_ONE))
        return self.edgeqa("rollout", "create", package, "--spec", str(spec), "--yes", who="cloud")


def clean_environment() -> dict[str, str]:
    """Without settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if "EDGEQA" not in name}


@contextmanager
def guarded_system(folder: Path) -> Iterator[GuardedSystem]:
    """Everything that belongs to it runs inside the block."""
    said: list[str] = []
    with ExitStack() as stack:
        site = stack.enter_context(GuardedSite(folder, passphrase=True))
        members = {
            "cloud": site.enrol(Role.SERVICE, "cloud"),
            "pi-1": site.enrol(Role.DEVICE, "pi-1", "--group", "hall", "--days", "0.004"),
            "pi-2": site.enrol(Role.DEVICE, "pi-2", "--group", "hall", password=True),
            "alice": site.enrol(Role.CLIENT, "alice"),
            "bob": site.enrol(Role.CLIENT, "bob", password=True),
        }
        said += site.said
        repository = _repository(folder, said)
        root = folder / "root.json"
        root.write_bytes(repository.root)
        url = stack.enter_context(serve(repository.path))
        port = free_port()
        pids = [site.broker.pid]
        cloud = stack.enter_context(
            edgeqa_process(
                ["cloud", "run"],
                folder / "cloud.log",
                {
                    **site.environment,
                    **members["cloud"].environment,
                    "EDGEQA_CLOUD_LISTEN": f"127.0.0.1:{port}",
                    "EDGEQA_CLOUD_METRICS_LISTEN": "off",
                    "EDGEQA_CLOUD_TOKEN_FILE": str(folder / "operator-token"),
                    "EDGEQA_CLOUD_REPOSITORY": url,
                    "EDGEQA_CLOUD_REPOSITORY_ROOT": str(root),
                    "EDGEQA_CLOUD_REPOSITORY_FOLDER": str(folder / "repository"),
                    "EDGEQA_CLOUD_ROLLOUTS_EVERY_S": "0.1",
                    "EDGEQA_CLOUD_BATCH_WAIT_MS": "10",
                    "EDGEQA_CLOUD_LOG_FORMAT": "json",
                    "EDGEQA_CLOUD_LOG_LEVEL": "debug",
                    "EDGEQA_CLOUD_NAME": "cloud",
                },
                ready="console_served",
            )
        )
        pids.append(cloud.pid)
        for name in ("pi-1", "pi-2"):
            agent = stack.enter_context(
                edgeqa_process(
                    ["agent", "run"],
                    folder / f"{name}.log",
                    {
                        "EDGEQA_AGENT_CONFIG": str(members[name].file),
                        "EDGEQA_AGENT_STATE_DIR": str(folder / f"state-{name}"),
                        "EDGEQA_AGENT_REPOSITORY": url,
                        "EDGEQA_AGENT_REPOSITORY_ROOT": str(root),
                        "EDGEQA_AGENT_EVALUATION_DATA": "off",
                        "EDGEQA_AGENT_TELEMETRY_INTERVAL_S": "1",
                        "EDGEQA_AGENT_HEARTBEAT_INTERVAL_S": "2",
                        "EDGEQA_AGENT_HOME_ASSISTANT": "true",
                        # A certificate counts from before it is issued: that of some hours is due.
                        "EDGEQA_AGENT_CERTIFICATE_RENEW_SHARE": "0.95",
                        "EDGEQA_AGENT_LOG_FORMAT": "json",
                        "EDGEQA_AGENT_LOG_LEVEL": "debug",
                    },
                    ready="agent_online",
                )
            )
            pids.append(agent.pid)
        yield GuardedSystem(
            site=site, folder=folder, members=members, repository=repository,
            api=f"http://127.0.0.1:{port}", pids=pids, said=said,
        )  # fmt: skip


def _repository(folder: Path, said: list[str]) -> Repository:
    """Signed with keys that have a passphrase."""
    file = folder / "models-passphrase"
    file.write_text(f"{MODELS_PASSPHRASE}\n")
    environment = {"EDGEQA_MODELS_PASSPHRASE_FILE": str(file)}
    made = Repository(folder / "repo", folder / "keys")
    for arguments in (("init",), ("publish", variant(folder, NEW))):
        done = made.run(*arguments, env=environment)
        assert done.exit_code == 0, done.stderr
        said.append(done.stdout + done.stderr)
    return made
