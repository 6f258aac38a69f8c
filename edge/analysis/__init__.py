"""Which series are complete, what a model says of them, and the worker that asks it."""
