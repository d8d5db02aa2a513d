"""Every metric that the cloud exposes to Prometheus: name, kind, labels and what bounds them.

The page docs/metrics.md is made from these. Names follow Prometheus's conventions: base units as
suffixes, `_total` for counters. Nothing that a device says becomes a label unless its values are
bounded here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MetricKind(StrEnum):
    """As Prometheus names them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)  # told apart by identity, which is quick to look up
class Metric:
    """One metric.

    Attributes:
        name: as Prometheus sees it, `_total` included.
        kind: counter, gauge or histogram.
        help: one line.
        labels: their names, in order.
        series: how many there can be of it, in words; for the documentation.
        buckets: upper bounds of a histogram, without infinity.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    series: str = "1"
    buckets: tuple[float, ...] = ()


# 1 ms to 65.5 s, two to a doubling: each is exactly a bound of the devices' own histograms
# (`edgeqa.histogram`, eight to a doubling), so that counts are added, never interpolated.
LATENCY_STEP = 4
LATENCY_BUCKETS_S = tuple(round(2.0 ** (step / 2) / 1000, 9) for step in range(33))
# The Pi 5 throttles from 80 °C on and stops at 85.
# Source: Raspberry Pi documentation, "Frequency management and thermal control".
TEMPERATURE_BUCKETS_CELSIUS = (30.0, 40.0, 50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 80.0, 85.0)
_COMMIT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
_SWAP_BUCKETS_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_DISK_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)

_C, _G, _H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM
_MODEL = ("model", "version")
_MODELS = "`metrics_models` and `other`"

# Of one collector: what it takes in, and how it gets on.
RECEIVED = Metric("edgeqa_collector_messages_received_total", _C,
                  "Messages that came from the broker.", ("kind",), "7 kinds")  # fmt: skip
STORED = Metric("edgeqa_collector_messages_stored_total", _C,
                "Messages whose content was committed for the first time.", ("kind",),
                "7 kinds")  # fmt: skip
DUPLICATES = Metric("edgeqa_collector_messages_duplicate_total", _C,
                    "Messages that the database had already.", ("kind",), "7 kinds")  # fmt: skip
QUARANTINED = Metric("edgeqa_collector_messages_quarantined_total", _C,
                     "Messages that could not be stored, by why.", ("code",),
                     "codes of docs/errors.md and `other`")  # fmt: skip
ACKNOWLEDGED = Metric("edgeqa_collector_messages_acknowledged_total", _C,
                      "Messages acknowledged to the broker, all after their commit.")  # fmt: skip
BATCH = Metric("edgeqa_collector_batch_messages", _H, "Messages in one transaction.",
               buckets=_BATCH_BUCKETS)  # fmt: skip
COMMIT = Metric("edgeqa_collector_commit_seconds", _H,
                "Time of one transaction, from its first statement to its commit.",
                buckets=_COMMIT_BUCKETS_S)  # fmt: skip
COMMIT_FAILURES = Metric("edgeqa_collector_commit_failures_total", _C,
                         "Transactions that failed and were tried again.")  # fmt: skip
QUEUE = Metric("edgeqa_collector_queue_messages", _G, "Messages that wait for a transaction.")
QUEUE_LIMIT = Metric("edgeqa_collector_queue_limit_messages", _G,
                     "Most that may wait; the broker keeps the others.")  # fmt: skip
LAG = Metric("edgeqa_collector_lag_seconds", _G,
             "How long the oldest message that is not committed has waited here.")  # fmt: skip
DATABASE_UP = Metric("edgeqa_collector_database_up", _G, "1 if the last transaction succeeded.")
BROKER_UP = Metric("edgeqa_collector_broker_up", _G, "1 while connected to the broker.")
GAPS = Metric("edgeqa_collector_gap_records_total", _C,
              "Records that were missing: `found`, then `filled` or `lost`.", ("event",),
              "3 events")  # fmt: skip
RESENDS = Metric("edgeqa_collector_resends_total", _C,
                 "Times that devices were asked to send records again.")  # fmt: skip

COLLECTOR_METRICS = (
    RECEIVED, STORED, DUPLICATES, QUARANTINED, ACKNOWLEDGED, BATCH, COMMIT, COMMIT_FAILURES, QUEUE,
    QUEUE_LIMIT, LAG, DATABASE_UP, BROKER_UP, GAPS, RESENDS,
)  # fmt: skip

# What the stored records say, counted once each, after their commit; add up all collectors.
QUESTIONS = Metric("edgeqa_questions_total", _C, "Questions, by what became of them.",
                   (*_MODEL, "outcome"),
                   f"models ({_MODELS}) × outcomes (`answered`, codes of docs/errors.md, "
                   "`other`)")  # fmt: skip
CACHED = Metric("edgeqa_cached_questions_total", _C,
                "Answered questions for which nothing was inferred, as the same had been asked.",
                _MODEL, f"models ({_MODELS})")  # fmt: skip
CHOSEN = Metric("edgeqa_chosen_questions_total", _C,
                "Answered questions of devices with two models, by which answered and why it.",
                (*_MODEL, "reason"), f"models ({_MODELS}) × 7 reasons")  # fmt: skip
LATENCY = Metric("edgeqa_latency_seconds", _H,
                 "Time of an answer: `total` on the device, `inference` in onnxruntime.",
                 (*_MODEL, "part"), f"models ({_MODELS}) × 2 parts × 34 buckets",
                 LATENCY_BUCKETS_S)  # fmt: skip
PARTS = Metric("edgeqa_latency_part_seconds_total", _C,
               "Time spent on answers, by part of the way.", ("part",), "6 parts")  # fmt: skip
PART_QUESTIONS = Metric("edgeqa_latency_part_questions_total", _C,
                        "Answers whose part was measured.", ("part",), "6 parts")  # fmt: skip
EVALUATED = Metric("edgeqa_evaluated_questions_total", _C, "Questions of self-evaluations.",
                   (*_MODEL, "trigger"), f"models ({_MODELS}) × 3 triggers")  # fmt: skip
SWAPS = Metric("edgeqa_swaps_total", _C, "Ends of swaps, by state.", ("state",), "3 states")
SWAP_FAILURES = Metric("edgeqa_swap_failures_total", _C, "Swaps that failed, by why.", ("code",),
                       "codes of docs/errors.md and `other`")  # fmt: skip
SWAP_SECONDS = Metric("edgeqa_swap_seconds", _H, "Time of a swap, from the wish to its end.",
                      ("state",), "3 states × 13 buckets", _SWAP_BUCKETS_S)  # fmt: skip
RECONNECTS = Metric("edgeqa_device_reconnects_total", _C, "Connections that devices made anew.")
DISK = Metric("edgeqa_device_disk_free_ratio", _H,
              "Free share of the device's disk, once per telemetry record.",
              series="10 buckets", buckets=_DISK_BUCKETS)  # fmt: skip
DROPPED = Metric("edgeqa_outbox_dropped_records_total", _C,
                 "Records that devices gave up for room. Each collector sees all: take the "
                 "maximum, not the sum.", ("kind",), "3 kinds")  # fmt: skip

RECORD_METRICS = (
    QUESTIONS, CACHED, CHOSEN, LATENCY, PARTS, PART_QUESTIONS, EVALUATED, SWAPS,
    SWAP_FAILURES, SWAP_SECONDS, RECONNECTS, DISK, DROPPED,
)  # fmt: skip

# The state of the fleet, read from the database; one endpoint is enough for all collectors.
FLEET_UP = Metric("edgeqa_fleet_database_up", _G, "1 if the last reading succeeded.")
FLEET_READ = Metric("edgeqa_fleet_read_seconds", _G, "How long the last reading took.")
FLEET_READ_AT = Metric("edgeqa_fleet_read_timestamp_seconds", _G, "When the database was read.")
DEVICES = Metric("edgeqa_fleet_devices", _G,
                 "Devices by presence. `silent`: two heartbeats are missing.", ("presence",),
                 "4 presences")  # fmt: skip
MODEL_DEVICES = Metric("edgeqa_fleet_model_devices", _G, "Devices by the model that they run.",
                       _MODEL, _MODELS)  # fmt: skip
EXACT_MATCH = Metric("edgeqa_fleet_exact_match_ratio", _G,
                     "EM of the devices' last evaluations, weighted by questions.", _MODEL,
                     _MODELS)  # fmt: skip
F1 = Metric("edgeqa_fleet_f1_ratio", _G,
            "F1 of the devices' last evaluations, weighted by questions.", _MODEL,
            _MODELS)  # fmt: skip
PAIRED_EM = Metric("edgeqa_fleet_paired_exact_match_difference_ratio", _G,
                   "EM against the previous model on the same questions of the same device, last "
                   "24 hours; below 0 is worse.", _MODEL, _MODELS)  # fmt: skip
PAIRED_F1 = Metric("edgeqa_fleet_paired_f1_difference_ratio", _G, "The same for F1.", _MODEL,
                   _MODELS)  # fmt: skip
PAIRED_QUESTIONS = Metric("edgeqa_fleet_paired_questions", _G, "Questions of that comparison.",
                          _MODEL, _MODELS)  # fmt: skip
WORSE_EVALUATIONS = Metric("edgeqa_fleet_paired_worse_evaluations", _G,
                       "Evaluations of the last 24 hours whose 95 % interval of the F1 difference "
                       "lies below 0.", _MODEL, _MODELS)  # fmt: skip
TEMPERATURE = Metric("edgeqa_fleet_temperature_celsius", _H,
                     "Devices that are online by their last temperature: a distribution of now, "
                     "so no rate().", series="11 buckets",
                     buckets=TEMPERATURE_BUCKETS_CELSIUS)  # fmt: skip
THROTTLED = Metric("edgeqa_fleet_throttled_devices", _G,
                   "Devices that are online and whose board slows itself down now, by flag.",
                   ("flag",), "4 flags")  # fmt: skip
GAP_RECORDS = Metric("edgeqa_fleet_gap_records", _G, "Records missing in the database.",
                     ("state",), "2 states")  # fmt: skip
QUARANTINE = Metric("edgeqa_fleet_quarantine_messages", _G, "Messages in quarantine, by why.",
                    ("code",), "codes of docs/errors.md and `other`")  # fmt: skip
ROLLOUTS = Metric("edgeqa_fleet_rollouts", _G, "Rollouts by state.", ("state",), "8 states")
WISHES_WAITING = Metric("edgeqa_fleet_wishes_waiting", _G,
                        "Wishes of rollouts that the broker has not yet.")  # fmt: skip
WISHES_WAITING_S = Metric("edgeqa_fleet_wishes_waiting_seconds", _G,
                          "Age of the oldest of them; 0 where there is none.")  # fmt: skip
ORDERS_WAITING_S = Metric("edgeqa_fleet_orders_waiting_seconds", _G,
                          "Age of the oldest order that no engine has obeyed or refused; 0 where "
                          "there is none.")  # fmt: skip
_ROLES = "3 roles"
ENROLLED = Metric("edgeqa_certificates_enrolled", _G,
                  "Names with a certificate or a password that counts, by role.", ("role",),
                  _ROLES)  # fmt: skip
EXPIRE_SOON = Metric("edgeqa_certificates_expire_soon", _G,
                     "Of these, names of whose newest less than a sixth of the time is left: "
                     "devices renew when a third is.", ("role",), _ROLES)  # fmt: skip
EXPIRED = Metric("edgeqa_certificates_expired", _G,
                 "Names whose last one expired in the last 30 days, and was not revoked.",
                 ("role",), _ROLES)  # fmt: skip
EXPIRE_NEXT = Metric("edgeqa_certificates_expire_next_timestamp_seconds", _G,
                     "When the first name's newest expires.", ("role",), _ROLES)  # fmt: skip
_DEVICES = "`metrics_devices` (0 unless set)"
DEVICE_SEEN = Metric("edgeqa_device_last_seen_timestamp_seconds", _G,
                     "When a device was last heard.", ("device",), _DEVICES)  # fmt: skip
DEVICE_F1 = Metric("edgeqa_device_f1_ratio", _G, "F1 of a device's last evaluation.",
                   ("device",), _DEVICES)  # fmt: skip
DEVICE_P95 = Metric("edgeqa_device_latency_p95_seconds", _G,
                    "p95 of a device's last telemetry.", ("device",), _DEVICES)  # fmt: skip
DEVICE_TEMPERATURE = Metric("edgeqa_device_temperature_celsius", _G,
                            "A device's last temperature.", ("device",), _DEVICES)  # fmt: skip

FLEET_METRICS = (
    FLEET_UP, FLEET_READ, FLEET_READ_AT, DEVICES, MODEL_DEVICES, EXACT_MATCH, F1, PAIRED_EM,
    PAIRED_F1, PAIRED_QUESTIONS, WORSE_EVALUATIONS, TEMPERATURE, THROTTLED, GAP_RECORDS, QUARANTINE,
    ROLLOUTS, WISHES_WAITING, WISHES_WAITING_S, ORDERS_WAITING_S, ENROLLED, EXPIRE_SOON, EXPIRED,
    EXPIRE_NEXT, DEVICE_SEEN, DEVICE_F1, DEVICE_P95, DEVICE_TEMPERATURE,
)  # fmt: skip

# Of the authority that this process has, if it has one.
FILES_UP = Metric("edgeqa_broker_files_up", _G,
                  "1 if the broker's files are as the registry says, and nothing waits to be "
                  "signed.")  # fmt: skip
FILES_EXPIRE = Metric("edgeqa_broker_files_expire_timestamp_seconds", _G,
                      "When the broker's certificate or a list of revoked ones expires.",
                      ("file",), "4 files")  # fmt: skip
AUTHORITY_EXPIRES = Metric("edgeqa_authority_expires_timestamp_seconds", _G,
                           "When a role's authority expires.", ("role",), _ROLES)  # fmt: skip

AUTHORITY_METRICS = (FILES_UP, FILES_EXPIRE, AUTHORITY_EXPIRES)
