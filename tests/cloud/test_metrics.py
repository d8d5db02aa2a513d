"""What collectors count and what is exposed, in names and series that Prometheus's tool accepts."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event
from support.fleet import HOUR_MS, NEW, OLD, Fleet, paired

from edgeqa.histogram import Histogram
from edgeqa.telemetry_examples import EVALUATIONS, SWAPS, TELEMETRY
from edgeqa.telemetry_messages import Evaluation, SwapReport, Telemetry
from edgeqa_cloud import metric_specs as specs
from edgeqa_cloud.database import Database
from edgeqa_cloud.fleet_metrics import FleetMetrics
from edgeqa_cloud.metric_specs import COLLECTOR_METRICS, FLEET_METRICS, RECORD_METRICS
from edgeqa_cloud.metrics import CollectorMetrics, GapEvent
from edgeqa_cloud.metrics_page import page
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.record_metrics import bucket_counts
from edgeqa_cloud.settings import DatabaseSettings

ROOT = Path(__file__).parents[2]
NOW_MS = 1_800_000_000_000
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def exposed(registry: Any) -> Series:
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, tuple(sorted(labels.items()))]


def telemetry(**fields: Any) -> Telemetry:
    return Telemetry.model_validate(TELEMETRY["serving"] | fields)


def test_all_names_pass_promtool(tmp_path: Path) -> None:
    metrics = CollectorMetrics()
    metrics.count(telemetry())
    metrics.count(Evaluation.model_validate(EVALUATIONS["afterSwap"]))
    metrics.count(SwapReport.model_validate(SWAPS["failed"]))
    with database(tmp_path) as one:
        fleet = Fleet(one, NOW_MS)
        fleet.evaluation(fleet.device("pi5"), age_ms=1, model=NEW, paired=paired(-1, -2, -0.5))
        texts = [
            generate_latest(metrics.registry()),
            generate_latest(FleetMetrics(database=one, each_device=5, clock=lambda: NOW_MS / 1000)
                            .registry()),
        ]  # fmt: skip
    for text in texts:
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    names = {name for text in texts for name in families(text)}
    ours = {metric.name for metric in (*COLLECTOR_METRICS, *RECORD_METRICS, *FLEET_METRICS)}
    assert ours <= names
    assert not any(name.endswith("_created") for name in names)


def families(text: bytes) -> set[str]:
    return {line.split()[2] for line in text.decode().splitlines() if line.startswith("# TYPE")}


def database(folder: Path) -> Database:
    one = Database.of(DatabaseSettings(database=f"sqlite:///{folder}/cloud.db"))
    migrate(one)
    return one


def test_series_begin_at_zero_so_that_their_first_increase_is_seen() -> None:
    series = exposed(CollectorMetrics().registry())
    for kind in ("telemetry", "evaluation", "swap", "heartbeat", "status", "reported", "other"):
        assert value(series, "edgeqa_collector_messages_received_total", kind=kind) == 0
    for code in ("not_json", "device_mismatch", "impossible_time", "other"):
        assert value(series, "edgeqa_collector_messages_quarantined_total", code=code) == 0
    for state in ("active", "failed", "rolled_back"):
        assert value(series, "edgeqa_swaps_total", state=state) == 0


def test_a_collector_counts_what_it_does() -> None:
    metrics = CollectorMetrics()
    waiting = [3, 5]
    metrics.watch_queue(limit=100, waiting=waiting.pop, oldest_s=lambda: 1.5)
    metrics.received("telemetry", 4)
    metrics.received("<script>")
    metrics.stored("telemetry", 3)
    metrics.duplicate("telemetry")
    metrics.quarantined("no_such_code")
    metrics.quarantined("not_json", 2)
    metrics.committed(messages=4, seconds=0.02)
    metrics.commit_failed()
    metrics.acknowledged(4)
    metrics.broker(connected=True)
    metrics.gap(GapEvent.LOST, 7)
    metrics.asked_again()
    registry = metrics.registry()
    series = exposed(registry)
    prefix = "edgeqa_collector"
    assert value(series, f"{prefix}_messages_received_total", kind="telemetry") == 4
    assert value(series, f"{prefix}_messages_received_total", kind="other") == 1
    assert value(series, f"{prefix}_messages_stored_total", kind="telemetry") == 3
    assert value(series, f"{prefix}_messages_duplicate_total", kind="telemetry") == 1
    assert value(series, f"{prefix}_messages_quarantined_total", code="other") == 1
    assert value(series, f"{prefix}_messages_quarantined_total", code="not_json") == 2
    assert value(series, f"{prefix}_commit_seconds_bucket", le="0.01") == 0
    assert value(series, f"{prefix}_commit_seconds_bucket", le="0.025") == 1
    assert value(series, f"{prefix}_batch_messages_sum") == 4
    assert value(series, f"{prefix}_database_up") == 0
    assert value(series, f"{prefix}_broker_up") == 1
    assert value(series, f"{prefix}_queue_messages") == 5
    assert value(series, f"{prefix}_lag_seconds") == 1.5
    assert value(series, f"{prefix}_gap_records_total", event="lost") == 7
    metrics.committed(messages=4, seconds=0.02)
    series = exposed(registry)
    assert value(series, f"{prefix}_queue_messages") == 3
    assert value(series, f"{prefix}_database_up") == 1


def test_records_are_added_up_by_model() -> None:
    metrics = CollectorMetrics()
    for seq in (1, 2):
        outcomes = {"answered": 3, "busy": 1}
        metrics.count(telemetry(seq=seq, model=OLD, outcomes=outcomes, cached=2))
    metrics.count(telemetry(model=None, outcomes={"not_a_code_of_ours": 2}, latency=None))
    series = exposed(metrics.registry())
    model = {"model": OLD["name"], "version": OLD["version"]}
    assert value(series, "edgeqa_questions_total", **model, outcome="answered") == 6
    assert value(series, "edgeqa_questions_total", **model, outcome="busy") == 2
    assert value(series, "edgeqa_cached_questions_total", **model) == 4
    none = {"model": "none", "version": "none"}
    assert value(series, "edgeqa_questions_total", **none, outcome="other") == 2
    # The example's three answers lie in the device's bucket 35: 2**(35/8) to 2**(36/8) ms.
    latency = {**model, "part": "total"}
    assert value(series, "edgeqa_latency_seconds_bucket", **latency, le="0.016") == 0
    assert value(series, "edgeqa_latency_seconds_bucket", **latency, le="0.022627417") == 6
    assert value(series, "edgeqa_latency_seconds_count", **latency) == 6
    assert value(series, "edgeqa_latency_seconds_sum", **latency) == pytest.approx(0.1394)
    assert value(series, "edgeqa_latency_part_questions_total", part="queue") == 6


def test_choices_between_two_models_are_added_up_by_model_and_bounded_reason() -> None:
    metrics = CollectorMetrics()
    choices = [
        {"model": OLD, "reason": "load", "questions": 3},
        {"model": OLD, "reason": "a_reason_of_later", "questions": 2},
        {"model": OLD, "reason": "another_of_later", "questions": 4},
    ]
    for seq in (1, 2):
        metrics.count(telemetry(seq=seq, choices=choices))
    series = exposed(metrics.registry())
    model = {"model": OLD["name"], "version": OLD["version"]}
    assert value(series, "edgeqa_chosen_questions_total", **model, reason="load") == 6
    assert value(series, "edgeqa_chosen_questions_total", **model, reason="other") == 12


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.floats(0, 1e7), max_size=50))
def test_buckets_hold_exactly_what_the_device_counted(values: list[float]) -> None:
    counts = bucket_counts(Histogram.of(values))
    assert sum(counts.values()) == len(values)
    for value_ms in values:
        alone = bucket_counts(Histogram.of([value_ms]))
        (bucket,) = alone
        bounds = [0.0, *specs.LATENCY_BUCKETS_S, float("inf")]
        # The bounds are rounded to nanoseconds.
        assert bounds[bucket] * 1000 * (1 - 1e-6) <= value_ms or bucket == 0
        assert value_ms <= bounds[bucket + 1] * 1000 * (1 + 1e-6)


def test_models_have_a_bound_and_those_no_longer_heard_of_leave_their_place() -> None:
    now = [0.0]
    metrics = CollectorMetrics(models=3, monotonic=lambda: now[0])
    registry = metrics.registry()

    def models() -> set[str]:
        return {
            labels["model"]
            for (name, found), _ in exposed(registry).items()
            if name == "edgeqa_questions_total" and (labels := dict(found))
        }

    for number in range(200):
        metrics.count(telemetry(model=OLD | {"name": f"model-{number}"}))
    assert models() == {"model-0", "model-1", "model-2", "other"}
    now[0] = 80_000.0
    metrics.count(telemetry(model=OLD | {"name": "model-1"}))
    now[0] = 90_000.0
    metrics.count(telemetry(model=OLD | {"name": "model-9"}))
    assert models() == {"model-1", "model-9", "other"}


def test_dropped_records_are_counted_from_when_the_device_was_first_heard() -> None:
    metrics = CollectorMetrics()
    registry = metrics.registry()

    def drop(device: str, total: int) -> None:
        outbox = {"waiting": 0, "bytes": 0, "dropped": {"telemetry": total} if total else {}}
        metrics.count(telemetry(device=device, outbox=outbox))

    for device, total in (("a", 100), ("b", 0), ("a", 103), ("b", 2), ("a", 100), ("a", 104)):
        drop(device, total)
    series = exposed(registry)
    assert value(series, "edgeqa_outbox_dropped_records_total", kind="telemetry") == 3 + 2 + 1


def test_threads_may_count_at_once() -> None:
    metrics = CollectorMetrics()
    record = telemetry(outcomes={"answered": 1})

    def count() -> None:
        for _ in range(200):
            metrics.count(record)
            metrics.received("telemetry")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    series = exposed(metrics.registry())
    assert value(series, "edgeqa_collector_messages_received_total", kind="telemetry") == 800
    model = {"model": "minilm-l6-squad", "version": "0.1.1"}
    assert value(series, "edgeqa_questions_total", **model, outcome="answered") == 800


def test_the_state_of_the_fleet(tmp_path: Path) -> None:
    with database(tmp_path) as one:
        fleet = Fleet(one, NOW_MS)
        pi5 = fleet.device("pi5", throttled=["throttled", "under_voltage_occurred"],
                           temperature_celsius=81.0)  # fmt: skip
        fleet.device("other", exact_match=50.0, f1=60.0, evaluation_questions=150)
        fleet.device("away", presence="offline", temperature_celsius=99.0)
        fleet.device("new", model_name=NEW["name"], model_version=NEW["version"])
        fleet.device("bare", model_name=None, model_version=None, exact_match=None, f1=None)
        fleet.evaluation(pi5, age_ms=HOUR_MS, model=NEW, questions=50,
                         paired=paired(-4, -6, -2, em=2))  # fmt: skip
        fleet.evaluation(pi5, age_ms=2 * HOUR_MS, model=NEW, paired=paired(2, -1, 5))
        fleet.evaluation(pi5, age_ms=25 * HOUR_MS, model=NEW, paired=paired(-90, -99, -80))
        fleet.evaluation(pi5, age_ms=HOUR_MS, model=OLD, paired=None)
        fleet.gap(pi5, 5, 9)
        fleet.gap(pi5, 1, 1, "filled")
        fleet.quarantine(["not_json", "nonsense", "nonsense too"])
        metrics = FleetMetrics(database=one, clock=lambda: NOW_MS / 1000)
        series = exposed(metrics.registry())
    assert value(series, "edgeqa_fleet_devices", presence="online") == 4
    assert value(series, "edgeqa_fleet_devices", presence="offline") == 1
    assert value(series, "edgeqa_fleet_devices", presence="silent") == 0
    old = {"model": OLD["name"], "version": OLD["version"]}
    new = {"model": NEW["name"], "version": NEW["version"]}
    assert value(series, "edgeqa_fleet_model_devices", **old) == 3
    assert value(series, "edgeqa_fleet_model_devices", model="none", version="none") == 1
    weighted = (76.0 * 50 + 76.0 * 50 + 50.0 * 150) / 250 / 100
    assert value(series, "edgeqa_fleet_exact_match_ratio", **old) == pytest.approx(weighted)
    assert value(series, "edgeqa_fleet_paired_f1_difference_ratio", **new) == pytest.approx(-0.01)
    assert value(series, "edgeqa_fleet_paired_exact_match_difference_ratio", **new) == 0.01
    assert value(series, "edgeqa_fleet_paired_questions", **new) == 100
    assert value(series, "edgeqa_fleet_paired_worse_evaluations", **new) == 1
    assert value(series, "edgeqa_fleet_temperature_celsius_count") == 4
    assert value(series, "edgeqa_fleet_temperature_celsius_bucket", le="80.0") == 3
    assert value(series, "edgeqa_fleet_throttled_devices", flag="throttled") == 1
    assert value(series, "edgeqa_fleet_throttled_devices", flag="under_voltage") == 0
    assert value(series, "edgeqa_fleet_gap_records", state="open") == 5
    assert value(series, "edgeqa_fleet_quarantine_messages", code="other") == 2
    assert not [name for name, _ in series if name.startswith("edgeqa_device_")]


def test_models_and_devices_of_a_fleet_have_bounds(tmp_path: Path) -> None:
    with database(tmp_path) as one:
        fleet = Fleet(one, NOW_MS)
        fleet.many(500)
        # A model that no device has any more.
        fleet.evaluation(fleet.device("a"), age_ms=1, model=NEW, paired=paired(1, 0, 2))
        metrics = FleetMetrics(database=one, models=5, each_device=7, clock=lambda: NOW_MS / 1000)
        series = exposed(metrics.registry())
    models = {labels for name, labels in series if name == "edgeqa_fleet_model_devices"}
    assert len(models) == 6
    assert value(series, "edgeqa_fleet_paired_questions", model="other", version="other") == 50
    total = sum(
        count for (name, _), count in series.items() if name == "edgeqa_fleet_model_devices"
    )
    assert total == 501
    named = {labels for name, labels in series if name == "edgeqa_device_f1_ratio"}
    assert named == {(("device", name),) for name in ("a", *(f"sim-{n:05}" for n in range(6)))}


def test_a_scrape_reads_the_database_once_in_a_while(tmp_path: Path) -> None:
    now = [0.0]
    with database(tmp_path) as one:
        Fleet(one, NOW_MS).device("pi5")
        statements: list[str] = []

        @event.listens_for(one.engine, "before_cursor_execute")
        def _note(*details: Any) -> None:
            statements.append(details[2])

        metrics = FleetMetrics(
            database=one, cache_s=15, clock=lambda: NOW_MS / 1000, monotonic=lambda: now[0]
        )
        registry = metrics.registry()
        for _ in range(20):
            exposed(registry)
        once = len([one for one in statements if one.startswith("SELECT")])
        assert 0 < once < 20
        now[0] = 14.9
        exposed(registry)
        assert len([one for one in statements if one.startswith("SELECT")]) == once
        now[0] = 15.0
        exposed(registry)
        assert len([one for one in statements if one.startswith("SELECT")]) == 2 * once


def test_a_database_that_is_away_is_told_and_no_old_figures_are(tmp_path: Path) -> None:
    with database(tmp_path) as one:
        Fleet(one, NOW_MS).device("pi5")
        metrics = FleetMetrics(database=one, cache_s=0, clock=lambda: NOW_MS / 1000)
        registry = metrics.registry()
        assert value(exposed(registry), "edgeqa_fleet_database_up") == 1
        with one.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE devices RENAME TO elsewhere")
        series = exposed(registry)
        assert value(series, "edgeqa_fleet_database_up") == 0
        assert len(series) == 1
        with one.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO devices")
        assert value(exposed(registry), "edgeqa_fleet_devices", presence="online") == 1


def test_hostile_names_cannot_leave_their_label(tmp_path: Path) -> None:
    evil = 'x"} 1\nedgeqa_fleet_devices{presence="online'
    with database(tmp_path) as one:
        Fleet(one, NOW_MS).device("pi5", model_name=evil, model_version="\\")
        metrics = FleetMetrics(database=one, clock=lambda: NOW_MS / 1000)
        series = exposed(metrics.registry())
    assert value(series, "edgeqa_fleet_model_devices", model=evil, version="\\") == 1
    assert value(series, "edgeqa_fleet_devices", presence="online") == 1


def test_the_page_lists_every_metric() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for table in page():
        assert table in text, "run: python -m edgeqa_cloud.metrics_page, and paste its tables"
