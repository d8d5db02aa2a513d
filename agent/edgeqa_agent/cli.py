"""`edgeqa agent …`: run an agent, check its settings, ask after its health, install it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import structlog
import typer

from edgeqa.flags import settings_options
from edgeqa.logs import configure_logs
from edgeqa.settings import describe
from edgeqa_agent import install_cli
from edgeqa_agent.health import read_health
from edgeqa_agent.settings import AgentSettings

app = typer.Typer(
    help="The agent: answers questions on this device.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
install_cli.register(app)


@app.command()
@settings_options(AgentSettings)
def run(
    settings: AgentSettings,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Print the settings, secrets masked, and end.")
    ] = False,
) -> None:
    """Serve questions until SIGTERM or Ctrl-C.

    Exit codes: 0 stopped, 3 a setting is wrong, 4 no broker, 5 the model package is refused,
    6 the model does not answer its own check questions.
    """
    if check_config:
        typer.echo(json.dumps(describe(settings), indent=2))
        return
    # Imported here, so that `--help` and `--check-config` do not wait for it.
    from edgeqa_agent.app import Agent  # noqa: PLC0415

    configure_logs(level=settings.log_level, fmt=settings.log_format)
    Agent(settings=settings, log=structlog.get_logger()).run()


@app.command()
def health(
    file: Annotated[
        Path,
        typer.Argument(envvar="EDGEQA_AGENT_HEALTH_FILE", help="The agent's `--health-file`."),
    ],
    require_broker: Annotated[
        bool, typer.Option(help="Count a lost broker connection as unhealthy.")
    ] = False,
) -> None:
    """Say whether the agent could answer a question; exit 0 or 1. For container health checks."""
    state = read_health(file, require_broker=require_broker)
    typer.echo(f"healthy: {state.state}, {state.answered} answered, {state.queue_depth} queued")
