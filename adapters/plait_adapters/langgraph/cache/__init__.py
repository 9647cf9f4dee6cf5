"""Caches: what nodes gave for the same input before."""
