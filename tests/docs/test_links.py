"""Links inside the documentation lead somewhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
from support.pages_of_docs import Page, pages

PAGES = pages(
    "*.md", "docs/**/*.md", "docker/**/*.md", "common/**/*.md", "models/**/*.md", "tests/**/*.md"
)


def faults(page: Page) -> list[str]:
    """Links that lead nowhere."""
    return [
        f"{page.path.name}:{line}: {target}"
        for line, target in page.links()
        if "://" not in target and not target.startswith("mailto:") and not _leads(page, target)
    ]


def _leads(page: Page, target: str) -> bool:
    name, _, anchor = unquote(target).partition("#")
    path = (page.path.parent / name) if name else page.path
    if not path.exists():
        return False
    return not anchor or path.suffix != ".md" or anchor in Page(path).anchors()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Page) -> None:
    assert not faults(page)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](there.md) [b](there.md#a-heading-of-it) [c](#here-we-are)\n\n## Here, we `are`", 0),
        ("[a](https://example.org/x) `[b](nowhere.md)`\n\n```\n[c](nowhere.md)\n```", 0),
        ("[a](nowhere.md)", 1),
        ("[a](there.md#another)", 1),
        ("![a](nowhere.png)", 1),
        ("[`a`](#nowhere)", 1),
        ("[a](#same-1)\n\n# Same\n\n# Same\n\n[b](#same-2)", 1),
    ],
)
def test_a_link_that_leads_nowhere_is_found(text: str, wrong: int, tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("## A heading of it\n")
    page = tmp_path / "page.md"
    page.write_text(text)
    assert len(faults(Page(page))) == wrong


def test_there_are_links_to_check() -> None:
    assert sum(1 for page in PAGES for _ in page.links()) > 150
