"""`edgeqa cloud …`: collect telemetry, migrate the database, look into quarantine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import structlog
import typer

from edgeqa.flags import settings_options
from edgeqa.logs import configure_logs
from edgeqa.settings import describe
from edgeqa_cloud import install_cli
from edgeqa_cloud.access_cli import tokens, users
from edgeqa_cloud.console_settings import ConsoleSettings
from edgeqa_cloud.enrolment.authority_cli import authority
from edgeqa_cloud.enrolment.enrol_cli import enrol, enrolled, revoke
from edgeqa_cloud.enrolment_settings import EnrolmentSettings
from edgeqa_cloud.metrics_settings import MetricsSettings
from edgeqa_cloud.packages.packages_cli import packages
from edgeqa_cloud.quarantine_cli import app as quarantine_app
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.simulate.command import simulate

_DATABASE = {"database", "database_password_file", "database_timeout_s", "sqlite_synchronous"}
_OTHERS = set(CloudSettings.model_fields) - _DATABASE
# What `run` does beside collecting.
_SERVED = {
    *MetricsSettings.model_fields,
    *ConsoleSettings.model_fields,
    *EnrolmentSettings.model_fields,
}

app = typer.Typer(
    help="The cloud side: collects the telemetry of all devices.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command()(simulate)

app.add_typer(quarantine_app, name="quarantine")
app.add_typer(users, name="user")
app.add_typer(tokens, name="token")
app.add_typer(authority, name="authority")
app.command()(enrol)
app.command()(revoke)
app.command()(enrolled)
install_cli.register(app)
app.command()(settings_options(CloudSettings, without=_OTHERS)(packages))

CheckConfig = Annotated[
    bool, typer.Option("--check-config", help="Print the settings, secrets masked, and end.")
]


@app.command()
@settings_options(CloudSettings, without=_SERVED)
def collect(settings: CloudSettings, check_config: CheckConfig = False) -> None:
    """Collect into the database until SIGTERM or Ctrl-C; nothing else.

    Exit codes: 0 stopped, 3 a setting is wrong or the database is of a later version, 4 no broker
    or no database.
    """
    if check_config:
        typer.echo(json.dumps(describe(settings), indent=2))
        return
    from edgeqa_cloud.collector import Collector  # noqa: PLC0415  SQLAlchemy takes its time

    configure_logs(level=settings.log_level, fmt=settings.log_format)
    Collector(settings=settings, log=structlog.get_logger()).run()


@app.command()
@settings_options(CloudSettings)
def run(settings: CloudSettings, check_config: CheckConfig = False) -> None:
    """Collect, steer rollouts, serve the API, the web page and metrics, until SIGTERM or Ctrl-C.

    Exit codes: as `collect`; 4 also where an address to listen on is taken.
    """
    if check_config:
        typer.echo(json.dumps(describe(settings), indent=2))
        return
    from edgeqa_cloud.run import run_cloud  # noqa: PLC0415  as below

    configure_logs(level=settings.log_level, fmt=settings.log_format)
    run_cloud(settings, structlog.get_logger())


@app.command()
@settings_options(CloudSettings, without=_OTHERS)
def migrate(settings: CloudSettings) -> None:
    """Bring the database up to this version's schema; the collector does that too, at its start."""
    from edgeqa_cloud import migrate as migrations  # noqa: PLC0415  as above
    from edgeqa_cloud.database import Database  # noqa: PLC0415

    with Database.of(settings) as database:
        done = migrations.migrate(database)
    if done.before == done.after:
        typer.echo(f"the schema is {done.after} already")
    else:
        typer.echo(f"schema {done.before or 'none'} -> {done.after}")


@app.command()
def health(
    file: Annotated[
        Path,
        typer.Argument(envvar="EDGEQA_CLOUD_HEALTH_FILE", help="The collector's `--health-file`."),
    ],
    require_database: Annotated[
        bool, typer.Option(help="Count a database in trouble as unhealthy.")
    ] = False,
) -> None:
    """Say whether the collector works; exit 0 or 1. For container health checks."""
    from edgeqa_cloud.health import read_health  # noqa: PLC0415

    state = read_health(file, require_database=require_database)
    database = "ok" if state.database_ok else "in trouble"
    typer.echo(f"healthy: {state.state}, {state.stored} stored, database {database}")
