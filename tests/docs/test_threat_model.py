"""docs/threat-model.md: each threat has a test that exists, or says why it has none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "threat-model.md", ROOT / "docs" / "access-rules.md", ROOT / "SECURITY.md"]
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
_FILE = re.compile(r"`(tests/[\w/]+\.py)`")
_LEAST_THREATS = 40


@cache
def _tests(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _threats() -> list[list[str]]:
    """Cells of each row that has an id."""
    lines = PAGES[0].read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows if re.fullmatch(r"[STRIDE]\d+", row[0].strip())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for file, name in _TEST.findall(text):
        path = ROOT / "tests" / file
        assert path.exists(), file
        assert name in _tests(path), f"{file} has no {name}"
    for file in _FILE.findall(text):
        assert (ROOT / file).exists(), file


def test_every_threat_has_a_test_or_a_reason_for_none() -> None:
    threats = _threats()
    assert len(threats) >= _LEAST_THREATS
    for row in threats:
        identity, *said, tests = row
        assert len(said) == 3, identity
        assert all(said), f"{identity} leaves a cell empty"
        reason = tests.removeprefix("none: ")
        if reason == tests:
            assert _TEST.findall(tests), f"{identity} names no test"
            assert not _TEST.sub("", tests).strip(" ,"), f"{identity}: {tests}"
        else:
            assert len(reason) > len("none"), identity


def test_ids_are_counted_through() -> None:
    numbers: dict[str, list[int]] = {}
    for identity, *_ in _threats():
        numbers.setdefault(identity[0], []).append(int(identity[1:]))
    assert set(numbers) == set("STRIDE")
    for letter, found in numbers.items():
        assert found == list(range(1, len(found) + 1)), letter
