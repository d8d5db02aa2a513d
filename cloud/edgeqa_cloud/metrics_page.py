"""`python -m edgeqa_cloud.metrics_page` prints the tables of docs/metrics.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from edgeqa_cloud.metric_specs import (
    AUTHORITY_METRICS,
    COLLECTOR_METRICS,
    FLEET_METRICS,
    RECORD_METRICS,
    Metric,
)


def page() -> list[str]:
    """Markdown: a table each: the collector, the records, the fleet, the authority."""
    tables = (COLLECTOR_METRICS, RECORD_METRICS, FLEET_METRICS, AUTHORITY_METRICS)
    return [_table(metrics) for metrics in tables]


def _table(metrics: Iterable[Metric]) -> str:
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{name}`' for name in one.labels)} "
        f"| {one.series} | {one.help} |"
        for one in metrics
    ]
    return "\n".join(
        ["| metric | type | labels | series, at most | meaning |", "|---|---|---|---|---|", *rows]
    )


if __name__ == "__main__":
    sys.stdout.write("\n\n".join(page()) + "\n")
