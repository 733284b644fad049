"""Decodes pictures, sounds and clips in processes of their own, which may do nothing else."""
