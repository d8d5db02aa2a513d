"""Client ids that nobody else can name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeqa.broker import BrokerSettings
from edgeqa.client_ids import private_client_id


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "identity.key"
    path.write_text("a key")
    return path


def _settings(**fields: object) -> BrokerSettings:
    return BrokerSettings.model_validate({"broker": "mqtts://broker"} | fields)


def test_without_a_secret_the_id_is_the_name() -> None:
    assert private_client_id("pi5", _settings()) == "pi5"


def test_an_id_is_the_same_at_each_start(key: Path) -> None:
    settings = _settings(broker_cert_file=key.with_suffix(".crt"), broker_key_file=key)
    first = private_client_id("pi5", settings)
    assert first.startswith("pi5-")
    assert len(first) == len("pi5-") + 32
    assert private_client_id("pi5", settings) == first


@pytest.mark.parametrize("field", ["broker_password_file", "broker_key_file", "broker_cert_file"])
def test_an_id_cannot_be_guessed_without_the_secret(tmp_path: Path, field: str) -> None:
    ids = set()
    for secret in ("one", "two"):
        path = tmp_path / secret
        path.write_text(secret)
        ids.add(private_client_id("pi5", _settings(**{field: path})))
    assert len(ids) == 2
    assert not any("one" in one or "two" in one for one in ids)


def test_two_names_with_one_secret_have_two_ids(key: Path) -> None:
    settings = _settings(broker_key_file=key)
    a, b = private_client_id("a", settings), private_client_id("b", settings)
    assert a.removeprefix("a-") != b.removeprefix("b-")


def test_a_secret_that_cannot_be_read_is_told_of_by_whoever_connects(tmp_path: Path) -> None:
    assert private_client_id("pi5", _settings(broker_key_file=tmp_path / "none")) == "pi5"
