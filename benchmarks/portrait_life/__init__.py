"""The parts of `benchmarks/portraits.py` that measure how a face lives."""
