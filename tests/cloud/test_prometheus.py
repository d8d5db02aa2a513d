"""Dashboards and alert rules against a real Prometheus that scrapes a real endpoint."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.fleet import HOUR_MS, NEW, OLD, Fleet, paired
from support.prometheus import Prometheus

from edgeqa.telemetry_examples import EVALUATIONS, SWAPS, TELEMETRY
from edgeqa.telemetry_messages import Evaluation, SwapReport, Telemetry
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment.enrolment_metrics import AuthorityMetrics
from edgeqa_cloud.enrolment.making import make_authority
from edgeqa_cloud.enrolment.refreshing import broker_folder, refresh
from edgeqa_cloud.enrolment.tables import credentials
from edgeqa_cloud.enrolment_settings import EnrolmentSettings
from edgeqa_cloud.fleet_metrics import FleetMetrics
from edgeqa_cloud.metrics import CollectorMetrics, GapEvent
from edgeqa_cloud.metrics_server import MetricsServer
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.settings import DatabaseSettings

DOCKER = Path(__file__).parents[2] / "docker"
RULES = DOCKER / "prometheus" / "alerts.yml"
DASHBOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
pytestmark = pytest.mark.system


@dataclass(frozen=True)
class Query:
    """An expression and where it stands."""

    where: str
    expression: str


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def panel_queries() -> Iterator[Query]:
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        for panel in panels(dashboard):
            for target in panel.get("targets", []):
                expression = target["expr"].replace("$__rate_interval", "1m")
                for variable in ("model", "instance"):
                    expression = expression.replace(f"${variable}", ".*")
                yield Query(f"{path.name}: {panel['title']} {target['refId']}", expression)


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


PANEL_QUERIES = list(panel_queries())
RULE_QUERIES = [
    # A comparison drops what does not fulfil it; with `bool` it says 0 or 1, if there are series.
    Query(rule["alert"], re.sub(r"(>=|<=|==|>|<) ", r"\1 bool ", rule["expr"]))
    for rule in rules()
]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It scrapes a collector's counters and a database with a small fleet."""
    folder = tmp_path_factory.mktemp("prometheus")
    metrics = CollectorMetrics()
    metrics.watch_queue(limit=4000, waiting=lambda: 12, oldest_s=lambda: 0.4)
    metrics.broker(connected=True)
    with Database.of(DatabaseSettings(database=f"sqlite:///{folder}/cloud.db")) as database:
        migrate(database)
        fill(Fleet(database, round(time.time() * 1000)))
        registry = metrics.registry()
        registry.register(authority_metrics(folder / "authority"))
        registries = {
            "/metrics": registry,
            "/metrics/fleet": FleetMetrics(database=database, cache_s=0.5).registry(),
        }
        with MetricsServer(host="127.0.0.1", port=0, registries=registries) as server:
            target = [server.url.removeprefix("http://")]
            targets = {"edgeqa-collector": target, "edgeqa-fleet": target}
            one = Prometheus(folder=folder / "prometheus", targets=targets)
            try:
                one.start()
                feed(metrics, seq=1)
                one.wait_for(lambda: bool(one.query("edgeqa_questions_total > 0")), "scraped")
                for seq in range(2, 6):
                    feed(metrics, seq=seq)
                one.wait_for(
                    lambda: bool(one.query("increase(edgeqa_swaps_total[1m]) > 0")), "scraped again"
                )
                yield one
            finally:
                one.stop()


def authority_metrics(folder: Path) -> AuthorityMetrics:
    now, settings = datetime.now(UTC), EnrolmentSettings()
    made = make_authority(folder, hosts=["localhost"], passphrase=None, now=now)
    refresh(settings, made, None, now=now)
    files = broker_folder(settings, folder)
    return AuthorityMetrics(authority=made, folder=files, well=lambda: True)


def fill(fleet: Fleet) -> None:
    pi5 = fleet.device("pi5", throttled=["under_voltage", "throttled_occurred"])
    fleet.device("lost", presence="offline", presence_reason="lost", temperature_celsius=None)
    fleet.device("silent", last_seen_ms=fleet.now_ms - HOUR_MS)
    fleet.device("new", model_name=NEW["name"], model_version=NEW["version"], f1=75.0)
    fleet.evaluation(pi5, age_ms=HOUR_MS, model=NEW, paired=paired(-3.1, -8.8, -0.2, em=-2.0))
    fleet.gap(pi5, 12, 14)
    fleet.quarantine(["not_json", "something else"])
    certificate(fleet, "pi5")


def certificate(fleet: Fleet, device: str) -> None:
    row = {"role": "device", "name": device, "method": "certificate", "issued_by": "test"}
    row |= {"issued_ms": fleet.now_ms, "expires_ms": fleet.now_ms + 90 * 24 * HOUR_MS}
    with fleet.database.writing() as connection:
        connection.execute(credentials.insert(), row)


