"""Settings: flag over environment over file over default; whatever is wrong is named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import typer
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from typer.testing import CliRunner

from edgeqa.broker import BrokerSettings
from edgeqa.errors import ConfigError
from edgeqa.flags import settings_options
from edgeqa.settings import describe, load_settings


class Example(BrokerSettings, BaseSettings):
    """As a role would write it."""

    model_config = SettingsConfigDict(env_prefix="EDGEQA_TEST_", frozen=True, extra="forbid")
    EXCLUSIVE: ClassVar = (("device", "group"),)

    device: str | None = Field(default=None, description="A device.")
    group: str | None = Field(default=None, description="A group.")
    queue_size: int = Field(default=64, ge=1, le=1000, description="A number.")
    sites: tuple[str, ...] = Field(default=(), description="A list.")
    fast: bool = Field(default=True, description="A switch.")
    data: Path = Field(default=Path("/var"), description="A folder.")
    database_url: str = Field(default="sqlite://", description="A URL.")
    api_token: SecretStr | None = Field(default=None, description="A secret.")


class Needy(BaseSettings):
    """A field that must be set."""

    model_config = SettingsConfigDict(env_prefix="EDGEQA_NEEDY_", frozen=True, extra="forbid")

    name: str = Field(description="A name.")


def load(**sources: Any) -> Example:
    return load_settings(Example, environ=sources.pop("environ", {}), **sources)


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('queue_size = 3\nsites = ["a", "b"]\nfast = false\ndata = "/srv"\n')
    environ = {"EDGEQA_TEST_QUEUE_SIZE": "4", "EDGEQA_TEST_FAST": "yes"}
    settings = load(file=file, environ=environ, flags={"queue_size": "5", "data": None})
    assert settings.queue_size == 5
    assert settings.fast is True
    assert settings.sites == ("a", "b")
    assert settings.data == Path("/srv")
    assert settings.broker == "mqtt://localhost:1883"
    assert load(file=file, environ=environ).queue_size == 4
    assert load(file=file).queue_size == 3
    assert load().queue_size == 64


def test_a_variable_may_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("queue_size = 3\n")
    assert load(environ={"EDGEQA_TEST_CONFIG": str(file)}).queue_size == 3


def test_lists_in_the_environment_are_comma_separated_and_empty_means_not_set() -> None:
    environ = {"EDGEQA_TEST_SITES": "a, b,,c", "EDGEQA_TEST_QUEUE_SIZE": ""}
    settings = load(environ=environ)
    assert settings.sites == ("a", "b", "c")
    assert settings.queue_size == 64


def test_the_process_environment_reaches_only_what_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEQA_TEST_QUEUE_SIZE", "9")
    assert load_settings(Example).queue_size == 9
    assert load(environ={}).queue_size == 64


def test_one_of_two_that_exclude_each_other_overrides_the_other_below_it() -> None:
    environ = {"EDGEQA_TEST_DEVICE": "a"}
    settings = load(environ=environ, flags={"group": "b"})
    assert (settings.device, settings.group) == (None, "b")
    assert load(environ=environ, flags={"group": None}).device == "a"


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"flags": {"queue_size": "0"}},
         "queue_size: Input should be greater than or equal to 1 (from flag --queue-size)"),
        ({"environ": {"EDGEQA_TEST_QUEUE_SIZE": "x"}},
         "(from environment variable EDGEQA_TEST_QUEUE_SIZE)"),
        ({"environ": {"EDGEQA_TEST_QUEUE_SIZ": "1"}},
         "variable EDGEQA_TEST_QUEUE_SIZ; did you mean EDGEQA_TEST_QUEUE_SIZE?"),
        ({"environ": {"EDGEQA_TEST_ZZZ": "1"}}, "zzz: unknown setting"),
        ({"environ": {"EDGEQA_TEST_BROKER": "http://x"}}, "broker: must be mqtt://"),
        ({"flags": {"nonsense": "1"}}, "nonsense: unknown setting"),
        ({"file": Path("/nowhere.toml")}, "config: /nowhere.toml: No such file"),
        ({"file": Path("/dev")}, "config: /dev: Is a directory"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_source(sources: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**sources)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"queue_sizes = 1\n", "queue_sizes: unknown setting in file"),
        (b"queue_size = 'x'\n", "queue_size: "),
        (b"queue_size = \n", "not a TOML file"),
        (b"\xff", "not a TOML file"),
        (b"#" * (1 << 21), "larger than"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file=file)
    assert words in str(caught.value)


def test_all_faults_are_said_at_once_and_no_value_is() -> None:
    environ = {"EDGEQA_TEST_QUEUE_SIZE": "hunter2", "EDGEQA_TEST_FAST": "hunter2"}
    with pytest.raises(ConfigError) as caught:
        load(environ=environ)
    assert "queue_size" in str(caught.value)
    assert "fast" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_value_says_how_to_set_it() -> None:
    with pytest.raises(ConfigError, match="name: must be set, by --name or EDGEQA_NEEDY_NAME"):
        load_settings(Needy, environ={})


def test_variables_that_kubernetes_adds_are_no_mistakes() -> None:
    load(
        environ={
            "EDGEQA_TEST_SERVICE_HOST": "10.0.0.1",
            "EDGEQA_TEST_SERVICE_PORT_MQTT": "1883",
            "EDGEQA_TEST_PORT": "tcp://10.0.0.1:1883",
            "EDGEQA_TEST_PORT_1883_TCP_ADDR": "10.0.0.1",
        }
    )


def test_the_description_masks_secrets() -> None:
    flags = {"api_token": "hunter2", "database_url": "postgresql://me:hunter2@db/x"}
    described = describe(load(flags=flags))
    assert "hunter2" not in str(described)
    assert described["database_url"] == "postgresql://me:***@db/x"
    assert described["data"] == "/var"


def test_every_field_is_a_flag() -> None:
    app = typer.Typer(rich_markup_mode=None)
    seen: list[Example] = []

    @app.command()
    @settings_options(Example, short={"queue_size": "--queue"})
    def run(
        settings: Example, word: Annotated[str, typer.Argument()], *, loud: bool = False
    ) -> None:
        seen.append(settings)
        assert (word, loud) == ("hello", True)

    arguments = ["hello", "--loud", "--queue", "7", "--no-fast", "--sites", "a", "--sites", "b"]
    result = CliRunner().invoke(app, [*arguments, "--device", "pi5"], env={})
    assert result.exit_code == 0, result.output
    settings = seen[0]
    assert (settings.queue_size, settings.fast, settings.sites) == (7, False, ("a", "b"))
    assert settings.device == "pi5"
    shown = CliRunner().invoke(app, ["--help"]).output
    for field in Example.model_fields:
        assert f"--{field.replace('_', '-')}" in shown
        assert f"EDGEQA_TEST_{field.upper()}" in shown


def test_a_command_parameter_must_not_hide_a_setting() -> None:
    with pytest.raises(TypeError, match="device"):

        @settings_options(Example)
        def run(settings: Example, device: str) -> None: ...
