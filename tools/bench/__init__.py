"""``scanside-bench``: figures, each beside a peer's from the same run."""
