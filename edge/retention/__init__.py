"""Erasure as it is ordered, and retention: what was kept for long enough goes."""
