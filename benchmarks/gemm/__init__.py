"""The parts of `benchmarks/limit.py`."""
