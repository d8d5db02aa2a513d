"""The store against a model of it, in any order of what can happen to it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.kill_store import record
from support.stores import Device, flip_a_bit, not_synced

from edgeqa.messages import Fault
from edgeqa.model_messages import ModelState
from edgeqa_agent.store import Store

BASE = "0.1.0"
versions = st.sampled_from(["1.0.0", "2.0.0", "3.0.0"])


class StoreMachine(RuleBasedStateMachine):
    """`current` and `previous` are versions; what is on disk is `stored`, some of it `held`."""

    store: Store

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.device = Device(Path(self.folder.name))
        self.store = self.device.open()
        self.current: str | None = None
        self.previous: str | None = None
        self.stored: set[str] = set()
        self.held: set[str] = set()
        self.damaged: set[str] = set()
        self.number = 0

    @rule(version=versions)
    def swap(self, version: str) -> None:
        package = self.store.find("tiny", version, None)
        assert (package is not None) == (version in self.stored - self.damaged)
        if package is None:
            package = self.device.bring(self.store, version)
        self.store.activate(package, record(package))
        if version != self.current:
            self.previous = self.current
        self.current = version
        self.stored.add(version)
        self.damaged.discard(version)
        self.held.clear()

    @rule(version=versions)
    def fetch_only(self, version: str) -> None:
        self.device.bring(self.store, version)
        self.stored.add(version)
        self.damaged.discard(version)
        self.held.add(version)

    @rule()
    def fail(self) -> None:
        package = next(self.store.boot_order(), None)
        assert package is not None
        self._forget_damaged()
        self.store.record_wish(record(package, ModelState.FAILED))
        self.held.clear()

    @precondition(lambda self: not self.damaged)
    @rule()
    def step_back(self) -> None:
        if self.current is None:
            return
        if self.previous not in self.stored:
            self.previous = None
        self.store.step_back(reason=Fault(code="rolled_back", message=""))
        self.current, self.previous = self.previous, None

    @rule()
    def prune(self) -> None:
        self.store.prune(keep_quota=False)
        self.stored &= {self.current, self.previous, *self.held}
        self.damaged &= self.stored

    @rule(version=versions)
    def damage(self, version: str) -> None:
        for path in (self.device.folder / "packages").glob(f"tiny-{version}-*"):
            if version not in self.damaged:
                flip_a_bit(path / "model.onnx")
                self.damaged.add(version)

    @rule()
    def command(self) -> None:
        self.number += 1
        assert self.store.accept_command(self.number)
        assert not self.store.accept_command(self.number)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.device.open()
        self.held.clear()
        served = next(self.store.boot_order()).manifest.version
        self._forget_damaged()
        assert served == (self.current or BASE)

    def _forget_damaged(self) -> None:
        """What a start does: it looks at the current package, and on while that is not whole."""
        while self.current is not None and self.current not in self.stored - self.damaged:
            self.stored.discard(self.current)
            self.damaged.discard(self.current)
            self.current, self.previous = self.previous, None

    @invariant()
    def says_what_is(self) -> None:
        if not hasattr(self, "number"):
            return
        assert self.store.state.command_number == self.number
        listed: dict[str, Any] = {row.model.version: row for row in self.store.packages()}
        assert set(listed) == {BASE, *self.stored}
        if self.current is None or self.current in self.stored:
            assert listed[self.current or BASE].role == "active"
        assert not list((self.device.folder / "trash").iterdir())

    def teardown(self) -> None:
        if hasattr(self, "number"):
            self.store.close()
            self.folder.cleanup()


def test_store_is_as_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", not_synced)
    machine = StoreMachine.TestCase
    machine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
    machine().runTest()
