"""Leaving out what a program that runs for months would load and never use."""

from __future__ import annotations

import importlib
import sys

# structlog shows tracebacks with it where it is installed, and it comes with typer: 60 modules,
# 5 MiB and some 60 ms for each process that logs. Where a command prints tables, it is imported
# then.
_SHUNNED = "rich"


def import_structlog() -> None:
    """Import structlog without the library of tables and colours that it would bring along."""
    if _SHUNNED in sys.modules or "structlog" in sys.modules:
        return
    sys.modules[_SHUNNED] = None  # type: ignore[assignment]  # what `import` takes for missing
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules[_SHUNNED]
