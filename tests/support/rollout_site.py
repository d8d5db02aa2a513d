"""A site with rollouts, packages and an audit log, as a browser's tests need it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, Page
from sqlalchemy import select, update

from edgeqa_cloud.rollout.tables import rollout_members, rollout_orders, rollouts
from edgeqa_cloud.tables import devices
from support.fleet import NEW, OLD
from support.fleet_databases import Databases
from support.rollout_rows import GATE
from support.sites import Site, site

CARD = {
    "variant": "int8", "packaged": True, "dataset": "dev-part-v1.1", "questions": 4961,
    "exact_match": 65.19, "exact_match_interval": [63.86, 66.5], "f1": 75.97,
    "f1_interval": [74.91, 77.03], "p50_ms": 14.78, "p95_ms": 34.99, "model_bytes": 17_619_495,
    "peak_memory_bytes": 138_792_960, "machine": "x86_64 AMD EPYC", "threads": 1,
}  # fmt: skip
MANIFEST = {
    "precision": "int8", "licence": "Apache-2.0", "cards": [CARD],
    "architecture": {"type": "distilbert", "layers": 3, "hidden": 384, "parameters": 17_241_986},
}  # fmt: skip
BREACHED = GATE | {
    "gate": "p95_latency", "status": "breached", "unit": "ratio", "value": 1.8, "low": 1.6,
    "high": 2.1, "limit": 1.5, "before": 30.2, "after": 55.1, "required": False,
    "message": "p95 55.1 ms against 30.2 ms before",
}  # fmt: skip
PASSED = GATE | {"gate": "exact_match", "status": "passed", "value": 0.5, "low": -1.0, "high": 2.0,
                 "message": "EM +0.5 points [-1.0, 2.0]"}  # fmt: skip
# Two changed, one failed and one on the way in the first stage; four wait for the second.
MEMBERS = ("changed", "changed", "failed", "wished", "waiting", "waiting", "waiting", "waiting")


@contextmanager
def filled_site(databases: Databases) -> Iterator[Site]:
    """A site with eight devices and two packages; each test has rollouts of its own."""
    with databases.open(databases.new()) as database, site(database) as made:
        for number in range(len(MEMBERS)):
            made.fleet.device(f"dev-{number}", heartbeat_interval_s=3600.0)
        made.rows.package(NEW, manifest=MANIFEST)
        made.rows.package(OLD)
        yield made


def begun(here: Site, **columns: Any) -> str:
    now_ms = here.fleet.now_ms
    return here.rows.rollout(
        [(key, 0 if key <= 4 else 1, state) for key, state in enumerate(MEMBERS, 1)],
        **{
            "spec": {"stages": [{"count": 4, "soak_s": 85}, {"percent": 100, "soak_s": 85}],
                     "note": "the smaller reader"},
            "each": {"wish": "w-1"},
            "stage_begun_ms": now_ms - 60_000, "soak_begun_ms": now_ms - 10_000,
            "gates": [GATE, PASSED], "gates_stage": 0, "gates_ms": now_ms - 1000, **columns,
        },
    )  # fmt: skip


def orders(here: Site, rollout: str) -> list[Any]:
    with here.rows.database.reading() as connection:
        return list(
            connection.execute(
                select(rollout_orders)
                .join(rollouts, rollouts.c.id == rollout_orders.c.rollout_id)
                .where(rollouts.c.rollout == rollout)
                .order_by(rollout_orders.c.id)
            )
        )


def move(here: Site, rollout: str, device: str, **columns: Any) -> None:
    """As an engine does when a device says something."""
    with here.rows.database.writing() as connection:
        key = select(rollouts.c.id).where(rollouts.c.rollout == rollout).scalar_subquery()
        who = select(devices.c.id).where(devices.c.device == device).scalar_subquery()
        connection.execute(
            update(rollout_members)
            .where(rollout_members.c.rollout_id == key, rollout_members.c.device_id == who)
            .values(columns)
        )
    here.rows.change(rollout)


def button(page: Page | Locator, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def dialog(page: Page) -> Locator:
    return page.locator("dialog[open]")


def mark(page: Page) -> None:
    """What a page that is loaded anew has not."""
    page.evaluate("window.marked = true")


def expect_not_loaded_anew(page: Page) -> None:
    assert page.evaluate("window.marked === true"), "the page was loaded anew"
