"""The console: the pages that technician, physician and administrator see in a browser."""
