"""Looks up known vulnerabilities of every library that EdgeQA installs.

pip-audit asks the Open Source Vulnerabilities database (OSV) about each line of constraints.txt.
Where that cannot be reached nothing is looked up, and the last line says so: a check that could not
be made must not look like one that was passed.

Exit codes: 0 nothing known, or OSV cannot be reached; 1 something is known; 4 OSV cannot be reached
and `--strict` was said.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

OSV = "https://api.osv.dev/v1/query"
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
# What is known and does not matter to us: its id, and why. Look again when the library changes.
IGNORED: dict[str, str] = {}
_TIMEOUT_S = 10
_UNREACHABLE = 4


def why_unreachable(url: str) -> str | None:
    """None where somebody answers, whatever he says."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):  # noqa: S310  https, or a test's http
            return None
    except urllib.error.HTTPError:
        return None  # it wants another method
    except OSError as error:
        return str(getattr(error, "reason", error))


def audit(constraints: Path, url: str) -> int:
    """Run pip-audit; its exit code."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(constraints),
               "--no-deps", "--disable-pip", "--strict", "--progress-spinner", "off",
               "--vulnerability-service", "osv", "--osv-url", url]  # fmt: skip
    for known in IGNORED:
        command += ["--ignore-vuln", known]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--strict", action="store_true", help="4 where OSV cannot be reached")
    parser.add_argument("--osv-url", default=OSV, help="of the database, or of a mirror")
    parser.add_argument("--constraints", type=Path, default=CONSTRAINTS)
    arguments = parser.parse_args()
    why = why_unreachable(arguments.osv_url)
    if why is not None:
        print(  # noqa: T201  the terminal
            f"audit: {arguments.osv_url} cannot be reached ({why}): nothing was looked up. "
            "Run it where it can be, before a release"
        )
        return _UNREACHABLE if arguments.strict else 0
    for known, reason in IGNORED.items():
        print(f"audit: {known} does not count: {reason}")  # noqa: T201
    return audit(arguments.constraints, arguments.osv_url)


if __name__ == "__main__":
    sys.exit(main())
