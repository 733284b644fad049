"""Measures made videos against real ones.

metrics: the figures. networks: networks that only measuring needs. report: what readers see. The modules here
run an evaluation: jobs (what to measure), measuring (one clip), harness (all clips).
"""
