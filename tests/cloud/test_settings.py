"""Settings of the cloud side, and their page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeqa.errors import ConfigError
from edgeqa.settings import load_settings
from edgeqa_cloud.cli import app
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.settings_doc import page

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    said = (ROOT / "docs" / "cloud-settings.md").read_text(encoding="utf-8")
    assert said == page(), "run: python -m edgeqa_cloud.settings_doc > docs/cloud-settings.md"


def test_defaults_are_valid_and_the_name_fits_a_topic() -> None:
    settings = load_settings(CloudSettings, environ={})
    assert settings.database.startswith("sqlite:///")
    assert settings.name.startswith("edgeqa-collector")


@pytest.mark.parametrize(
    "flags", [{"name": "a/b"}, {"group": "+"}, {"batch_messages": 0}, {"raw_keep_days": -1}]
)
def test_what_cannot_be_meant_is_refused(flags: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(flags))):
        load_settings(CloudSettings, environ={}, flags=flags)


@pytest.mark.parametrize("command", ["run", "collect"])
def test_check_config_prints_and_ends_without_secrets(command: str) -> None:
    url = "postgresql://user:secret@host/name"
    done = CliRunner().invoke(app, [command, "--check-config", "--database", url])
    assert done.exit_code == 0
    assert json.loads(done.output)["database"] == "postgresql://user:***@host/name"
