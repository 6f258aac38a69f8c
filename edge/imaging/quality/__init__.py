"""Is this image good enough to be read? Plain measures, and named flags for the technician.

`measures` look at pixels, in the worker; `flags` judge a series by what was measured, in the
daemon.
"""
