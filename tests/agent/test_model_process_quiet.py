"""The libraries of a model keep to themselves: nothing is reported to whoever made them."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from edgeqa.manifest import open_package
from edgeqa_agent.model_process import ModelProcess
from edgeqa_agent.settings import default_package


def test_onnxruntime_makes_no_device_id_and_collects_no_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # onnxruntime 1.32 sends telemetry to Microsoft unless it is told not to; before it sends any it
    # makes an id and a database below the home folder.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    process = ModelProcess(
        package=open_package(default_package()),
        threads=1,
        on_done=lambda _: None,
        on_exit=lambda: None,
        log=structlog.get_logger(),
    )
    try:
        process.start(timeout_s=60)
    finally:
        process.stop()
    assert list(tmp_path.rglob("*")) == []
