from __future__ import annotations

from pathlib import Path

import pytest

from edgeqa.errors import ConfigError
from edgeqa.settings import load_settings
from edgeqa_agent.settings import AgentSettings, default_package
from edgeqa_agent.settings_doc import page

DOCS = Path(__file__).parents[2] / "docs"


def test_reference_page_is_up_to_date() -> None:
    assert (DOCS / "agent-settings.md").read_text(encoding="utf-8") == page(), "run `make docs`"


def test_defaults_are_enough_to_run() -> None:
    settings = load_settings(AgentSettings, environ={})

    assert settings.base_packages()[0] == default_package()
    assert settings.resolved_threads() >= 1


def test_flag_wins_over_environment_and_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('queue_size = 1\nmax_batch = 1\nthreads = 1\ngroups = ["a", "b"]\n')
    environ = {"EDGEQA_AGENT_MAX_BATCH": "2", "EDGEQA_AGENT_THREADS": "2"}

    settings = load_settings(AgentSettings, file=file, flags={"threads": 3}, environ=environ)

    assert (settings.queue_size, settings.max_batch, settings.threads) == (1, 2, 3)
    assert settings.groups == ["a", "b"]


def test_a_package_of_ones_own_comes_before_the_embedded_ones(tmp_path: Path) -> None:
    settings = load_settings(AgentSettings, environ={}, flags={"package": tmp_path})
    first, *others = settings.base_packages()
    assert first == tmp_path
    assert default_package() in others


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"repository": "ftp://a/b", "repository_root": "r"}, "http"),
        ({"repository": "https://a:b@c/d", "repository_root": "r"}, "password"),
        ({"repository": "https://a/b"}, "belong together"),
        ({"gate_min_f1": "101"}, "gate_min_f1"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_settings(AgentSettings, environ={}, flags=flags)


def test_package_ships_with_the_wheel_and_the_checkout() -> None:
    assert (default_package() / "manifest.json").is_file()
