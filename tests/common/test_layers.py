"""The layers of the project: roles stand on `edgeqa` and not on each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROLES = {"edgeqa_agent": "agent", "edgeqa_cloud": "cloud", "edgeqa_models": "models"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("role", ROLES)
def test_role_imports_no_other_role(role: str) -> None:
    for path in (ROOT / ROLES[role] / role).rglob("*.py"):
        others = {name for name in imported(path) if name.split(".")[0] in set(ROLES) - {role}}
        assert not others, f"{path} imports {others}"


def test_common_code_imports_no_role() -> None:
    for path in (ROOT / "common" / "edgeqa").rglob("*.py"):
        roles = {name for name in imported(path) if name.split(".")[0] in ROLES}
        assert not roles, f"{path} imports {roles}"


def test_main_process_of_the_agent_imports_no_model_code() -> None:
    """numpy, onnxruntime and tokenizers belong to the model process alone."""
    allowed = {"model_entry.py", "model_main.py", "worker.py"}
    for path in (ROOT / "agent" / "edgeqa_agent").rglob("*.py"):
        if path.name not in allowed:
            heavy = {
                name
                for name in imported(path)
                if name.startswith("edgeqa.reader")
                or name.split(".")[0] in {"numpy", "onnxruntime", "tokenizers"}
            }
            assert not heavy, f"{path} imports {heavy}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/edgeqa*/**/*.py")), ids=lambda p: p.name)
def test_module_is_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
