"""The companion: which package a setting means, and that no failure of it is one of the agent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from support.lanes import activate, model
from support.swaps import L3, L6

from edgeqa.errors import ConfigError, ModelLoadError
from edgeqa.manifest import Package
from edgeqa.model_messages import Gates
from edgeqa.settings import load_settings
from edgeqa_agent.companion import Beside, Companion, companion_folder
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.loader import Loader
from edgeqa_agent.model_process import ModelProcess
from edgeqa_agent.settings import AgentSettings
from edgeqa_agent.store import Store


def settings(**fields: Any) -> AgentSettings:
    return load_settings(AgentSettings, flags=fields, environ={})


@pytest.mark.parametrize("name", [L3.manifest.name, L3.path.name, str(L3.path)])
def test_a_companion_is_named_by_its_folder_or_as_an_embedded_package(name: str) -> None:
    folder = companion_folder(settings(companion=name))
    assert folder is not None
    assert folder.resolve() == L3.path.resolve()


def test_without_the_setting_there_is_none() -> None:
    assert companion_folder(settings()) is None
    assert settings().choice_limits() is None


def test_a_companion_that_is_nowhere_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        companion_folder(settings(companion="minilm-l9"))
    message = str(caught.value)
    assert message.startswith("companion: minilm-l9 is neither a folder nor an embedded package")
    assert message.endswith(f"{L3.path.name}, {L6.path.name}")


@pytest.mark.parametrize(
    ("low", "high"),
    [("companion_queue_low", "companion_queue_high"),
     ("companion_cool_celsius", "companion_hot_celsius")],
)  # fmt: skip
def test_marks_that_are_not_in_order_are_refused(low: str, high: str) -> None:
    with pytest.raises(ConfigError, match=f"{low} must be less than {high}"):
        settings(**{low: "20", high: "20"})


class World:
    """A real store and real model processes; no active model yet."""

    def __init__(self, folder: Path, store: Store, *, admits: bool, gates: Gates) -> None:
        log = structlog.get_logger()
        self.store = store
        self.dispatcher = Dispatcher(threads=1, queue_size=4, log=log)
        self.admitted: list[Package] = []
        self._admits = admits
        loader = Loader(
            dispatcher=self.dispatcher,
            make_process=lambda package, *, on_done, on_exit: ModelProcess(
                package=package, threads=1, on_done=on_done, on_exit=on_exit, log=log
            ),
            start_timeout_s=60.0,
            log=log,
        )
        beside = Beside(
            dispatcher=self.dispatcher,
            loader=loader,
            store=store,
            admit=self._admit,
            gates=gates,
            log=log,
            celsius=lambda: 40.0,
        )
        self.companion = Companion(folder, beside)

    def _admit(self, package: Package) -> None:
        self.admitted.append(package)
        if not self._admits:
            raise ModelLoadError("too large", code="not_enough_memory")


@contextmanager
def world(
    tmp_path: Path, folder: Path, *, admits: bool = True, gates: Gates | None = None
) -> Iterator[tuple[World, list[Any]]]:
    with capture_logs() as logs:
        store = Store.open(tmp_path, embedded=[], quota_bytes=1, log=structlog.get_logger())
        with closing(store):
            made = World(folder, store, admits=admits, gates=gates or Gates())
            yield made, logs
            made.companion.stop()
            made.dispatcher.stop()
            made.companion.join()


def until(logs: list[Any], event: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        found = [entry for entry in logs if entry["event"] == event]
        if found:
            return dict(found[0])
        assert time.monotonic() < deadline, logs
        time.sleep(0.01)


def test_it_waits_for_the_active_model_and_is_then_loaded_proven_and_noted(tmp_path: Path) -> None:
    with world(tmp_path, L3.path) as (made, logs):
        made.companion.start()
        time.sleep(0.1)
        assert made.admitted == []
        activate(made.dispatcher, model("a"), lambda _: None)
        assert until(logs, "companion_serves")["model"] == L3.manifest.name
        lane = made.dispatcher.companion
        assert lane is not None
        assert lane.ready is not None
        assert lane.ready.scores.questions > 0
        assert made.store.state.attempts(L3.digest) == 0
        pid = lane.process.pid
    assert not Path(f"/proc/{pid}").exists()


def test_one_that_misses_a_gate_of_the_device_does_not_serve(tmp_path: Path) -> None:
    with world(tmp_path, L3.path, gates=Gates(max_p95_ms=0.001)) as (made, logs):
        activate(made.dispatcher, model("a"), lambda _: None)
        made.companion.start()
        assert until(logs, "companion_not_loaded")["code"] == "gate_latency"
        assert made.dispatcher.companion is None
        assert len(made.dispatcher.pids) == 1


@pytest.mark.parametrize(
    ("trouble", "code"),
    [("memory", "not_enough_memory"), ("damaged", "digest_mismatch"),
     ("empty", "package_malformed"), ("same", "model_load_failed"),
     ("deadly", "model_keeps_dying")],
)  # fmt: skip
def test_whatever_is_wrong_with_it_is_said_and_the_active_model_goes_on(
    tmp_path: Path, trouble: str, code: str
) -> None:
    folder = L3.path
    if trouble in {"damaged", "empty"}:
        folder = tmp_path / "package"
        folder.mkdir()
        if trouble == "damaged":
            for file in L3.path.iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
            (folder / "tokenizer.json").write_bytes(b"{}")
    with world(tmp_path / "state", folder, admits=trouble != "memory") as (made, logs):
        if trouble == "deadly":
            for _ in range(3):
                made.store.loading(L3)
        active = activate(
            made.dispatcher, L3.ref if trouble == "same" else model("a"), lambda _: None
        )
        made.companion.start()
        failed = until(logs, "companion_not_loaded")
        assert failed["code"] == code
        assert failed["package"] == str(folder)
        assert made.dispatcher.companion is None
        assert made.dispatcher.active is active.lane
