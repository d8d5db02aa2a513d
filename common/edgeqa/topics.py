"""The MQTT topics of contract v1: built and parsed here and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from edgeqa.errors import PayloadError

ROOT = "edgeqa/v1"

# One topic level without wildcards, separators or surprises in file names and shells. 64 keeps
# the longest topic under 200 bytes.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")

# MQTT 5, section 1.5.4: a UTF-8 string is at most 65,535 bytes; nobody needs a reply topic
# longer than this.
MAX_RESPONSE_TOPIC_BYTES = 1024


class Kind(StrEnum):
    """What a topic of a device carries; the value is what follows its root."""

    ASK = "ask"
    ANSWERS = "answers"
    CONTEXTS = "contexts"
    STATUS = "status"
    DESIRED = "model/desired"
    REPORTED = "model/reported"
    COMMANDS = "commands"
    TELEMETRY = "telemetry"
    EVALUATION = "evaluation"
    SWAP = "swap"
    HEARTBEAT = "heartbeat"
    CERTIFICATE_REQUEST = "certificate/request"
    CERTIFICATE_ISSUED = "certificate/issued"
    HOME_STATE = "home-assistant/state"
    HOME_ANSWER = "home-assistant/answer"


@dataclass(frozen=True, slots=True)
class DeviceTopics:
    """The topics of one device."""

    device: str

    @property
    def root(self) -> str:
        """Common prefix of them all."""
        return f"{ROOT}/devices/{self.device}"

    @property
    def ask(self) -> str:
        """Questions to this device."""
        return f"{self.root}/{Kind.ASK}"

    @property
    def answers(self) -> str:
        """Answers to clients that named no MQTT 5 Response Topic."""
        return f"{self.root}/{Kind.ANSWERS}"

    @property
    def status(self) -> str:
        """Retained birth and will."""
        return f"{self.root}/{Kind.STATUS}"

    @property
    def desired(self) -> str:
        """Retained wish for a model."""
        return f"{self.root}/{Kind.DESIRED}"

    @property
    def reported(self) -> str:
        """Retained report on the model."""
        return f"{self.root}/{Kind.REPORTED}"

    @property
    def heartbeat(self) -> str:
        """That the device is there."""
        return f"{self.root}/{Kind.HEARTBEAT}"

    @property
    def certificate_request(self) -> str:
        """The device asks for its next certificate."""
        return f"{self.root}/{Kind.CERTIFICATE_REQUEST}"

    @property
    def certificate_issued(self) -> str:
        """The cloud's reply to that."""
        return f"{self.root}/{Kind.CERTIFICATE_ISSUED}"

    @property
    def home_state(self) -> str:
        """Retained figures for Home Assistant."""
        return f"{self.root}/{Kind.HOME_STATE}"

    @property
    def home_answer(self) -> str:
        """Retained last answer to a question from Home Assistant."""
        return f"{self.root}/{Kind.HOME_ANSWER}"

    def record(self, kind: str) -> str:
        """Records of the outbox; `kind` is `telemetry`, `evaluation` or `swap`."""
        return f"{self.root}/{kind}"

    def command(self, verb: str) -> str:
        """An order to this device."""
        return f"{self.root}/{Kind.COMMANDS}/{verb}"

    @property
    def all_commands(self) -> str:
        """Subscription filter over `command`."""
        return self.command("+")

    def verb(self, topic: str) -> str | None:
        """The verb in a topic of `all_commands`; None for any other topic."""
        prefix = self.command("")
        return topic.removeprefix(prefix) if topic.startswith(prefix) else None

    def context(self, context_id: str) -> str:
        """Retained text that questions may name by `context_id`."""
        return f"{self.root}/{Kind.CONTEXTS}/{context_id}"

    @property
    def all_contexts(self) -> str:
        """Subscription filter over `context`."""
        return f"{self.root}/{Kind.CONTEXTS}/+"

    def context_id(self, topic: str) -> str | None:
        """The id in a topic of `all_contexts`; None for any other topic."""
        prefix = f"{self.root}/{Kind.CONTEXTS}/"
        return topic.removeprefix(prefix) if topic.startswith(prefix) else None


def of_all_devices(kind: Kind) -> str:
    """Filter over the topic of this kind of every device."""
    return f"{ROOT}/devices/+/{kind}"


def shared(group: str, topic_filter: str) -> str:
    """A shared subscription: the subscribers of one group divide the messages among them."""
    return f"$share/{group}/{topic_filter}"


def device_in(topic: str) -> str | None:
    """The device in one of a device's topics; None where it is none."""
    rest = topic.removeprefix(f"{ROOT}/devices/")
    device = rest.partition("/")[0]
    return device if rest != topic and is_name(device) else None


def group_ask(group: str) -> str:
    """Questions to any one agent of a group."""
    return f"{ROOT}/groups/{group}/{Kind.ASK}"


def group_ask_filter(group: str) -> str:
    """Shared subscription with which the agents of a group divide its questions."""
    return shared(group, group_ask(group))


def client_answers(client: str, *, user: str | None = None) -> str:
    """The Response Topic that EdgeQA's own client listens on.

    Args:
        client: its MQTT client id, so that two processes of one user do not hear each other's.
        user: who it is at the broker, so that access rules can keep users apart; None, or what is
            no name: nobody in particular.
    """
    mine = f"{user}/{client}" if user is not None and is_name(user) else client
    return f"{ROOT}/clients/{mine}/{Kind.ANSWERS}"


def is_name(name: str) -> bool:
    """Whether this can be a device, a group, a client or a context id."""
    return _NAME.match(name) is not None


def check_response_topic(topic: str) -> str:
    """The topic itself, if an agent may publish an answer to it.

    A question must not make an agent publish where devices listen for commands, so inside
    `edgeqa/v1/` only topics that end in `/answers` are allowed.

    Raises:
        PayloadError: `invalid_response_topic`.
    """
    reason = None
    if not topic or len(topic.encode("utf-8", "surrogatepass")) > MAX_RESPONSE_TOPIC_BYTES:
        reason = f"is empty or longer than {MAX_RESPONSE_TOPIC_BYTES} bytes"
    elif any(ch in "+#" or ch < " " for ch in topic):
        reason = "holds a wildcard or a control character"
    elif topic.startswith("$"):
        reason = "begins with '$', which belongs to the broker"
    elif topic.startswith("edgeqa/") and not topic.endswith(f"/{Kind.ANSWERS}"):
        reason = "lies among EdgeQA's own topics and does not end in '/answers'"
    if reason:
        raise PayloadError(f"the response topic {reason}", code="invalid_response_topic")
    return topic
