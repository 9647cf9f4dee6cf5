"""Stores: what is remembered beyond one thread."""
