"""Calls of the API, metrics, settings and error codes that the guides name are there."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest
from support.pages_of_docs import ROOT, Page, pages

from edgeqa_agent.settings import AgentSettings
from edgeqa_cloud.rollout.spec import RolloutSpec

GUIDES = pages("README.md", "docs/for-*.md", "docs/scaling.md", "docs/sizing.md", "docs/home-*.md")
PATHS = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))["paths"]
METRICS = set(
    re.findall(r"`(edgeqa_[a-z0-9_]+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"))
)

# Ends of names that only settings have; what else has them is named.
SUFFIXES = ("_s", "_mb", "_context", "_prefix", "_data", "_rows")
OTHERS = {"session_expiry_s", "evidence_s"}


def text_of(page: Page) -> str:
    return page.path.read_text(encoding="utf-8")


def is_path(path: str) -> bool:
    """Whether the API has a call there, with names in place of its parameters."""
    patterns = (re.sub(r"\{[a-z]+\}", "[^/]+", one) for one in PATHS)
    return any(re.fullmatch(one, path) for one in patterns)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_calls_of_the_api_are_there(page: Page) -> None:
    named = re.findall(r"/api/v1/[a-zA-Z0-9_{}/?=&.%-]+", text_of(page))
    wrong = [one for one in named if not is_path(urlsplit(one).path.rstrip("/."))]
    assert not wrong


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_metrics_are_there(page: Page) -> None:
    named = set(
        re.findall(r"\bedgeqa_(?:fleet|questions|device|collector)_[a-z0-9_]+", text_of(page))
    )
    assert named <= METRICS


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_settings_of_the_agent_are_there(page: Page) -> None:
    prefixes = {name.partition("_")[0] for name in AgentSettings.model_fields if "_" in name}
    named = re.findall(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?: = [^`]*)?`", text_of(page))
    ours = {one for one in named if one.partition("_")[0] in prefixes and one.endswith(SUFFIXES)}
    assert ours <= set(AgentSettings.model_fields) | OTHERS


def test_the_rollout_that_is_posted_is_one() -> None:
    page = text_of(Page(ROOT / "docs" / "for-operators.md"))
    (body,) = re.findall(r"-d '(\{.*?\})'\n", page, re.DOTALL)
    spec = RolloutSpec.model_validate_json(body)
    assert [stage.percent for stage in spec.stages] == [5, 100]
