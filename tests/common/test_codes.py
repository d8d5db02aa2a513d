"""The table of error codes is complete, and its page is up to date."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from edgeqa import errors
from edgeqa.codes import CODES, document, exit_code_of
from edgeqa.errors import EdgeqaError, ExitCode

ROOT = Path(__file__).parents[2]
KNOWN = {code.slug for code in CODES}


def _codes_in(path: Path) -> Iterator[str]:
    """What stands as `code="…"` in a call, or as `code = "…"` in a class."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            values = [k.value for k in node.keywords if k.arg == "code"]
        elif isinstance(node, ast.ClassDef):
            values = [
                one.value
                for one in node.body
                if isinstance(one, ast.Assign)
                and any(isinstance(t, ast.Name) and t.id == "code" for t in one.targets)
            ]
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def test_every_code_in_the_source_is_in_the_table() -> None:
    used = {
        slug: str(path.relative_to(ROOT))
        for folder in ("common", "agent", "cloud", "models")
        for path in (ROOT / folder).rglob("*.py")
        for slug in _codes_in(path)
    }
    assert "busy" in used
    assert {slug: where for slug, where in used.items() if slug not in KNOWN} == {}


def test_every_error_class_has_its_code_in_the_table() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    slugs = {c.code for c in classes if issubclass(c, EdgeqaError)}
    assert slugs <= KNOWN


def test_no_code_is_listed_twice() -> None:
    assert len(KNOWN) == len(CODES)


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert page == document(), "run: python -m edgeqa.codes > docs/errors.md"


def test_what_may_succeed_later_ends_with_unreachable() -> None:
    assert exit_code_of("busy") == ExitCode.UNREACHABLE
    assert exit_code_of("empty_question") == ExitCode.USAGE
    assert exit_code_of("of_a_later_version") == ExitCode.USAGE
