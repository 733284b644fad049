"""Measures of made videos against real ones."""
