"""One patient over time: what was said before, what is said now, and what changed in between."""
