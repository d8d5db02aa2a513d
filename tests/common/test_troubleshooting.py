"""docs/troubleshooting.md and docs/errors.md know every code that an operator may meet."""

from __future__ import annotations

import re
from pathlib import Path

from edgeqa.codes import CODES
from edgeqa.error_code import Where
from edgeqa.errors import ExitCode
from edgeqa.identity_codes import IDENTITY_CODES
from edgeqa.install_codes import INSTALL_CODES

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
ERRORS = (DOCS / "errors.md").read_text(encoding="utf-8")
# What stops an agent or a cloud side at its start, beside identity and installation.
STARTS = {
    "broker_unreachable",
    "cannot_listen",
    "database_newer",
    "database_unreachable",
    "disk_full",
    "extra_missing",
    "invalid_config",
    "model_given_up",
    "state_locked",
    "store_unusable",
}


def rows() -> str:
    """The tables, where a code has a line of its own."""
    return "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))


def test_each_code_of_installing_identity_and_start_has_a_line() -> None:
    wanted = STARTS | {code.slug for code in (*IDENTITY_CODES, *INSTALL_CODES)}

    assert {slug for slug in wanted if f"`{slug}`" not in rows()} == set()


def test_each_code_of_commands_and_swaps_has_a_line_somewhere() -> None:
    wanted = {code.slug for code in CODES if code.where in {Where.COMMAND, Where.SWAP}}

    assert {slug for slug in wanted if f"| `{slug}` |" not in ERRORS + PAGE} == set()


def test_each_exit_code_has_a_line() -> None:
    assert [code for code in ExitCode if f"\n| {int(code)} |" not in PAGE] == []


def test_no_code_is_made_up() -> None:
    first = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", PAGE, re.MULTILINE)
    named = {slug for cell in first for slug in re.findall(r"`([a-z_]+)`", cell)}

    assert len(named) > 30
    assert named - {code.slug for code in CODES} == set()


def test_links_lead_to_pages() -> None:
    for name in ("troubleshooting", "install-pi", "install-cloud", "upgrading"):
        text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
        links = re.findall(r"\]\(([a-z0-9/-]+\.md)\)", text)
        assert [link for link in links if not (DOCS / link).is_file()] == [], name
