"""Leaving out what a program that runs for months would load and never use."""

from __future__ import annotations

import importlib
import sys

# structlog shows tracebacks with the one where it is installed; it comes with typer: 60 modules,
# 5 MiB and some 60 ms for each process that logs. The other is for a module of structlog that is
# not used, and comes with the cloud's database. A command that prints tables imports them then.
_SHUNNED = ("rich", "greenlet")


def import_structlog() -> None:
    """Import structlog without the libraries that it would bring along."""
    if "structlog" in sys.modules:
        return
    absent = [name for name in _SHUNNED if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # what `import` takes for missing
    try:
        importlib.import_module("structlog")
    finally:
        for name in absent:
            del sys.modules[name]
