"""Every `edgeqa …` in the documentation is a command that there is, with flags that it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from support.pages_of_docs import Page, pages

from edgeqa.cli import build_app

PAGES = pages("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md")
# `pause|resume`, `run|rollout|fleet`: each of them.
_ALTERNATIVES = re.compile(r"[a-z-]+(\|[a-z-]+)+")
_FLAG = re.compile(r"--?[a-zA-Z][a-zA-Z0-9-]*")


@pytest.fixture(scope="module")
def root() -> Any:
    return typer.main.get_command(build_app())


def faults(command: Any, words: list[str], path: str = "edgeqa") -> list[str]:
    """What is wrong with a command line; nothing: it can be called."""
    below = getattr(command, "commands", None)  # of a group; typer may bring a click of its own
    if below is not None and words and not words[0].startswith("-"):
        word, *rest = words
        if _ALTERNATIVES.fullmatch(word):
            return [
                fault for one in word.split("|") for fault in faults(command, [one, *rest], path)
            ]
        found = below.get(word)
        if found is not None:
            return faults(found, rest, f"{path} {word}")
        return [f"`{path}` has no {word!r}"] if re.fullmatch(r"[a-z][a-z-]*", word) else []
    if below is not None and "Without a command: list" in (command.help or ""):
        return faults(below["list"], words, f"{path} list")
    known = {
        flag
        for parameter in command.params
        for flag in [*parameter.opts, *parameter.secondary_opts]
    } | {"--help"}
    given = [word.partition("=")[0] for word in words if _FLAG.match(word)]
    return [
        f"`{path}` has no {flag}" for flag in given if _FLAG.fullmatch(flag) and flag not in known
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_exist(page: Page, root: Any) -> None:
    wrong = [
        f"{page.name}:{line or '(text)'}: edgeqa {' '.join(words)}: {fault}"
        for line, words in page.commands()
        for fault in faults(root, words)
    ]
    assert not wrong, "\n".join(wrong)


def test_there_are_commands_to_check() -> None:
    """A reader of pages that found none would pass everything."""
    found = [words for page in PAGES for _, words in page.commands()]
    assert len(found) > 200
    assert {words[0] for words in found if words} >= {"ask", "agent", "cloud", "models", "rollout"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```sh\nedgeqa agent walk\n```", "`edgeqa agent` has no 'walk'"),
        ("```\n$ edgeqa agent run --colour red\n```", "`edgeqa agent run` has no --colour"),
        ("Say `edgeqa cloud\nrun --fast` then.", "`edgeqa cloud run` has no --fast"),
        (
            "```sh\nsudo A=b edgeqa fleet list \\\n  --nothing\n```",
            "`edgeqa fleet list` has no --nothing",
        ),
        ("Use `edgeqa rollout pause|stop X`.", "`edgeqa rollout` has no 'stop'"),
    ],
)
def test_a_wrong_command_is_found(text: str, said: str, root: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(text, encoding="utf-8")
    found = [fault for _, words in Page(file).commands() for fault in faults(root, words)]
    assert found == [said]