def feed(metrics: CollectorMetrics, *, seq: int) -> None:
    """What a collector does, once."""
    for kind in ("telemetry", "evaluation", "swap", "heartbeat"):
        metrics.received(kind, 2)
        metrics.stored(kind)
        metrics.duplicate(kind)
    for state in ("active", "failed"):
        metrics.count(SwapReport.model_validate(SWAPS[state]))
    for model in (OLD, NEW):
        record = TELEMETRY["serving"] | {"seq": seq, "model": model, "reconnects": 1}
        record |= {"outbox": {"waiting": 0, "bytes": 0, "dropped": {"telemetry": 7 * seq}}}
        metrics.count(Telemetry.model_validate(record))
        metrics.count(Evaluation.model_validate(EVALUATIONS["afterSwap"] | {"model": model}))
    metrics.quarantined("not_json")
    metrics.committed(messages=8, seconds=0.012)
    metrics.commit_failed()
    metrics.committed(messages=8, seconds=0.012)
    metrics.acknowledged(8)
    for event in GapEvent:
        metrics.gap(event, 2)
    metrics.asked_again()


@pytest.mark.parametrize("query", PANEL_QUERIES, ids=lambda query: query.where)
def test_a_panel_has_data(prometheus: Prometheus, query: Query) -> None:
    found = prometheus.query(query.expression)
    assert found, query.expression
    values = [float(series["value"][1]) for series in found]
    assert any(math.isfinite(value) for value in values), (query.expression, found)


@pytest.mark.parametrize("query", RULE_QUERIES, ids=lambda query: query.where)
def test_an_alert_has_series_to_look_at(prometheus: Prometheus, query: Query) -> None:
    assert prometheus.query(query.expression), query.expression


def test_a_panel_without_series_would_be_noticed(prometheus: Prometheus) -> None:
    assert not prometheus.query("edgeqa_fleet_nothing")
    with pytest.raises(ValueError, match="parse error"):
        prometheus.query("rate(edgeqa_fleet_devices")


def test_dashboard_variables_find_values(prometheus: Prometheus) -> None:
    for label, metric in (("model", "edgeqa_fleet_model_devices"), ("instance", "up")):
        values = prometheus.get(f"label/{label}/values", **{"match[]": metric})
        assert values, label


def test_targets_are_up_and_rules_are_evaluated(prometheus: Prometheus) -> None:
    targets = prometheus.get("targets")["activeTargets"]
    assert {one["health"] for one in targets} == {"up"}, targets

    def evaluated() -> bool:
        groups = prometheus.get("rules")["groups"]
        return all(rule["health"] == "ok" for group in groups for rule in group["rules"])

    prometheus.wait_for(evaluated, "all rules evaluated")
    # A sample of what fires at once: its text is filled in from the labels.
    prometheus.wait_for(lambda: bool(alerts(prometheus, "EdgeqaOutboxesDrop")), "alerting")
    (fired,) = alerts(prometheus, "EdgeqaOutboxesDrop")
    assert re.fullmatch(
        r"Devices gave up [\d.]+ records \(telemetry\)", fired["annotations"]["summary"]
    )


def alerts(prometheus: Prometheus, name: str) -> list[dict[str, Any]]:
    found = prometheus.get("alerts")["alerts"]
    return [one for one in found if one["labels"]["alertname"] == name]


def test_configuration_and_rules_pass_promtool() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "alerts.yml")


def test_each_alert_fires_and_is_quiet_where_it_should() -> None:
    tested = yaml.safe_load((RULES.parent / "alerts_test.yml").read_text(encoding="utf-8"))
    names = [one["name"] for one in tested["tests"]]
    for rule in rules():
        assert f"{rule['alert']} fires" in names
        assert f"{rule['alert']} is quiet" in names
    promtool("test", "rules", "alerts_test.yml")


def test_an_alert_says_what_to_do() -> None:
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_is_sound(path: Path) -> None:
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    assert dashboard["schemaVersion"] >= 39
    assert dashboard["uid"] == f"edgeqa-{path.stem}"
    all_panels = list(panels(dashboard))
    assert len({panel["id"] for panel in all_panels}) == len(all_panels)
    taken: set[tuple[int, int]] = set()
    for panel in all_panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
            assert panel["fieldConfig"]["defaults"].get("unit") or panel["type"] == "heatmap"
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    text = path.read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{?([a-z]+)\}?", text))
    assert used <= variables, used - variables
    assert "edgeqa-prometheus" not in text  # the variable chooses the source


def test_provisioning_names_the_dashboards_and_the_source() -> None:
    provisioning = DOCKER / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "edgeqa.yml").read_text())
    assert source["datasources"][0]["type"] == "prometheus"
    provider = yaml.safe_load((provisioning / "dashboards" / "edgeqa.yml").read_text())
    assert provider["providers"][0]["type"] == "file"
