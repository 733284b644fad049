"""Decodes pictures and sounds in processes of their own, which may do nothing else."""
