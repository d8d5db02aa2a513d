"""What a device publishes for Home Assistant beside the discovery message: figures and an answer.

Both are retained, so that Home Assistant has them at once after its own restart.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from edgeqa.messages import Wire

# Of a state in Home Assistant; a longer one is dropped there with a warning.
# Source: MAX_LENGTH_STATE_STATE in homeassistant/const.py.
MAX_STATE_CHARS = 255
# A question or an answer among the attributes: what a person reads, not what a database chokes on.
# Source: the recorder drops attributes above 16,384 bytes, MAX_STATE_ATTRS_BYTES.
MAX_TEXT_CHARS = 1000


class _HomeMessage(Wire):
    def to_json(self) -> bytes:
        """UTF-8 bytes; what is unknown is null, which Home Assistant shows as unknown."""
        return self.model_dump_json().encode()


class HomeState(_HomeMessage):
    """Figures of the device, those that Home Assistant has sensors for."""

    exact_match: float | None = Field(
        default=None, description="EM of the last evaluation of the model that answers, percent."
    )
    f1: float | None = Field(default=None, description="Its F1, percent.")
    latency_p95_ms: float | None = Field(
        default=None,
        description="p95 from arrival to answer, over the last telemetry record with an answer.",
    )
    temperature_celsius: float | None = Field(default=None, description="Of the processor.")
    memory_mib: int | None = Field(default=None, description="Resident, of all processes.")
    answered: int = Field(default=0, ge=0, description="Questions since the agent started.")
    model: str | None = Field(default=None, description="Name and version.")


class AnswerDetails(BaseModel):
    """Attributes of the answer in Home Assistant."""

    model_config = ConfigDict(frozen=True)

    question: str = Field(description="As it was asked, cut to 1,000 characters.")
    context_id: str | None = Field(default=None, description="The stored text it was about.")
    text: str | None = Field(default=None, description="The answer, cut to 1,000 characters.")
    score: float | None = Field(default=None, description="Probability of that answer.")
    model: str | None = Field(default=None, description="Name and version.")
    inference_ms: float | None = Field(default=None, description="Time in the model.")
    error: str | None = Field(default=None, description="Code of the refusal.")
    reason: str | None = Field(default=None, description="The refusal in words.")


class HomeAnswer(_HomeMessage):
    """The last answer to a question from Home Assistant."""

    answer: str | None = Field(
        max_length=MAX_STATE_CHARS,
        description="Cut to 255 characters; null where the question was refused.",
    )
    attributes: AnswerDetails


def cut(text: str, most: int) -> str:
    """A text of at most so many characters; an ellipsis says that there was more."""
    return text if len(text) <= most else text[: most - 1] + "…"
