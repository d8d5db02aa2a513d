"""What a simulated device is told of a model: how good and how fast it really is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeqa.errors import ConfigError
from edgeqa.messages import ModelRef, Name
from edgeqa.model_messages import Digest, Version

_MIB = 1 << 20


class SimulatedModel(BaseModel):
    """A model, as nature knows it; devices only measure it.

    Attributes:
        em, f1: true scores over all questions there are, percent.
        p50: median inference time of a question on a cool board, milliseconds.
        p95: 95th percentile; 2.2 times the median if not said, as was measured of the default
            models on two threads (docs/benchmarks.md).
        memory: resident memory of its process, MiB.
        fail: share of wishes for it that fail to load.
        dies: share of devices on which it keeps dying after it was active, and is rolled back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    version: Version
    em: float = Field(default=70.0, ge=0, le=100)
    f1: float = Field(default=80.0, ge=0, le=100)
    p50: float = Field(default=45.0, gt=0, le=600_000)
    p95: float | None = Field(default=None, gt=0, le=3_600_000)
    memory: float = Field(default=140.0, gt=0, le=1_000_000)
    fail: float = Field(default=0.0, ge=0, le=1)
    dies: float = Field(default=0.0, ge=0, le=1)
    digest: Digest | None = None

    @property
    def p95_ms(self) -> float:
        """95th percentile of inference time."""
        return max(self.p50, self.p95 if self.p95 is not None else 2.2 * self.p50)

    @property
    def memory_bytes(self) -> int:
        """Resident memory of its process."""
        return round(self.memory * _MIB)

    def ref(self, wished: str | None = None) -> ModelRef:
        """Name, version and digest; without one of its own, that of the wish or a made-up one."""
        made_up = hashlib.sha256(f"{self.name}@{self.version}".encode()).hexdigest()
        digest = self.digest or wished or f"sha256:{made_up}"
        return ModelRef(name=self.name, version=self.version, digest=digest)


# The default packages, as `edgeqa models evaluate` and docs/benchmarks.md have them.
BUILT_IN = (
    SimulatedModel(name="minilm-l6-squad", version="0.1.1", em=70.2, f1=80.2, p50=45.3, p95=94.2),
    SimulatedModel(
        name="minilm-l3-distil-squad", version="0.2.0", em=65.2, f1=76.0, p50=24.8, p95=57.6,
        memory=110.0,
    ),
)  # fmt: skip

Models = Mapping[tuple[str, str], SimulatedModel]


def parse_model(text: str) -> SimulatedModel:
    """A model from `NAME@VERSION[:KEY=VALUE…]`.

    Raises:
        ConfigError: it is not of that form, or a value is out of bounds.
    """
    reference, *pairs = text.split(":")
    # A digest holds a colon itself.
    joined = [
        f"{pair}:{pairs[at + 1]}" if pair == "digest=sha256" and at + 1 < len(pairs) else pair
        for at, pair in enumerate(pairs)
        if not (at and pairs[at - 1] == "digest=sha256")
    ]
    name, _, version = reference.partition("@")
    fields: dict[str, str] = {"name": name, "version": version}
    for pair in joined:
        key, equals, value = pair.partition("=")
        if not equals or key in {"name", "version"} or key not in SimulatedModel.model_fields:
            known = ", ".join(k for k in SimulatedModel.model_fields if k not in fields)
            raise ConfigError(f"model: {text!r:.100}: {pair!r:.40} is none of {known} with a value")
        fields[key] = value
    try:
        return SimulatedModel.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"model: {text!r:.100}: {field}: {first['msg']}") from error


def known_models(texts: Iterable[str]) -> tuple[SimulatedModel, Models]:
    """The model that devices start with, and all that they can be wished.

    Returns:
        The first of `texts`, or the default; and a table by name and version.

    Raises:
        ConfigError: a text is no model.
    """
    given = [parse_model(text) for text in texts]
    table = {(model.name, model.version): model for model in (*BUILT_IN, *given)}
    return (given[0] if given else BUILT_IN[0]), table
