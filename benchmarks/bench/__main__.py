"""`python -m bench`, with `benchmarks` on PYTHONPATH."""

from bench.cli import run

run()
