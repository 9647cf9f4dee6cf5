"""Savers: where the checkpoints of a graph are kept."""
