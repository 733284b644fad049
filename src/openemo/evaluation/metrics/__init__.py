"""Figures: what is computed of a made video, mostly beside its real clip."""
