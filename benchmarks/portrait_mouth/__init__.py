"""The parts of `benchmarks/portraits.py` that measure how a mouth articulates."""
