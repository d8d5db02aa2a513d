"""What pip installs for a role before EdgeQA itself: pyproject.toml's dependencies and one extra.

    python3 extra.py pyproject.toml agent > requirements.txt

Standard library only, like everything in this folder: it runs before anything is installed.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main() -> int:
    """Print one requirement a line."""
    file, extra = sys.argv[1:]
    project = tomllib.loads(Path(file).read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"][extra]]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
